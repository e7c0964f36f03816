//! Origins that fail, and what is tried before a client hears of it.

use super::world::{Origin, World, bodies, ok, statuses};
use crate::config::Settings;
use crate::proxy::{OriginError, Origins, Outgoing, Target, Times};
use crate::recognize::proxy_header::ProxyVersion;
use crate::registry::{Endpoints, OriginSpec, OriginStatus};
use balancer_common::abi::ServiceKind;
use http::Request;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const GET: &str = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";
const POST: &str = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";

/// An address that refuses connections.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn without_an_origin_the_client_is_told_to_come_again() {
    let (heard, _) = World::new().hear(GET.as_bytes()).await;
    assert_eq!(statuses(&heard), [503]);
    assert!(heard.contains("Retry-After: 1\r\n") && heard.contains("no healthy origin"), "{heard}");
}

#[tokio::test]
async fn an_origin_that_refuses_is_passed_over_and_known_to_be_down() {
    let origin = Origin::echo().await;
    let world = World::new();
    world.add("gone", nobody().await).await;
    world.add("o1", origin.address).await;
    for n in 0..20 {
        let (heard, _) =
            world.hear(format!("POST /{n} HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc").as_bytes()).await;
        assert_eq!(
            bodies(&heard),
            [format!("POST /{n} HTTP/1.1")],
            "nothing had been sent: anything may be sent again"
        );
    }
    assert!(origin.heard().iter().all(|request| request.ends_with("abc")));
    let gone = world.proxy.store.origin("gone", world.proxy.clock.now()).unwrap();
    assert_eq!(gone.status, OriginStatus::Down);
}

