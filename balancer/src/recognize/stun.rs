//! Whom a STUN binding request names (RFC 8489 section 14.3, RFC 8445 section 7.2.2). The kernel reads the same by its own
//! means; this one is for names that are too long for it, and for hosts without it.
//!
//! Nothing is verified: MESSAGE-INTEGRITY is the origin's to check, which alone has the password.

use std::str::from_utf8;

const HEADER_LEN: usize = 20;
const BINDING_REQUEST: u16 = 0x0001;
const MAGIC_COOKIE: u32 = 0x2112_a442;
const USERNAME: u16 = 0x0006;
/// "Less than 509 bytes" (RFC 8489 section 14.3), of which ICE makes two fragments of 256 at most and a colon.
const USERNAME_LEN_MAX: usize = 513;
/// USERNAME stands first or second; whoever puts more in front of it is nobody's client.
const ATTRIBUTES_MAX: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoName {
    #[error("no STUN binding request")]
    Other,
    #[error("a STUN binding request whose lengths or attributes contradict each other")]
    Malformed,
}

/// Both halves of the user name, in the order in which they stand.
pub fn names(datagram: &[u8]) -> Result<[&str; 2], NoName> {
    let (header, mut rest) = datagram.split_at_checked(HEADER_LEN).ok_or(NoName::Other)?;
    if number(header, 0) != BINDING_REQUEST || header[4..8] != MAGIC_COOKIE.to_be_bytes() {
        return Err(NoName::Other);
    }
    if usize::from(number(header, 2)) != rest.len() || !rest.len().is_multiple_of(4) {
        return Err(NoName::Malformed);
    }
    for _ in 0..ATTRIBUTES_MAX {
        let (head, after) = rest.split_at_checked(4).ok_or(NoName::Malformed)?;
        let len = usize::from(number(head, 2));
        let value = after.get(..len).ok_or(NoName::Malformed)?;
        if number(head, 0) == USERNAME {
            return split(value).ok_or(NoName::Malformed);
        }
        rest = after.get(len.next_multiple_of(4)..).ok_or(NoName::Malformed)?;
    }
    Err(NoName::Malformed)
}

fn split(name: &[u8]) -> Option<[&str; 2]> {
    let name = from_utf8(name).ok().filter(|name| name.len() <= USERNAME_LEN_MAX)?;
    let (a, b) = name.split_once(':')?;
    (!a.is_empty() && !b.is_empty()).then_some([a, b])
}

fn number(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request with these attributes.
    fn request(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, value) in attributes {
            body.extend(kind.to_be_bytes());
            body.extend((value.len() as u16).to_be_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut request = vec![0, 1];
        request.extend((body.len() as u16).to_be_bytes());
        request.extend(MAGIC_COOKIE.to_be_bytes());
        request.extend([7; 12]);
        request.extend(body);
        request
    }

    #[test]
    fn a_name_is_found_among_the_first_attributes() {
        assert_eq!(names(&request(&[(USERNAME, b"abcd:wxyz1")])), Ok(["abcd", "wxyz1"]));
        let late: Vec<(u16, &[u8])> =
            (0..7).map(|_| (0x8022, &b"three"[..3])).chain([(USERNAME, &b"a:b"[..])]).collect();
        assert_eq!(names(&request(&late)), Ok(["a", "b"]));
        let long = format!("{}:{}", "x".repeat(256), "y".repeat(256));
        assert_eq!(names(&request(&[(USERNAME, long.as_bytes())])).unwrap()[1].len(), 256);
    }

    #[test]
    fn what_is_no_request_is_told_from_what_is_none_that_could_be() {
        let good = request(&[(USERNAME, b"abcd:wxyz")]);
        for other in [&good[..19], &[0x80; 40], b"", &[&[1, 1], &good[2..]].concat()] {
            assert_eq!(names(other), Err(NoName::Other));
        }
        let too_late: Vec<(u16, &[u8])> = (0..8).map(|_| (0x8022, &b""[..])).chain([(USERNAME, &b"a:b"[..])]).collect();
        let too_long = vec![b'x'; 600];
        for malformed in [
            request(&[]),
            request(&[(USERNAME, b"")]),
            request(&[(USERNAME, b"abcd")]),
            request(&[(USERNAME, b":abcd")]),
            request(&[(USERNAME, b"\xff\xff:b")]),
            request(&[(USERNAME, &too_long)]),
            request(&too_late),
            [&good[..], &[0; 4]].concat(),
            [&good[..3], &[200], &good[4..]].concat(),
        ] {
            assert_eq!(names(&malformed), Err(NoName::Malformed), "{malformed:?}");
        }
        // Cut anywhere, it is one or the other, and no panic.
        for len in 0..good.len() {
            assert!(names(&good[..len]).is_err());
        }
        let mut lies = good;
        lies[22] = 0xff;
        assert_eq!(names(&lies), Err(NoName::Malformed));
    }
}
