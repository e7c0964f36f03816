//! What changes in the head of a message that passes: what concerns one connection alone goes, who the client is comes,
//! and browsers are allowed to read what an origin has not said anything about.
//!
//! `Trailer` stays, since trailers pass. `Via` is not added, although RFC 9110 section 7.6.3 asks for it: nginx does not
//! compress an answer to a request that carries it, and a loop, which it is for, is refused when an origin registers.

use crate::recognize::http::{FORWARDED, Via, forwarded, is_forwarded};
use http::header::{
    self, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, CONNECTION, HeaderMap,
    HeaderName, HeaderValue, TE,
};
use http::{Method, Response, StatusCode};

/// RFC 9110 section 7.6.1, and what is in no RFC but sent all the same.
const OF_ONE_CONNECTION: [HeaderName; 4] = [
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
/// Never removed for being named in `Connection`: what the message means hangs on them.
const KEPT: [HeaderName; 3] = [header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE];

/// The fields that tell an origin who the client is, the same for all requests of a connection whose client is not
/// believed what it claims.
pub struct Forwarded {
    via: Via,
    ready: Option<[(HeaderName, HeaderValue); 4]>,
}

impl Forwarded {
    pub fn new(via: Via) -> Self {
        let mut this = Self { via, ready: None };
        if !via.trust_forwarded {
            this.ready = Some(this.values(&HeaderMap::new()));
        }
        this
    }

    fn values(&self, claimed: &HeaderMap) -> [(HeaderName, HeaderValue); 4] {
        let claims = |name: &'static str| claimed.get_all(name).iter().map(HeaderValue::as_bytes);
        forwarded(claims, &self.via).map(|(name, value)| {
            // What was claimed was a header's value, and what is added to it is text.
            (HeaderName::from_static(name), HeaderValue::from_bytes(&value).unwrap_or(HeaderValue::from_static("")))
        })
    }

    /// Makes a client's head one for an origin.
    pub fn request(&self, headers: &mut HeaderMap) {
        let trailers = headers.get(TE).is_some_and(|te| names(te).any(|name| name.eq_ignore_ascii_case("trailers")));
        of_one_connection(headers);
        headers.remove(header::PROXY_AUTHORIZATION);
        // hyper has answered it.
        headers.remove(header::EXPECT);
        headers.remove(TE);
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        // Some origins read a field through a variable in which `-` has become `_`.
        let is_alias = |name: &&HeaderName| name.as_str().contains('_') && is_forwarded(name.as_str().as_bytes());
        let aliases: Vec<HeaderName> = headers.keys().filter(is_alias).cloned().collect();
        aliases.iter().for_each(|name| drop(headers.remove(name)));
        match &self.ready {
            Some(ready) => ready.iter().for_each(|(name, value)| drop(headers.insert(name, value.clone()))),
            None => self.values(headers).into_iter().for_each(|(name, value)| drop(headers.insert(name, value))),
        }
        debug_assert!(FORWARDED.iter().all(|name| headers.contains_key(*name)));
    }
}

/// Makes an origin's head one for a client. Of an answer to a preflight it still shows what the origin has said.
pub fn response(headers: &mut HeaderMap, is_preflight: bool) {
    of_one_connection(headers);
    headers.remove(header::PROXY_AUTHENTICATE);
    if !is_preflight {
        allow_reading(headers);
    }
}

/// Where the origin says nothing, anybody may read: players run on pages of other sites.
pub fn allow_reading(headers: &mut HeaderMap) {
    if has_a_list(headers) {
        return;
    }
    headers.entry(ACCESS_CONTROL_ALLOW_ORIGIN).or_insert(HeaderValue::from_static("*"));
}

/// An answer that depends on the page that asks: this one is not on the list, or `Access-Control-Allow-Origin` is there.
fn has_a_list(headers: &HeaderMap) -> bool {
    headers.get_all(header::VARY).iter().flat_map(names).any(|name| name.eq_ignore_ascii_case("origin"))
}

fn of_one_connection(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(names)
            .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
            .filter(|name| !KEPT.contains(name))
            .collect();
        named.iter().for_each(|name| drop(headers.remove(name)));
        headers.remove(CONNECTION);
    }
    for name in &OF_ONE_CONNECTION {
        headers.remove(name);
    }
}

fn names(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(|name| name.split(';').next().unwrap_or_default().trim())
}

/// A browser that asks whether it may send a request: the Fetch standard, section 3.2.2.
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Whether the origin has an answer of its own to a preflight, if only a no.
pub fn knows_preflight(status: StatusCode, headers: &HeaderMap) -> bool {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => true,
        // Servers that do not know the method at all.
        StatusCode::NOT_IMPLEMENTED => false,
        _ if status.is_server_error() || has_a_list(headers) => true,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::BAD_REQUEST => false,
        _ => headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN),
    }
}

