//! The identity of a stream: `vhost/app/stream`, the same in every protocol. A secret in logs.
//!
//! This file owns how a host, an application and a name become one key, for every protocol. It decodes nothing:
//! percent signs stay (RTMP names are not URL-encoded; whoever has a URL decodes its path first), a `mp4:` prefix stays
//! (the origin may tell it apart), letter case counts outside the host.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// `vhost/app/stream`; the vhost is [`StreamKey::DEFAULT_VHOST`] when the host names none.
///
/// The stream is the last path segment and the app everything before it, however a client divides them between its
/// URL and the stream's name: so one text names one stream (`live/room` + `cam` and `live` + `room/cam` are the same).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    vhost: String,
    app: String,
    stream: String,
}

/// What keeps a host, an app and a name from being a stream key. Never shows the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamKeyError {
    #[error("the stream key has no app: expected vhost/app/stream")]
    EmptyApp,
    #[error("the stream key has no stream name: expected vhost/app/stream")]
    EmptyStream,
    #[error("the stream key is {len} bytes long; at most {} fit", StreamKey::LEN_MAX)]
    TooLong { len: usize },
    #[error("the stream key holds a control character")]
    ControlCharacter,
    #[error("the stream key is not in its canonical form vhost/app/stream")]
    NotCanonical,
}

impl StreamKey {
    pub const DEFAULT_VHOST: &str = "__defaultVhost__";
    /// Longest canonical form: what `STREAM_NAMES` can hold.
    pub const LEN_MAX: usize = balancer_common::abi::STREAM_NAME_LEN_MAX;

    /// `host` as a client dialled it, or as a `vhost=` parameter names it. Its port and brackets are ignored; an IP
    /// address, a name without a dot and what is no host name at all mean the default vhost. Anything from `?` or `#`
    /// on in `app` and `stream` is ignored.
    pub fn new(host: &str, app: &str, stream: &str) -> Result<Self, StreamKeyError> {
        let stream = without_query(stream);
        if segments(stream).next().is_none() {
            return Err(StreamKeyError::EmptyStream);
        }
        Self::from_segments(host, segments(without_query(app)).chain(segments(stream)))
    }

    /// As [`StreamKey::new`], with app and stream still one path: `/live/room/cam`.
    pub fn from_path(host: &str, path: &str) -> Result<Self, StreamKeyError> {
        Self::from_segments(host, segments(without_query(path)))
    }

    /// Each request of HLS makes several keys: no memory is taken but theirs.
    fn from_segments<'a>(host: &str, segments: impl Iterator<Item = &'a str>) -> Result<Self, StreamKeyError> {
        let (mut app, mut stream) = (String::new(), None);
        for segment in segments {
            if let Some(before) = stream.replace(segment) {
                app.push_str(if app.is_empty() { "" } else { "/" });
                app.push_str(before);
            }
        }
        let stream = stream.ok_or(StreamKeyError::EmptyStream)?;
        if app.is_empty() {
            return Err(StreamKeyError::EmptyApp);
        }
        let key = Self { vhost: vhost_of(host), app, stream: stream.to_owned() };
        let len = key.vhost.len() + 1 + key.app.len() + 1 + key.stream.len();
        if len > Self::LEN_MAX {
            return Err(StreamKeyError::TooLong { len });
        }
        if [&key.vhost, &key.app, &key.stream].iter().any(|part| part.chars().any(char::is_control)) {
            return Err(StreamKeyError::ControlCharacter);
        }
        Ok(key)
    }

    /// The stream of the same name in the default vhost; `None` for what is there.
    pub fn in_default_vhost(&self) -> Option<Self> {
        let vhost = Self::DEFAULT_VHOST.to_owned();
        let len = vhost.len() + 1 + self.app.len() + 1 + self.stream.len();
        (self.vhost != vhost && len <= Self::LEN_MAX).then(|| Self { vhost, ..self.clone() })
    }

    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    pub fn app(&self) -> &str {
        &self.app
    }

    pub fn stream(&self) -> &str {
        &self.stream
    }
}

/// Only the canonical form: what [`StreamKey`]'s `Display` writes.
impl FromStr for StreamKey {
    type Err = StreamKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (vhost, path) = text.split_once('/').ok_or(StreamKeyError::NotCanonical)?;
        let key = Self::from_path(vhost, path)?;
        if key.to_string() == text { Ok(key) } else { Err(StreamKeyError::NotCanonical) }
    }
}

/// The canonical form. For the API and the maps; never for a log line.
impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.vhost, self.app, self.stream)
    }
}

/// Redacted: the stream's own name is what lets a stranger publish.
impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.stream.chars().take(2).collect();
        write!(f, "{}/{}/{shown}…", self.vhost, self.app)
    }
}

fn without_query(text: &str) -> &str {
    text.split(['?', '#']).next().unwrap_or_default()
}

/// `_definst_` is how Adobe's servers spell "the default instance of the app": the same app without it.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty() && *segment != "_definst_")
}

/// The vhost that a host stands for.
pub(super) fn vhost_of(host: &str) -> String {
    let name = without_port(host.trim()).trim_end_matches('.');
    let is_name = name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if !is_name || !name.contains('.') || name.parse::<IpAddr>().is_ok() {
        return StreamKey::DEFAULT_VHOST.to_owned();
    }
    name.to_ascii_lowercase()
}

