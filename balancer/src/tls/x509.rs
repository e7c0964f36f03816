//! The little that an operator wants to know of a certificate: its names and its end (RFC 5280, section 4.1).
//!
//! Trusts nothing by it: whether a certificate is for a name is rustls's to say, whether it is valid the client's.

use std::net::{Ipv4Addr, Ipv6Addr};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Subject alternative names: DNS names and addresses.
    pub names: Vec<String>,
    /// Since 1970.
    pub not_after_s: u64,
}

/// `None` when it is not a certificate.
pub fn facts(der: &[u8]) -> Option<Facts> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if let Some((_, behind)) = element(rest, VERSION) {
        rest = behind;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        // Serial number, signature algorithm, issuer.
        rest = element(rest, tag)?.1;
    }
    let (validity, mut rest) = element(rest, SEQUENCE)?;
    let (_, _, not_after) = any(validity)?;
    let (tag, not_after, _) = any(not_after)?;
    let mut names = Vec::new();
    while let Some((tag, content, behind)) = any(rest) {
        rest = behind;
        if tag == EXTENSIONS {
            names = alternative_names(element(content, SEQUENCE)?.0);
        }
    }
    Some(Facts { names, not_after_s: time(tag, not_after)? })
}

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// Explicit context tags of the TBSCertificate.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// Context tags of a GeneralName.
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
/// 2.5.29.17.
const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 0x1d, 0x11];

/// Tag, content, and what follows. Lengths of up to two bytes: no certificate's element is longer than 64 KiB.
fn any(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), rest.get(2..)?),
        short if *short < 0x80 => (usize::from(*short), rest),
        _ => return None,
    };
    let (content, behind) = rest.split_at_checked(len)?;
    Some((*tag, content, behind))
}

fn element(bytes: &[u8], expected: u8) -> Option<(&[u8], &[u8])> {
    any(bytes).filter(|(tag, ..)| *tag == expected).map(|(_, content, behind)| (content, behind))
}

fn alternative_names(mut extensions: &[u8]) -> Vec<String> {
    while let Some((extension, behind)) = element(extensions, SEQUENCE) {
        extensions = behind;
        let Some((SUBJECT_ALT_NAME, mut value)) = element(extension, OBJECT_IDENTIFIER).and_then(short) else {
            continue;
        };
        // "critical" may stand before the value.
        while let Some((tag, content, behind)) = any(value) {
            value = behind;
            if tag == OCTET_STRING {
                return element(content, SEQUENCE).map(|(names, _)| general_names(names)).unwrap_or_default();
            }
        }
    }
    Vec::new()
}

fn short<'a>((identifier, rest): (&'a [u8], &'a [u8])) -> Option<([u8; 3], &'a [u8])> {
    Some((identifier.try_into().ok()?, rest))
}

fn general_names(mut bytes: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    while let Some((tag, content, behind)) = any(bytes) {
        bytes = behind;
        match (tag, content.len()) {
            (DNS_NAME, _) => names.push(String::from_utf8_lossy(content).into_owned()),
            (IP_ADDRESS, 4) => names.extend(content.first_chunk::<4>().map(|b| Ipv4Addr::from(*b).to_string())),
            (IP_ADDRESS, 16) => names.extend(content.first_chunk::<16>().map(|b| Ipv6Addr::from(*b).to_string())),
            _ => {}
        }
    }
    names
}

/// `YYMMDDHHMMSSZ` with a year from 1950 on, or `YYYYMMDDHHMMSSZ` (RFC 5280, section 4.1.2.5).
fn time(tag: u8, text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |digits: &[u8]| digits.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => (number(&digits[..2]) + if digits[0] < b'5' { 2000 } else { 1900 }, &digits[2..]),
        (GENERALIZED_TIME, 14) => (number(&digits[..4]), &digits[4..]),
        _ => return None,
    };
    let part = |at: usize| number(&rest[at..at + 2]);
    let (month, day) = (part(0), part(2));
    let plausible = (1..=12).contains(&month) && (1..=31).contains(&day) && year >= 1970;
    plausible.then(|| days(year, month, day) * 86_400 + part(4) * 3600 + part(6) * 60 + part(8))
}

/// Since 1970-01-01. The year is taken to begin in March, so that the leap day is its last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    const TO_1970: u64 = 719_468;
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - TO_1970
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, SanType, date_time_ymd};

    #[test]
    fn times_are_seconds() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "20240229120102Z", Some(1_709_208_062)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (UTC_TIME, "500101000000Z", None),
            (UTC_TIME, "701301000000Z", None),
            (UTC_TIME, "7001010000Z", None),
            (GENERALIZED_TIME, "20240229120102", None),
            (GENERALIZED_TIME, "2024022912010xZ", None),
        ] {
            assert_eq!(time(tag, text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn names_of_every_kind_and_the_end_are_found() {
        let mut params = CertificateParams::new(["a.test".into(), "*.b.test".into()]).unwrap();
        params.subject_alt_names.push(SanType::IpAddress("192.0.2.1".parse().unwrap()));
        params.subject_alt_names.push(SanType::IpAddress("2001:db8::1".parse().unwrap()));
        params.not_after = date_time_ymd(2050, 1, 1);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let names = ["a.test", "*.b.test", "192.0.2.1", "2001:db8::1"].map(String::from).to_vec();
        assert_eq!(facts(certificate.der()), Some(Facts { names, not_after_s: 2_524_608_000 }));
        let nameless = CertificateParams::default().self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(facts(nameless.der()).unwrap().names, [""; 0]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, at: usize, byte: u8) {
            facts(&bytes);
            let params = CertificateParams::new(["a.test".into()]).unwrap();
            let mut near = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
            let at = at % near.len();
            near[at] = byte;
            facts(&near);
            facts(&near[..at]);
        }
    }
}
