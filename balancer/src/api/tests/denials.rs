//! Who may ask what.

use super::*;
use crate::api::access::{Denied, WouldBeOpen};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

fn headers(all: &[(&str, &str)]) -> HeaderMap {
    let header =
        |(name, value): &(&str, &str)| (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    all.iter().map(header).collect()
}

/// A client that dialled 192.0.2.1.
fn peer_at(ip: &str) -> Peer {
    Peer::new(ip.parse().unwrap(), Some("192.0.2.1".parse().unwrap()))
}

fn status(access: &Access, need: Need, peer: &str, token: Option<&str>) -> u16 {
    let bearer = token.map(|t| format!("Bearer {t}"));
    let mut all = vec![("host", "192.0.2.1:12025")];
    all.extend(bearer.as_deref().map(|b| ("authorization", b)));
    let result = access.check(need, peer_at(peer), &headers(&all));
    result.map_or_else(|Denied { status, .. }| status.as_u16(), |()| 200)
}

#[test]
fn the_table_of_who_may_ask_what() {
    let loopback = access("127.0.0.1:12025", None, &[]);
    let loopback_token = access("127.0.0.1:12025", Some("secret"), &[]);
    let public_token = access("0.0.0.0:12025", Some("secret"), &[]);
    let public_networks = access("0.0.0.0:12025", None, &["10.0.0.0/8"]);
    let both = access("[::]:12025", Some("secret"), &["10.0.0.0/8", "fd00::/8"]);
    let (read, register, change) = (Need::Read, Need::Register, Need::Change);
    for (line, listener, peer, token, expected) in [
        (line!(), &loopback, "127.0.0.1", None, [200, 200, 200]),
        (line!(), &loopback, "127.0.0.1", Some("any"), [200, 200, 200]),
        (line!(), &loopback_token, "127.0.0.1", None, [200, 200, 401]),
        (line!(), &loopback_token, "127.0.0.1", Some("wrong"), [200, 200, 401]),
        (line!(), &loopback_token, "127.0.0.1", Some("secret"), [200, 200, 200]),
        (line!(), &public_token, "10.0.0.7", None, [401, 403, 401]),
        (line!(), &public_token, "10.0.0.7", Some("wrong"), [401, 401, 401]),
        (line!(), &public_token, "10.0.0.7", Some("secret"), [200, 200, 200]),
        (line!(), &public_token, "127.0.0.1", None, [401, 200, 401]),
        (line!(), &public_networks, "10.0.0.7", None, [403, 200, 403]),
        (line!(), &public_networks, "10.0.0.7", Some("any"), [403, 200, 403]),
        (line!(), &public_networks, "192.0.2.7", None, [403, 403, 403]),
        (line!(), &public_networks, "127.0.0.1", None, [200, 403, 200]),
        (line!(), &public_networks, "192.0.2.1", None, [200, 403, 200]),
        (line!(), &both, "::ffff:10.0.0.7", None, [401, 200, 401]),
        (line!(), &both, "fd00::7", None, [401, 200, 401]),
        (line!(), &both, "2001:db8::7", None, [401, 403, 401]),
        (line!(), &both, "2001:db8::7", Some("secret"), [200, 200, 200]),
    ] {
        let found = [read, register, change].map(|need| status(listener, need, peer, token));
        assert_eq!(found, expected, "line {line}");
        assert_eq!(status(listener, Need::Nothing, peer, token), 200);
    }
}

#[test]
fn an_open_api_does_not_start() {
    for address in ["0.0.0.0:12025", "[::]:12025", "10.0.0.1:12025"] {
        let open: Result<Access, WouldBeOpen> = Access::new(address.parse().unwrap(), None, vec![]);
        let error = open.unwrap_err().to_string();
        assert!(Access::new(address.parse().unwrap(), Some(Secret(String::new())), vec![]).is_err());
        assert!(error.contains(address) && error.contains("allow_register"), "{error}");
    }
    for address in ["127.0.0.1:12025", "127.9.9.9:12025", "[::1]:12025", "[::ffff:127.0.0.1]:12025"] {
        assert!(Access::new(address.parse().unwrap(), None, vec![]).is_ok());
    }
}

#[test]
fn a_token_is_compared_whole() {
    let listener = access("0.0.0.0:12025", Some("secret"), &[]);
    let ask = |value: &str| {
        let headers = headers(&[("host", "a"), ("authorization", value)]);
        listener.check(Need::Read, peer_at("10.0.0.7"), &headers).is_ok()
    };
    assert!(ask("Bearer secret") && ask("bearer  secret "));
    for wrong in ["Bearer secre", "Bearer secrets", "Bearer ", "Bearer", "secret", "Basic secret", "", "Bearer sécret"]
    {
        assert!(!ask(wrong), "{wrong}");
    }
}

#[test]
fn a_web_page_can_neither_register_nor_change_nor_read_by_a_name_of_its_own() {
    let listener = access("127.0.0.1:12025", None, &[]);
    let ask = |need, all: &[(&str, &str)]| listener.check(need, peer_at("127.0.0.1"), &headers(all)).is_ok();
    let page = ("origin", "http://evil.example");
    assert!(!ask(Need::Register, &[("host", "127.0.0.1:12025"), page]));
    assert!(!ask(Need::Change, &[("host", "127.0.0.1:12025"), page]));
    // Its own name, pointed at us.
    assert!(!ask(Need::Register, &[("host", "evil.example:12025"), ("origin", "http://evil.example:12025")]));
    assert!(!ask(Need::Change, &[("host", "evil.example:12025"), ("origin", "http://evil.example:12025")]));
    assert!(!ask(Need::Read, &[("host", "evil.example:12025")]));
    // What we have served ourselves.
    assert!(ask(Need::Change, &[("host", "127.0.0.1:12025"), ("origin", "http://127.0.0.1:12025")]));
    for host in ["localhost", "LOCALHOST:12025", "127.0.0.1", "[::1]:12025", "[::1]"] {
        assert!(ask(Need::Read, &[("host", host)]), "{host}");
    }
    let networks = access("0.0.0.0:12025", None, &["10.0.0.0/8"]);
    let foreign = headers(&[("host", "evil.example:12025")]);
    assert!(networks.check(Need::Read, peer_at("192.0.2.1"), &foreign).is_err(), "a browser on our own host");
    assert!(ask(Need::Read, &[]), "HTTP/1.0");
    assert!(ask(Need::Register, &[("host", "balancer.internal:12025")]), "SRS may know us by a name");
}

#[tokio::test]
async fn every_path_asks_for_what_it_should() {
    let server = Server::start(access("192.0.2.1:12025", Some("secret"), &["192.0.2.0/24"])).await;
    let ask = |method: &'static str, path: &'static str| server.ask(method, path, "{}");
    for path in ["/healthz", "/readyz", "/metrics", "/api/v1/versions"] {
        assert_eq!(ask("GET", path).await.0, 200, "{path}");
        assert_eq!(ask("POST", path).await.0, 401, "{path}");
    }
    for path in [
        "/api/v1/origins",
        "/api/v1/origins/x",
        "/api/v1/streams",
        "/api/v1/streams/a/b/c",
        "/api/v1/flows",
        "/api/v1/status",
        "/",
        "/api/v1/nothing",
    ] {
        let (status, body) = ask("GET", path).await;
        assert_eq!((status, &body["code"]), (401, &Value::from(401)), "{path}");
    }
    for (method, path) in [
        ("PUT", "/api/v1/origins/x"),
        ("DELETE", "/api/v1/origins/x"),
        ("POST", "/api/v1/origins/x/drain"),
        ("POST", "/api/v1/origins/x/undrain"),
        ("DELETE", "/api/v1/streams/a/b/c"),
        ("GET", "/api/v1/srs/register"),
        ("POST", "/api/v1/srs/register/"),
        ("POST", "//api/v1/srs/register"),
    ] {
        assert_eq!(ask(method, path).await.0, 401, "{method} {path}");
    }
    assert_eq!(server.ask("POST", "/api/v1/srs/register", BEAT).await.0, 403, "loopback is not in allow_register");
    let bearer = "Authorization: Bearer secret\r\n";
    assert_eq!(server.ask_with("POST", "/api/v1/srs/register", bearer, BEAT).await.0, 200);
    assert_eq!(server.ask_with("GET", "/api/v1/origins/origin2", bearer, "").await.0, 200);
    assert_eq!(server.ask_with("POST", "/api/v1/origins/origin2/drain", bearer, "").await.0, 200);
    let (_, metrics) = server.get("/metrics").await;
    assert!(metrics.as_str().unwrap().contains("balancer_api_denials_total"));
}
