//! From paths to stream keys, with the names that packagers give to their files.

use super::*;
use crate::recognize::StreamKey;

/// Without the default vhost.
fn short(keys: &[StreamKey]) -> Vec<String> {
    keys.iter().map(|key| key.to_string().replace("__defaultVhost__/", "")).collect()
}

fn of(path: &str) -> Vec<String> {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    short(&candidates("10.0.0.1:8080", path, query))
}

#[test]
fn files_are_told_by_their_extension() {
    assert_eq!(kind("/live/s1.m3u8"), Kind::Playlist);
    assert_eq!(kind("/live/s1.MPD"), Kind::Manifest);
    assert_eq!(kind("/live/s1-1.m4s"), Kind::Segment);
    for path in ["/live/s1.m3u8/", "/live.m3u8/s1", "/", "*", "", "/live/s1.flv", "/m3u8"] {
        assert_eq!(kind(path), Kind::Other, "{path}");
    }
}

#[test]
fn a_playlist_is_named_after_its_stream() {
    assert_eq!(of("/live/s1.m3u8"), ["live/s1"]);
    assert_eq!(of("/live/room/s1.mpd"), ["live/room/s1", "live/room"]);
    assert_eq!(of("/hls/s1_720p.m3u8"), ["hls/s1_720p"]);
    assert_eq!(of("/live/cam-1.m3u8"), ["live/cam-1", "live/cam"]);
}

#[test]
fn a_playlist_without_a_name_is_its_directorys() {
    for name in ["index", "master", "playlist", "manifest", "chunklist_w12", "index_720", "llhls", "prog_index"] {
        assert_eq!(
            of(&format!("/live/s1/{name}.m3u8"))[0],
            if name == "llhls" { "live/s1/llhls" } else { "live/s1" },
            "{name}"
        );
    }
    assert_eq!(of("/live/index.m3u8"), ["live/index"]);
}

/// Playlist and segments of one stream look for it in the same place first.
#[test]
fn the_segments_of_every_packager_lead_where_the_playlist_does() {
    let packagers: [(&str, &[&str]); 9] = [
        // SRS
        ("/live/s1.m3u8", &["/live/s1-12.ts", "/live/s1-12.ts?hls_ctx=a", "/live/s1-0.key", "/live/s1-init.mp4"]),
        ("/live/s1.mpd", &["/live/s1/video-12.m4s", "/live/s1/audio-init.mp4"]),
        // nginx-rtmp
        ("/hls/s1.m3u8", &["/hls/s1-12.ts"]),
        ("/hls/s1/index.m3u8", &["/hls/s1/12.ts"]),
        ("/dash/s1.mpd", &["/dash/s1-12000.m4v", "/dash/s1-12000.m4a", "/dash/s1-init.m4v"]),
        ("/dash/s1/index.mpd", &["/dash/s1/12000.m4v", "/dash/s1/init.m4a"]),
        // ffmpeg
        ("/live/s1/manifest.mpd", &["/live/s1/init-stream0.m4s", "/live/s1/chunk-stream0-00001.m4s"]),
        ("/live/s1/index.m3u8", &["/live/s1/index0.ts", "/live/s1/index12.ts"]),
        // Wowza
        ("/live/s1/playlist.m3u8", &["/live/s1/chunklist_w9.m3u8", "/live/s1/media_w9_12.ts"]),
    ];
    for (playlist, segments) in packagers {
        for segment in segments {
            assert_eq!(of(segment)[0], of(playlist)[0], "{segment}");
        }
    }
}

#[test]
fn a_segments_number_is_taken_off_bit_by_bit() {
    assert_eq!(
        of("/live/s1_720p_0012.ts"),
        ["live/s1_720p", "live/s1_720p_001", "live/s1_720p_00", "live/s1_720p_0", "live/s1_720p_", "live/s1_720p_0012"]
    );
    assert_eq!(of("/live/a/s1-2-3.m4s")[..2], ["live/a/s1-2", "live/a/s1"]);
    assert_eq!(of("/live/s10.m4s"), ["live/s1", "live/s", "live/s10"]);
    assert_eq!(of("/live/s1/0a1b_main_seg7.mp4")[0], "live/s1/0a1b_main");
    assert!(of("/live/s1/0a1b_main_seg7.mp4").contains(&"live/s1".to_owned()));
    assert_eq!(of("/live/-12.ts").first().map(String::as_str), Some("live/-1"));
}

