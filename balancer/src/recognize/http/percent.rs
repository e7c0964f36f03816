//! Percent-encoding, RFC 3986 section 2.1.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `None` when a percent sign has no two hexadecimal digits behind it. The bytes may be anything.
pub fn decode(text: &str) -> Option<Cow<'_, [u8]>> {
    let bytes = text.as_bytes();
    let Some(first) = bytes.iter().position(|byte| *byte == b'%') else { return Some(Cow::Borrowed(bytes)) };
    let mut decoded = Vec::with_capacity(bytes.len());
    decoded.extend(&bytes[..first]);
    let mut rest = &bytes[first..];
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let (digits, behind) = rest.split_first_chunk::<2>()?;
        decoded.push(hexadecimal(digits[0])? << 4 | hexadecimal(digits[1])?);
        rest = behind;
    }
    Some(Cow::Owned(decoded))
}

/// `None` also when the bytes are no UTF-8.
pub fn decode_text(text: &str) -> Option<Cow<'_, str>> {
    match decode(text)? {
        Cow::Borrowed(_) => Some(Cow::Borrowed(text)),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

/// Fit for the value of a query's parameter.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
