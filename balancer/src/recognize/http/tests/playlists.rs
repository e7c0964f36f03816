//! Playlists, as packagers write them.

use super::*;
use crate::recognize::StreamKey;

/// Asked for under `path` for `live/s1`; what is in `⟨⟩` is expected to have been put in.
#[track_caller]
fn rewritten(path: &str, expected: &str) {
    let mark = format!("{MARK}=__defaultVhost__/live/s1");
    let original: String =
        expected.split('⟨').map(|part| part.split_once('⟩').map_or(part, |(_, rest)| rest)).collect();
    let expected = expected.replace("KEY⟩", &mark).replace('⟨', "");
    let got = playlist::rewrite(&original, "10.0.0.1:8080", path, &"__defaultVhost__/live/s1".parse().unwrap());
    if expected == original {
        assert_eq!(got, None);
        return;
    }
    assert_eq!(got.as_deref(), Some(&*expected));
    let again = playlist::rewrite(&expected, "10.0.0.1:8080", path, &"__defaultVhost__/live/s1".parse().unwrap());
    assert_eq!(again, None, "what is marked stays as it is");
}

#[test]
fn what_leads_back_is_left_alone() {
    rewritten(
        "/live/s1.m3u8",
        "#EXTM3U\n#EXTINF:2,\ns1-0.ts\n#EXTINF:2,\n/live/s1-1.ts?hls_ctx=x\n#EXTINF:2,\n./s1_2.ts\n",
    );
    rewritten(
        "/live/s1.m3u8",
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,AVERAGE-BANDWIDTH=1\n/live/s1.m3u8?hls_ctx=1q2w\n",
    );
    rewritten("/live/s1/index.m3u8", "#EXTM3U\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:2,\n../s1/12.m4s\n");
}

#[test]
fn what_does_not_is_marked() {
    // nginx-rtmp writes all applications into one directory.
    rewritten("/hls/s1.m3u8", "#EXTM3U\r\n#EXTINF:2,\r\ns1-0.ts⟨?KEY⟩\r\n#EXTINF:2,\r\ns1-1.ts?a=b⟨&KEY⟩\r\n");
    rewritten("/hls/s1.m3u8", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\ns1_low.m3u8⟨?KEY⟩");
    // ffmpeg: `s10.ts` could be a stream by TS.
    rewritten("/live/s1.m3u8", "#EXTM3U\n#EXTINF:2,\ns10.ts⟨?KEY⟩\n#EXTINF:2,\ns110.ts?⟨KEY⟩#t=1\n");
    rewritten("/live/s1.m3u8", "\u{feff}#EXTM3U\n#EXTINF:2,\n  720p/a.m4s⟨?KEY⟩  \n");
    // The vhost was in the playlist's own query, which its segments do not inherit: here it is not even the host's.
    let key = "a.b.com/live/s1".parse().unwrap();
    let got = playlist::rewrite("#EXTM3U\ns1-0.ts\n", "10.0.0.1", "/live/s1.m3u8", &key);
    assert_eq!(got.as_deref(), Some("#EXTM3U\ns1-0.ts?spbkey=a.b.com/live/s1\n"));
}

#[test]
fn uris_in_attributes_are_uris_too() {
    rewritten(
        "/hls/s1.m3u8",
        "#EXTM3U\n#EXT-X-VERSION:9\n\
         #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.0\n#EXT-X-PART-INF:PART-TARGET=0.33\n\
         #EXT-X-KEY:METHOD=AES-128,URI=\"s1-0.key⟨?KEY⟩\",IV=0x1\n\
         #EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://s1\",KEYFORMAT=\"com.apple.streamingkeydelivery\"\n\
         #EXT-X-MAP:URI=\"s1-init.mp4⟨?KEY⟩\",BYTERANGE=\"720@0\"\n\
         #EXTINF:2,\ns1-1.m4s⟨?KEY⟩\n\
         #EXT-X-PART:DURATION=0.33,URI=\"s1-2.1.m4s⟨?KEY⟩\",INDEPENDENT=YES\n\
         #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"s1-2.2.m4s⟨?KEY⟩\"\n\
         #EXT-X-RENDITION-REPORT:URI=\"s1_low.m3u8⟨?KEY⟩\",LAST-MSN=2,LAST-PART=1\n",
    );
    rewritten(
        "/hls/s1.m3u8",
        "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,NAME=\"x,URI=\",URI=\"a.m3u8⟨?KEY⟩\",GROUP-ID=\"URI=\"\n\
         #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"i.m3u8⟨?KEY⟩\"\n\
         #EXT-X-DATERANGE:ID=\"a\",X-URI=\"b.m3u8\"\n#EXT-X-SESSION-DATA:DATA-ID=\"URI=c\",VALUE=\"d\"\n",
    );
}

#[test]
fn other_hosts_are_left_alone() {
    rewritten(
        "/hls/s1.m3u8",
        "#EXTM3U\nhttp://a.b.com/x.ts\n//a.b.com/x.ts\nhttp://10.0.0.1:8081/x.ts\ndata:text/plain,x\nftp://10.0.0.1:8080/x\n\
         HTTP://10.0.0.1:8080/x.ts⟨?KEY⟩\n//10.0.0.1:8080/x.ts⟨?KEY⟩\nhttps://10.0.0.1:8080⟨?KEY⟩\n{$base}/x.ts\n?x\n#\n\n",
    );
}

#[test]
fn what_is_no_playlist_is_left_alone() {
    let key = "__defaultVhost__/live/s1".parse().unwrap();
    for text in [
        "",
        "x.ts\n",
        "<html>",
        "#EXTM3U",
        "#EXTM3U\n",
        "#EXTM3U\n#EXT-X-KEY:URI=\"x",
        "#EXTM3U\n#EXTINF",
        "#EXTM3U\n# URI=\"x\"\n",
    ] {
        assert_eq!(playlist::rewrite(text, "h", "/hls/s1.m3u8", &key), None, "{text}");
    }
}

/// What was found out about one URI is believed of the next ones that differ in their number alone.
#[test]
fn every_uri_is_judged_as_if_it_were_the_only_one() {
    const NAMES: [&str; 12] =
        ["s1-", "s1_", "s1", "_", "s1-x-", "seg-", "sub/s1-", "%5f", "../live/s1-", "s1.-", "s-1-", "/live/s1-"];
    const ENDS: [&str; 6] = [".ts", ".m4s", ".m3u8", ".ts?a=1", ".flv", "/a.ts"];
    for stream in ["s1", "s1_1", "_1", "s1-1", "s1-", "s"] {
        let key = StreamKey::new("h", "live", stream).unwrap();
        let rewritten = |lines: &str| {
            let text = format!("#EXTM3U\n{lines}");
            playlist::rewrite(&text, "h", "/live/s1.m3u8", &key).unwrap_or(text)
        };
        for (name, end) in NAMES.iter().flat_map(|name| ENDS.map(|end| (name, end))) {
            let lines: Vec<String> = ["1", "2", "10", "11", "021"].map(|n| format!("{name}{n}{end}\n")).into();
            let alone = lines.iter().map(|line| rewritten(line).split_off("#EXTM3U\n".len())).collect::<String>();
            assert_eq!(rewritten(&lines.concat()), format!("#EXTM3U\n{alone}"), "{stream}");
        }
    }
}
