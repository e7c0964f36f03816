//! What a request to the HTTP API means for a cluster. Pure.

use crate::flow::Role;
use crate::recognize::StreamKey;
use crate::recognize::http::{is_ambiguous, key_of_query};
use crate::recognize::rtmp::host_of;
use http::{Method, Uri};
use percent_encoding::percent_decode_str;
use serde_json::Value;

/// Of what SRS has many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    Streams,
    Clients,
    Vhosts,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Of all origins, one after the other.
    List(List),
    /// One of them, wherever it is.
    One {
        list: List,
        id: String,
    },
    /// The same, to be thrown out.
    Kick {
        list: List,
        id: String,
    },
    Summaries,
    Versions,
    /// Control of the server (`rpc=reload`): each is told.
    Raw,
    /// Names its stream in its body.
    Negotiation,
    /// For one origin: that of the stream that it names, or any.
    Other,
}

impl List {
    /// In the path, and of the list in the answer.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::Clients => "clients",
            Self::Vhosts => "vhosts",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Streams, Self::Clients, Self::Vhosts].into_iter().find(|list| list.name() == name)
    }
}

pub fn call(method: &Method, uri: &Uri) -> Call {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let path = uri.path().trim_end_matches('/');
    if *method != Method::OPTIONS && negotiation(uri.path()).is_some_and(|name| matches!(&*name, "publish" | "play")) {
        return Call::Negotiation;
    }
    let Some(rest) = path.strip_prefix("/api/v1/") else { return Call::Other };
    match (rest.split_once('/').unwrap_or((rest, "")), method) {
        (("raw", ""), _) if *method != Method::OPTIONS => Call::Raw,
        (("summaries", ""), _) if reads => Call::Summaries,
        (("versions", ""), _) if reads => Call::Versions,
        ((name, id), _) => match (List::of(name), is_id(id)) {
            (Some(list), _) if id.is_empty() && reads => Call::List(list),
            (Some(list), true) if reads => Call::One { list, id: id.to_owned() },
            (Some(list), true) if *method == Method::DELETE => Call::Kick { list, id: id.to_owned() },
            _ => Call::Other,
        },
    }
}

/// It is sent on as it is: nothing in it may end the path.
fn is_id(id: &str) -> bool {
    const LEN_MAX: usize = 256;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'%' | b'~' | b':');
    !id.is_empty() && id.len() <= LEN_MAX && id.bytes().all(is_plain)
}

/// The name of a call of WebRTC: `whip` of `/rtc/v1/whip/`.
pub fn negotiation(path: &str) -> Option<String> {
    let path = percent_decode_str(path).decode_utf8().ok()?.to_ascii_lowercase();
    let mut names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    (names.next() == Some("rtc") && names.next() == Some("v1")).then(|| names.next().unwrap_or_default().to_owned())
}

/// Whether it is to change something: those who play by WebRTC make an offer, too.
pub fn role(method: &Method, path: &str) -> Role {
    match negotiation(path).as_deref() {
        Some("play" | "whep" | "whep-play" | "whip-play") => Role::Play,
        Some("publish" | "whip") => Role::Publish,
        _ if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) => Role::Play,
        _ => Role::Publish,
    }
}

/// The request names two streams, or one in a way that may be read otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

/// The stream that a request names: by `app=` and `stream=`, as WHIP and WHEP do, or in the `streamurl` of the JSON body
/// of `/rtc/v1/publish` and `/rtc/v1/play`. `host` is the one that was asked.
pub fn names_stream(host: &str, uri: &Uri, body: &[u8]) -> Result<Option<StreamKey>, Ambiguous> {
    if is_ambiguous("", uri.query()) {
        return Err(Ambiguous);
    }
    match (key_of_query(host, uri.query()), key_of_body(body)?) {
        (Some(query), Some(body)) if query != body => Err(Ambiguous),
        (query, body) => Ok(query.or(body)),
    }
}

