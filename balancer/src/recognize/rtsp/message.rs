//! One RTSP message or interleaved frame at a time out of a byte stream (RFC 2326 sections 4 to 7 and 10.12).
//!
//! Strict where two readers could disagree about where a message ends, because what is let through is read again by an
//! origin: lines end with CRLF alone, no header is folded, a repeated or odd `Content-Length` and any
//! `Transfer-Encoding` is refused. Nothing is interpreted beyond that.

use super::{BODY_BYTES_MAX, HEADERS_MAX, RtspError};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Options,
    Describe,
    Announce,
    Setup,
    Play,
    Pause,
    Record,
    Teardown,
    GetParameter,
    SetParameter,
    Redirect,
    Other,
}

impl Method {
    fn of(token: &str) -> Self {
        match token {
            "OPTIONS" => Self::Options,
            "DESCRIBE" => Self::Describe,
            "ANNOUNCE" => Self::Announce,
            "SETUP" => Self::Setup,
            "PLAY" => Self::Play,
            "PAUSE" => Self::Pause,
            "RECORD" => Self::Record,
            "TEARDOWN" => Self::Teardown,
            "GET_PARAMETER" => Self::GetParameter,
            "SET_PARAMETER" => Self::SetParameter,
            "REDIRECT" => Self::Redirect,
            _ => Self::Other,
        }
    }
}

#[derive(Clone, PartialEq, Eq)]
pub enum Start {
    /// `name` is the method as it was written.
    Request {
        method: Method,
        name: String,
        url: String,
    },
    Response {
        status: u16,
        reason: String,
    },
}

/// A whole message.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    pub start: Start,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// As it came; empty once something was changed.
    raw: Vec<u8>,
}

/// Redacted: URLs and descriptions name streams.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Message");
        match &self.start {
            Start::Request { method, .. } => shown.field("request", method),
            Start::Response { status, .. } => shown.field("response", status),
        };
        shown.field("headers", &self.headers.len()).field("body_bytes", &self.body.len()).finish_non_exhaustive()
    }
}

impl Message {
    /// The first header of that name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// RFC 2326 section 12.17: every request has one, and its response repeats it.
    pub fn cseq(&self) -> Option<u32> {
        self.header("CSeq").and_then(number)
    }

    /// Puts `value` in the place of all headers of that name; leaves the message as it is when that changes nothing.
    pub fn set(&mut self, name: &str, value: String) {
        if self.all(name).eq([value.as_str()]) {
            return;
        }
        let at = self.headers.iter().position(|(n, _)| n.eq_ignore_ascii_case(name)).unwrap_or(self.headers.len());
        let written = self.headers.get(at).map_or(name.to_owned(), |(n, _)| n.clone());
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.headers.insert(at, (written, value));
        self.raw.clear();
    }

    pub fn set_body(&mut self, body: Vec<u8>) {
        if body != self.body {
            self.set("Content-Length", body.len().to_string());
            self.body = body;
            self.raw.clear();
        }
    }

    pub fn set_url(&mut self, new: String) {
        if let Start::Request { url, .. } = &mut self.start
            && *url != new
        {
            *url = new;
            self.raw.clear();
        }
    }

