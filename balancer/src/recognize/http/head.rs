//! A request head, and how it is read.

use super::fields::{self, Field};
use super::scan::{Scanner, Span, Stop, TARGET, TOKEN, VALUE};
use super::target::{self, Target};
use super::{HttpError, REQUEST_LINE_LEN_MAX, framing};
use std::fmt;

#[derive(Debug)]
pub enum Progress {
    Incomplete,
    Complete(Head),
}

/// A head that is whole and unambiguous. Owns its bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    /// Bytes that it takes of the connection: with its blank line, and with an empty line in front, if there was one.
    pub len: usize,
    pub method: Method,
    pub version: Version,
    pub body: Body,
    /// Whether the client wants the connection to go on after this request.
    pub keep_alive: bool,
    websocket: bool,
    raw: Vec<u8>,
    method_name: Span,
    target: Target,
    host: Option<Span>,
    fields: Vec<Field>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Patch,
    Options,
    /// Any other token but CONNECT. [`Head::method_name`] has it.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    None,
    /// More than 0 bytes.
    Length(u64),
    Chunked,
}

/// Reads the first request head of `bytes`, of which at most `max` bytes are looked at. The same for however many bytes
/// of a connection are there already: once it is not [`Progress::Incomplete`], it stays what it is.
pub fn head(bytes: &[u8], max: usize) -> Result<Progress, HttpError> {
    let taken = &bytes[..bytes.len().min(max)];
    // RFC 9112 section 2.2: some clients send a line end too many after a body.
    let empty_line = if taken.starts_with(b"\r\n") { 2 } else { 0 };
    let read = match &taken[empty_line..] {
        [] | [b'\r'] => Err(Stop::Incomplete),
        rest => read(rest),
    };
    match read {
        Ok(mut head) => {
            head.len += empty_line;
            Ok(Progress::Complete(head))
        }
        Err(Stop::Wrong(error)) => Err(error),
        Err(Stop::Incomplete) if bytes.len() >= max => Err(HttpError::TooLarge),
        Err(Stop::Incomplete) => Ok(Progress::Incomplete),
    }
}

impl Head {
    /// As sent, port and all: of the authority of an absolute target, else of the `Host` field, else empty.
    pub fn host(&self) -> &str {
        self.host.map_or("", |span| span.text(&self.raw))
    }

    /// As sent, percent signs and all, without the query. It decodes, holds no NUL and does not climb. `*` for a request
    /// about the server itself.
    pub fn path(&self) -> &str {
        if self.target.path.is_empty() { "/" } else { self.target.path.text(&self.raw) }
    }

    pub fn query(&self) -> Option<&str> {
        self.target.query.map(|span| span.text(&self.raw))
    }

    pub fn method_name(&self) -> &str {
        self.method_name.text(&self.raw)
    }

    /// The first field of that name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers(name).next()
    }

    /// Every field of that name, in order.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let named = move |field: &&Field| field.name.of(&self.raw).eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().filter(named).map(|field| field.value.of(&self.raw))
    }

    /// Every field as name and value, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| (field.name.of(&self.raw), field.value.of(&self.raw)))
    }

    /// Every field as name and whole line, as sent.
    pub(super) fn lines(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let line = |field: &Field| Span::new(field.name.start(), field.value.end());
        self.fields.iter().map(move |field| (field.name.of(&self.raw), line(field).of(&self.raw)))
    }

    /// A proper offer to go on as a WebSocket: `GET`, HTTP/1.1, no body, `Connection: upgrade`, `Upgrade: websocket`.
    pub fn wants_upgrade(&self) -> bool {
        self.websocket
    }

    /// The head's own bytes, without an empty line in front.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    pub(super) fn has_authority(&self) -> bool {
        self.target.authority.is_some()
    }
}

/// Redacted: target and fields hold stream keys and tokens.
impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("len", &self.len)
            .field("method", &self.method)
            .field("version", &self.version)
            .field("body", &self.body)
            .field("keep_alive", &self.keep_alive)
            .field("fields", &self.fields.len())
            .finish_non_exhaustive()
    }
}

fn read(bytes: &[u8]) -> Result<Head, Stop> {
    let mut scanner = Scanner::new(bytes);
    let line = request_line(&mut scanner)?;
    let target = target::read(bytes, line.target, line.method)?;
    let fields = fields::read(&mut scanner)?;
    let framing = framing::read(bytes, &fields, line.method, line.version)?;
    let len = scanner.at();
    Ok(Head {
        len,
        method: line.method,
        version: line.version,
        body: framing.body,
        keep_alive: framing.keep_alive,
        websocket: framing.websocket,
        raw: bytes[..len].to_vec(),
        method_name: line.method_name,
        target,
        host: target.authority.or(framing.host),
        fields,
    })
}

struct RequestLine {
    method_name: Span,
    method: Method,
    target: Span,
    version: Version,
}

fn request_line(scanner: &mut Scanner) -> Result<RequestLine, Stop> {
    let bytes = scanner.bytes();
    let mut line = Scanner::new(&bytes[..bytes.len().min(REQUEST_LINE_LEN_MAX + 1)]);
    let read = parts(&mut line).map_err(|stop| match stop {
        Stop::Incomplete if line.bytes().len() > REQUEST_LINE_LEN_MAX => Stop::Wrong(HttpError::UriTooLong),
        stop => stop,
    })?;
    *scanner = Scanner::resumed(bytes, line.at());
    scanner.line_end()?;
    Ok(read)
}

/// Separated by one space each: RFC 9112 section 3 allows more leniency, and warns of it.
fn parts(line: &mut Scanner) -> Result<RequestLine, Stop> {
    let method_name = line.run(TOKEN)?;
    if method_name.is_empty() || line.peek()? != b' ' {
        return Err(Stop::malformed("a method that is no token"));
    }
    let method = method(method_name.of(line.bytes()))?;
    line.skip();
    let target = line.run(TARGET)?;
    match line.peek()? {
        b' ' if target.is_empty() => return Err(Stop::malformed("a request without a target")),
        b' ' => line.skip(),
        // A request of HTTP/0.9 ends here.
        b'\r' => return Err(Stop::Wrong(HttpError::Version)),
        _ => return Err(Stop::malformed("a target with a byte that has no place there")),
    }
    let version = line.run(VALUE)?;
    line.peek()?;
    let version = version_of(version.of(line.bytes()))?;
    Ok(RequestLine { method_name, method, target, version })
}

/// RFC 9110 section 9.1: case counts.
fn method(name: &[u8]) -> Result<Method, Stop> {
    Ok(match name {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        b"POST" => Method::Post,
        b"PUT" => Method::Put,
        b"DELETE" => Method::Delete,
        b"PATCH" => Method::Patch,
        b"OPTIONS" => Method::Options,
        b"CONNECT" => return Err(Stop::Wrong(HttpError::NotImplemented)),
        _ => Method::Other,
    })
}

fn version_of(name: &[u8]) -> Result<Version, Stop> {
    match name {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        // RFC 9112 section 2.3: one digit on each side. Newer ones are told apart from nonsense.
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Err(Stop::Wrong(HttpError::Version))
        }
        b"HTTP/2" | b"HTTP/3" => Err(Stop::Wrong(HttpError::Version)),
        _ => Err(Stop::malformed("a request line that does not end in its version")),
    }
}
