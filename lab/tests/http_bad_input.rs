//! What is not HTTP, or is two things to two readers: refused with its status, the connection closed, and nothing of it
//! at any origin.

use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::wait::wait_until;
use balancer_lab::web::client::Closed;
use balancer_lab::web::head::Head;
use balancer_lab::web::origin::WebManners;
use balancer_lab::web::plan::{Shape, WebPlan};
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Network, Need::Balancer];
const HEAD_BYTES_MAX: usize = 16 * 1024;

fn scene() -> Scene {
    let plot = Plot::default().web(WebManners::default());
    plot.config("preamble_timeout = \"1s\"").config("keep_alive_timeout = \"1s\"").build().unwrap()
}

fn target() -> String {
    WebPlan::new(1, 1000, Shape::Length).path("m3u8")
}

/// What a client gets that says this and then waits: the status, 0 where there was no answer, and how it ended.
fn say(scene: &Scene, request: &[u8]) -> (u16, Closed) {
    let mut client = scene.dial_http().unwrap();
    // It may be refused before it has been read to its end.
    let _ = client.send(request);
    let (bytes, closed) = client.rest().unwrap();
    let head = Head::read(&mut &bytes[..]).ok().flatten();
    (head.map_or(0, |head| head.status()), closed)
}

/// Whether the origin sees ordinary requests, and has seen no other.
fn only_good_requests_arrived(scene: &Scene, before: usize) {
    let arrived = scene.web[0].arrived();
    let lines: Vec<_> = arrived[before..].iter().map(|arrived| &arrived.head.line).collect();
    assert!(lines.is_empty(), "{lines:#?}");
    let mut client = scene.dial_http().unwrap();
    assert_eq!(client.get(&target()).unwrap().status(), 200);
}

