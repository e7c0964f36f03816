//! The head that the origin of a spliced request gets: the client's own, but for what concerns one connection alone.

use super::fields::members;
use super::via::{Via, forwarded, is_forwarded};
use super::{Head, Version};

/// Concern the client's connection, RFC 9110 section 7.6.1. `Proxy-Connection` is in no RFC, and sent all the same.
const HOP_BY_HOP: [&str; 3] = ["connection", "keep-alive", "proxy-connection"];
/// Never removed by being named in `Connection`: what the request means hangs on them.
const KEPT: [&str; 3] = ["host", "content-length", "transfer-encoding"];
/// As [`super::FORWARDED`], spelled as people read them.
const SPELLED: [&str; 4] = ["X-Forwarded-For", "X-Real-IP", "X-Forwarded-Proto", "Forwarded"];

/// The client's bytes, order and spelling, except: fields of the connection go, `Connection: close` comes (for a
/// WebSocket `Connection: Upgrade`), an absolute target becomes its path, and the fields of [`forwarded`] are added.
pub fn forward(head: &Head, via: &Via) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.raw().len() + 256);
    request_line(&mut out, head);
    if head.has_authority() {
        // RFC 9112 section 3.2.2: the authority counts, and replaces whatever Host says.
        field(&mut out, b"Host", head.host().as_bytes());
    }
    let options: Vec<&[u8]> = head.headers("connection").flat_map(members).collect();
    for (_, line) in head.lines().filter(|(name, _)| goes_on(head, &options, name)) {
        out.extend(line);
        out.extend(b"\r\n");
    }
    let connection: &[u8] = if head.wants_upgrade() { b"Upgrade" } else { b"close" };
    field(&mut out, b"Connection", connection);
    let values = forwarded(|name| head.headers(name), via);
    for (name, (_, value)) in SPELLED.iter().zip(&values) {
        field(&mut out, name.as_bytes(), value);
    }
    out.extend(b"\r\n");
    out
}

fn request_line(out: &mut Vec<u8>, head: &Head) {
    out.extend(head.method_name().as_bytes());
    out.push(b' ');
    out.extend(head.path().as_bytes());
    if let Some(query) = head.query() {
        out.push(b'?');
        out.extend(query.as_bytes());
    }
    out.extend(match head.version {
        Version::Http10 => b" HTTP/1.0\r\n",
        Version::Http11 => b" HTTP/1.1\r\n",
    });
}

/// `options` are those of the client's connection: names of fields, among others.
fn goes_on(head: &Head, options: &[&[u8]], name: &[u8]) -> bool {
    let is = |wanted: &&str| name.eq_ignore_ascii_case(wanted.as_bytes());
    if HOP_BY_HOP.iter().any(is) {
        return false;
    }
    if is(&"upgrade") {
        return head.wants_upgrade();
    }
    if is(&"host") {
        return !head.has_authority();
    }
    if is_forwarded(name) {
        return false;
    }
    KEPT.iter().any(is) || !options.iter().any(|option| option.eq_ignore_ascii_case(name))
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend(name);
    out.extend(b": ");
    out.extend(value);
    out.extend(b"\r\n");
}
