//! What WHIP and WHEP say, word by word: a session's requests find their origin, and what origins answer reaches the
//! client as it is but for where media goes.

mod rtc_scene;

use balancer_lab::balancer::{HTTP_PORT, ORIGIN_API_PORT};
use balancer_lab::requirements::{Need, met};
use balancer_lab::rtc::{RTC_PORT, RtcClient, RtcRole};
use balancer_lab::scene::{Plot, Scene};
use balancer_lab::web::client::{Answer, WebClient};
use rtc_scene::{LATER, candidates_name_only_the_vip, media, nothing_lost, start, wait_rtc_flows};
use std::net::SocketAddr;

const NEEDS: &[Need] = &[Need::Network, Need::Balancer, Need::Rtc];
const FRAGMENT: &str = "Content-Type: application/trickle-ice-sdpfrag\r\n";

/// An offer to send VP8, as any client makes it.
const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:lab1\r\n\
    a=ice-pwd:labpasswordlabpassword12\r\na=fingerprint:sha-256 \
    00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
    a=setup:actpass\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack pli\r\n\
    a=ssrc:1234 cname:lab\r\n";

fn ask(scene: &Scene, method: &str, target: &str, headers: &str, body: &str) -> Answer {
    let api = SocketAddr::new(scene.dc.vip(scene.family), ORIGIN_API_PORT);
    let mut client = WebClient::dial(&scene.dc.clients[0].netns, api).unwrap();
    let length = format!("Content-Length: {}\r\n", body.len());
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: {api}\r\n{headers}{length}\r\n{body}")).unwrap();
    client.answer(method).unwrap()
}

fn offer(scene: &Scene, target: &str) -> Answer {
    ask(scene, "POST", target, "Content-Type: application/sdp\r\n", OFFER)
}

/// The target of a `Location`, which may have an address; then it must be the VIP's.
fn target(scene: &Scene, location: &str) -> String {
    let Some(rest) = location.strip_prefix("http://") else { return location.to_owned() };
    let (authority, path) = rest.split_once('/').unwrap();
    assert_eq!(authority, SocketAddr::new(scene.dc.vip(scene.family), ORIGIN_API_PORT).to_string(), "{location}");
    format!("/{path}")
}

fn made(scene: &Scene) -> Vec<u64> {
    scene.rtc.iter().map(|origin| origin.stats().unwrap().made()).collect()
}

fn candidates(answer: &Answer) -> Vec<String> {
    let text = answer.text();
    text.lines().filter(|line| line.starts_with("a=candidate:")).map(str::to_owned).collect()
}

fn only_the_vip(scene: &Scene, answer: &Answer) {
    let origins: Vec<String> = scene.dc.origins.iter().map(|host| host.ip(scene.family).to_string()).collect();
    let text = answer.text();
    assert!(origins.iter().all(|ip| !text.contains(ip.as_str())), "{text}");
    let found = candidates(answer);
    assert!(!found.is_empty(), "{text}");
    for candidate in found {
        let words: Vec<&str> = candidate.split_whitespace().collect();
        assert_eq!(words[2].to_lowercase(), "udp", "{candidate}");
        assert!([scene.dc.vip4.to_string(), scene.dc.vip6.to_string()].contains(&words[4].to_owned()), "{candidate}");
        assert_eq!(words[5], RTC_PORT.to_string(), "{candidate}");
    }
}

#[test]
fn a_session_is_patched_and_deleted_at_its_own_origin_of_two() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().origins(2).rtc().build().unwrap();
    for (number, more) in ["", "&location=absolute", "&tcp=1", "", "&location=absolute", ""].into_iter().enumerate() {
        let before = made(&scene);
        let answer = offer(&scene, &format!("/rtc/v1/whip/?app=live&stream=s{number}{more}"));
        assert_eq!(answer.status(), 201, "{}", answer.text());
        only_the_vip(&scene, &answer);
        let header =
            |name| answer.head.header(name).unwrap_or_else(|| panic!("no {name}: {:?}", answer.head)).to_owned();
        assert_eq!(header("link"), "<stun:stun.example.org:3478>; rel=\"ice-server\"");
        assert_eq!((header("x-lab").as_str(), header("content-type").as_str()), ("origin", "application/sdp"));
        let (etag, session) = (header("etag"), target(&scene, &header("location")));
        let at = made(&scene).iter().zip(&before).position(|(now, then)| now > then).unwrap();

        let trickle = "a=candidate:1 1 udp 2130706431 10.71.10.2 40000 typ host\r\na=end-of-candidates\r\n";
        let patch =
            |tag: &str, body: &str| ask(&scene, "PATCH", &session, &format!("{FRAGMENT}If-Match: {tag}\r\n"), body);
        assert_eq!(patch(&etag, trickle).status(), 204);
        assert_eq!(patch("\"another\"", trickle).status(), 412);
        let restarted = patch("*", "a=ice-ufrag:lab2\r\na=ice-pwd:labpasswordlabpassword34\r\n");
        assert_eq!(restarted.status(), 200, "{}", restarted.text());
        only_the_vip(&scene, &restarted);
        assert!(restarted.head.header("etag").is_some_and(|tag| tag != etag), "{:?}", restarted.head);
        let sessions = scene.rtc[at].stats().unwrap();
        assert_eq!(sessions.sum("restarts"), 1, "{sessions:#?}");

        assert_eq!(ask(&scene, "DELETE", &session, "", "").status(), 200);
        assert_eq!(ask(&scene, "DELETE", &session, "", "").status(), 404);
        assert!(scene.rtc[at].stats().unwrap().sessions().is_empty());
    }
    assert_eq!(made(&scene).iter().sum::<u64>(), 6, "no offer was sent twice");
    assert!(made(&scene).iter().all(|count| *count > 0), "two origins, six streams: {:?}", made(&scene));
}