/// What a preflight is answered with where no page of another site may ask, whatever the origin does not say.
pub fn no_preflight<B>(body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::FORBIDDEN;
    response
}

/// What a preflight is answered with where the origin has nothing to say.
pub fn preflight<B>(asked: &HeaderMap, body: B) -> Response<B> {
    const A_DAY_S: HeaderValue = HeaderValue::from_static("86400");
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers
        .insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    if let Some(wanted) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, A_DAY_S);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn listed(map: &HeaderMap) -> Vec<String> {
        let mut all: Vec<String> =
            map.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        all.sort();
        all
    }

    fn via(trust_forwarded: bool) -> Via {
        let (client, vip) = ("198.51.100.7:5000".parse().unwrap(), "192.0.2.10:8080".parse().unwrap());
        Via { client, tls: false, vip, trust_forwarded }
    }

    #[test]
    fn what_concerns_one_connection_goes() {
        let mut headers = map(&[
            ("host", "a.b.com:8080"),
            ("connection", "keep-alive, X-Mine, Host"),
            ("connection", "Content-Length"),
            ("x-mine", "1"),
            ("content-length", "3"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("proxy-authorization", "Basic x"),
            ("te", "gzip, trailers;q=0.5"),
            ("trailer", "x-sum"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("range", "bytes=0-1"),
            ("if-none-match", "\"a\""),
        ]);
        Forwarded::new(via(false)).request(&mut headers);
        assert_eq!(
            listed(&headers),
            [
                "content-length: 3",
                "forwarded: for=198.51.100.7;by=192.0.2.10;proto=http",
                "host: a.b.com:8080",
                "if-none-match: \"a\"",
                "range: bytes=0-1",
                "te: trailers",
                "trailer: x-sum",
                "x-forwarded-for: 198.51.100.7",
                "x-forwarded-proto: http",
                "x-real-ip: 198.51.100.7",
            ]
        );
    }

    #[test]
    fn only_a_trusted_client_speaks_for_others() {
        let claims = [
            ("x-forwarded-for", "203.0.113.1"),
            ("x_real_ip", "203.0.113.1"),
            ("x-forwarded_for", "203.0.113.1"),
            ("x_forwarded-proto", "https"),
            ("forwarded", "for=x"),
        ];
        let (mut trusted, mut other) = (map(&claims), map(&claims));
        Forwarded::new(via(true)).request(&mut trusted);
        Forwarded::new(via(false)).request(&mut other);
        assert_eq!(trusted["x-forwarded-for"], "203.0.113.1, 198.51.100.7");
        assert_eq!(trusted["forwarded"], "for=x, for=198.51.100.7;by=192.0.2.10;proto=http");
        assert_eq!(other["x-forwarded-for"], "198.51.100.7");
        for headers in [trusted, other] {
            assert!(!headers.keys().any(|name| name.as_str().contains('_')), "{headers:?}");
        }
    }

    #[test]
    fn an_origin_that_says_who_may_read_is_not_contradicted() {
        let mut silent = map(&[("transfer-encoding", "chunked"), ("etag", "\"a\"")]);
        response(&mut silent, false);
        assert_eq!(listed(&silent), ["access-control-allow-origin: *", "etag: \"a\""]);
        let mut strict = map(&[("access-control-allow-origin", "https://a.b.com")]);
        response(&mut strict, false);
        assert_eq!(listed(&strict), ["access-control-allow-origin: https://a.b.com"]);
    }

    #[test]
    fn a_preflight_is_answered_with_what_it_asks_for() {
        let asked = map(&[
            ("origin", "https://a.b.com"),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "range, x-token"),
        ]);
        assert!(is_preflight(&Method::OPTIONS, &asked) && !is_preflight(&Method::GET, &asked));
        let answer = preflight(&asked, ());
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(answer.headers()["access-control-allow-headers"], "range, x-token");
        assert!(knows_preflight(StatusCode::NO_CONTENT, answer.headers()));
        assert!(!knows_preflight(StatusCode::OK, &HeaderMap::new()));
        let refused = no_preflight(());
        assert_eq!((refused.status(), refused.headers().len()), (StatusCode::FORBIDDEN, 0));
    }

    #[test]
    fn a_no_of_the_origin_is_one() {
        for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::BAD_GATEWAY] {
            assert!(knows_preflight(status, &HeaderMap::new()), "{status}");
        }
        for status in [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED] {
            assert!(!knows_preflight(status, &HeaderMap::new()), "{status}");
        }
        let mut not_listed = map(&[("vary", "Accept-Encoding"), ("vary", "x, ORIGIN")]);
        assert!(knows_preflight(StatusCode::OK, &not_listed));
        response(&mut not_listed, false);
        assert!(!not_listed.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
    }
}
