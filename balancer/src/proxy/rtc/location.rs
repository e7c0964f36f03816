//! The URL of a session: as the origin wrote it, made one that leads to the balancer, and from any balancer to the very
//! origin. It carries all that is needed itself, so nobody has to remember it.

use crate::recognize::StreamKey;
use crate::recognize::http::playlist::without_dots;
use crate::recognize::http::{key_of_query, mark_session, without_mark};

/// What the client asked for, and how.
pub struct Base {
    pub scheme: &'static str,
    pub host: String,
    pub path: String,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Location {
    /// For the client.
    pub url: String,
    /// Path and query as the origin knows them.
    pub resource: String,
}

impl Location {
    /// `None`: it leads to somebody who speaks no HTTP.
    pub fn new(written: &str, base: &Base, origin: &str, key: &StreamKey) -> Option<Self> {
        let written = written.trim();
        let (before, rest) = match written.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") => {
                (format!("{}://{}", base.scheme, base.host), after_authority(rest))
            }
            Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => return None,
            _ => match written.strip_prefix("//") {
                Some(rest) => (format!("//{}", base.host), after_authority(rest)),
                None => (String::new(), written),
            },
        };
        let address = rest.split('#').next().unwrap_or_default();
        let (place, query) = address.split_once('?').map_or((address, None), |(place, query)| (place, Some(query)));
        let path = match place {
            "" if before.is_empty() => base.path.clone(),
            place if place.is_empty() || place.starts_with('/') => without_dots(place),
            place => without_dots(&format!("{}/{place}", base.path.rsplit_once('/').unwrap_or_default().0)),
        };
        let is_named = key_of_query(&base.host, query).as_ref() == Some(key);
        let url = mark_session(&format!("{before}{rest}"), origin, (!is_named).then_some(key));
        Some(Self { url, resource: resource(&path, query) })
    }
}

/// The same for what the origin wrote and for what comes back.
pub fn resource(path: &str, query: Option<&str>) -> String {
    let query = query.map(without_mark).unwrap_or_default();
    match query.trim_end_matches('&') {
        "" => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

fn after_authority(rest: &str) -> &str {
    &rest[rest.find(['/', '?', '#']).unwrap_or(rest.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognize::http::{mark, origin_mark};

    fn of(written: &str) -> Option<Location> {
        let (host, path) = ("192.0.2.10:1985".to_owned(), "/rtc/v1/whip/".to_owned());
        let key = "__defaultVhost__/live/a".parse().unwrap();
        Location::new(written, &Base { scheme: "https", host, path }, "o 1", &key)
    }

    #[test]
    fn a_session_is_led_back_to_in_the_form_that_its_origin_wrote() {
        let marks = "spbkey=__defaultVhost__/live/a&spborigin=o%201";
        for (written, url, resource) in [
            ("/s/1", format!("/s/1?{marks}"), "/s/1"),
            ("/s/1?x=y", format!("/s/1?x=y&{marks}"), "/s/1?x=y"),
            ("/s/1?x=y&#f", format!("/s/1?x=y&{marks}#f"), "/s/1?x=y"),
            ("/s/1?", format!("/s/1?{marks}"), "/s/1"),
            ("?id=1", format!("?id=1&{marks}"), "/rtc/v1/whip/?id=1"),
            ("1", format!("1?{marks}"), "/rtc/v1/whip/1"),
            ("../s/./1", format!("../s/./1?{marks}"), "/rtc/v1/s/1"),
            (
                "http://10.0.0.5:1985/s?u=http://x",
                format!("https://192.0.2.10:1985/s?u=http://x&{marks}"),
                "/s?u=http://x",
            ),
            ("HTTPS://o.example?x", format!("https://192.0.2.10:1985?x&{marks}"), "/?x"),
            ("//o.example/s", format!("//192.0.2.10:1985/s?{marks}"), "/s"),
            ("/s/1?app=live&stream=b", format!("/s/1?app=live&stream=b&{marks}"), "/s/1?app=live&stream=b"),
            ("/s/1?stream=a&app=live", "/s/1?stream=a&app=live&spborigin=o%201".into(), "/s/1?stream=a&app=live"),
        ] {
            assert_eq!(of(written), Some(Location { url, resource: resource.into() }), "{written}");
        }
        assert_eq!(of("ftp://10.0.0.5/s/1"), None);
    }

    #[test]
    fn what_comes_back_names_the_same_resource() {
        for written in ["/s/1", "/s/1?", "/s/1?x=y&", "/s/1?app=live&stream=a", "/s/1?a=b&&c"] {
            let location = of(written).unwrap();
            let (path, query) = location.url.split_once('?').unwrap();
            assert_eq!(resource(path, Some(query)), location.resource, "{written}");
            assert_eq!(origin_mark(Some(query)).as_deref(), Some("o 1"));
            let key = mark(Some(query)).or_else(|| key_of_query("10.0.0.1", Some(query)));
            assert_eq!(key.unwrap().to_string(), "__defaultVhost__/live/a");
        }
    }
}