#[test]
fn malformed_heads_are_refused_and_arrive_nowhere() {
    if !met(NEEDS) {
        return;
    }
    let scene = scene();
    let (media, other) = ("/live/x.flv", "/live/x.m3u8");
    let refused = |status: &[u16], request: String| {
        let (got, closed) = say(&scene, request.as_bytes());
        assert!(status.contains(&got), "{got}, not {status:?}: {request:?}");
        assert_ne!(closed, Closed::StillOpen, "{request:?}");
    };
    for path in [media, other] {
        let with = |headers: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let post = |headers: &str, body: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}");
        // Two ways to say how long the body is, or one way said twice.
        let inner = format!("GET {path}?smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        refused(&[400], post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{inner}")));
        refused(&[400], post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", &format!("0\r\n\r\n{inner}")));
        refused(&[400], post("Content-Length: 5\r\nContent-Length: 6\r\n", &inner));
        refused(&[400], post("Content-Length: 5, 6\r\n", &inner));
        for length in ["-1", "+5", "0x10", "5 5", "99999999999999999999", "", "5a"] {
            refused(&[400], post(&format!("Content-Length: {length}\r\n"), &inner));
        }
        for coding in [
            "xchunked",
            "chunked, chunked",
            "gzip",
            "chunked, gzip",
            "\u{b}chunked",
            "identity, chunked",
            "\"chunked\"",
        ] {
            refused(&[400, 501], post(&format!("Transfer-Encoding: {coding}\r\n"), &inner));
        }
        refused(&[400], post("Transfer-Encoding : chunked\r\n", &inner));
        refused(&[400], post("Transfer-Encoding:\r\n chunked\r\n", &inner));
        refused(&[400], post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", &inner));
        refused(&[400], format!("POST {path} HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"));
        // Line ends, blanks and bytes that one reader skips and another does not.
        refused(&[400], with("A: b\rX: y\r\n"));
        refused(&[400], with("A: b\n\rX: y\r\n"));
        refused(&[400], with(" folded: yes\r\n"));
        refused(&[400], with("A: b\r\n c\r\n"));
        refused(&[400], with("A: b\0c\r\n"));
        refused(&[400], with("no colon\r\n"));
        refused(&[400], with(": no name\r\n"));
        refused(&[400], with("A b: c\r\n"));
        refused(&[400], with("Host: b\r\n"));
        refused(&[400], format!("GET {path} HTTP/1.1\r\n\r\n"));
        refused(&[400], format!("GET  {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        refused(&[400], format!("GET {path}  HTTP/1.1\r\nHost: a\r\n\r\n"));
        refused(&[400], format!("GET {path}\tHTTP/1.1\r\nHost: a\r\n\r\n"));
        refused(&[400, 505], format!("GET {path}\r\n\r\n"));
        refused(&[400, 505], format!("GET {path} HTTP/2.0\r\nHost: a\r\n\r\n"));
        refused(&[400, 505], format!("GET {path} HTTP/1.10\r\nHost: a\r\n\r\n"));
        refused(&[400, 505], format!("GET {path} http/1.1\r\nHost: a\r\n\r\n"));
        refused(&[400], format!("GE(T {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        // Targets and hosts that mean two things.
        for host in ["a b", "a/b", "a@b", "a,b", "a:b", "a:99999999", "[::1", "a#b"] {
            refused(&[400], format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        }
        refused(&[400], format!("GET http://user@a{path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        refused(&[400], format!("GET ftp://a{path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        refused(&[400], format!("GET {path}#part HTTP/1.1\r\nHost: a\r\n\r\n"));
        refused(&[400], format!("GET {}{path} HTTP/1.1\r\nHost: a\r\n\r\n", "live"));
    }
    refused(&[400, 405, 501], "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n".into());
    refused(&[400, 505], "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into());
    only_good_requests_arrived(&scene, 0);
}

#[test]
fn absolute_targets_are_for_the_host_that_they_name() {
    if !met(NEEDS) {
        return;
    }
    let scene = scene();
    for path in [target(), WebPlan::new(2, 1000, Shape::Length).path("flv")] {
        let mut client = scene.dial_http().unwrap();
        client.send(format!("GET http://live.example:8080{path} HTTP/1.1\r\nHost: other.example\r\n\r\n")).unwrap();
        let answer = client.answer("GET").unwrap();
        if answer.status() == 400 {
            // Strictness is a good answer too, as long as nothing arrives.
            assert!(scene.web[0].arrived_for(&path).is_empty());
            continue;
        }
        assert_eq!((answer.status(), answer.body.len()), (200, 1000), "{path}");
        let arrived = scene.web[0].arrived_for(&path);
        let text = String::from_utf8_lossy(&arrived[0].head.raw);
        assert!(!text.contains("other.example"), "RFC 9112 section 3.2.2: {text}");
    }
}

#[test]
fn heads_that_are_too_large_are_refused() {
    if !met(NEEDS) {
        return;
    }
    let scene = scene();
    for path in ["/live/x.flv", "/live/x.m3u8"] {
        let long = "a".repeat(HEAD_BYTES_MAX);
        for (status, request) in [
            (&[414, 431, 400][..], format!("GET /{long}.flv HTTP/1.1\r\nHost: a\r\n\r\n")),
            (&[431], format!("GET {path} HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n")),
            (&[431], format!("GET {path} HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(HEAD_BYTES_MAX / 6))),
            // Without an end: nobody waits for one.
            (&[414, 431, 400], format!("GET /{}", long.repeat(4))),
        ] {
            let (got, closed) = say(&scene, request.as_bytes());
            assert!(status.contains(&got), "{got}, not {status:?}: {}", &request[..40]);
            assert_ne!(closed, Closed::StillOpen);
        }
    }
    only_good_requests_arrived(&scene, 0);
}

#[test]
fn a_head_that_does_not_come_to_its_end_is_408() {
    if !met(NEEDS) {
        return;
    }
    let scene = scene();
    let mut slow = scene.dial_http().unwrap();
    // One byte now and then does not help.
    for byte in format!("GET {} HTTP/1.1\r\nHost: a\r\nX: ", target()).as_bytes().iter().cycle().take(60) {
        if slow.send([*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let (bytes, closed) = slow.rest().unwrap();
    let head = Head::read(&mut &bytes[..]).ok().flatten();
    // After bytes that nobody reads any more, a reset may overtake the answer.
    let refused = head.is_some_and(|head| head.status() == 408) || (bytes.is_empty() && closed == Closed::Reset);
    assert!(refused, "{:?} {closed:?}", String::from_utf8_lossy(&bytes));
    assert_eq!(say(&scene, b"GET /live/a.m3u8 HTT"), (408, Closed::InOrder));
    // Not a word at all: nothing was asked, so nothing has to be answered.
    let (status, closed) = say(&scene, b"");
    assert!([0, 408].contains(&status) && closed != Closed::StillOpen, "{status} {closed:?}");
    only_good_requests_arrived(&scene, 0);
}

#[test]
fn an_idle_connection_is_closed_in_order() {
    if !met(NEEDS) {
        return;
    }
    let scene = scene();
    let mut keep = scene.dial_http().unwrap();
    for _ in 0..3 {
        assert_eq!(keep.get(&target()).unwrap().status(), 200);
        std::thread::sleep(Duration::from_millis(300));
    }
    let (rest, closed) = keep.rest().unwrap();
    assert_eq!((rest.len(), closed), (0, Closed::InOrder));
}

#[test]
fn many_pipelined_requests_are_answered_in_order_and_too_many_are_not() {
    if !met(NEEDS) {
        return;
    }
    let scene = scene();
    for i in 0..300 {
        scene.web[0].put(&format!("/live/a.m3u8?n={i}"), "text/plain", format!("{i}"));
    }
    let get = |i: usize| format!("GET /live/a.m3u8?n={i} HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut client = scene.dial_http().unwrap();
    client.send((0..50).map(get).collect::<String>()).unwrap();
    for i in 0..50 {
        assert_eq!(client.answer("GET").unwrap().text(), i.to_string());
    }
    let mut client = scene.dial_http().unwrap();
    let _ = client.send((0..300).map(get).collect::<String>());
    let mut answered = 0;
    while let Ok(answer) = client.answer("GET") {
        if answer.status() != 200 {
            break;
        }
        assert_eq!(answer.text(), answered.to_string());
        answered += 1;
    }
    assert!(answered <= 101, "{answered} of 300 requests in one write were answered");
    assert_ne!(client.rest().unwrap().1, Closed::StillOpen);
    assert!(scene.web[0].arrived_for("?n=299").is_empty());
}

#[test]
fn a_refused_connection_leaves_nothing_behind() {
    if !met(NEEDS) {
        return;
    }
    let scene = scene();
    for _ in 0..200 {
        let (status, _) = say(&scene, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
        assert_eq!(status, 400);
    }
    scene.wait_no_flows().unwrap();
    let tracks = || scene.balancer.metric("balancer_map_entries", &["map=\"TRACKS4\""]).unwrap_or(1.0);
    wait_until("no track to be left", SOON, || tracks() == 0.0).unwrap();
    only_good_requests_arrived(&scene, 0);
}

#[test]
fn connections_that_wait_for_their_next_request_are_bounded() {
    if !met(NEEDS) {
        return;
    }
    let limits = "http_connections_max = 5\nhttp_connections_per_client_max = 3";
    let scene = Plot::default().web(WebManners::default()).config(limits).build().unwrap();
    let mut kept: Vec<_> = (0..3).map(|_| scene.dial_http().unwrap()).collect();
    for client in &mut kept {
        assert_eq!(client.get("/nothing").unwrap().status(), 404);
    }
    let mut late = scene.dial_http().unwrap();
    assert_eq!(late.get("/nothing").unwrap().status(), 503);
    assert_eq!(scene.balancer.reason("http_connections_per_client").unwrap(), 1.0);
    // A stream is none of them, and a place comes back with its connection.
    let plan = WebPlan::new(1, 100_000, Shape::UntilClose);
    assert!(scene.view(plan, "flv").unwrap().join().is_exact());
    drop(kept);
    let served = || scene.dial_http().unwrap().get("/nothing").is_ok_and(|answer| answer.status() == 404);
    wait_until("a place", SOON, served).unwrap();
}