/// `[v6]:port`, `name:port`, `name`, and a bare v6 address, which has several colons and no port.
fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    match host.split_once(':') {
        Some((name, port)) if !port.contains(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(host: &str, app: &str, stream: &str) -> String {
        StreamKey::new(host, app, stream).unwrap().to_string()
    }

    #[test]
    fn a_host_without_a_name_means_the_default_vhost() {
        for host in [
            "",
            "localhost",
            "[u:a.b.com",
            "a.b.com/x",
            "10.0.0.1",
            "10.0.0.1:1935",
            "[2001:db8::1]:1935",
            "2001:db8::1",
            "[::ffff:10.0.0.1]",
        ] {
            assert_eq!(text(host, "live", "cam"), "__defaultVhost__/live/cam", "{host}");
        }
        assert_eq!(text("__defaultVhost__", "live", "cam"), "__defaultVhost__/live/cam");
    }

    #[test]
    fn a_host_name_is_the_vhost_whatever_its_port_and_case() {
        for host in ["a.b.com", "A.b.Com", "a.b.com:1935", "a.b.com."] {
            assert_eq!(text(host, "live", "cam"), "a.b.com/live/cam", "{host}");
        }
    }

    #[test]
    fn a_stream_has_a_twin_in_the_default_vhost() {
        let key = StreamKey::new("a.b.com", "live", "cam").unwrap();
        let twin = key.in_default_vhost().unwrap();
        assert_eq!((twin.to_string().as_str(), twin.in_default_vhost()), ("__defaultVhost__/live/cam", None));
        let room = StreamKey::LEN_MAX - "a.b/live/".len();
        assert_eq!(StreamKey::new("a.b", "live", &"c".repeat(room)).unwrap().in_default_vhost(), None);
    }

    #[test]
    fn the_query_never_counts() {
        assert_eq!(text("h", "live?token=a/b", "cam?token=x/y"), "__defaultVhost__/live/cam");
        assert_eq!(text("h", "live#x", "cam#y"), "__defaultVhost__/live/cam");
    }

    #[test]
    fn one_stream_has_one_key_however_app_and_name_are_divided() {
        let key = StreamKey::new("h", "live/room", "cam").unwrap();
        assert_eq!(key, StreamKey::new("h", "live", "room/cam").unwrap());
        assert_eq!(key, StreamKey::new("h", "/live//room/", "/cam").unwrap());
        assert_eq!(key, StreamKey::new("h", "", "live/room/cam").unwrap());
        assert_eq!(key, StreamKey::from_path("h", "/live/room/cam").unwrap());
        assert_eq!((key.app(), key.stream()), ("live/room", "cam"));
        assert_eq!(text("h", "live/_definst_", "cam"), "__defaultVhost__/live/cam");
    }

    #[test]
    fn names_are_not_decoded() {
        assert_eq!(text("h", "live", "mp4:film.mp4"), "__defaultVhost__/live/mp4:film.mp4");
        assert_eq!(text("h", "live", "a%20b"), "__defaultVhost__/live/a%20b");
        assert_eq!(text("h", "直播", "镜头"), "__defaultVhost__/直播/镜头");
    }

    #[test]
    fn a_key_that_cannot_be_is_refused_with_the_cause() {
        assert_eq!(StreamKey::new("h", "live", ""), Err(StreamKeyError::EmptyStream));
        assert_eq!(StreamKey::new("h", "live/room", "?token=x"), Err(StreamKeyError::EmptyStream));
        assert_eq!(StreamKey::new("h", "", "cam"), Err(StreamKeyError::EmptyApp));
        assert_eq!(StreamKey::new("h", "li\0ve", "cam"), Err(StreamKeyError::ControlCharacter));
        let room = StreamKey::LEN_MAX - "__defaultVhost__/live/".len();
        assert!(StreamKey::new("h", "live", &"c".repeat(room)).is_ok());
        let len = StreamKey::LEN_MAX + 1;
        assert_eq!(StreamKey::new("h", "live", &"c".repeat(room + 1)), Err(StreamKeyError::TooLong { len }));
    }

    #[test]
    fn only_the_canonical_form_is_parsed() {
        for good in ["__defaultVhost__/live/cam", "a.b.com/live/room/cam"] {
            assert_eq!(good.parse::<StreamKey>().unwrap().to_string(), good);
        }
        for bad in ["", "live", "live/cam", "h/live/cam", "A.com/live/cam", "a.b.com//live/cam", "a.b.com/live/cam?x"] {
            assert!(bad.parse::<StreamKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_name_is_not_shown_in_logs() {
        let shown = format!("{:?}", StreamKey::new("h", "live", "secret").unwrap());
        assert_eq!(shown, "__defaultVhost__/live/se…");
    }

    proptest! {
        #[test]
        fn what_can_be_made_can_be_parsed(host in ".{0,40}", app in ".{0,40}", stream in ".{0,40}") {
            if let Ok(key) = StreamKey::new(&host, &app, &stream) {
                prop_assert_eq!(key.to_string().parse::<StreamKey>(), Ok(key));
            }
        }
    }
}
