//! What the fields say about the message: host, body, and whether the connection lives on. Wherever two readers could
//! disagree about a body's end, the head is refused.

use super::authority;
use super::fields::{Field, members};
use super::head::{Body, Method, Version};
use super::scan::{Span, Stop};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    pub host: Option<Span>,
    pub body: Body,
    pub keep_alive: bool,
    pub websocket: bool,
}

/// Options of one connection. Browsers send two.
const OPTIONS_MAX: usize = 16;

/// What was seen so far; each of these may be given once.
#[derive(Default)]
struct Seen {
    host: Option<Span>,
    options: usize,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    websocket: bool,
}

pub fn read(bytes: &[u8], fields: &[Field], method: Method, version: Version) -> Result<Framing, Stop> {
    let mut seen = Seen::default();
    for field in fields {
        let (name, value) = (field.name.of(bytes), field.value.of(bytes));
        // Most names are told apart by their length alone.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => seen.host(field.value, value)?,
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                seen.websocket |= members(value).any(|member| member.eq_ignore_ascii_case(b"websocket"));
            }
            10 if name.eq_ignore_ascii_case(b"connection") => seen.connection(value)?,
            14 if name.eq_ignore_ascii_case(b"content-length") => seen.length(value)?,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => seen.coding(value)?,
            _ => {}
        }
    }
    seen.framing(method, version)
}

impl Seen {
    fn host(&mut self, span: Span, value: &[u8]) -> Result<(), Stop> {
        if self.host.replace(span).is_some() {
            return Err(Stop::malformed("several Host fields"));
        }
        if !authority::is_valid(value) {
            return Err(Stop::malformed("a Host that is no host"));
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), Stop> {
        // With the empty ones: each is compared with every field when the head is forwarded.
        self.options += value.split(|byte| *byte == b',').count();
        if self.options > OPTIONS_MAX {
            return Err(Stop::malformed("too many options in Connection"));
        }
        for option in members(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
        Ok(())
    }

    /// RFC 9110 section 8.6 would let equal ones pass. Nobody sends them in good faith, and who knows which of them the
    /// next reader takes.
    fn length(&mut self, value: &[u8]) -> Result<(), Stop> {
        if self.length.replace(decimal(value)?).is_some() {
            return Err(Stop::malformed("several Content-Length fields"));
        }
        Ok(())
    }

    /// RFC 9112 section 6.1: `chunked` comes last and once. Other codings before it are legal, and no video client
    /// sends any.
    fn coding(&mut self, value: &[u8]) -> Result<(), Stop> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Stop::malformed("a Transfer-Encoding other than one chunked"));
        }
        self.chunked = true;
        Ok(())
    }

    fn framing(self, method: Method, version: Version) -> Result<Framing, Stop> {
        if version == Version::Http11 && self.host.is_none() {
            return Err(Stop::malformed("no Host field"));
        }
        let body = match (self.chunked, self.length) {
            (true, Some(_)) => return Err(Stop::malformed("Content-Length beside Transfer-Encoding")),
            (true, None) if version == Version::Http10 => {
                return Err(Stop::malformed("Transfer-Encoding in HTTP/1.0"));
            }
            (true, None) => Body::Chunked,
            (false, Some(length)) if length > 0 => Body::Length(length),
            (false, _) => Body::None,
        };
        let keep_alive = !self.close && (version == Version::Http11 || self.keep_alive);
        // RFC 6455 section 4.1. In HTTP/1.0 an Upgrade is ignored, RFC 9110 section 7.8.
        let may_upgrade = method == Method::Get && version == Version::Http11 && body == Body::None;
        let websocket = self.websocket && self.upgrade && may_upgrade;
        Ok(Framing { host: self.host, body, keep_alive, websocket })
    }
}

/// Digits and nothing else: no sign, no list. At most what fits in 63 bits, since some count in signed numbers.
fn decimal(value: &[u8]) -> Result<u64, Stop> {
    let wrong = Stop::malformed("a Content-Length that is no number");
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(wrong);
    }
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
    number.and_then(|number| u64::try_from(number).ok()).ok_or(wrong)
}
