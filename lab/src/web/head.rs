//! Heads of requests and responses, and bodies in each of their three framings. Reads what comes, judges little: a
//! test wants to see what was sent, also when it was wrong.

use anyhow::{Context, Result, bail};
use std::fmt;
use std::io::{BufRead, Read};

const HEAD_BYTES_MAX: usize = 256 * 1024;
const PIECE: usize = 64 * 1024;

/// A first line and its headers, with the bytes that they were read from.
#[derive(Clone, Default)]
pub struct Head {
    pub raw: Vec<u8>,
    pub line: String,
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.raw))
    }
}

impl Head {
    /// `None` where the other side closed before the first byte.
    pub fn read(reader: &mut impl BufRead) -> Result<Option<Self>> {
        let mut raw = Vec::new();
        loop {
            let from = raw.len();
            reader.read_until(b'\n', &mut raw).context("read a head")?;
            match &raw[from..] {
                [] if raw.is_empty() => return Ok(None),
                [] => bail!("closed inside of a head: {:?}", String::from_utf8_lossy(&raw)),
                b"\r\n" | b"\n" if from > 0 => return Ok(Some(Self::parse(raw))),
                _ if raw.len() > HEAD_BYTES_MAX => bail!("a head without end"),
                _ => {}
            }
        }
    }

    fn parse(raw: Vec<u8>) -> Self {
        let text = String::from_utf8_lossy(&raw).into_owned();
        let mut lines = text.lines();
        let line = lines.next().unwrap_or_default().to_owned();
        let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        Self { line, headers: lines.filter_map(header).collect(), raw }
    }

    /// The word of the first line: method, target and version, or version, status and reason.
    pub fn word(&self, number: usize) -> &str {
        self.line.split(' ').nth(number).unwrap_or_default()
    }

    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    /// The target of a request without its query.
    pub fn path(&self) -> &str {
        self.word(1).split('?').next().unwrap_or_default()
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether a list header has this token.
    pub fn has(&self, name: &str, token: &str) -> bool {
        self.all(name).flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    UntilClose,
    Length(u64),
    Chunked,
}

impl Framing {
    /// As the headers say; without any, a request has no body and a response ends with its connection.
    pub fn of(head: &Head) -> Option<Self> {
        if head.has("transfer-encoding", "chunked") {
            return Some(Self::Chunked);
        }
        head.header("content-length").and_then(|length| length.parse().ok()).map(Self::Length)
    }

    pub fn of_response(head: &Head, method: &str) -> Self {
        let bodiless = method == "HEAD" || matches!(head.status(), 100..200 | 204 | 304);
        if bodiless { Self::Length(0) } else { Self::of(head).unwrap_or(Self::UntilClose) }
    }
}

/// Hands every piece of the body to `take`, as it comes; returns the trailers.
pub fn read_body(
    reader: &mut impl BufRead,
    framing: Framing,
    mut take: impl FnMut(&[u8]),
) -> Result<Vec<(String, String)>> {
    match framing {
        Framing::Length(length) => exactly(reader, length, &mut take)?,
        Framing::UntilClose => loop {
            let piece = reader.fill_buf().context("read a body")?;
            if piece.is_empty() {
                break;
            }
            take(piece);
            let length = piece.len();
            reader.consume(length);
        },
        Framing::Chunked => return chunks(reader, &mut take),
    }
    Ok(Vec::new())
}

fn exactly(reader: &mut impl BufRead, length: u64, take: &mut impl FnMut(&[u8])) -> Result<()> {
    let mut left = length;
    let mut buffer = vec![0u8; PIECE];
    while left > 0 {
        let want = left.min(PIECE as u64) as usize;
        match reader.read(&mut buffer[..want]).context("read a body")? {
            0 => bail!("{left} of {length} bytes missing"),
            n => {
                take(&buffer[..n]);
                left -= n as u64;
            }
        }
    }
    Ok(())
}

fn chunks(reader: &mut impl BufRead, take: &mut impl FnMut(&[u8])) -> Result<Vec<(String, String)>> {
    loop {
        let line = read_line(reader)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).with_context(|| format!("no chunk size: {line:?}"))?;
        if size == 0 {
            break;
        }
        exactly(reader, size, take)?;
        if !read_line(reader)?.is_empty() {
            bail!("a chunk is longer than it said");
        }
    }
    let mut trailers = Vec::new();
    loop {
        let line = read_line(reader)?;
        match line.split_once(':') {
            Some((name, value)) => trailers.push((name.to_owned(), value.trim().to_owned())),
            None => return Ok(trailers),
        }
    }
}

fn read_line(reader: &mut impl BufRead) -> Result<String> {
    let mut line = Vec::new();
    reader.take(HEAD_BYTES_MAX as u64).read_until(b'\n', &mut line).context("read a line")?;
    if line.pop() != Some(b'\n') {
        bail!("closed inside of a line");
    }
    Ok(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(framing: Framing, mut wire: &[u8]) -> Result<(Vec<u8>, usize)> {
        let mut whole = Vec::new();
        let trailers = read_body(&mut wire, framing, |piece| whole.extend_from_slice(piece))?;
        Ok((whole, trailers.len()))
    }

    #[test]
    fn a_head_keeps_its_bytes() {
        let wire = b"GET /a?b HTTP/1.1\r\nHost: x\r\nConnection: a, Close\r\n\r\nrest";
        let mut reader = &wire[..];
        let head = Head::read(&mut reader).unwrap().unwrap();
        assert_eq!((head.word(0), head.path(), head.header("HOST")), ("GET", "/a", Some("x")));
        assert!(head.has("connection", "close") && head.raw.len() == wire.len() - 4);
        assert_eq!(reader, b"rest");
        assert!(Head::read(&mut &b""[..]).unwrap().is_none());
        assert!(Head::read(&mut &b"GET"[..]).is_err());
    }

    #[test]
    fn bodies_are_read_in_every_framing() {
        assert_eq!(body(Framing::Length(3), b"abcd").unwrap().0, b"abc");
        assert_eq!(body(Framing::UntilClose, b"abcd").unwrap().0, b"abcd");
        let chunked = body(Framing::Chunked, b"3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nSum: 4\r\n\r\n").unwrap();
        assert_eq!(chunked, (b"abcd".to_vec(), 1));
        assert!(body(Framing::Length(3), b"ab").is_err());
        assert!(body(Framing::Chunked, b"3\r\nabcd\r\n").is_err());
        assert!(body(Framing::Chunked, b"3\r\nabc\r\n").is_err());
    }
}
