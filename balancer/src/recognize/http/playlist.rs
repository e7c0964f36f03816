//! Rewrites the URIs of an HLS playlist that would not lead back to its stream: they get the stream's key as a
//! parameter. Whatever leads back by its name stays as the origin wrote it, byte for byte.
//!
//! RFC 8216 section 4.1 for lines, 4.2 for attributes; low-latency tags need no care of their own, for their URIs stand
//! in an attribute of the same name.

use super::names::{self, Kind, MARK};
use super::percent;
use crate::recognize::StreamKey;

/// A longer path leads to no stream, and would be walked again for every URI.
const PATH_LEN_MAX: usize = 2 * StreamKey::LEN_MAX;

/// `host` and `path` as the playlist was asked for. `None` when nothing has to change, or when it is no playlist.
pub fn rewrite(playlist: &str, host: &str, path: &str, key: &StreamKey) -> Option<String> {
    // RFC 8216 section 4 forbids a byte order mark; some write one.
    let bom = playlist.len() - playlist.trim_start_matches('\u{feff}').len();
    let lines = playlist.get(bom..).filter(|lines| lines.starts_with("#EXTM3U"))?;
    if path.len() > PATH_LEN_MAX {
        return None;
    }
    let mut rewriter =
        Rewriter { host, path, key, mark: None, leads_back: None, out: String::new(), copied: 0, playlist };
    let mut start = bom;
    for line in lines.split_inclusive('\n') {
        rewriter.line(start, line.trim_end_matches(['\n', '\r']));
        start += line.len();
    }
    rewriter.finish()
}

struct Rewriter<'a> {
    host: &'a str,
    path: &'a str,
    key: &'a StreamKey,
    /// Made with the first URI that needs it.
    mark: Option<String>,
    /// What is around the number of the last URI that stayed as it was.
    leads_back: Option<(&'a str, &'a str)>,
    playlist: &'a str,
    out: String,
    /// How much of `playlist` is in `out`.
    copied: usize,
}

impl<'a> Rewriter<'a> {
    fn line(&mut self, start: usize, line: &'a str) {
        if !line.starts_with('#') {
            let uri = line.trim();
            self.uri(start + line.len() - line.trim_start().len(), uri);
        } else if line.starts_with("#EXT") {
            self.attributes(start, line);
        }
    }

    /// `URI="…"` where a name may stand: inside of another attribute's quotes it is text.
    fn attributes(&mut self, start: usize, line: &'a str) {
        let mut at = line.find(':').map_or(line.len(), |colon| colon + 1);
        while let Some(rest) = line.get(at..).filter(|rest| !rest.is_empty()) {
            let Some(equals) = rest.find(['=', ',']) else { return };
            let (name, value_at) = (rest[..equals].trim(), at + equals + 1);
            if rest.as_bytes()[equals] == b',' {
                at = value_at;
                continue;
            }
            let value = &line[value_at..];
            let Some(quoted) = value.strip_prefix('"') else {
                at = value.find(',').map_or(line.len(), |comma| value_at + comma + 1);
                continue;
            };
            let Some(len) = quoted.find('"') else { return };
            if name == "URI" {
                self.uri(start + value_at + 1, &quoted[..len]);
            }
            at = value_at + 1 + len + 1;
        }
    }

    fn uri(&mut self, start: usize, uri: &'a str) {
        let around = around_number(uri);
        if around.is_some() && around == self.leads_back {
            return;
        }
        let (address, _fragment) = uri.split_once('#').unwrap_or((uri, ""));
        let (place, query) = match address.split_once('?') {
            Some((place, query)) => (place, Some(query)),
            None => (address, None),
        };
        let Some(path) = self.resolve(place) else { return };
        if names::mark(query).is_some() || names::leads_back(self.key, self.host, &path, query) {
            self.leads_back = around.filter(|_| names::kind(&path) == Kind::Segment);
            return;
        }
        let mark = self.mark.get_or_insert_with(|| format!("{MARK}={}", percent::encode(&self.key.to_string())));
        let joint = match query {
            None => "?",
            Some("") => "",
            Some(query) if query.ends_with('&') => "",
            Some(_) => "&",
        };
        let end = start + address.len();
        self.out.push_str(&self.playlist[self.copied..end]);
        self.out.push_str(joint);
        self.out.push_str(mark);
        self.copied = end;
    }

    /// The path that a client will ask us for, RFC 3986 section 5.2. `None` when it will ask somebody else, or when only
    /// the client knows (a variable of `EXT-X-DEFINE`).
    fn resolve(&self, place: &str) -> Option<String> {
        if place.is_empty() || place.contains("{$") {
            return None;
        }
        let place = match place.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => {
                let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
                Some(rest).filter(|_| is_http)?
            }
            _ => place,
        };
        if let Some(rest) = place.strip_prefix("//") {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            return host.eq_ignore_ascii_case(self.host).then(|| without_dots(path));
        }
        if place.starts_with('/') {
            return Some(without_dots(place));
        }
        let (directory, _) = self.path.rsplit_once('/').unwrap_or_default();
        Some(without_dots(&format!("{directory}/{place}")))
    }

    fn finish(mut self) -> Option<String> {
        if self.copied == 0 {
            return None;
        }
        self.out.push_str(&self.playlist[self.copied..]);
        Some(self.out)
    }
}

/// A name before and behind the number that it ends in, set apart from the rest by a separator: whether a segment leads
/// back does not hang on such a number, and mostly the segments of a playlist differ in nothing else.
fn around_number(uri: &str) -> Option<(&str, &str)> {
    let path = &uri[..uri.find(['?', '#']).unwrap_or(uri.len())];
    let dot = path.rfind('.').filter(|dot| !path[*dot..].contains('/') && !path.contains('%'))?;
    let before = path[..dot].trim_end_matches(|digit: char| digit.is_ascii_digit());
    let name = before.strip_suffix(['-', '_']).filter(|name| !name.is_empty() && !name.ends_with('/'))?;
    (before.len() < dot).then(|| (&before[..name.len() + 1], &uri[dot..]))
}

/// What stands before a colon in `seg:1.ts` is one too, RFC 3986 section 4.2: nobody will ask us for it.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// RFC 3986 section 5.2.4.
pub fn without_dots(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            ".." => drop(segments.pop()),
            "." => {}
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}
