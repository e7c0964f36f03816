//! What real clients say first, recorded by `tests/captures/http/record`.

use super::*;
use crate::recognize::StreamKey;

struct Capture {
    name: &'static str,
    bytes: &'static [u8],
    /// As method, host, and what the request is for.
    what: &'static str,
}

macro_rules! capture {
    ($name:literal, $what:literal) => {
        Capture {
            name: $name,
            bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/http/", $name, ".bin")),
            what: $what,
        }
    };
}

const CAPTURES: [Capture; 28] = [
    capture!("chromium-fetch", "GET 127.0.0.1:8080 play flv"),
    capture!("chromium-preflight", "OPTIONS localhost:8080 other"),
    capture!("chromium-video", "GET 127.0.0.1:8080 play ts"),
    capture!("chromium-websocket", "GET 127.0.0.1:8080 play flv by websocket"),
    capture!("curl-flv", "GET 127.0.0.1:8080 play flv"),
    capture!("curl-head", "HEAD 127.0.0.1:8080 other"),
    capture!("curl-http10", "GET 127.0.0.1:8080 play flv"),
    capture!("curl-post-file", "POST 127.0.0.1:8080 other"),
    capture!("curl-proxy", "GET a.b.com play flv"),
    capture!("curl-push", "PUT 127.0.0.1:8080 publish flv"),
    capture!("curl-range", "GET 127.0.0.1:8080 play ts"),
    capture!("ffmpeg-flv", "GET 127.0.0.1:8080 play flv"),
    capture!("ffmpeg-hls", "GET 127.0.0.1:8080 other"),
    capture!("ffmpeg-push-flv", "POST 127.0.0.1:8080 publish flv"),
    capture!("ffmpeg-push-ts", "PUT 127.0.0.1:8080 publish ts"),
    capture!("ffmpeg-ts", "GET 127.0.0.1:8080 play ts"),
    capture!("ffprobe-flv", "GET 127.0.0.1:8080 play flv"),
    capture!("h2load-hls", "GET 127.0.0.1:8080 other"),
    capture!("node-fetch", "GET 127.0.0.1:8080 play flv"),
    capture!("node-http", "GET 127.0.0.1:8080 play flv"),
    capture!("node-websocket", "GET 127.0.0.1:8080 play flv by websocket"),
    capture!("python-requests", "GET 127.0.0.1:8080 play flv"),
    capture!("python-urllib", "GET 127.0.0.1:8080 play flv"),
    capture!("souphttpsrc-flv", "GET 127.0.0.1:8080 play flv"),
    capture!("vlc-flv", "GET 127.0.0.1:8080 play flv"),
    capture!("vlc-hls", "GET 127.0.0.1:8080 other"),
    capture!("wget-flv", "GET 127.0.0.1:8080 play flv"),
    capture!("wrk-hls", "GET 127.0.0.1:8080 other"),
];

#[test]
fn every_client_is_recognized_at_every_split() {
    for Capture { name, bytes, what } in &CAPTURES {
        let whole = complete(bytes);
        let vhost = if whole.host().starts_with('a') { "a.b.com" } else { StreamKey::DEFAULT_VHOST };
        let key: StreamKey = format!("{vhost}/live/capture").parse().unwrap();
        let purpose = match intent(&whole, |_| false) {
            Ok(Intent::Media { key: found, protocol, role, upgrade }) => {
                assert_eq!(found, key, "{name}");
                format!("{} {}{}", role.label(), protocol.label(), if upgrade { " by websocket" } else { "" })
            }
            other => {
                assert_eq!(other, Ok(Intent::Other), "{name}");
                "other".to_owned()
            }
        };
        assert_eq!(format!("{} {} {purpose}", whole.method_name(), whole.host()), *what, "{name}");
        assert_eq!(candidates(whole.host(), whole.path(), whole.query()), [key], "{name}");
        for cut in 0..bytes.len() {
            match head(&bytes[..cut], MAX) {
                Ok(Progress::Incomplete) => assert!(cut < whole.len, "{name} cut at {cut}"),
                Ok(Progress::Complete(head)) => assert!(head == whole && cut >= whole.len, "{name} cut at {cut}"),
                Err(error) => panic!("{name} cut at {cut}: {error}"),
            }
        }
        properties::hold(bytes);
    }
}
