//! What is read from a head that is in order.

use super::*;

#[test]
fn a_head_is_read_with_all_that_is_asked_of_it() {
    let bytes = b"GET /live/s1.flv?token=a?b HTTP/1.1\r\nHost: a.b.com:8080\r\nX-A:  b \r\nx-A:c\r\n\r\nrest";
    let head = complete(bytes);
    assert_eq!(
        (head.method, head.version, head.body, head.keep_alive),
        (Method::Get, Version::Http11, Body::None, true)
    );
    assert_eq!((head.host(), head.path(), head.query()), ("a.b.com:8080", "/live/s1.flv", Some("token=a?b")));
    assert_eq!((head.header("x-a"), head.header("x-b")), (Some(&b"b"[..]), None));
    assert_eq!(head.headers("X-a").collect::<Vec<_>>(), [b"b", b"c"]);
    assert_eq!((head.len, head.raw()), (bytes.len() - 4, &bytes[..bytes.len() - 4]));
}

#[test]
fn every_method_is_known_or_other() {
    let of = |name: &str| complete(format!("{name} / HTTP/1.1\r\nHost: h\r\n\r\n"));
    assert_eq!(of("GET").method, Method::Get);
    assert_eq!(of("HEAD").method, Method::Head);
    assert_eq!(of("POST").method, Method::Post);
    assert_eq!(of("PUT").method, Method::Put);
    assert_eq!(of("DELETE").method, Method::Delete);
    assert_eq!(of("PATCH").method, Method::Patch);
    assert_eq!(of("OPTIONS").method, Method::Options);
    // Case counts.
    assert_eq!((of("get").method, of("get").method_name()), (Method::Other, "get"));
}

#[test]
fn the_connection_lives_on_as_each_version_has_it() {
    let lives =
        |version: &str, fields: &str| complete(format!("GET / HTTP/{version}\r\nHost: h\r\n{fields}\r\n")).keep_alive;
    assert!(lives("1.1", ""));
    assert!(!lives("1.1", "Connection: close\r\n"));
    assert!(!lives("1.1", "connection: Keep-Alive, ,\tCLOSE\r\n"));
    assert!(!lives("1.1", "Connection: x\r\nConnection: close\r\n"));
    assert!(!lives("1.0", ""));
    assert!(lives("1.0", "Connection: Keep-Alive\r\n"));
    assert!(!lives("1.0", "Connection: keep-alive, close\r\n"));
    assert!(!lives("1.0", "Proxy-Connection: keep-alive\r\n"));
}