/// Origins serve what the path says.
#[test]
fn the_query_names_a_stream_where_the_path_names_none() {
    for path in ["/rtc/v1/whep/", "/api/v1/x", "/live"] {
        assert_eq!(of(&format!("{path}?app=live&stream=s%31")), ["live/s1"], "{path}");
    }
    for extension in ["m3u8", "mpd", "flv"] {
        assert_eq!(of(&format!("/x/y.{extension}?app=live&stream=s1")), ["x/y"], "{extension}");
    }
    assert_eq!(of("/x/y-1.ts?app=live&stream=s1&spbkey=a/b/c"), ["x/y", "x/y-", "x/y-1"]);
    assert_eq!(key_of_query("h", Some("app=live&stream=s1&vhost=a.b.com")).unwrap().to_string(), "a.b.com/live/s1");
    assert_eq!(key_of_query("h", Some("app=live")), None);
    assert_eq!(key_of_query("h", None), None);
}

#[test]
fn the_mark_names_any_stream() {
    let key: StreamKey = "a.b.com/live/s 1,\"".parse().unwrap();
    let query = format!("{MARK}={}", percent::encode(&key.to_string()));
    assert_eq!(mark(Some(&query)), Some(key));
    assert_eq!((mark(Some("spbkey=x")), mark(None)), (None, None));
}

#[test]
fn what_others_may_read_otherwise_is_ambiguous() {
    let is = |path: &str, query: &str| is_ambiguous(path, Some(query));
    for query in [
        "app=a&stream=b&stream=c",
        "app=a&stream=b&stream=b",
        "app=a&stream=b;stream=c",
        "app=a;stream=b",
        "app=a&stream=b&x=1,vhost=c",
        "app=a&stream=b&%73tream=c",
        "app=a&s%74ream=b",
        "app=a&stream=&stream=b",
        "vhost=a&vhost=b",
        "app&app=a&stream=b",
    ] {
        assert!(is("/rtc/v1/whep/", query) && is("/live", query), "{query}");
    }
    for query in ["", "app=a&stream=b&vhost=c", "token=app=b;x&app=a", "apps=a&app=b", "x=1&x=2", "%GG=1&app=a"] {
        assert!(!is("/rtc/v1/whep/", query), "{query}");
    }
    assert!(!is_ambiguous("/live", None));
    for path in ["/live/a.flv", "/live/a.m3u8", "/live/a.ts"] {
        assert!(!is(path, "stream=a&stream=b") && is(path, "vhost=a;vhost=b"), "{path}");
        assert_eq!(is(path, "spbkey=a/b/c&spbkey=d/e/f"), path.ends_with("ts"), "{path}");
    }
}

#[test]
fn a_slash_behind_a_path_is_overlooked() {
    for path in ["/live/s1.flv", "/live/s1.flv/", "/live/s1//", "/live%2Fs1.webm", "//live/./s1.flv"] {
        assert_eq!(path_key("10.0.0.1", path, None).unwrap().to_string(), "__defaultVhost__/live/s1", "{path}");
    }
    assert_eq!(path_key("h", "/live/", None), Err(crate::recognize::StreamKeyError::EmptyApp));
}

#[test]
fn the_vhost_is_the_host_or_what_the_query_says() {
    let of = |host, query| candidates(host, "/live/s1.m3u8", query)[0].to_string();
    assert_eq!(of("A.b.com:8080", None), "a.b.com/live/s1");
    assert_eq!(of("10.0.0.1", Some("vhost=a.b.com")), "a.b.com/live/s1");
    assert_eq!(of("a.b.com", Some("vhost=__defaultVhost__")), "__defaultVhost__/live/s1");
}

#[test]
fn a_path_without_a_key_has_no_candidates() {
    for path in ["/api/v1/streams", "/players/js/hls.js", "/live/s1", "/live/s1/"] {
        assert_eq!(of(path), [""; 0], "{path}");
    }
    assert_eq!(of("/live/s1.flv"), ["live/s1"]);
    for path in ["", "/", "*", "/s1.m3u8", "/index.m3u8", "/live/%FF.m3u8", "/live/s%3F.m3u8", "/live/%.m3u8"] {
        assert_eq!(of(path), [""; 0], "{path}");
    }
}

#[test]
fn the_mark_comes_off_again() {
    assert_eq!(without_mark("a=b&spbkey=x&c"), "a=b&c");
    assert_eq!(without_mark("spbkey=x"), "");
    assert_eq!(without_mark("spbkeys=x&a"), "spbkeys=x&a");
}
