//! A decoded path, taken apart into directory, stem and extension.

use super::percent;
use crate::recognize::StreamKeyError;
use std::borrow::Cow;

#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    pub directory: &'a str,
    /// The last segment without its extension. A path that ends in a slash has none.
    pub stem: &'a str,
    /// Without the dot; empty when there is none.
    pub extension: &'a str,
}

impl<'a> File<'a> {
    pub fn of(path: &'a str) -> Self {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        Self { directory, stem, extension }
    }
}

/// The text that a stream's name is taken from. Refuses what an origin would understand differently: a question mark or
/// hash that was encoded so as *not* to end the path, and what is not text. An encoded slash is a slash, as for nginx.
pub fn decoded(path: &str) -> Result<Cow<'_, str>, StreamKeyError> {
    let decoded = percent::decode_text(path).ok_or(StreamKeyError::NotCanonical)?;
    if decoded.contains(['?', '#']) {
        return Err(StreamKeyError::NotCanonical);
    }
    if decoded.split('/').any(|segment| segment == ".") {
        let segments: Vec<&str> = decoded.split('/').filter(|segment| *segment != ".").collect();
        return Ok(Cow::Owned(segments.join("/")));
    }
    Ok(decoded)
}