#[tokio::test]
async fn the_only_origin_that_refuses_is_a_bad_gateway_and_then_none() {
    let world = World::new();
    world.add("gone", nobody().await).await;
    let (heard, _) = world.hear(GET.as_bytes()).await;
    assert_eq!(statuses(&heard), [503], "the second attempt found none");
    assert!(world.metrics().contains("balancer_http_origin_requests_total{result=\"connect_failed\"} 1"));
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_costs_a_get_nothing() {
    let count = AtomicUsize::new(0);
    // Closes instead of answering every second request: what a server does whose patience has just ended.
    let origin = Origin::new(move |_| if count.fetch_add(1, Relaxed) % 2 == 1 { Vec::new() } else { ok("here") }).await;
    let world = World::new();
    world.add("o1", origin.address).await;
    let (heard, _) = world.hear(GET.repeat(3).as_bytes()).await;
    assert_eq!(bodies(&heard), ["here", "here", "here"]);
    assert_eq!((origin.heard().len(), origin.connections()), (5, 3));
}

#[tokio::test]
async fn what_cannot_be_repeated_is_not_and_the_origin_is_not_blamed() {
    let count = AtomicUsize::new(0);
    let origin = Origin::new(move |_| if count.fetch_add(1, Relaxed) == 1 { Vec::new() } else { ok("here") }).await;
    let world = World::new();
    world.add("o1", origin.address).await;
    let (heard, _) = world.hear(POST.repeat(3).as_bytes()).await;
    assert_eq!(statuses(&heard), [200, 502, 200], "{heard}");
    assert!(heard.contains("it closed the connection instead of answering"), "{heard}");
    let seen = world.proxy.store.origin("o1", world.proxy.clock.now()).unwrap();
    assert_eq!(seen.status, OriginStatus::Healthy);
}

#[tokio::test]
async fn an_origin_that_speaks_something_else_is_a_bad_gateway() {
    for said in
        ["SSH-2.0-OpenSSH_9\r\n", "HTTP/1.1 abc\r\n\r\n", "\0\0\0\0", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"]
    {
        let origin = Origin::new(move |_| said.as_bytes().to_vec()).await;
        let world = World::new();
        world.add("o1", origin.address).await;
        let (heard, _) = world.hear(POST.as_bytes()).await;
        assert_eq!(statuses(&heard), [502], "{said}");
    }
}

fn origins(answer_ms: u64) -> std::sync::Arc<Origins> {
    let times = Times {
        connect: Duration::from_secs(5),
        answer: Duration::from_millis(answer_ms),
        idle: Duration::from_millis(answer_ms),
    };
    Origins::new(times, crate::sources::Sources::default(), World::new().proxy.telemetry.clone())
}

fn get() -> Request<Outgoing> {
    Request::get("/x").header("host", "h").body(Outgoing::Empty).unwrap()
}

#[tokio::test]
async fn an_origin_that_says_nothing_is_not_waited_for_for_ever() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::from(silent.local_addr().unwrap());
    let failed = origins(50).ask(&target, get()).await.err().unwrap();
    assert!(matches!(failed.error, OriginError::Slow) && failed.request.is_none(), "{:?}", failed.error);
}

#[tokio::test]
async fn one_client_cannot_take_the_places_of_all() {
    let origin = Origin::new(|_| ok("here")).await;
    let (world, target) = (World::new(), Target::from(origin.address));
    let origins = &world.proxy.origins;
    let of = |client: &str| {
        let request = Request::get("/x").header("host", "h").header("x-real-ip", client);
        request.body(Outgoing::Empty).unwrap()
    };
    let mut unread = Vec::new();
    for _ in 0..256 {
        unread.push(origins.ask(&target, of("198.51.100.7")).await.unwrap());
    }
    let failed = origins.ask(&target, of("198.51.100.7")).await.err().unwrap();
    assert!(matches!(failed.error, OriginError::Busy) && failed.request.is_none(), "{:?}", failed.error);
    assert!(world.metrics().contains("\"requests_per_client\"} 1"), "{}", world.metrics());
    origins.ask(&target, of("198.51.100.8")).await.unwrap();
    unread.pop();
    origins.ask(&target, of("198.51.100.7")).await.unwrap();
}

#[tokio::test]
async fn an_upload_may_last_longer_than_any_silence_in_it() {
    let origin = Origin::echo().await;
    let world = World::of(Settings { idle_timeout: Duration::from_secs(2), ..Settings::default() });
    world.add("o1", origin.address).await;
    let (mut client, task) = world.connect();
    client.write_all(b"PUT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    for _ in 0..5 {
        client.write_all(b"1\r\nx\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    client.write_all(b"0\r\n\r\n").await.unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    assert_eq!(statuses(&heard), [200]);
    task.await.unwrap();
}

#[tokio::test]
async fn connections_are_kept_and_swept_when_the_origin_closes_them() {
    let origin = Origin::new(|_| ok("here")).await;
    let (origins, target) = (origins(5000), Target::from(origin.address));
    for _ in 0..5 {
        let asked = origins.ask(&target, get()).await.unwrap();
        let body = http_body_util::BodyExt::collect(asked.response.into_body()).await.unwrap().to_bytes();
        assert_eq!(body, "here");
    }
    assert_eq!((origin.connections(), origins.idle()), (1, 1));
    origins.sweep();
    assert_eq!(origins.idle(), 1);
    let asked = origins.ask(&target, get()).await.unwrap();
    drop(asked.response);
    assert_eq!(origins.idle(), 0, "an answer that nobody has read to its end");
}

#[tokio::test]
async fn an_origin_that_wants_a_proxy_header_gets_a_connection_for_each_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let origin = tokio::spawn(async move {
        let mut heard = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut bytes).await.unwrap();
            }
            stream.write_all(&ok("x")).await.unwrap();
            heard.push(String::from_utf8(bytes).unwrap());
        }
        heard
    });
    let world = World::new();
    let mut endpoints = Endpoints::default();
    endpoints.add(ServiceKind::Http, address).unwrap();
    let proxy_protocol = Some(Some(ProxyVersion::V1));
    world.put("o1", OriginSpec { endpoints: Some(endpoints), proxy_protocol, ..OriginSpec::default() }).await;
    let (heard, _) = world.hear(GET.repeat(2).as_bytes()).await;
    assert_eq!(statuses(&heard), [200, 200]);
    for heard in origin.await.unwrap() {
        assert!(heard.starts_with("PROXY TCP4 198.51.100.7 127.0.0.1 5000 8080\r\nGET /x HTTP/1.1\r\n"), "{heard}");
    }
}