    /// As it came, or, changed, with the same headers in the same order.
    pub fn encode(self) -> Vec<u8> {
        if !self.raw.is_empty() {
            return self.raw;
        }
        let mut text = match &self.start {
            Start::Request { name, url, .. } => format!("{name} {url} RTSP/1.0\r\n"),
            Start::Response { status, reason } => format!("RTSP/1.0 {status} {reason}\r\n"),
        };
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// What stands at the front of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framed {
    Message(Message),
    /// `$`, channel, length, data (RFC 2326 section 10.12), verbatim.
    Interleaved(Vec<u8>),
}

/// Collects bytes until a message is whole.
pub struct Reader {
    buffer: Vec<u8>,
    head_bytes_max: usize,
    /// The first line is whole, and one of RTSP.
    line_seen: bool,
    /// The end of the head does not begin before this.
    scanned: usize,
}

impl Reader {
    pub fn new(head_bytes_max: usize) -> Self {
        Self { buffer: Vec::new(), head_bytes_max, line_seen: false, scanned: 0 }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that are no whole message yet, or were not asked for.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// No message stands in what was not read, only interleaved frames; the last of them may be incomplete.
    pub fn holds_media_only(&self) -> bool {
        let mut rest = &self.buffer[..];
        while let [b'$', _, high, low, ..] = *rest {
            let len = 4 + usize::from(u16::from_be_bytes([high, low]));
            rest = rest.get(len..).unwrap_or_default();
        }
        matches!(rest, [] | [b'$', ..])
    }

    /// Gives up everything that was not read.
    pub fn take_rest(&mut self) -> Vec<u8> {
        self.cut(self.buffer.len())
    }

    /// The next message or frame; `None` while it is incomplete.
    pub fn read(&mut self) -> Result<Option<Framed>, RtspError> {
        self.skip_empty_lines();
        match self.buffer.first() {
            None => Ok(None),
            Some(b'$') => Ok(self.frame()),
            Some(_) => self.message(),
        }
    }

    /// Before a message, as HTTP asks of servers that want to be robust (RFC 2326 section 4 builds on it). A lone CR is
    /// kept: it may be half of such a line.
    fn skip_empty_lines(&mut self) {
        let empty = self.buffer.chunks_exact(2).take_while(|pair| *pair == b"\r\n").count() * 2;
        if empty > 0 {
            self.cut(empty);
        }
    }

    fn frame(&mut self) -> Option<Framed> {
        let header = self.buffer.first_chunk::<4>()?;
        let len = 4 + usize::from(u16::from_be_bytes([header[2], header[3]]));
        (self.buffer.len() >= len).then(|| Framed::Interleaved(self.cut(len)))
    }

    fn message(&mut self) -> Result<Option<Framed>, RtspError> {
        if !self.line_seen {
            self.line_seen = self.look_at_first_line()?;
        }
        let max = self.head_bytes_max;
        let window = &self.buffer[..self.buffer.len().min(max)];
        let Some(at) = window[self.scanned..].windows(4).position(|four| four == b"\r\n\r\n") else {
            self.scanned = window.len().saturating_sub(3);
            return if self.buffer.len() >= max { Err(RtspError::HeadTooLarge { max }) } else { Ok(None) };
        };
        let head_len = self.scanned + at + 4;
        let head = std::str::from_utf8(&self.buffer[..head_len - 2]);
        let (start, headers) = parse_head(head.map_err(|_| RtspError::Malformed("a head that is not UTF-8"))?)?;
        let body_len = content_length(&headers)?;
        if self.buffer.len() < head_len + body_len {
            return Ok(None);
        }
        let raw = self.cut(head_len + body_len);
        let body = raw[head_len..].to_vec();
        Ok(Some(Framed::Message(Message { start, headers, body, raw })))
    }

    /// Another protocol is refused by its first byte or line, without waiting for more. True once the line is whole.
    fn look_at_first_line(&self) -> Result<bool, RtspError> {
        let window = &self.buffer[..self.buffer.len().min(self.head_bytes_max)];
        if !window[0].is_ascii_uppercase() && window[0] != b'\r' {
            return Err(RtspError::NotRtsp);
        }
        let Some(end) = window.windows(2).position(|two| two == b"\r\n") else { return Ok(false) };
        let line = std::str::from_utf8(&window[..end]).map_err(|_| RtspError::NotRtsp)?;
        parse_start(line).map(|_| true)
    }

    fn cut(&mut self, len: usize) -> Vec<u8> {
        (self.line_seen, self.scanned) = (false, 0);
        let rest = self.buffer.split_off(len);
        std::mem::replace(&mut self.buffer, rest)
    }
}

fn parse_head(head: &str) -> Result<(Start, Vec<(String, String)>), RtspError> {
    let mut lines = head.split("\r\n");
    let start = parse_start(lines.next().unwrap_or_default())?;
    let mut headers = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        if headers.len() == HEADERS_MAX {
            return Err(RtspError::Headers);
        }
        headers.push(parse_header(line)?);
    }
    Ok((start, headers))
}

fn parse_start(line: &str) -> Result<Start, RtspError> {
    if line.chars().any(char::is_control) {
        return Err(RtspError::NotRtsp);
    }
    if let Some(rest) = line.strip_prefix("RTSP/") {
        let (version, rest) = rest.split_once(' ').ok_or(RtspError::NotRtsp)?;
        check_version(version)?;
        let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let status = Some(status).filter(|s| s.len() == 3).and_then(number).filter(|s| (100..600).contains(s));
        let status = status.ok_or(RtspError::Malformed("a status that is no number"))?;
        return Ok(Start::Response { status: status as u16, reason: reason.to_owned() });
    }
    let mut words = line.split(' ');
    let (Some(name), Some(url), Some(version), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(RtspError::NotRtsp);
    };
    let version = version.strip_prefix("RTSP/").ok_or(RtspError::NotRtsp)?;
    if !is_token(name) || url.is_empty() {
        return Err(RtspError::NotRtsp);
    }
    check_version(version)?;
    Ok(Start::Request { method: Method::of(name), name: name.to_owned(), url: url.to_owned() })
}

fn check_version(version: &str) -> Result<(), RtspError> {
    match version.split_once('.') {
        Some(("1", "0")) => Ok(()),
        Some((major, minor)) if number(major).is_some() && number(minor).is_some() => Err(RtspError::Version),
        _ => Err(RtspError::NotRtsp),
    }
}

fn parse_header(line: &str) -> Result<(String, String), RtspError> {
    let (name, value) = line.split_once(':').ok_or(RtspError::Malformed("a header without a colon"))?;
    // This refuses folded lines too, whose name would begin with white space.
    if !is_token(name) {
        return Err(RtspError::Malformed("a header name that is no token"));
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(RtspError::Malformed("a control character in a header"));
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

fn content_length(headers: &[(String, String)]) -> Result<usize, RtspError> {
    let named = |name: &'static str| headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name));
    if named("Transfer-Encoding").next().is_some() {
        return Err(RtspError::Malformed("Transfer-Encoding, which RTSP does not have"));
    }
    let mut lengths = named("Content-Length").map(|(_, value)| value.as_str());
    let Some(first) = lengths.next() else { return Ok(0) };
    if lengths.next().is_some() {
        return Err(RtspError::Malformed("more than one Content-Length"));
    }
    let len = number(first).ok_or(RtspError::Malformed("a Content-Length that is no number"))? as usize;
    if len > BODY_BYTES_MAX { Err(RtspError::BodyTooLarge) } else { Ok(len) }
}

/// Digits alone: no sign, no space.
pub fn number(text: &str) -> Option<u32> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// RFC 2326 section 15.1.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&b))
}
