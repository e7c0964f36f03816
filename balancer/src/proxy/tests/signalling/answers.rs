//! What becomes of an answer to an offer: where it leads, and what is none.

use super::*;
use crate::config::Candidate;
use crate::registry::{Endpoints, OriginSpec};
use serde_json::{Value, json};

#[tokio::test]
async fn an_answer_leads_to_the_vip_and_its_session_is_known() {
    for (service, offer) in [(ServiceKind::Api, WHIP), (ServiceKind::Api, WHEP), (ServiceKind::Http, WHIP)] {
        let world = World::of(settings());
        let origin = origin("abcd").await;
        world.add("o1", origin.address).await;
        let heard = ask_by(&world, service, &format!("{offer}\nAccept-Encoding: gzip"), "v=0\r\noffer").await;
        assert_eq!(heard.status, 201, "{}", heard.head);
        let ours = "1 1 udp 2130706431 127.0.0.1 8000 typ host";
        assert_eq!(heard.body, sdp("abcd", &[ours]));
        assert_eq!(heard.header("Content-Length").unwrap(), heard.body.len().to_string());
        assert_eq!(heard.header("Etag"), Some("\"abcd\""), "{}", heard.head);
        assert_eq!(heard.header("Link"), Some("<stun:s.example>; rel=\"ice-server\""));
        assert!(heard.header("Access-Control-Expose-Headers").unwrap().contains("Location"), "{}", heard.head);
        assert_eq!((world.proxy.rtc.knows("abcd"), world.proxy.rtc.len()), (true, 1));
        let asked = &origin.heard()[0];
        assert!(asked.ends_with("v=0\r\noffer") && !asked.contains("gzip"), "{asked}");
        assert_eq!(world.proxy.store.streams().len(), 1);
    }
}

