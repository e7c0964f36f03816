//! STUN binding requests (RFC 8489) of ICE (RFC 8445 section 7): whose they say they are.
//!
//! One source for the kernel, over a frame, and for user space, over a slice. Only the user name is read. Whether the
//! message is genuine is not: the key of its MESSAGE-INTEGRITY is known to the client and to the origin alone.

use super::{Frame, frame::unknown};
use crate::abi::{IceKey, UFRAG_LEN_MAX};

const HEADER_LEN: usize = 20;
const BINDING_REQUEST: u16 = 0x0001;
const COOKIE: u32 = 0x2112_a442;

const ATTRIBUTE_LEN: usize = 4;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
const FINGERPRINT: u16 = 0x8028;

/// Attributes that are looked at. Browsers send the user name as the first or second of at most seven.
pub const ATTRIBUTES_MAX: usize = 8;
/// A mask, and the longest message: more than an Ethernet frame carries.
const MESSAGE_LEN_MAX: usize = 2047;
/// A mask, and more than an offset in a frame.
const OFFSET_MAX: usize = 8191;
/// Two fragments of 256 characters (RFC 8839 section 5.4) and a colon; also the limit of RFC 5389.
pub const USER_NAME_LEN_MAX: usize = 513;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum StunError {
    /// Something else, or STUN without the magic cookie of 2008.
    NotStun = 1,
    /// A response, an indication, or a method other than binding.
    NotRequest = 2,
    /// Lengths contradict each other, or the user name is not two fragments with a colon between them.
    Malformed = 3,
    /// A request without a user name before its integrity.
    Nameless = 4,
    /// No user name among the first [`ATTRIBUTES_MAX`] attributes.
    Crowded = 5,
}

/// The two fragments of a request's user name: the receiver's, then the sender's.
pub fn user_name(message: &[u8]) -> Result<(&[u8], &[u8]), StunError> {
    let name = binding_request(message, message.len())?;
    let name = message.get(name.at..name.at + name.len).ok_or(StunError::Malformed)?;
    let colon = name.iter().position(|byte| *byte == b':').ok_or(StunError::Malformed)?;
    match (&name[..colon], &name[colon + 1..]) {
        ([], _) | (_, []) => Err(StunError::Malformed),
        fragments => Ok(fragments),
    }
}

/// Bytes that can be read one group at a time.
pub trait Bytes {
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]>;
    /// `number & MASK`; the kernel's verifier is to forget what else it knows of it.
    fn unknown<const MASK: usize>(&self, number: usize) -> usize;
}

impl Bytes for [u8] {
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.get(at..)?.first_chunk().copied()
    }

    fn unknown<const MASK: usize>(&self, number: usize) -> usize {
        number & MASK
    }
}

/// The payload of a datagram.
pub struct Payload<'f> {
    pub frame: &'f Frame<'f>,
    /// Where it begins in the frame.
    pub at: usize,
}

impl Bytes for Payload<'_> {
    #[inline(always)]
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.frame.view::<N>(self.at + at).map(|view| view.bytes())
    }

    #[inline(always)]
    fn unknown<const MASK: usize>(&self, number: usize) -> usize {
        // A byte of the frame would have to be asked for, and where it is missing the number would be known.
        unknown::<MASK>(number, self.frame.len() as u8)
    }
}

/// Where a user name, or a part of one, lies in its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    pub at: usize,
    pub len: usize,
}

impl Name {
    /// The same numbers, cut off from those of the caller: what the verifier learns of one by a comparison, it would keep
    /// of the other, and walk the rest of the program anew for each length.
    #[inline(always)]
    fn forgotten<B: Bytes + ?Sized>(self, message: &B) -> Self {
        Self { at: message.unknown::<OFFSET_MAX>(self.at), len: message.unknown::<MESSAGE_LEN_MAX>(self.len) }
    }
}

/// The user name of a binding request of `len` bytes; it is not empty.
#[inline(always)]
pub fn binding_request<B: Bytes + ?Sized>(message: &B, len: usize) -> Result<Name, StunError> {
    let Some([k, l, m, n, cookie @ ..]) = message.bytes::<8>(0) else { return Err(StunError::NotStun) };
    // The two top bits are 0: RTP, DTLS and TURN channels set at least one, or have no cookie (RFC 7983).
    if len < HEADER_LEN || k > 3 || u32::from_be_bytes(cookie) != COOKIE {
        return Err(StunError::NotStun);
    }
    if u16::from_be_bytes([k, l]) != BINDING_REQUEST {
        return Err(StunError::NotRequest);
    }
    let body_len = u16::from_be_bytes([m, n]) as usize;
    if body_len + HEADER_LEN != len || body_len & 3 != 0 || len > MESSAGE_LEN_MAX {
        return Err(StunError::Malformed);
    }
    let mut at = message.unknown::<MESSAGE_LEN_MAX>(HEADER_LEN);
    for _ in 0..ATTRIBUTES_MAX {
        // Both are multiples of four.
        if at >= len {
            return Err(StunError::Nameless);
        }
        let Some([k, l, m, n]) = message.bytes::<ATTRIBUTE_LEN>(at) else { return Err(StunError::Malformed) };
        let attribute_len = u16::from_be_bytes([m, n]) as usize;
        let value = at + ATTRIBUTE_LEN;
        let next = value + ((attribute_len + 3) & !3);
        if next > len {
            return Err(StunError::Malformed);
        }
        match u16::from_be_bytes([k, l]) {
            USERNAME if attribute_len == 0 || attribute_len > USER_NAME_LEN_MAX => return Err(StunError::Malformed),
            USERNAME => return Ok(Name { at: value, len: attribute_len }),
            // Nobody heeds what stands behind these (RFC 8489 sections 14.5 to 14.7).
            MESSAGE_INTEGRITY | MESSAGE_INTEGRITY_SHA256 | FINGERPRINT => return Err(StunError::Nameless),
            _ => at = message.unknown::<MESSAGE_LEN_MAX>(next),
        }
    }
    Err(StunError::Crowded)
}