#[test]
fn what_an_origin_refuses_reaches_the_client_as_it_is() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().rtc().build().unwrap();
    for kind in ["whip", "whep"] {
        for status in [400, 401, 403, 404, 406, 409, 422] {
            let answer = offer(&scene, &format!("/rtc/v1/{kind}/?app=live&stream=status-{status}"));
            assert_eq!((answer.status(), answer.text().as_str()), (status, "the origin refuses"));
            assert_eq!(answer.head.header("retry-after"), Some("7"), "{:?}", answer.head);
        }
    }
    assert_eq!(offer(&scene, "/rtc/v1/whip/?app=live&stream=taken").status(), 201);
    assert_eq!(offer(&scene, "/rtc/v1/whip/?app=live&stream=taken").status(), 409);
    let nonsense = ask(&scene, "POST", "/rtc/v1/whip/?app=live&stream=b", "Content-Type: application/sdp\r\n", "v=0");
    assert_eq!((nonsense.status(), nonsense.head.header("x-lab")), (400, Some("origin")), "{}", nonsense.text());
    let text = ask(&scene, "POST", "/rtc/v1/whip/?app=live&stream=c", "Content-Type: text/plain\r\n", OFFER);
    assert_eq!(text.status(), 415, "{}", text.text());
    wait_rtc_flows(&scene, 0, "kernel");
}

#[test]
fn a_browser_may_ask_first() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().rtc().build().unwrap();
    let headers = "Origin: http://example.org\r\nAccess-Control-Request-Method: POST\r\n\
        Access-Control-Request-Headers: content-type\r\n";
    let answer = ask(&scene, "OPTIONS", "/rtc/v1/whip/?app=live&stream=s1", headers, "");
    assert!([200, 204].contains(&answer.status()), "{:?}", answer.head);
    for name in ["access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers"] {
        assert!(answer.head.header(name).is_some(), "{name}: {:?}", answer.head);
    }
}

#[test]
fn without_an_origin_for_webrtc_it_is_503() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().build().unwrap();
    for kind in ["whip", "whep"] {
        let answer = offer(&scene, &format!("/rtc/v1/{kind}/?app=live&stream=s1"));
        assert_eq!(answer.status(), 503, "{}", answer.text());
        assert!(answer.head.header("retry-after").is_some(), "{:?}", answer.head);
    }
}

#[test]
fn a_vip_behind_a_translator_says_the_address_outside() {
    if !met(NEEDS) {
        return;
    }
    let plot = Plot::default().rtc().config("rtc_candidate = [\"203.0.113.7\", \"203.0.113.8:9000\"]");
    let scene = plot.build().unwrap();
    let answer = offer(&scene, "/rtc/v1/whip/?app=live&stream=s1");
    let found: Vec<String> = candidates(&answer)
        .iter()
        .map(|line| line.split_whitespace().skip(4).take(2).collect::<Vec<_>>().join(":"))
        .collect();
    assert_eq!(found, [format!("203.0.113.7:{RTC_PORT}"), "203.0.113.8:9000".to_owned()], "{}", answer.text());
}

#[test]
fn the_json_form_of_srs_does_the_same() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().origins(2).rtc().build().unwrap();
    let api = SocketAddr::new(scene.dc.vip(scene.family), ORIGIN_API_PORT);
    let (host, directory) = (&scene.dc.clients[0], scene.dc.directory());
    let open = |role, path| {
        let url = format!("http://{api}/rtc/v1/{path}/?app=live&stream=json");
        RtcClient::start(host, directory, role, &url, &[]).unwrap()
    };
    let publisher = open(RtcRole::Publish, "publish");
    publisher.wait_connected(LATER).unwrap();
    let player = open(RtcRole::Play, "play");
    let seen = player.wait_frames(50, LATER).unwrap().remove(0);
    assert_eq!(seen.number("lost"), 0, "{seen:#?}");
    candidates_name_only_the_vip(&scene, &seen);
    for flow in wait_rtc_flows(&scene, 2, "kernel") {
        assert_eq!(
            (&flow["stream"], &flow["vip"]),
            (&"__defaultVhost__/live/json".into(), &media(&scene).to_string().into())
        );
    }
    nothing_lost(&scene);
}

#[test]
fn a_stream_that_is_published_by_whip_is_found_by_players_of_flv() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().origins(2).rtc().build().unwrap();
    let publishers: Vec<_> = (0..6).map(|i| start(&scene, RtcRole::Publish, &format!("s{i}"), 1)).collect();
    for publisher in &publishers {
        publisher.wait_connected(LATER).unwrap();
    }
    assert!(made(&scene).iter().all(|count| *count > 0), "they are on both origins: {:?}", made(&scene));
    let http = SocketAddr::new(scene.dc.vip(scene.family), HTTP_PORT);
    for number in 0..6 {
        let mut client = WebClient::dial(&scene.dc.clients[0].netns, http).unwrap();
        let answer = client.get(&format!("/live/s{number}.flv")).unwrap();
        assert_eq!((answer.status(), &answer.body[..3]), (200, &b"FLV"[..]), "s{number}");
    }
}