#[tokio::test]
async fn what_an_origin_refuses_reaches_the_client_as_it_is() {
    for line in
        ["400 Bad Request", "401 Unauthorized", "404 Not Found", "406 Not Acceptable", "409 Conflict", "503 Busy"]
    {
        let (world, _origin) = saying(move |_| status(line)).await;
        for offer in [WHIP, WHEP] {
            let heard = ask(&world, offer, "v=0").await;
            assert_eq!((&heard.status.to_string()[..], heard.body.as_str()), (&line[..3], "no"));
            assert_eq!(heard.header("Retry-After"), Some("7"));
        }
        assert!(world.proxy.rtc.is_empty());
    }
    let (world, _origin) = saying(|_| {
        b"HTTP/1.1 201 Created\r\nContent-Type: text/html\r\nLocation: /x\r\nContent-Length: 2\r\n\r\nhi".to_vec()
    })
    .await;
    let heard = ask(&world, WHIP, "v=0").await;
    assert_eq!(
        (heard.status, heard.body.as_str(), heard.location()),
        (201, "hi", "/x"),
        "another type is none of ours"
    );
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_is_none() {
    let long = format!("a=x:{}\r\n", "y".repeat(300_000));
    for (answer, reason, text) in [
        (sdp("abcd", &[]), "rtc_no_candidate", "no candidate by UDP"),
        (sdp("abcd", &["1 1 tcp 1518280447 127.0.0.9 9000 typ host tcptype passive"]), "rtc_no_candidate", "UDP"),
        (sdp("abcd", &["1 1 udp 2130706431 abc.local 9000 typ host"]), "rtc_no_candidate", "UDP"),
        (sdp("abcd", &["1 1 udp 2130706431 10.0.0.9 9000 typ host"]), "rtc_outside", "10.0.0.9:9000"),
        (sdp("abcd", &["1 1 udp 2130706431 127.0.0.1 8000 typ host"]), "rtc_outside", "127.0.0.1:8000"),
        (sdp("abcd", &[HOST]).replace("a=ice-ufrag:abcd\r\n", ""), "rtc_no_name", "no ice-ufrag"),
        (sdp("a:b", &[HOST]), "rtc_no_name", "ice-ufrag"),
        (
            sdp("abcd", &[HOST, "1 2 udp 1 127.0.0.9 9001 typ host"]).replace("a=rtcp-mux\r\n", ""),
            "rtc_apart",
            "rtcp-mux",
        ),
        (sdp("abcd", &[HOST]) + &long, "rtc_no_name", "too large"),
    ] {
        let (world, _origin) = saying(move |_| created("x", "/s/1", &answer)).await;
        let heard = ask(&world, WHIP, "v=0").await;
        assert!(heard.status == 502 && heard.body.contains(text), "{text}: {} {}", heard.status, heard.body);
        assert!(world.proxy.rtc.is_empty());
        let count = format!("{{reason=\"{reason}\"}} 1\n");
        assert!(world.metrics().contains(&count), "{reason}: {}", world.metrics());
    }
    let zipped = "HTTP/1.1 201 Created\r\nContent-Type: application/sdp\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx";
    let (world, _origin) = saying(move |_| zipped.as_bytes().to_vec()).await;
    assert_eq!(ask(&world, WHIP, "v=0").await.status, 502);
}

#[tokio::test]
async fn a_registered_endpoint_is_where_the_media_are() {
    let far = "1 1 udp 2130706431 203.0.113.77 9000 typ host";
    let origin = Origin::new(move |_| created("x", "/s/1", &sdp("abcd", &[far]))).await;
    let world = World::of(settings());
    let mut endpoints = Endpoints::default();
    endpoints.add(ServiceKind::Api, origin.address).unwrap();
    endpoints.add(ServiceKind::WebRtc, "127.0.0.9:9000".parse().unwrap()).unwrap();
    world.put("o1", OriginSpec { endpoints: Some(endpoints), ..OriginSpec::default() }).await;
    // Its API alone would do, but who is known for WebRTC comes first.
    let other = Origin::new(|_| status("404 Not Found")).await;
    world.add("o2", other.address).await;
    for n in 0..4 {
        let heard = ask(&world, &format!("POST /rtc/v1/whip/?app=live&stream=s{n}"), "v=0").await;
        assert_eq!(heard.status, 201, "{}", heard.body);
        assert!(heard.body.contains(" 127.0.0.1 8000 typ host\r\n"), "{}", heard.body);
    }
    assert!(other.heard().is_empty());
}

#[tokio::test]
async fn srs_wraps_the_same_in_json() {
    let answered =
        |sdp: &str| json!({ "code": 0, "server": "vid-1", "sdp": sdp, "sessionid": "abcd:efgh" }).to_string();
    let (good, refused) = (answered(&sdp("abcd", &[HOST])), json!({ "code": 400, "server": "vid-1" }).to_string());
    let (world, origin) = saying(move |request| {
        let said = if request.contains("live/none") { &refused } else { &good };
        super::super::world::ok(said).into_iter().collect()
    })
    .await;
    let offer = |stream: &str| {
        json!({ "api": "http://x", "streamurl": format!("webrtc://192.0.2.10/live/{stream}?token=t"), "sdp": "v=0" })
            .to_string()
    };
    for path in ["/rtc/v1/publish/", "/rtc/v1/play/"] {
        let heard = ask(&world, &format!("POST {path}"), &offer("a")).await;
        let said: Value = serde_json::from_str(&heard.body).unwrap();
        assert_eq!((heard.status, &said["code"], &said["sessionid"]), (200, &json!(0), &json!("abcd:efgh")));
        assert!(said["sdp"].as_str().unwrap().contains(" 127.0.0.1 8000 typ host\r\n"), "{said}");
        assert!(world.proxy.rtc.knows("abcd"));
    }
    assert!(origin.heard()[0].ends_with(&offer("a")), "as the client said it");
    let heard = ask(&world, "POST /rtc/v1/play/", &offer("none")).await;
    assert_eq!(
        (heard.status, heard.body.as_str()),
        (200, json!({ "code": 400, "server": "vid-1" }).to_string().as_str())
    );
}

#[tokio::test]
async fn what_cannot_be_served_is_said_clearly() {
    let (world, origin) = saying(|_| created("x", "/s/1", &sdp("abcd", &[HOST]))).await;
    assert_eq!(ask(&world, "POST /rtc/v1/whip/", "v=0").await.status, 400, "no stream");
    assert_eq!(ask(&world, WHIP, &"x".repeat(257 * 1024)).await.status, 413);
    assert_eq!(ask(&world, "DELETE /s/1?spborigin=nobody&spbkey=v/live/a", "").await.status, 503);
    let silent = World::of(Settings { rtc: vec![], ..settings() });
    silent.add("o1", origin.address).await;
    let heard = ask(&silent, WHIP, "v=0").await;
    assert!(heard.status == 501 && heard.body.contains("rtc listens nowhere"), "{}", heard.body);
    assert!(origin.heard().is_empty());
    let nobody = World::of(settings());
    assert_eq!(ask(&nobody, WHIP, "v=0").await.status, 503);
}

#[tokio::test]
async fn a_vip_behind_nat_is_named_as_it_is_seen() {
    let candidate = |ip: &str, port| Candidate { ip: ip.parse().unwrap(), port };
    let rtc_candidates = vec![candidate("203.0.113.5", None), candidate("2001:db8::5", Some(443))];
    let (world, origin) = (World::of(Settings { rtc_candidates, ..settings() }), origin("abcd").await);
    world.add("o1", origin.address).await;
    let heard = ask(&world, WHIP, "v=0").await;
    let named: Vec<&str> = heard.body.lines().filter(|line| line.starts_with("a=candidate")).collect();
    assert_eq!(
        named,
        [
            "a=candidate:1 1 udp 2130706431 203.0.113.5 8000 typ host",
            "a=candidate:11 1 udp 2047 2001:db8::5 443 typ host"
        ]
    );
}
