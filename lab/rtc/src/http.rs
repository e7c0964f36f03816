//! HTTP/1.1 as far as signalling needs it: a server with one thread for each connection, and single requests. Bodies
//! are small texts; nothing here knows what they say.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
const HEAD_MAX: u64 = 16 << 10;
const BODY_MAX: usize = 256 << 10;
const HEADERS_MAX: usize = 64;

pub type Headers = Vec<(String, String)>;

#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Headers,
    pub body: String,
}

#[derive(Clone, Debug, Default)]
pub struct Response {
    pub status: u16,
    pub headers: Headers,
    pub body: String,
}

pub fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

impl Request {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

impl Response {
    pub fn new(status: u16, content_type: &str, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }.with("Content-Type", content_type)
    }

    pub fn empty(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// Serves until the process ends.
pub fn serve(at: SocketAddr, answer: impl Fn(Request) -> Response + Send + Sync + 'static) -> Result<()> {
    let listener = TcpListener::bind(at).with_context(|| format!("listen on {at}"))?;
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            // A connection that breaks is its client's to report.
            std::thread::spawn(move || connection(stream, &*answer));
        }
    });
    Ok(())
}

fn connection(stream: TcpStream, answer: &dyn Fn(Request) -> Response) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    while let Some(head) = read_head(&mut reader)? {
        let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Request::new(&mut fields);
        parsed.parse(&head)?;
        let (method, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
        let mut request = Request {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: owned(parsed.headers),
            ..Request::default()
        };
        request.body = read_body(&mut reader, &request.headers, 0)?;
        let last = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let response = answer(request);
        let line = format!("HTTP/1.1 {} {}\r\n", response.status, reason(response.status));
        let connection = if last { "close" } else { "keep-alive" };
        write(reader.get_mut(), line, &response.headers, &[("Connection", connection)], &response.body)?;
        if last {
            break;
        }
    }
    Ok(())
}

/// One request over a connection of its own; `url` is `http://address:port/target`.
pub fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Result<Response> {
    let (authority, target) = split(url)?;
    let context = || format!("{method} {url}");
    let to = authority.to_socket_addrs().with_context(context)?.next().with_context(context)?;
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).with_context(context)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut all = vec![("Host".to_owned(), authority.to_owned()), ("Connection".to_owned(), "close".to_owned())];
    all.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    write(&mut stream, format!("{method} {target} HTTP/1.1\r\n"), &all, &[], body).with_context(context)?;
    let mut reader = BufReader::new(stream);
    let head = read_head(&mut reader).with_context(context)?.with_context(context)?;
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut fields);
    parsed.parse(&head).with_context(context)?;
    let status = parsed.code.with_context(context)?;
    let headers = owned(parsed.headers);
    let body = read_body(&mut reader, &headers, status)?;
    Ok(Response { status, headers, body })
}

/// What a `Location` means for whoever asked this URL.
pub fn resolve(base: &str, location: &str) -> Result<String> {
    if location.starts_with("http://") {
        return Ok(location.to_owned());
    }
    let (authority, target) = split(base)?;
    if location.starts_with('/') {
        return Ok(format!("http://{authority}{location}"));
    }
    let path = target.split('?').next().unwrap_or_default();
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    Ok(format!("http://{authority}{folder}/{location}"))
}

fn split(url: &str) -> Result<(&str, &str)> {
    let rest = url.strip_prefix("http://").with_context(|| format!("not an http:// URL: {url}"))?;
    Ok(rest.find('/').map_or((rest, "/"), |at| rest.split_at(at)))
}

fn owned(fields: &[httparse::Header<'_>]) -> Headers {
    fields.iter().map(|field| (field.name.to_owned(), String::from_utf8_lossy(field.value).into_owned())).collect()
}

/// None at an orderly end between two messages.
fn read_head(reader: &mut impl BufRead) -> Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut limited = reader.take(HEAD_MAX);
    while !head.ends_with(b"\r\n\r\n") {
        if limited.read_until(b'\n', &mut head)? == 0 {
            if head.is_empty() {
                return Ok(None);
            }
            bail!("a head of {} bytes without an end", head.len());
        }
    }
    Ok(Some(head))
}

/// `status` is 0 for a request, whose body ends with its length and never with the connection.
fn read_body(reader: &mut impl BufRead, headers: &Headers, status: u16) -> Result<String> {
    let mut body = Vec::new();
    let length = header(headers, "content-length").map(str::parse::<usize>).transpose()?;
    if header(headers, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        loop {
            let mut line = String::new();
            reader.take(HEAD_MAX).read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim().split(';').next().unwrap_or_default(), 16)?;
            if body.len() + size > BODY_MAX {
                bail!("a body of more than {BODY_MAX} bytes");
            }
            reader.take(size as u64).read_to_end(&mut body)?;
            reader.take(HEAD_MAX).read_line(&mut line)?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = length {
        if length > BODY_MAX {
            bail!("a body of {length} bytes");
        }
        reader.take(length as u64).read_to_end(&mut body)?;
    } else if status != 0 && status != 204 && status != 304 {
        reader.take(BODY_MAX as u64).read_to_end(&mut body)?;
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

fn write(to: &mut TcpStream, line: String, headers: &Headers, more: &[(&str, &str)], body: &str) -> Result<()> {
    let mut text = line;
    let own = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in own.chain(more.iter().copied()) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    Ok(to.write_all(text.as_bytes())?)
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        404 => "Not Found",
        406 => "Not Acceptable",
        409 => "Conflict",
        412 => "Precondition Failed",
        _ => "As It Is",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_resolved_like_a_link() {
        let base = "http://10.0.0.1:1985/rtc/v1/whip/?app=live&stream=a";
        for (location, meant) in [
            ("/x?y", "http://10.0.0.1:1985/x?y"),
            ("session/1", "http://10.0.0.1:1985/rtc/v1/whip/session/1"),
            ("http://10.0.0.2/z", "http://10.0.0.2/z"),
        ] {
            assert_eq!(resolve(base, location).unwrap(), meant);
        }
    }

    #[test]
    fn heads_and_bodies_are_read() {
        let mut wire = &b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"[..];
        assert!(read_head(&mut wire).unwrap().is_some());
        let headers = vec![("Transfer-Encoding".to_owned(), "chunked".to_owned())];
        assert_eq!(read_body(&mut wire, &headers, 201).unwrap(), "abc");
        assert!(read_head(&mut wire).unwrap().is_none());
    }
}
