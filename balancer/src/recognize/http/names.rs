//! From a request's path and query to stream keys.
//!
//! A stream of FLV or TS has one path. A path of HLS or DASH has the stream's name somewhere in it, and where depends on
//! the packager: so it gives candidates, and whoever knows which streams there are takes the first that is one of them.

use super::file::{self, File};
use super::{percent, stem};
use crate::recognize::{StreamKey, StreamKeyError};
use std::borrow::Cow;

/// The parameter by which a URI of a rewritten playlist names its stream.
pub const MARK: &str = "spbkey";
/// The parameter by which the URL of a session names its origin.
pub const ORIGIN_MARK: &str = "spborigin";
/// More would be too far-fetched to look up.
const CANDIDATES_MAX: usize = 12;
/// `s1_720p_seg_12` has two.
const ENDINGS_MAX: usize = 4;
/// A segment's number that nothing separates from the stream's name has rarely more.
const DIGITS_MAX: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of HLS.
    Playlist,
    /// Of DASH.
    Manifest,
    /// What those name: a piece of media, a key, a text track.
    Segment,
    Other,
}

/// By the extension.
pub fn kind(path: &str) -> Kind {
    const SEGMENTS: [&str; 14] =
        ["ts", "m4s", "mp4", "m4v", "m4a", "aac", "cmfv", "cmfa", "cmft", "m2ts", "mp3", "vtt", "webvtt", "key"];
    let is = |known: &str| File::of(path).extension.eq_ignore_ascii_case(known);
    match () {
        () if is("m3u8") => Kind::Playlist,
        () if is("mpd") => Kind::Manifest,
        () if SEGMENTS.iter().any(|known| is(known)) => Kind::Segment,
        () => Kind::Other,
    }
}

/// Stream keys that a path of media may mean, the likeliest first. A path of anything else means what its query names:
/// where the path names a stream, origins go by that, whatever the query says.
///
/// The first is always the same for a playlist and for the segments that it names in one of the common ways, so that a
/// stream nobody has heard of is at least looked for in one place.
pub fn candidates(host: &str, path: &str, query: Option<&str>) -> Vec<StreamKey> {
    first_candidates(host, path, query, CANDIDATES_MAX)
}

fn first_candidates(host: &str, path: &str, query: Option<&str>, max: usize) -> Vec<StreamKey> {
    if names_by_query(path) {
        return key_of_query(host, query).into_iter().collect();
    }
    let Ok(decoded) = file::decoded(path) else { return Vec::new() };
    let host = host_of(host, query);
    let mut found = Candidates { host: &host, file: File::of(&decoded), keys: Vec::with_capacity(max.min(4)), max };
    match kind(path) {
        Kind::Playlist | Kind::Manifest => found.of_playlist(),
        Kind::Segment => found.of_segment(),
        Kind::Other => found.named(found.file.stem),
    }
    found.keys
}

/// `app=` and `stream=`, in the vhost of `vhost=` or else of the host.
pub fn key_of_query(host: &str, query: Option<&str>) -> Option<StreamKey> {
    query_key(host, query)?.ok()
}

/// Whether a stream that the query names counts: for calls of an API, pages, and modules that have one location for all
/// streams (`/live?app=a&stream=b`).
fn names_by_query(path: &str) -> bool {
    kind(path) == Kind::Other && !File::of(path).extension.eq_ignore_ascii_case("flv")
}

/// Whether origins may read a parameter that decides otherwise than it is read here: which of two counts, what separates
/// them, and whether their names are decoded, is different everywhere.
pub fn is_ambiguous(path: &str, query: Option<&str>) -> bool {
    let Some(query) = query else { return false };
    let deciding: &[&str] = match () {
        () if names_by_query(path) => &["app", "stream", "vhost"],
        () if kind(path) == Kind::Segment => &["vhost", MARK],
        () => &["vhost"],
    };
    let name = |pair: &'_ str| pair.split('=').next().map(ToOwned::to_owned).unwrap_or_default();
    let decoded = |pair| percent::decode_text(&name(pair)).map_or_else(|| name(pair), Cow::into_owned);
    deciding.iter().any(|wanted| {
        let plainly = query.split('&').filter(|pair| name(pair) == *wanted).count();
        let anyhow = query.split(['&', ';', ',']).filter(|pair| decoded(pair) == *wanted).count();
        anyhow > 1 || anyhow != plainly
    })
}

/// The query as the client would have sent it had nothing been rewritten; an empty one is none.
pub fn without_mark(query: &str) -> Cow<'_, str> {
    let is_mark = |pair: &&str| matches!(pair.split('=').next(), Some(MARK | ORIGIN_MARK));
    if !query.split('&').any(|pair| is_mark(&pair)) {
        return Cow::Borrowed(query);
    }
    let others: Vec<&str> = query.split('&').filter(|pair| !is_mark(pair)).collect();
    Cow::Owned(others.join("&"))
}

/// The one key of a path: without its extension, and without a slash behind it, which some origins overlook.
pub fn path_key(host: &str, path: &str, query: Option<&str>) -> Result<StreamKey, StreamKeyError> {
    let decoded = file::decoded(path)?;
    let file = File::of(decoded.trim_end_matches('/'));
    if file.stem.is_empty() {
        return Err(StreamKeyError::EmptyStream);
    }
    StreamKey::new(&host_of(host, query), file.directory, file.stem)
}

