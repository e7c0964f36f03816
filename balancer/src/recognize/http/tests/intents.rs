//! What a request is for.

use super::*;
use crate::flow::{Protocol, Role};
use crate::recognize::StreamKeyError;

const SOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

/// As `role protocol key`; `known` are the streams that there are.
fn of(line: &str, fields: &str, known: &[&str]) -> String {
    let head = complete(format!("{line} HTTP/1.1\r\nHost: h\r\n{fields}\r\n"));
    let is_known = |key: &crate::recognize::StreamKey| known.contains(&&key.to_string()["__defaultVhost__/".len()..]);
    match intent(&head, is_known) {
        Ok(Intent::Media { key, protocol, role, upgrade }) => {
            let by = if upgrade { " by websocket" } else { "" };
            format!("{} {} {key}{by}", role.label(), protocol.label()).replace("__defaultVhost__/", "")
        }
        Ok(Intent::Other) => "other".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn a_get_of_flv_or_ts_plays() {
    assert_eq!(of("GET /live/s1.flv", "", &[]), "play flv live/s1");
    assert_eq!(of("GET /live/room/s.1.FLV?token=x", "", &[]), "play flv live/room/s.1");
    assert_eq!(of("GET /live/s1.ts", "", &[]), "play ts live/s1");
    assert_eq!(of("GET http://h/live//./s1.flv", "", &[]), "play flv live/s1");
    let labels = (Protocol::Flv.label(), Role::Play.label());
    assert_eq!(labels, ("flv", "play"));
}

#[test]
fn a_chunked_push_publishes() {
    assert_eq!(of("POST /live/s1.flv", CHUNKED, &[]), "publish flv live/s1");
    assert_eq!(of("PUT /live/s1.ts", CHUNKED, &[]), "publish ts live/s1");
    assert_eq!(of("POST /live/s1.flv", "Content-Length: 10\r\n", &[]), "other");
    assert_eq!(of("POST /live/s1.flv", "", &[]), "other");
    assert_eq!(of("POST /live/s1-3.ts", CHUNKED, &[]), "other");
}

#[test]
fn a_websocket_plays_even_without_an_extension() {
    assert_eq!(of("GET /live/s1.flv", SOCKET, &[]), "play flv live/s1 by websocket");
    assert_eq!(of("GET /live/s1", SOCKET, &[]), "play flv live/s1 by websocket");
    assert_eq!(of("GET /live/s1-7.ts", SOCKET, &[]), "play ts live/s1-7 by websocket");
    assert_eq!(of("GET /chat", SOCKET, &[]), "other");
    for (offer, role) in [("publisher", "publish"), ("x, Post", "publish"), ("posts", "play"), ("", "play")] {
        let fields = format!("{SOCKET}Sec-WebSocket-Protocol: {offer}\r\n");
        assert_eq!(of("GET /live/s1.flv", &fields, &[]), format!("{role} flv live/s1 by websocket"), "{offer}");
    }
    assert_eq!(of("GET /live/s1.js", SOCKET, &[]), "other");
}

#[test]
fn everything_else_is_not_spliced() {
    for line in ["GET /live/s1.m3u8", "GET /live/s1.mpd", "GET /", "GET /live/s1", "GET /api/v1/streams", "GET /x.flv/"]
    {
        assert_eq!(of(line, "", &["live/s1"]), "other", "{line}");
    }
    for method in ["HEAD", "OPTIONS", "DELETE", "FETCH"] {
        assert_eq!(of(&format!("{method} /live/s1.flv"), "", &["live/s1"]), "other", "{method}");
    }
    assert_eq!(of("GET /live/s1.flv", "Content-Length: 1\r\n", &[]), "other");
    assert_eq!(of("GET /live/s1.flv", CHUNKED, &[]), "other");
}

#[test]
fn a_segment_of_hls_is_no_stream_unless_there_is_one_of_its_name() {
    for path in
        ["/live/s1-12.ts", "/live/s1_12.ts", "/hls/s1.ts", "/HLS/s1/a.ts", "/live/s1/12.ts", "/live/s1/seg-4.ts"]
    {
        assert_eq!(of(&format!("GET {path}"), "", &[]), "other", "{path}");
    }
    assert_eq!(of("GET /live/s1-12.ts", "", &["live/s1-12"]), "play ts live/s1-12");
    assert_eq!(of("GET /live/s1-12.ts?hls_ctx=a", "", &["live/s1-12"]), "other");
    assert_eq!(of("GET /live/s1-12.ts?spbkey=a.b.com/live/s1", "", &["live/s1-12"]), "other");
    // Digits that nothing separates are part of a name, until there is a stream without them.
    assert_eq!(of("GET /live/cam7.ts", "", &[]), "play ts live/cam7");
    assert_eq!(of("GET /live/cam7.ts", "", &["live/cam"]), "other");
    assert_eq!(of("GET /live/cam7.ts", "", &["live/cam", "live/cam7"]), "play ts live/cam7");
}

#[test]
fn the_query_may_name_the_vhost_but_no_stream_where_the_path_does() {
    assert_eq!(of("GET /live/s1.flv?app=live&stream=x", "", &[]), "play flv live/s1");
    assert_eq!(of("GET /live/s1?app=live&stream=x", SOCKET, &[]), "play flv live/s1 by websocket");
    assert_eq!(of("GET /live?app=live&stream=s%31", SOCKET, &[]), "play flv live/s1 by websocket");
    assert_eq!(of("GET /live/s1.flv?vhost=a&vhost=b", "", &[]), format!("{:?}", StreamKeyError::NotCanonical));
    assert_eq!(of("GET /live/s1.flv?vhost=A.b.com", "", &[]), "play flv a.b.com/live/s1");
    assert_eq!(of("GET /live/s1.flv?vhost=h", "Host2: a.b.com\r\n", &[]), "play flv live/s1");
}

#[test]
fn the_key_is_decoded_safely() {
    assert_eq!(of("GET /live/%E9%95%9C.flv", "", &[]), "play flv live/镜");
    assert_eq!(of("GET /live%2Froom%2fs1.flv", "", &[]), "play flv live/room/s1");
    let not_canonical = format!("{:?}", StreamKeyError::NotCanonical);
    // What an origin would take for part of the name.
    for path in ["/live/s1%3Fx.flv", "/live/s1%23x.flv", "/live/%FF.flv"] {
        assert_eq!(of(&format!("GET {path}"), "", &[]), not_canonical, "{path}");
    }
    assert_eq!(of("GET /live/s%0d%0a.flv", "", &[]), format!("{:?}", StreamKeyError::ControlCharacter));
    assert_eq!(of("GET /s1.flv", "", &[]), format!("{:?}", StreamKeyError::EmptyApp));
    assert_eq!(of("GET /a/b/.flv", "", &[]), format!("{:?}", StreamKeyError::EmptyStream));
}