/// What that `streamurl` says beside the stream: a token, mostly.
pub fn query_of_body(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let (_, query) = body.get("streamurl")?.as_str()?.split_once('?')?;
    Some(query.split('#').next().unwrap_or_default().to_owned())
}

fn key_of_body(body: &[u8]) -> Result<Option<StreamKey>, Ambiguous> {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return Ok(None) };
    let Some(url) = body.get("streamurl").and_then(Value::as_str) else { return Ok(None) };
    if is_ambiguous("", url.split_once('?').map(|(_, query)| query)) {
        return Err(Ambiguous);
    }
    let path = url.split_once("://").and_then(|(_, rest)| rest.split(['?', '#']).next()?.split_once('/'));
    let path = path.and_then(|(_, path)| percent_decode_str(path).decode_utf8().ok());
    Ok(path.and_then(|path| StreamKey::from_path(host_of(url, ""), path.trim_end_matches(".flv")).ok()))
}

/// `start` and `count`, as SRS reads them: what is no number is 0, and 0 is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub start: usize,
    pub count: usize,
}

const COUNT_DEFAULT: usize = 10;
/// More than any SRS has: that of one answer is bounded by its bytes.
const LAST_MAX: usize = 1_000_000;

impl Window {
    pub fn of(query: Option<&str>) -> Self {
        let number = |name| {
            let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
            let found = pairs.into_iter().find(|(key, _)| *key == name);
            found.and_then(|(_, value)| value.parse::<usize>().ok()).unwrap_or(0).min(LAST_MAX)
        };
        let count = match number("count") {
            0 => COUNT_DEFAULT,
            count => count,
        };
        Self { start: number("start"), count }
    }