/// How long the first fragment is; `None` when it is longer than a key of `ICE` holds, or there is no colon.
#[inline(always)]
pub fn first_fragment<B: Bytes + ?Sized>(message: &B, name: Name) -> Option<usize> {
    let name = name.forgotten(message);
    for i in 0..=UFRAG_LEN_MAX {
        if i >= name.len {
            return None;
        }
        if message.bytes::<1>(name.at + i)? == *b":" {
            return Some(message.unknown::<63>(i));
        }
    }
    None
}

/// The key of a fragment of 1 to [`UFRAG_LEN_MAX`] bytes, which has at least three bytes of the message before it.
#[inline(always)]
pub fn ice_key<B: Bytes + ?Sized>(message: &B, fragment: Name) -> Option<IceKey> {
    let Name { at, len } = fragment.forgotten(message);
    let mut key = IceKey { ufrag: [0; UFRAG_LEN_MAX / 4] };
    for (i, word) in key.ufrag.iter_mut().enumerate() {
        let start = 4 * i;
        if start >= len {
            break;
        }
        let rest = len - start;
        // What stands behind the fragment may not be there, but what stands before it is.
        let (at, beyond) =
            if rest >= 4 { (at + start, 0) } else { (message.unknown::<OFFSET_MAX>(at + len - 4), 4 - rest) };
        *word = (u32::from_le_bytes(message.bytes::<4>(at)?) >> (8 * beyond)).to_le();
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    /// A binding request with these attributes.
    fn message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![];
        for (kind, value) in attributes {
            body.extend(kind.to_be_bytes());
            body.extend((value.len() as u16).to_be_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut message = vec![0, 1];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(COOKIE.to_be_bytes());
        message.extend(b"transaction!");
        message.extend(body);
        message
    }

    fn named(name: &[u8]) -> Result<(Vec<u8>, Vec<u8>), StunError> {
        let message = message(&[(0x0024, &[0; 4]), (USERNAME, name), (MESSAGE_INTEGRITY, &[0; 20])]);
        user_name(&message).map(|(a, b)| (a.to_vec(), b.to_vec()))
    }

    #[test]
    fn the_first_colon_parts_the_fragments() {
        assert_eq!(named(b"origin:client"), Ok((b"origin".to_vec(), b"client".to_vec())));
        assert_eq!(named(b"a:b:c"), Ok((b"a".to_vec(), b"b:c".to_vec())));
        for name in [&b""[..], b":", b"a:", b":b", b"no colon", &[b'x'; 514], &[b':'; 600]] {
            assert_eq!(named(name), Err(StunError::Malformed), "{name:?}");
        }
        let longest = [[b'x'; 256].as_slice(), b":", &[b'y'; 256]].concat();
        assert_eq!(named(&longest), Ok((vec![b'x'; 256], vec![b'y'; 256])));
    }

    #[test]
    fn nobody_is_named_behind_the_integrity() {
        for kind in [MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256, FINGERPRINT] {
            assert_eq!(user_name(&message(&[(kind, &[0; 20]), (USERNAME, b"a:b")])), Err(StunError::Nameless));
        }
        assert_eq!(user_name(&message(&[])), Err(StunError::Nameless));
    }

    #[test]
    fn the_name_is_among_the_first_attributes() {
        let before = |count| {
            let mut attributes: Vec<(u16, &[u8])> = vec![(0x0025, b""); count];
            attributes.push((USERNAME, b"a:b"));
            user_name(&message(&attributes)).is_ok()
        };
        assert!((0..ATTRIBUTES_MAX).all(before));
        assert!(!before(ATTRIBUTES_MAX));
        assert_eq!(user_name(&message(&vec![(0x0025, &b""[..]); 480])), Err(StunError::Crowded));
    }

    #[test]
    fn every_fragment_is_found_by_the_key_of_its_bytes() {
        for len in 1..=UFRAG_LEN_MAX {
            let fragment: Vec<u8> = (0..len).map(|i| b'a' + (i % 26) as u8).collect();
            let name = [&fragment[..], b":", &fragment].concat();
            let message = message(&[(USERNAME, &name)]);
            let found = binding_request(&message[..], message.len()).unwrap();
            let colon = first_fragment(&message[..], found).unwrap();
            let mut bytes = [0; UFRAG_LEN_MAX];
            bytes[..len].copy_from_slice(&fragment);
            let words = core::array::from_fn(|i| u32::from_ne_bytes(bytes[4 * i..][..4].try_into().unwrap()));
            for at in [found.at, found.at + colon + 1] {
                // Nothing behind the last byte is needed.
                let key = ice_key(&message[..at + len], Name { at, len });
                assert_eq!(key, Some(IceKey { ufrag: words }), "{len}");
            }
        }
    }
}
