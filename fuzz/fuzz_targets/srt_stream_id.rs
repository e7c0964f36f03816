//! A conclusion's extensions to a stream: nothing is read beyond its end, and every name that is found is canonical.
#![no_main]

use balancer_fuzz::recognize::StreamKey;
use balancer_fuzz::recognize::srt::{STREAM_ID_BYTES_MAX, SrtError, asked, parse, stream_id};
use libfuzzer_sys::fuzz_target;

const HANDSHAKE_LEN: usize = 64;
const HAS_CONFIGURATION: u8 = 4;
const STREAM_ID: u8 = 5;

/// The text as an extension of its own, written another way than it is read.
fn conclusion(text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HANDSHAKE_LEN];
    bytes[0] = 0x80;
    bytes[23] = HAS_CONFIGURATION;
    bytes.extend([0, STREAM_ID]);
    bytes.extend((text.len().div_ceil(4) as u16).to_be_bytes());
    for at in 0..text.len().next_multiple_of(4) {
        bytes.push(text.get(at - at % 4 + (3 - at % 4)).copied().unwrap_or_default());
    }
    bytes
}

fuzz_target!(|input: &[u8]| {
    // As extensions behind a fixed part, and as a whole datagram.
    let mut said = conclusion(b"")[..HANDSHAKE_LEN].to_vec();
    said.extend_from_slice(input);
    for datagram in [&said[..], input] {
        if let Ok(id) = stream_id(datagram) {
            assert!(!id.is_empty() && id.len() <= STREAM_ID_BYTES_MAX && !id.chars().any(char::is_control));
            assert_eq!(parse(&id).is_ok(), asked(datagram).is_ok());
        }
    }
    // As a stream id.
    match stream_id(&conclusion(input)) {
        Ok(id) => assert_eq!(id.as_bytes(), without_end(input)),
        Err(SrtError::TooLong { .. }) => assert!(input.len() > STREAM_ID_BYTES_MAX),
        Err(error) => assert!(matches!(error, SrtError::Missing | SrtError::Text), "{error}"),
    }
    if let Ok(asked) = std::str::from_utf8(input).map_err(|_| SrtError::Text).and_then(parse) {
        assert_eq!(asked.key.to_string().parse::<StreamKey>(), Ok(asked.key));
    }
});

fn without_end(input: &[u8]) -> &[u8] {
    &input[..input.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)]
}