    /// What every origin is asked for: the window may lie in one origin's part of the whole.
    pub fn query(self) -> String {
        format!("start=0&count={}", self.start + self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, uri: &str) -> Call {
        call(&method.parse().unwrap(), &uri.parse().unwrap())
    }

    #[test]
    fn every_call_has_its_meaning() {
        let one = |list, id: &str| Call::One { list, id: id.into() };
        for (method, uri, meaning) in [
            ("GET", "/api/v1/streams", Call::List(List::Streams)),
            ("HEAD", "/api/v1/clients/?count=5", Call::List(List::Clients)),
            ("GET", "/api/v1/vhosts/", Call::List(List::Vhosts)),
            ("GET", "/api/v1/streams/vid-1f2", one(List::Streams, "vid-1f2")),
            ("GET", "/api/v1/clients/a%2Fb", one(List::Clients, "a%2Fb")),
            ("DELETE", "/api/v1/clients/5k2n8d1u", Call::Kick { list: List::Clients, id: "5k2n8d1u".into() }),
            ("GET", "/api/v1/summaries", Call::Summaries),
            ("GET", "/api/v1/versions", Call::Versions),
            ("GET", "/api/v1/raw?rpc=reload", Call::Raw),
            ("POST", "/api/v1/raw/", Call::Raw),
            ("POST", "/rtc/v1/publish/", Call::Negotiation),
            ("POST", "/rtc/v1/play", Call::Negotiation),
            ("POST", "/rtc/v1/play/?app=live&stream=a", Call::Negotiation),
            ("POST", "//rtc/%761/./Publish", Call::Negotiation),
            ("POST", "/rtc/v1/whip/?app=live&stream=a", Call::Other),
            ("OPTIONS", "/api/v1/raw", Call::Other),
            ("OPTIONS", "/api/v1/streams", Call::Other),
            ("DELETE", "/api/v1/streams", Call::Other),
            ("POST", "/api/v1/streams/a", Call::Other),
            ("GET", "/api/v1/streams/a/b", Call::Other),
            ("GET", "/api/v1/authors", Call::Other),
            ("GET", "/api/v1", Call::Other),
            ("GET", "/", Call::Other),
        ] {
            assert_eq!(of(method, uri), meaning, "{method} {uri}");
        }
    }

    #[test]
    fn a_stream_is_named_by_query_or_by_body() {
        let key = |host: &str, uri: &str, body: &str| {
            names_stream(host, &uri.parse().unwrap(), body.as_bytes()).unwrap().map(|key| key.to_string())
        };
        let named = |uri: &str| key("192.0.2.10:1985", uri, "");
        assert_eq!(named("/rtc/v1/whip/?app=live&stream=a").unwrap(), "__defaultVhost__/live/a");
        assert_eq!(named("/rtc/v1/whep/?stream=a&app=live&vhost=a.b.com").unwrap(), "a.b.com/live/a");
        assert_eq!(key("a.b.com", "/rtc/v1/whip/?app=live&stream=a", "").unwrap(), "a.b.com/live/a");
        assert_eq!(named("/rtc/v1/whip/?app=live"), None);
        let offered = |url: &str| key("x", "/rtc/v1/play/", &format!(r#"{{"sdp":"v=0","streamurl":"{url}"}}"#));
        assert_eq!(offered("webrtc://192.0.2.10:1985/live/a?token=x").unwrap(), "__defaultVhost__/live/a");
        assert_eq!(offered("webrtc://a.b.com/live/room/a").unwrap(), "a.b.com/live/room/a");
        assert_eq!(offered("webrtc://192.0.2.10/live/a?vhost=a.b.com").unwrap(), "a.b.com/live/a");
        for nothing in ["", "live/a", "webrtc://a.b.com", "webrtc://a.b.com/live"] {
            assert_eq!(offered(nothing), None, "{nothing}");
        }
        assert_eq!(key("x", "/rtc/v1/play/", "not JSON"), None);
    }

    #[test]
    fn two_streams_are_none() {
        let named = |uri: &str, url: &str| {
            names_stream("h", &uri.parse().unwrap(), format!(r#"{{"streamurl":"{url}"}}"#).as_bytes())
        };
        let own = "/rtc/v1/play/?app=live&stream=a";
        assert_eq!(named(own, "webrtc://192.0.2.10/live/a").unwrap().unwrap().stream(), "a");
        for url in [
            "webrtc://192.0.2.10/live/b",
            "webrtc://192.0.2.10/live/a?vhost=b.com",
            "webrtc://h/live/a?vhost=a&vhost=b",
        ] {
            assert_eq!(named(own, url), Err(Ambiguous), "{url}");
        }
        for more in
            ["&stream=b", ";stream=b", "&x=1;stream=b", "&%73tream=b", "&app=live", "&vhost=a&vhost=b", ",app=b"]
        {
            assert_eq!(named(&format!("{own}{more}"), ""), Err(Ambiguous), "{more}");
        }
    }

    #[test]
    fn who_plays_makes_an_offer_too() {
        for (method, path, role) in [
            ("POST", "/rtc/v1/whip/", Role::Publish),
            ("POST", "/rtc/v1/publish", Role::Publish),
            ("DELETE", "/rtc/v1/whip/", Role::Publish),
            ("POST", "/rtc/v1/whep/", Role::Play),
            ("POST", "/rtc/v1/play/", Role::Play),
            ("POST", "//rtc/v1/%77hip", Role::Publish),
            ("GET", "/api/v1/authors", Role::Play),
            ("POST", "/live/cam.flv", Role::Publish),
            ("HEAD", "/live/cam.flv", Role::Play),
        ] {
            assert_eq!(super::role(&method.parse().unwrap(), path), role, "{method} {path}");
        }
    }

    #[test]
    fn windows_are_as_srs_reads_them() {
        for (query, start, count) in [
            (None, 0, 10),
            (Some("count=5"), 0, 5),
            (Some("start=20&count=10"), 20, 10),
            (Some("start=x&count=-1"), 0, 10),
            (Some("count=0&start=3"), 3, 10),
            (Some("count=99999999999"), 0, LAST_MAX),
        ] {
            assert_eq!(Window::of(query), Window { start, count }, "{query:?}");
        }
        assert_eq!(Window { start: 20, count: 10 }.query(), "start=0&count=30");
    }
}
