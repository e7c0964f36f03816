//! URLs of RTSP (RFC 2326 section 3.2) and the stream that one names.
//!
//! A track's URL is the stream's with something behind it, and servers differ in what: `trackID=0` (SRS, VLC), `stream=0`
//! (GStreamer), `streamid=0` (ffmpeg), `track1` (live555); behind the query where there is one.

use super::RtspError;
use crate::recognize::http::percent::decode_text;
use crate::recognize::stream_key::vhost_of;
use crate::recognize::{StreamKey, StreamKeyError};

/// An absolute URL, cut in pieces and not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Url<'a> {
    /// `rtsp` or `rtsps`, as it was written.
    pub scheme: &'a str,
    /// Host and port, without a user's name and password.
    pub authority: &'a str,
    pub path: &'a str,
    pub query: &'a str,
}

/// What servers call a track when they number it with `name=number`.
const NUMBERED: [&str; 5] = ["trackid", "streamid", "stream", "track", "channel"];

impl<'a> Url<'a> {
    pub fn parse(text: &'a str) -> Result<Self, RtspError> {
        let (scheme, rest) = text.split_once("://").ok_or(RtspError::Url("is not absolute"))?;
        if !["rtsp", "rtsps"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(RtspError::Url("has another scheme than rtsp or rtsps"));
        }
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let authority = authority.rsplit('@').next().unwrap_or_default();
        if authority.is_empty() {
            return Err(RtspError::Url("names no host"));
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        Ok(Self { scheme, authority, path, query })
    }

    pub fn is_secure(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("rtsps")
    }

    /// The stream that a request for a whole presentation names (DESCRIBE, ANNOUNCE). A `vhost` or `domain` parameter
    /// names the vhost, as in RTMP and HTTP.
    pub fn key(&self) -> Result<StreamKey, RtspError> {
        self.key_of(&self.segments()?)
    }

    /// The stream behind a URL that is most likely a track's: a SETUP that nothing came before.
    pub fn key_of_track(&self) -> Result<StreamKey, RtspError> {
        let mut segments = self.segments()?;
        if segments.len() > 2 && segments.last().is_some_and(|last| is_bare_track(last)) {
            segments.pop();
        }
        self.key_of(&segments)
    }

    /// Does this URL lead to the vhost of `key`, whose client dialled `base`? Every parameter that names a vhost must
    /// name this one: origins differ in which of several they take.
    pub fn is_at(&self, key: &StreamKey, base: &str) -> bool {
        let mut named = self.vhost_parameters().map(vhost_of).peekable();
        if named.peek().is_some() {
            return named.all(|vhost| vhost == key.vhost());
        }
        let own = vhost_of(self.authority);
        // The vhost was a parameter of the first URL, and tracks' URLs may come without it.
        own == key.vhost() || Url::parse(base).is_ok_and(|base| own == vhost_of(base.authority))
    }

    /// Does its path name the stream itself, or a track of it: one segment more?
    pub fn is_within(&self, key: &StreamKey) -> bool {
        let stream = segments_of(key);
        self.all_segments().is_ok_and(|own| own.len() <= stream.len() + 1 && own.starts_with(&stream))
    }

    /// Does its path name the stream itself?
    pub fn is_stream(&self, key: &StreamKey) -> bool {
        self.segments().is_ok_and(|own| own.iter().eq(segments_of(key).iter()))
    }

    fn key_of(&self, segments: &[String]) -> Result<StreamKey, RtspError> {
        let host = self.vhost_parameter().unwrap_or(self.authority);
        match segments {
            [] => Err(StreamKeyError::EmptyStream.into()),
            [_] => Err(StreamKeyError::EmptyApp.into()),
            [app @ .., stream] => Ok(StreamKey::new(host, &app.join("/"), stream)?),
        }
    }

    /// Decoded, and without a track that is named as one.
    fn segments(&self) -> Result<Vec<String>, RtspError> {
        let mut segments = self.all_segments()?;
        if segments.last().is_some_and(|last| is_numbered_track(last)) {
            segments.pop();
        }
        Ok(segments)
    }

    fn all_segments(&self) -> Result<Vec<String>, RtspError> {
        let mut segments = Vec::new();
        for segment in self.path.split('/').filter(|segment| !segment.is_empty() && *segment != "_definst_") {
            let decoded = decode_text(segment).ok_or(RtspError::Url("is not UTF-8 once decoded"))?;
            // What would mean something else in a key than it did in the URL: no two URLs of different streams may
            // become one key.
            if decoded.contains(['/', '?', '#']) {
                return Err(RtspError::Url("hides a separator behind a percent sign"));
            }
            if decoded == ".." || decoded == "." {
                return Err(RtspError::Url("climbs with dots"));
            }
            segments.push(decoded.into_owned());
        }
        Ok(segments)
    }

    fn vhost_parameter(&self) -> Option<&'a str> {
        self.parameters("vhost").next().or_else(|| self.parameters("domain").next())
    }

    fn vhost_parameters(&self) -> impl Iterator<Item = &'a str> {
        self.parameters("vhost").chain(self.parameters("domain"))
    }

    fn parameters(&self, wanted: &'static str) -> impl Iterator<Item = &'a str> + use<'a> {
        // A track may be glued to the query: `?vhost=a.example/trackID=0`.
        let pairs = self.query.split(['&', '/']).filter_map(|pair| pair.split_once('='));
        pairs.filter(move |(name, value)| *name == wanted && !value.is_empty()).map(|(_, value)| value)
    }
}

fn segments_of(key: &StreamKey) -> Vec<String> {
    key.app().split('/').chain([key.stream()]).map(str::to_owned).collect()
}

fn is_numbered_track(segment: &str) -> bool {
    segment.split_once('=').is_some_and(|(name, number)| {
        NUMBERED.iter().any(|known| name.eq_ignore_ascii_case(known)) && is_number(number)
    })
}

/// `track1`, as live555 has it.
fn is_bare_track(segment: &str) -> bool {
    segment.strip_prefix("track").is_some_and(is_number)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}
