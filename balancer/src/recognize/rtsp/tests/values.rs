//! URLs and Transport headers.

use super::*;

fn key(url: &str) -> String {
    Url::parse(url).and_then(|url| url.key()).map_or_else(|e| format!("{e:?}"), |key| key.to_string())
}

#[test]
fn a_url_names_a_stream_with_or_without_its_track() {
    for url in [
        "rtsp://192.0.2.1/live/s1",
        "RTSP://192.0.2.1:8554/live/s1/",
        "rtsps://192.0.2.1/live/s1/trackID=0",
        "rtsp://user:secret@192.0.2.1:8554/live/s1/streamid=1",
        "rtsp://[2001:db8::1]:8554//live//s1/stream=0",
        "rtsp://localhost/live/s1?token=a/b",
        "rtsp://localhost/live/s1?token=x/trackID=1",
        "rtsp://localhost/live/_definst_/s1#x",
        "rtsp://h/l%69ve/s1",
    ] {
        assert_eq!(key(url), "__defaultVhost__/live/s1", "{url}");
    }
    assert_eq!(key("rtsp://A.example.com:554/live/room/cam"), "a.example.com/live/room/cam");
    assert_eq!(key("rtsp://192.0.2.1/live/s1?vhost=a.example.com"), "a.example.com/live/s1");
    assert_eq!(key("rtsp://192.0.2.1/live/s1?x=1&vhost=a.example.com/trackID=0"), "a.example.com/live/s1");
    assert_eq!(key("rtsp://192.0.2.1/live/track1"), "__defaultVhost__/live/track1");
}

#[test]
fn a_setup_that_comes_first_may_name_its_track_as_live555_does() {
    let of = |url| Url::parse(url).unwrap().key_of_track().unwrap().to_string();
    assert_eq!(of("rtsp://h/live/s1/track2"), "__defaultVhost__/live/s1");
    assert_eq!(of("rtsp://h/live/track2"), "__defaultVhost__/live/track2");
    assert_eq!(of("rtsp://h/live/s1/trackID=2"), "__defaultVhost__/live/s1");
}

#[test]
fn urls_that_cannot_be_served_are_refused_with_the_cause() {
    for (url, why) in [
        ("/live/s1", "Url(\"is not absolute\")"),
        ("http://h/live/s1", "Url(\"has another scheme than rtsp or rtsps\")"),
        ("rtspu://h/live/s1", "Url(\"has another scheme than rtsp or rtsps\")"),
        ("rtsp:///live/s1", "Url(\"names no host\")"),
        ("rtsp://h/live/%ff", "Url(\"is not UTF-8 once decoded\")"),
        ("rtsp://h/live/a%2fb", "Url(\"hides a separator behind a percent sign\")"),
        ("rtsp://h/live/a%3fb", "Url(\"hides a separator behind a percent sign\")"),
        ("rtsp://h/live/../s", "Url(\"climbs with dots\")"),
        ("rtsp://h/live/%2e%2e/s", "Url(\"climbs with dots\")"),
        ("rtsp://h/live/a%00", "Key(ControlCharacter)"),
        ("rtsp://h/s1", "Key(EmptyApp)"),
        ("rtsp://h", "Key(EmptyStream)"),
        ("rtsp://h/", "Key(EmptyStream)"),
    ] {
        assert_eq!(key(url), why, "{url}");
    }
}

#[test]
fn urls_below_a_stream_belong_to_it() {
    let key = Url::parse("rtsp://h/live/s%31").unwrap().key().unwrap();
    let within = |url: &str| Url::parse(url).unwrap().is_within(&key);
    for url in ["rtsp://h/live/s1", "rtsp://other/live/s1/", "rtsp://h/live/s1/any", "rtsp://h/live/s1?t/x=0"] {
        assert!(within(url), "{url}");
    }
    for path in ["live/s10", "live", "live/s2/trackID=0", "x/live/s1", "live/s1/any/thing", "live/s1/s2/trackID=0"] {
        assert!(!within(&format!("rtsp://h/{path}")), "{path}");
    }
}

#[test]
fn a_url_leads_to_the_vhost_that_was_dialled() {
    let at = |first: &str, url: &str| {
        let first = Url::parse(first).unwrap();
        Url::parse(url).unwrap().is_at(&first.key().unwrap(), &format!("rtsp://{}", first.authority))
    };
    let (plain, parameter) = ("rtsp://a.example.com/live/s1", "rtsp://192.0.2.1/live/s1?vhost=a.example.com");
    assert!(at(plain, "rtsp://A.example.com:554/live/s1/trackID=0"));
    assert!(at(plain, parameter));
    assert!(at(parameter, "rtsp://192.0.2.1/live/s1/trackID=0"), "controls may come without the query");
    assert!(!at(plain, "rtsp://b.example.com/live/s1"));
    assert!(!at(plain, "rtsp://a.example.com/live/s1?vhost=b.example.com"));
    assert!(!at(parameter, "rtsp://192.0.2.1/live/s1?vhost=a.example.com&vhost=b.example.com"));
    assert!(!at(parameter, "rtsp://192.0.2.1/live/s1?vhost=a.example.com&domain=b.example.com"));
}

#[test]
fn transports_are_read_and_written_as_they_were() {
    for text in [
        "RTP/AVP;unicast;client_port=8000-8001",
        "RTP/AVP/TCP;unicast;interleaved=0-1",
        "RTP/AVP;unicast;client_port=1-2;mode=\"PLAY,RECORD\",RTP/AVP/TCP;interleaved=0-1",
        "RTP/SAVPF/UDP;ssrc=DEADBEEF;destination=[2001:db8::1]",
    ] {
        assert_eq!(Transport::list(&Transport::parse_list(text).unwrap()), text);
    }
    assert_eq!(Transport::list(&Transport::parse_list(" RTP/AVP ; a = b ;; c , X/Y ").unwrap()), "RTP/AVP;a=b;c,X/Y");
    assert!(Transport::parse_list("RTP/AVP,").is_err());
    assert!(Transport::parse_list(&"RTP/AVP,".repeat(20)).is_err());
}

#[test]
fn ports_come_in_pairs() {
    let ports =
        |text: &str| Transport::parse_list(&format!("RTP/AVP;client_port={text}")).unwrap()[0].ports("CLIENT_PORT");
    assert_eq!(ports("8000-8001"), Some(pair(8000)));
    assert_eq!(ports("8000"), Some(pair(8000)));
    assert_eq!(ports("8000-9001"), Some(PortPair { rtp: 8000, rtcp: 9001 }));
    for bad in ["", "0-1", "8000-", "-1", "65535", "65536-65537", "a-b", "1-2-3"] {
        assert_eq!(ports(bad), None, "{bad}");
    }
}
