//! The target of a request, RFC 9112 section 3.2: its form, its path and query, and what a path must not do.

use super::head::Method;
use super::scan::{Span, Stop};
use super::{authority, percent};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Only of the absolute form.
    pub authority: Option<Span>,
    /// As sent. Empty when the absolute form has none: then `/` is meant.
    pub path: Span,
    pub query: Option<Span>,
}

pub fn read(bytes: &[u8], span: Span, method: Method) -> Result<Target, Stop> {
    // Ours is no proxy that is dialled as one, so the absolute form is rare: but RFC 9112 section 3.2.2 has us take it.
    let text = std::str::from_utf8(span.of(bytes)).map_err(|_| Stop::malformed("a target that is not UTF-8"))?;
    let target = match text.as_bytes().first() {
        Some(b'/') => origin_form(text, span.start()),
        Some(b'*') if text == "*" && method == Method::Options => Target { path: span, ..Target::default() },
        Some(_) => absolute_form(text, span.start())?,
        None => return Err(Stop::malformed("a request without a target")),
    };
    check_path(target.path.text(bytes))?;
    Ok(target)
}

fn origin_form(text: &str, start: usize) -> Target {
    let end = start + text.len();
    match text.find('?') {
        Some(at) => {
            Target { authority: None, path: Span::new(start, start + at), query: Some(Span::new(start + at + 1, end)) }
        }
        None => Target { authority: None, path: Span::new(start, end), query: None },
    }
}

fn absolute_form(text: &str, start: usize) -> Result<Target, Stop> {
    let wrong = Stop::malformed("a target of an unknown form");
    let (scheme, rest) = text.split_once("://").ok_or(wrong)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(wrong);
    }
    let name = rest.split(['/', '?']).next().unwrap_or_default();
    if name.is_empty() || !authority::is_valid(name.as_bytes()) {
        return Err(Stop::malformed("an authority that is no host"));
    }
    let name_start = start + text.len() - rest.len();
    let name_end = name_start + name.len();
    Ok(Target { authority: Some(Span::new(name_start, name_end)), ..origin_form(&rest[name.len()..], name_end) })
}

/// Paths that two readers may take for different ones. A `..` is resolved by every client before it sends: one that
/// arrives wants to climb.
fn check_path(path: &str) -> Result<(), Stop> {
    let climbs = |path: &[u8]| path.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| segment == b"..");
    let decoded = percent::decode(path).ok_or(Stop::malformed("a percent sign without two hexadecimal digits"))?;
    if decoded.contains(&0) {
        return Err(Stop::malformed("a NUL in the path"));
    }
    if climbs(&decoded) {
        return Err(Stop::malformed("a path that climbs"));
    }
    Ok(())
}
