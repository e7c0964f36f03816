//! The head of an origin's answer, as far as the way of an upgrade depends on it: its status and where it ends.

use super::scan::{Scanner, Stop, VALUE};
use super::{HttpError, fields};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Bytes of the head, with its blank line.
    pub len: usize,
}

/// `None` until the head is whole.
pub fn answer(bytes: &[u8], max: usize) -> Result<Option<Answer>, HttpError> {
    match read(&bytes[..bytes.len().min(max)]) {
        Ok(answer) => Ok(Some(answer)),
        Err(Stop::Wrong(error)) => Err(error),
        Err(Stop::Incomplete) if bytes.len() >= max => Err(HttpError::TooLarge),
        Err(Stop::Incomplete) => Ok(None),
    }
}

fn read(bytes: &[u8]) -> Result<Answer, Stop> {
    let mut scanner = Scanner::new(bytes);
    let line = scanner.run(VALUE)?;
    scanner.line_end()?;
    let status = status(line.of(bytes))?;
    fields::read(&mut scanner)?;
    Ok(Answer { status, len: scanner.at() })
}

/// `HTTP/1.1 101 Switching Protocols`. RFC 9112 section 4 wants a space behind the number; some origins end there.
fn status(line: &[u8]) -> Result<u16, Stop> {
    let wrong = Stop::malformed("an answer without a status line");
    let rest = line.strip_prefix(b"HTTP/1.").ok_or(wrong)?;
    let [b'0' | b'1', b' ', hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] = rest else {
        return Err(wrong);
    };
    if !matches!(rest, [] | [b' ', ..]) {
        return Err(wrong);
    }
    let digit = |byte: &u8| u16::from(byte - b'0');
    Ok(digit(hundreds) * 100 + digit(tens) * 10 + digit(ones))
}
