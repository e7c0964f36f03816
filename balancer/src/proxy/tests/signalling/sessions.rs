//! Sessions after the answer: found again by their URL, renamed, ended, and whose they are.

use super::*;
use crate::config::{HttpUrl, Policy};
use serde_json::json;

#[tokio::test]
async fn a_session_is_found_again_by_a_balancer_that_never_heard_of_it() {
    let (a, b) = (origin("aaaa").await, origin("bbbb").await);
    for n in 0..6 {
        let first = World::of(settings());
        first.add("o1", a.address).await;
        first.add("o2", b.address).await;
        let second = World::of(settings());
        second.add("o2", b.address).await;
        second.add("o1", a.address).await;
        // Another balancer, another name for the way there.
        let offered = ask(&first, &format!("POST /rtc/v1/whip/?app=live&stream=s{n}"), "v=0").await;
        let nth = usize::from(offered.body.contains("bbbb"));
        let (home, other) = if nth == 0 { (&a, &b) } else { (&b, &a) };
        let before = other.heard().len();
        for world in [&first, &second] {
            let trickled = ask(world, &format!("PATCH {}", offered.location()), "a=candidate:x").await;
            assert_eq!(trickled.status, 204);
            assert!(home.heard().last().unwrap().starts_with("PATCH /rtc/v1/whip/?action=delete&session="));
            assert!(!home.heard().last().unwrap().contains("spb"), "{}", home.heard().last().unwrap());
        }
        assert_eq!(ask(&second, &format!("PATCH {}", offered.location()), "restart").await.status, 200);
        let name = ["aaaanew", "bbbbnew"][nth];
        assert!(second.proxy.rtc.knows(name) && !first.proxy.rtc.knows(name));
        assert_eq!(ask(&second, &format!("DELETE {}", offered.location()), "").await.status, 200);
        assert!(home.heard().last().unwrap().starts_with("DELETE /rtc/v1/whip/?action=delete&session="));
        assert_eq!((second.proxy.rtc.len(), first.proxy.rtc.len()), (0, 1));
        assert_eq!(other.heard().len(), before);
    }
}

#[tokio::test]
async fn a_restart_of_ice_adds_a_name() {
    let (world, origin) = (World::of(settings()), origin("abcd").await);
    world.add("o1", origin.address).await;
    let offered = ask(&world, WHIP, "v=0").await;
    let heard = ask(&world, &format!("PATCH {}\nIf-Match: *", offered.location()), "restart").await;
    assert_eq!((heard.status, heard.header("Etag")), (200, Some("\"2\"")));
    assert!(heard.body.contains("a=candidate:1 1 udp 2130706431 127.0.0.1 8000 typ host\r\n"), "{}", heard.body);
    assert!(origin.heard()[1].contains("If-Match: *\r\n"));
    assert_eq!((world.proxy.rtc.knows("abcdnew"), world.proxy.rtc.len()), (true, 1));
    ask(&world, &format!("DELETE {}", offered.location()), "").await;
    assert!(!world.proxy.rtc.knows("abcdnew") && world.proxy.rtc.is_empty());
}

#[tokio::test]
async fn a_restart_that_says_nothing_of_the_media_leaves_them_where_they_are() {
    let answer = |request: &str| match request.split(' ').next().unwrap() {
        "POST" => created("x", "/s/1", &sdp("abcd", &[HOST])),
        _ => {
            let fragment = "a=ice-ufrag:abcdnew\r\na=ice-pwd:y\r\n";
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/trickle-ice-sdpfrag\r\n";
            format!("{head}Content-Length: {}\r\n\r\n{fragment}", fragment.len()).into_bytes()
        }
    };
    let (world, origin) = saying(answer).await;
    let offered = ask(&world, WHIP, "v=0").await;
    let heard = ask(&world, &format!("PATCH {}", offered.location()), "restart").await;
    assert_eq!((heard.status, heard.body.as_str()), (200, "a=ice-ufrag:abcdnew\r\na=ice-pwd:y\r\n"));
    assert!(world.proxy.rtc.knows("abcdnew") && world.proxy.rtc.len() == 1);
    // A balancer that has not seen it begin cannot know where.
    let other = World::of(settings());
    other.add("o1", origin.address).await;
    assert_eq!(ask(&other, &format!("PATCH {}", offered.location()), "restart").await.status, 502);
}

#[tokio::test]
async fn a_session_ends_when_its_origin_says_so() {
    for (said, left) in
        [("200 OK", 0), ("204 No Content", 0), ("404 Not Found", 0), ("410 Gone", 0), ("403 No", 1), ("500 No", 1)]
    {
        let answer = move |request: &str| match request.starts_with("DELETE") {
            true if said.starts_with("204") => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            true => status(said),
            false => created("x", "/s/1", &sdp("abcd", &[HOST])),
        };
        let (world, _origin) = saying(answer).await;
        let offered = ask(&world, WHIP, "v=0").await;
        assert_eq!(offered.location(), "/s/1?spbkey=__defaultVhost__/live/a&spborigin=o1");
        let heard = ask(&world, &format!("DELETE {}", offered.location()), "").await;
        assert_eq!((heard.status.to_string().as_str(), world.proxy.rtc.len()), (&said[..3], left), "{said}");
    }
}

