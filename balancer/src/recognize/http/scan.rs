//! Reads bytes from left to right and stops at the first that is wrong, so that what is said of a head never depends on
//! how it was cut: the bytes behind the wrong one do not count, and nothing is judged before it is whole.

use super::HttpError;

/// Why reading ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Incomplete,
    Wrong(HttpError),
}

impl Stop {
    pub const fn malformed(what: &'static str) -> Self {
        Self::Wrong(HttpError::Malformed(what))
    }
}

/// Part of a head, by position: the head may be moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Heads are bounded far below 4 GiB; what is beyond is empty, not somewhere else.
    pub fn new(start: usize, end: usize) -> Self {
        match (u32::try_from(start), u32::try_from(end)) {
            (Ok(start), Ok(end)) if start <= end => Self { start, end },
            _ => Self::default(),
        }
    }

    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start()..self.end()).unwrap_or_default()
    }

    /// For spans over what was found to be UTF-8.
    pub fn text(self, bytes: &[u8]) -> &str {
        std::str::from_utf8(self.of(bytes)).unwrap_or_default()
    }

    pub const fn start(self) -> usize {
        self.start as usize
    }

    pub const fn end(self) -> usize {
        self.end as usize
    }

    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }
}

pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub const fn resumed(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub const fn at(&self) -> usize {
        self.at
    }

    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn peek(&self) -> Result<u8, Stop> {
        self.bytes.get(self.at).copied().ok_or(Stop::Incomplete)
    }

    pub const fn skip(&mut self) {
        self.at += 1;
    }

    /// Everything of a class, up to a byte that is not and stays unread.
    pub fn run(&mut self, class: u8) -> Result<Span, Stop> {
        let start = self.at;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let len = rest.iter().position(|byte| !is(*byte, class));
        self.at += len.unwrap_or(rest.len());
        match len {
            Some(_) => Ok(Span::new(start, self.at)),
            None => Err(Stop::Incomplete),
        }
    }

    /// CR LF and nothing else: RFC 9112 section 2.2 lets a recipient take a bare LF, and smuggling lives from those
    /// that do beside those that do not.
    pub fn line_end(&mut self) -> Result<(), Stop> {
        match self.peek()? {
            b'\r' => self.skip(),
            b'\n' => return Err(Stop::malformed("a line that ends in a bare LF")),
            _ => return Err(Stop::malformed("a control character")),
        }
        match self.peek()? {
            b'\n' => self.skip(),
            _ => return Err(Stop::malformed("a CR that ends no line")),
        }
        Ok(())
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
pub const TOKEN: u8 = 1;
/// `field-vchar`, space and tab.
pub const VALUE: u8 = 2;
/// What a target may hold. More than RFC 3986 allows, for clients send raw UTF-8 and braces; but not what begins a
/// fragment, is read as a slash by some, or ends a target in the text around it. The proxied part takes all of these too.
pub const TARGET: u8 = 4;
pub const BLANK: u8 = 8;

pub const fn is(byte: u8, class: u8) -> bool {
    CLASSES[byte as usize] & class != 0
}

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    loop {
        let token = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        let value = byte == b'\t' || (byte >= b' ' && byte != 0x7F);
        let target = byte > b' ' && !matches!(byte, 0x7F | b'"' | b'#' | b'<' | b'>' | b'\\' | b'`');
        let blank = matches!(byte, b' ' | b'\t');
        classes[byte as usize] =
            (token as u8 * TOKEN) | (value as u8 * VALUE) | (target as u8 * TARGET) | (blank as u8 * BLANK);
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};
