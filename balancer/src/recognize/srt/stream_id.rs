//! What a stream id means, in the forms that SRS and libsrt's guidelines for access control know.
//!
//! `#!::r=app/stream,m=publish`, with `h=` for the vhost; `#!::h=vhost/app/stream`; `#!::h=app/stream`; `app/stream`; and
//! `stream`, in the app `live`. Servers differ in what separates two parameters (SRS takes `,`, `?`, `&` and `;`, others
//! the comma alone): a stream id that would name one stream here and another there is refused.

use super::SrtError;
use crate::flow::Role;
use crate::recognize::{StreamKey, StreamKeyError};

/// Of a stream id that names only a stream.
const DEFAULT_APP: &str = "live";
const KEYED: &str = "#!::";

/// What a caller wants. Shows itself nowhere: the query holds tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Asked {
    pub key: StreamKey,
    pub role: Role,
    /// Everything else that the stream id said, as `name=value` with `&` in between.
    pub query: String,
}

pub fn parse(text: &str) -> Result<Asked, SrtError> {
    match text.strip_prefix(KEYED) {
        Some(parameters) => keyed(parameters),
        None if text.starts_with("#!") => Err(SrtError::Form("begins with #! and goes on with something else than ::")),
        None => {
            let (path, query) = text.split_once('?').unwrap_or((text, ""));
            Ok(Asked { key: key("", path)?, role: Role::Play, query: query.to_owned() })
        }
    }
}

fn keyed(text: &str) -> Result<Asked, SrtError> {
    let (mut host, mut resource, mut mode) = (None, None, None);
    let mut query: Vec<&str> = Vec::new();
    for parameter in parameters(text) {
        match parameter.name {
            "h" => parameter.decides(&mut host)?,
            "r" => parameter.decides(&mut resource)?,
            "m" => parameter.decides(&mut mode)?,
            _ => query.push(parameter.text),
        }
    }
    let (host, path) = match (host.unwrap_or_default(), resource) {
        ("", None) => return Err(SrtError::Form("names no stream: expected r=app/stream")),
        (host, Some(path)) if !host.contains('/') => (host, path),
        (_, Some(_)) => return Err(SrtError::Form("names a stream in both r and h")),
        (path, None) => match path.matches('/').count() {
            0 => return Err(SrtError::Form("names a vhost and no stream: expected r=app/stream")),
            1 => ("", path),
            _ => path.split_once('/').unwrap_or_default(),
        },
    };
    Ok(Asked { key: key(host, path)?, role: role(mode)?, query: query.join("&") })
}

fn key(host: &str, path: &str) -> Result<StreamKey, SrtError> {
    if path.contains('#') {
        return Err(SrtError::Form("has a # in the name of its stream"));
    }
    match StreamKey::from_path(host, path) {
        Err(StreamKeyError::EmptyApp) => Ok(StreamKey::new(host, DEFAULT_APP, path)?),
        made => Ok(made?),
    }
}

/// Who both sends and receives is a publisher: it has to find the origin that a publisher would.
fn role(mode: Option<&str>) -> Result<Role, SrtError> {
    let is = |known: &str| mode.is_some_and(|mode| mode.eq_ignore_ascii_case(known));
    match () {
        () if mode.is_none() || is("request") => Ok(Role::Play),
        () if is("publish") || is("bidirectional") => Ok(Role::Publish),
        () => Err(SrtError::Mode),
    }
}

/// One `name=value`, and what stands around it.
struct Parameter<'a> {
    text: &'a str,
    name: &'a str,
    value: &'a str,
    before: char,
    after: char,
}

impl<'a> Parameter<'a> {
    /// It says which stream or what for: once, and for every reader the same.
    fn decides(&self, slot: &mut Option<&'a str>) -> Result<(), SrtError> {
        if slot.replace(self.value).is_some() {
            return Err(SrtError::Form("says h, r or m twice"));
        }
        let ends = self.after == ',' || (self.after == '?' && self.name != "m");
        if self.before == ',' && ends { Ok(()) } else { Err(SrtError::Form("may be read in two ways")) }
    }
}

fn parameters(text: &str) -> impl Iterator<Item = Parameter<'_>> {
    const SEPARATORS: [char; 4] = [',', '?', '&', ';'];
    let mut before = ',';
    text.split_inclusive(SEPARATORS).filter_map(move |piece| {
        let text = piece.trim_end_matches(SEPARATORS);
        let after = piece[text.len()..].chars().next().unwrap_or(',');
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let parameter = Parameter { text, name, value, before, after };
        before = after;
        (!text.is_empty()).then_some(parameter)
    })
}