#[tokio::test]
async fn an_absolute_location_leads_to_whom_the_client_has_dialled() {
    let (world, _origin) = saying(|_| created("x", "http://10.0.0.5:1985/s/1?x", &sdp("abcd", &[HOST]))).await;
    let location = ask(&world, WHIP, "v=0").await.location().to_owned();
    assert_eq!(location, "http://192.0.2.10:1985/s/1?x&spbkey=__defaultVhost__/live/a&spborigin=o1");
}

#[tokio::test]
async fn two_origins_that_number_their_sessions_alike_do_not_end_each_others() {
    let one = |name: &'static str| {
        Origin::new(move |request| match request.starts_with("POST") {
            true => created("x", "/s/1", &sdp(name, &[HOST])),
            false => status("404 Not Found"),
        })
    };
    let (a, b) = (one("aaaa").await, one("bbbb").await);
    let world = World::of(Settings { policy: Policy::RoundRobin, ..settings() });
    world.add("o1", a.address).await;
    world.add("o2", b.address).await;
    for n in 0..8 {
        ask(&world, &format!("POST /rtc/v1/whip/?app=live&stream=s{n}"), "v=0").await;
    }
    let names = |world: &World| ["aaaa", "bbbb"].map(|name| world.proxy.rtc.knows(name));
    let before = names(&world);
    ask(&world, "DELETE /s/1?spborigin=o1", "").await;
    assert_eq!(names(&world)[1], before[1]);
}

#[tokio::test]
async fn transports_that_are_not_bundled_have_a_name_each() {
    let two = |ports: [u16; 2]| {
        let section = |name: &str, port: u16| {
            format!(
                "m=audio 9 x 0\r\na=rtcp-mux\r\na=ice-ufrag:{name}\r\na=candidate:1 1 udp 9999 127.0.0.9 {port} typ host\r\n"
            )
        };
        format!("v=0\r\n{}{}", section("aaaa", ports[0]), section("bbbb", ports[1]))
    };
    for (ports, sessions) in [([9000, 9000], 1), ([9000, 9001], 2)] {
        let answer = two(ports);
        let (world, _origin) = saying(move |request| match request.starts_with("POST") {
            true => created("x", "/s/1", &answer),
            false => status("200 OK"),
        })
        .await;
        let offered = ask(&world, WHIP, "v=0").await;
        assert_eq!(offered.body.matches(" 127.0.0.1 8000 typ host").count(), 2, "{}", offered.body);
        assert_eq!(world.proxy.rtc.len(), sessions);
        assert!(world.proxy.rtc.knows("aaaa") && world.proxy.rtc.knows("bbbb"));
        ask(&world, &format!("DELETE {}", offered.location()), "").await;
        assert!(world.proxy.rtc.is_empty(), "all of it has ended");
    }
}

#[tokio::test]
async fn the_hook_is_asked_about_an_offer_with_all_that_it_says() {
    let origin = origin("abcd").await;
    let hook =
        Origin::new(|question| super::super::world::ok(if question.contains("token=t") { "0" } else { "1" })).await;
    let auth_hook = Some(HttpUrl(format!("http://{}/", hook.address)));
    let world = World::of(Settings { auth_hook, ..settings() });
    world.add("o1", origin.address).await;
    assert_eq!(ask(&world, WHIP, "v=0").await.status, 403);
    let body = json!({ "streamurl": "webrtc://h/live/a?token=t", "sdp": "v=0" }).to_string();
    ask(&world, "POST /rtc/v1/publish/", &body).await;
    assert!(origin.heard()[0].starts_with("POST /rtc/v1/publish/ "), "allowed by what its body says");
    let offered = ask(&world, &format!("{WHIP}&token=t"), "v=0").await;
    assert_eq!(offered.status, 201);
    let asked = hook.heard().len();
    assert!(hook.heard()[asked - 1].contains(r#""protocol":"webrtc""#), "{}", hook.heard()[asked - 1]);
    // The session's URL has no token of ours, and needs none.
    assert_eq!(ask(&world, &format!("PATCH {}", offered.location()), "x").await.status, 204);
    assert_eq!(ask(&world, &format!("DELETE {}", offered.location()), "").await.status, 200);
    assert_eq!(hook.heard().len(), asked);
    assert_eq!(ask(&world, "DELETE /rtc/v1/whip/?app=live&stream=a", "").await.status, 403, "not a session's URL");
}

#[tokio::test]
async fn nobody_picks_an_origin_for_what_is_no_session() {
    let (world, a, b) = (World::of(settings()), origin("aaaa").await, origin("bbbb").await);
    world.add("o1", a.address).await;
    world.add("o2", b.address).await;
    let first = ask(&world, WHIP, "v=0").await;
    for id in ["o1", "o2"] {
        let again = ask(&world, &format!("{WHIP}&spborigin={id}"), "v=0").await;
        assert_eq!(again.body, first.body, "where the stream is");
    }
    assert_eq!(ask(&world, "DELETE /api/v1/clients/1?spborigin=o1", "").await.status, 200, "answered for all origins");
    assert!(a.heard().iter().chain(&b.heard()).all(|request| !request.contains("spborigin")));
}
