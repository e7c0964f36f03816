//! Keeps a client with the balancer: URLs that the origin wrote get the authority by which the client came.
//!
//! An origin knows itself by an address, or a name, that the client may not reach. Only places that say where *this*
//! presentation is are changed; what leads elsewhere (a REDIRECT to another host) is the origin's to say.

use super::message::{Message, Start};
use super::names::Url;
use std::net::IpAddr;

/// `base` is what the client dialled: `rtsp://host:port`.
pub fn for_client(message: &mut Message, base: &str, origin: IpAddr) {
    // RFC 2326 sections 12.12 (Content-Base), 12.14 (Content-Location), 12.33 (RTP-Info).
    for name in ["Content-Base", "Content-Location"] {
        if let Some(value) = message.header(name) {
            let value = with_base(value, base);
            message.set(name, value);
        }
    }
    if let Some(value) = message.header("RTP-Info") {
        let value = rtp_info(value, base);
        message.set("RTP-Info", value);
    }
    // Section 12.25: to itself means to us.
    if let Some(value) = message.header("Location").filter(|value| is_at(value, origin)) {
        let value = with_base(value, base);
        message.set("Location", value);
    }
    if let Start::Request { url, .. } = &message.start {
        let url = with_base(url, base);
        message.set_url(url);
    }
    if message.header("Content-Type").is_some_and(is_description) {
        let body = description(message.body(), base);
        message.set_body(body);
    }
}

/// `url` with another scheme and authority; as it is when it is no absolute RTSP URL.
pub fn with_base(url: &str, base: &str) -> String {
    match Url::parse(url.trim()) {
        Ok(parsed) => {
            let at = parsed.authority.as_ptr() as usize - url.as_ptr() as usize + parsed.authority.len();
            format!("{base}{}", url[at..].trim_end())
        }
        Err(_) => url.to_owned(),
    }
}

fn is_at(url: &str, host: IpAddr) -> bool {
    let Ok(url) = Url::parse(url.trim()) else { return false };
    let name = match url.authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => url.authority.split(':').next(),
    };
    name.and_then(|name| name.parse::<IpAddr>().ok()).is_some_and(|ip| ip.to_canonical() == host.to_canonical())
}

/// `url=rtsp://…;seq=1;rtptime=2,url=…`
fn rtp_info(value: &str, base: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find("url=") {
        let (before, after) = rest.split_at(at + "url=".len());
        out.push_str(before);
        let quote = if after.starts_with('"') { "\"" } else { "" };
        let after = &after[quote.len()..];
        let end = after.find(['"', ';', ',']).unwrap_or(after.len());
        out.push_str(quote);
        out.push_str(&with_base(&after[..end], base));
        rest = &after[end..];
    }
    out + rest
}

fn is_description(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/sdp"))
}

/// RFC 2326 appendix C.1.1: `a=control:` may hold an absolute URL.
fn description(body: &[u8], base: &str) -> Vec<u8> {
    const CONTROL: &[u8] = b"a=control:";
    let mut out = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|b| *b == b'\n') {
        let end = line.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).map_or(0, |last| last + 1);
        match line[..end].strip_prefix(CONTROL).and_then(|url| std::str::from_utf8(url).ok()) {
            Some(url) => {
                out.extend_from_slice(CONTROL);
                out.extend_from_slice(with_base(url, base).as_bytes());
                out.extend_from_slice(&line[end..]);
            }
            None => out.extend_from_slice(line),
        }
    }
    out
}