/// What a rewritten playlist says of its segment. An origin may have a parameter of that name too.
pub fn mark(query: Option<&str>) -> Option<StreamKey> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| *name == MARK).find_map(|(_, value)| percent::decode_text(value)?.parse().ok())
}

/// What the rewritten URL of a session says of its origin.
pub fn origin_mark(query: Option<&str>) -> Option<String> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(name, _)| *name == ORIGIN_MARK)
        .find_map(|(_, value)| Some(percent::decode_text(value)?.into_owned()))
}

/// The URL of a session, in whatever form, with its origin and stream, if it is said, behind its query.
pub fn mark_session(url: &str, origin: &str, key: Option<&StreamKey>) -> String {
    let (address, fragment) = url.split_at(url.find('#').unwrap_or(url.len()));
    let joint = match address.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some((_, query)) if query.ends_with('&') => "",
        Some(_) => "&",
    };
    let stream = key.map(|key| format!("{MARK}={}&", percent::encode(&key.to_string()))).unwrap_or_default();
    format!("{address}{joint}{stream}{ORIGIN_MARK}={}{fragment}", percent::encode(origin))
}

pub(super) fn query_key(host: &str, query: Option<&str>) -> Option<Result<StreamKey, StreamKeyError>> {
    let (app, stream) = (parameter(query, "app")?, parameter(query, "stream")?);
    if [&app, &stream].iter().any(|name| name.contains(['?', '#'])) {
        return Some(Err(StreamKeyError::NotCanonical));
    }
    Some(StreamKey::new(&host_of(host, query), &app, &stream))
}

/// Whether a request for this path, with no more to go by, comes back to this very stream, and is not taken for another.
pub(super) fn leads_back(key: &StreamKey, host: &str, path: &str, query: Option<&str>) -> bool {
    let is_ts = File::of(path).extension.eq_ignore_ascii_case("ts");
    let is_plain = !is_ts || is_marked(query) || looks_like_segment(path);
    is_plain && first_candidates(host, path, query, 1).first() == Some(key)
}

/// Only playlists, ours and SRS's, write such queries.
pub(super) fn is_marked(query: Option<&str>) -> bool {
    mark(query).is_some() || parameter(query, "hls_ctx").is_some()
}

/// Of a `.ts`: a segment of HLS, going by its name, and not a stream of its own.
pub(super) fn looks_like_segment(path: &str) -> bool {
    let file = File::of(path);
    stem::looks_like_segment(file.stem) || file.directory.split('/').any(stem::is_playlist_directory)
}

/// The first of that name that is not empty, decoded. One that cannot be decoded is taken as it is.
pub(super) fn parameter<'a>(query: Option<&'a str>, wanted: &str) -> Option<Cow<'a, str>> {
    let mut pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, value)| *name == wanted && !value.is_empty())?;
    Some(percent::decode_text(value).unwrap_or(Cow::Borrowed(value)))
}

fn host_of<'a>(host: &'a str, query: Option<&'a str>) -> Cow<'a, str> {
    parameter(query, "vhost").unwrap_or(Cow::Borrowed(host))
}

/// Grows in the order of likelihood.
struct Candidates<'a> {
    host: &'a str,
    file: File<'a>,
    keys: Vec<StreamKey>,
    max: usize,
}

impl Candidates<'_> {
    /// A variant's playlist may be a stream of its own, `s1_720p`, or belong to `s1`.
    fn of_playlist(&mut self) {
        let stem = self.file.stem;
        if stem::is_nameless(stem, false) {
            self.directories();
        }
        self.named(stem);
        self.without_endings(stem);
        self.directories();
    }

    fn of_segment(&mut self) {
        let stem = self.file.stem;
        if stem::is_nameless(stem, true) {
            self.directories();
        }
        self.without_endings(stem);
        let shorter = std::iter::successors(Some(stem), |stem| stem::without_digit(stem));
        shorter.skip(1).take(DIGITS_MAX).for_each(|stem| self.named(stem));
        self.named(stem);
        self.directories();
    }

    fn without_endings(&mut self, stem: &str) {
        let shorter = std::iter::successors(Some(stem), |stem| stem::without_ending(stem));
        shorter.skip(1).take(ENDINGS_MAX).for_each(|stem| self.named(stem));
    }

    fn named(&mut self, stem: &str) {
        if !stem.is_empty() {
            let (host, directory) = (self.host, self.file.directory);
            self.add(|| StreamKey::new(host, directory, stem));
        }
    }

    fn directories(&mut self) {
        let (host, directory) = (self.host, self.file.directory);
        self.add(|| StreamKey::from_path(host, directory));
        if let Some((parent, _)) = directory.trim_end_matches('/').rsplit_once('/') {
            self.add(|| StreamKey::from_path(host, parent));
        }
    }

    fn add(&mut self, make: impl FnOnce() -> Result<StreamKey, StreamKeyError>) {
        if self.keys.len() < self.max
            && let Ok(key) = make()
            && !self.keys.contains(&key)
        {
            self.keys.push(key);
        }
    }
}
