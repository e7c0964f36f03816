//! A STUN message to the fragments of its user name: what is read up to the name agrees with another reader, and the
//! kernel's way of reading finds the same keys.
#![no_main]

use balancer_common::packet::{
    Frame,
    stun::{Payload, StunError, binding_request, first_fragment, ice_key, user_name},
};
use libfuzzer_sys::fuzz_target;
use stun_types::{
    attribute::Username,
    message::{BINDING, Message},
};

const HEADER_LEN: usize = 20;
const FRAGMENT_LEN_MAX: usize = 32;

/// The other reader's user name of a request whose length is that of the datagram.
fn theirs(bytes: &[u8]) -> Option<String> {
    let message = Message::from_bytes(bytes).ok()?;
    let is_request = message.has_method(BINDING) && bytes[..2] == [0, 1];
    let is_whole = usize::from(u16::from_be_bytes([bytes[2], bytes[3]])) + HEADER_LEN == bytes.len();
    let name = message.attribute::<Username>().ok()?;
    (is_request && is_whole && bytes.len() % 4 == 0).then(|| name.username().to_owned())
}

fuzz_target!(|bytes: &[u8]| {
    match (user_name(bytes), theirs(bytes)) {
        (Ok((a, b)), Some(theirs)) => assert_eq!([a, b":", b].concat(), theirs.as_bytes()),
        (Err(StunError::Crowded | StunError::Malformed | StunError::Nameless), _) | (_, None) => {}
        (Err(error), Some(_)) => panic!("{error:?}"),
    }
    let Ok(name) = binding_request(bytes, bytes.len()) else { return };
    // Whatever stands behind the name: a message that ends there is read by both.
    let end = (name.at + name.len).next_multiple_of(4);
    let mut first = bytes[..end].to_vec();
    first[2..4].copy_from_slice(&((end - HEADER_LEN) as u16).to_be_bytes());
    assert_eq!(binding_request(&first[..], end), Ok(name));
    if let Ok(text) = std::str::from_utf8(&bytes[name.at..name.at + name.len]) {
        assert_eq!(theirs(&first).as_deref(), Some(text));
    }

    // The same out of a frame that ends with the name.
    let at = 42;
    let mut frame = vec![0xee; at];
    frame.extend(&first);
    let frame = Frame::from_bytes(&mut frame);
    let payload = Payload { frame: &frame, at };
    assert_eq!(binding_request(&payload, end), Ok(name));
    let colon = first_fragment(&first[..], name);
    assert_eq!(first_fragment(&payload, name), colon);
    let Ok((a, b)) = user_name(&first) else { return };
    assert_eq!(colon, Some(a.len()).filter(|len| *len <= FRAGMENT_LEN_MAX));
    let starts = [name.at, name.at + a.len() + 1];
    for (start, fragment) in starts.into_iter().zip([a, b]).filter(|(_, f)| f.len() <= FRAGMENT_LEN_MAX) {
        let place = balancer_common::packet::stun::Name { at: start, len: fragment.len() };
        let key = ice_key(&payload, place).expect("it is in the frame");
        assert_eq!(ice_key(&first[..], place), Some(key));
        let bytes: Vec<u8> = key.ufrag.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert!(bytes.starts_with(fragment) && bytes[fragment.len()..].iter().all(|byte| *byte == 0));
    }
});