#[test]
fn a_body_is_told_by_its_length_or_its_chunks() {
    let body = |fields: &str| complete(format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n")).body;
    assert_eq!(body(""), Body::None);
    assert_eq!(body("Content-Length: 0\r\n"), Body::None);
    assert_eq!(body("content-length:  007 \r\n"), Body::Length(7));
    assert_eq!(body("Content-Length: 9223372036854775807\r\n"), Body::Length(i64::MAX.unsigned_abs()));
    assert_eq!(body("TRANSFER-ENCODING: Chunked\r\n"), Body::Chunked);
}

#[test]
fn the_host_comes_from_an_absolute_target_before_the_field() {
    let head = complete("GET HTTP://a.b.com:81/live/s1.flv?x HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!((head.host(), head.path(), head.query()), ("a.b.com:81", "/live/s1.flv", Some("x")));
    let head = complete("GET https://a.b.com HTTP/1.0\r\n\r\n");
    assert_eq!((head.host(), head.path(), head.query()), ("a.b.com", "/", None));
    let head = complete("GET http://a.b.com?x HTTP/1.0\r\n\r\n");
    assert_eq!((head.host(), head.path(), head.query()), ("a.b.com", "/", Some("x")));
    assert_eq!(complete("GET / HTTP/1.0\r\n\r\n").host(), "");
    assert_eq!(complete("GET / HTTP/1.1\r\nHost:\r\n\r\n").host(), "");
}

#[test]
fn options_may_ask_about_the_server() {
    let head = complete("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((head.path(), head.query()), ("*", None));
    assert_eq!(intent(&head, |_| true), Ok(Intent::Other));
}

#[test]
fn one_empty_line_in_front_is_forgiven() {
    let bytes = "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let head = complete(bytes);
    assert_eq!((head.len, head.raw()), (bytes.len(), &bytes.as_bytes()[2..]));
    assert_eq!(refused(format!("\r\n{bytes}")), HttpError::Malformed("a method that is no token"));
}

#[test]
fn text_beyond_ascii_may_stand_in_targets_and_values() {
    let head = complete("GET /直播/镜头.flv?名=字 HTTP/1.1\r\nHost: h\r\nX: é\r\n\r\n");
    assert_eq!((head.path(), head.query()), ("/直播/镜头.flv", Some("名=字")));
    assert_eq!(head.header("x"), Some("é".as_bytes()));
}

#[test]
fn a_head_is_whole_only_with_its_blank_line() {
    let bytes = b"\r\nGET /live/s1.flv HTTP/1.1\r\nHost: a.b.com\r\nX: y\r\n\r\n";
    for cut in 0..bytes.len() {
        assert!(matches!(head(&bytes[..cut], MAX), Ok(Progress::Incomplete)), "{cut}");
        // The same with as much room as there are bytes: more will not help.
        assert_eq!(head(&bytes[..cut], cut).err(), Some(HttpError::TooLarge), "{cut}");
        assert_eq!(head(bytes, cut).err(), Some(HttpError::TooLarge), "{cut}");
    }
    assert!(matches!(head(bytes, bytes.len()), Ok(Progress::Complete(_))));
}

#[test]
fn an_upgrade_needs_all_its_parts() {
    let wants = |line: &str, fields: &str| complete(format!("{line}\r\nHost: h\r\n{fields}\r\n")).wants_upgrade();
    let (get, both) = ("GET /live/s1.flv HTTP/1.1", "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n");
    assert!(wants(get, both));
    assert!(!wants(get, "Upgrade: websocket\r\n"));
    assert!(!wants(get, "Connection: Upgrade\r\nUpgrade: h2c\r\n"));
    assert!(!wants(get, "Connection: Upgrade\r\n"));
    assert!(!wants("POST / HTTP/1.1", both));
    assert!(!wants("GET / HTTP/1.0", both));
    assert!(!wants(get, &format!("{both}Content-Length: 1\r\n")));
}

#[test]
fn neither_target_nor_fields_are_shown_in_logs() {
    let head = complete("GET /live/secret.flv?token=hush HTTP/1.1\r\nHost: h\r\nCookie: crumb\r\n\r\n");
    let shown = format!("{head:?} {:?}", Progress::Complete(head.clone()));
    for word in ["secret", "hush", "crumb"] {
        assert!(!shown.contains(word), "{shown}");
    }
}

#[test]
fn an_answer_is_its_status_and_its_length() {
    let bytes = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x82";
    for cut in 0..bytes.len() - 1 {
        assert_eq!(answer(&bytes[..cut], MAX), Ok(None), "{cut}");
    }
    assert_eq!(answer(bytes, MAX), Ok(Some(Answer { status: 101, len: bytes.len() - 1 })));
    assert_eq!(answer(bytes, 20), Err(HttpError::TooLarge));
    assert_eq!(answer(b"HTTP/1.0 404\r\n\r\n", MAX).map(|answer| answer.map(|answer| answer.status)), Ok(Some(404)));
    for bad in [
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 20\r\n\r\n",
        "HTTP/1.1 2000\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "\r\n",
        "HTTP/1.1 200 OK\n",
    ] {
        assert!(matches!(answer(bad.as_bytes(), MAX), Err(HttpError::Malformed(_))), "{bad:?}");
    }
}
