//! What of a connection reaches hyper, and what comes back.

use super::world::{Origin, Outcome, PATIENCE, World, bodies, statuses};
use crate::proxy::{Intake, Refused};
use crate::recognize::http::HttpError;
use balancer_common::abi::ServiceKind;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const THREE: &str = "GET /a.m3u8 HTTP/1.1\r\nHost: h\r\n\r\n\
                     POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello\
                     GET /live/cam.flv HTTP/1.1\r\nHost: h\r\n\r\n";

async fn world_with(origin: &Origin) -> World {
    let world = World::new();
    world.add("o1", origin.address).await;
    world
}

#[tokio::test]
async fn a_stream_behind_proxied_requests_comes_back_wherever_the_bytes_are_cut() {
    let origin = Origin::echo().await;
    let world = world_with(&origin).await;
    for cut in 1..THREE.len() {
        let (mut client, task) = world.connect();
        let (first, second) = THREE.as_bytes().split_at(cut);
        client.write_all(first).await.unwrap();
        tokio::task::yield_now().await;
        client.write_all(second).await.unwrap();
        let outcome = tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
        assert_eq!(outcome, Outcome::Spliced("GET /live/cam.flv HTTP/1.1\r\nHost: h\r\n\r\n".into()), "cut at {cut}");
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.unwrap();
        assert_eq!(bodies(&heard), ["GET /a.m3u8 HTTP/1.1", "POST /x HTTP/1.1"], "cut at {cut}");
    }
    assert!(origin.heard().iter().all(|request| !request.contains("flv")));
    assert_eq!(origin.heard().iter().filter(|request| request.ends_with("\r\n\r\nhello")).count(), THREE.len() - 1);
}

#[tokio::test]
async fn bytes_that_come_one_by_one_make_the_same_requests() {
    let origin = Origin::echo().await;
    let world = world_with(&origin).await;
    let (mut client, task) = world.connect();
    for byte in THREE.as_bytes() {
        client.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(matches!(tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap(), Outcome::Spliced(_)));
    assert_eq!(origin.heard().len(), 2);
}

/// The second request of each connection.
const SMUGGLED: [(&str, u16); 9] = [
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
    ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc", 400),
    ("GET / HTTP/1.1\r\nHost: h\r\nX : y\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: h\r\n folded: y\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
    ("GET /../etc/passwd HTTP/1.1\r\nHost: h\r\n\r\n", 400),
];

#[tokio::test]
async fn a_later_request_that_is_ambiguous_is_refused_and_forwarded_to_nobody() {
    for (second, status) in SMUGGLED {
        let origin = Origin::echo().await;
        let world = world_with(&origin).await;
        let talk = format!("GET /one HTTP/1.1\r\nHost: h\r\n\r\n{second}GET /three HTTP/1.1\r\nHost: h\r\n\r\n");
        let (heard, outcome) = world.hear(talk.as_bytes()).await;
        assert_eq!(statuses(&heard), [200, status], "{second:?}");
        assert!(matches!(outcome, Outcome::Refused(Refused::Head(_))), "{second:?}");
        assert_eq!(origin.heard().len(), 1, "{second:?}");
        assert!(heard.contains("Connection: close"));
    }
}

#[tokio::test]
async fn behind_a_chunked_body_nothing_is_a_request() {
    let origin = Origin::echo().await;
    let world = world_with(&origin).await;
    let talk = "POST /push HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\
                GET /two HTTP/1.1\r\nHost: h\r\n\r\n";
    let (heard, outcome) = world.hear(talk.as_bytes()).await;
    assert_eq!((statuses(&heard), outcome), (vec![200], Outcome::Closed));
    assert!(heard.to_ascii_lowercase().contains("connection: close"), "{heard}");
    assert_eq!(origin.heard().len(), 1);
    assert!(origin.heard()[0].ends_with("5\r\nhello\r\n0\r\n\r\n"), "{}", origin.heard()[0]);
}

#[tokio::test]
async fn a_hundred_requests_may_wait_and_no_more() {
    let origin = Origin::echo().await;
    let world = world_with(&origin).await;
    let one = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    let (heard, outcome) = world.hear(one.repeat(100).as_bytes()).await;
    assert_eq!((statuses(&heard).len(), outcome), (100, Outcome::Refused(Refused::Ended)));
    let (heard, outcome) = world.hear(one.repeat(200).as_bytes()).await;
    assert_eq!((statuses(&heard).len(), outcome), (101, Outcome::Refused(Refused::Pipelined)));
}

#[tokio::test]
async fn requests_that_wait_for_their_answers_are_not_counted() {
    let origin = Origin::echo().await;
    let world = world_with(&origin).await;
    let (mut client, task) = world.connect();
    for _ in 0..150 {
        client.write_all(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 1024];
        let n = client.read(&mut answer).await.unwrap();
        assert!(n > 0);
    }
    drop(client);
    assert_eq!(task.await.unwrap(), Outcome::Refused(Refused::Ended));
    assert_eq!((origin.heard().len(), origin.connections()), (150, 1), "and one connection is enough");
}

#[tokio::test]
async fn a_client_that_says_no_more_still_gets_its_answer() {
    let origin = Origin::echo().await;
    let world = world_with(&origin).await;
    let (heard, outcome) = world.hear(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!((statuses(&heard), outcome), (vec![200], Outcome::Refused(Refused::Ended)));
    let (heard, _) = world.hear(b"GET /a HTTP/1.0\r\n\r\n").await;
    assert_eq!(statuses(&heard), [200]);
    let (heard, outcome) = world.hear(b"GET /a HT").await;
    assert_eq!((heard.as_str(), outcome), ("", Outcome::Refused(Refused::Gone)));
}

#[tokio::test]
async fn a_head_of_any_size_that_fits_is_taken_and_a_larger_one_refused() {
    let origin = Origin::echo().await;
    let world = world_with(&origin).await;
    let max = world.proxy.limits().head_bytes_max;
    let head = |len: usize| {
        let frame = "GET /a HTTP/1.1\r\nHost: h\r\nX: \r\n\r\n";
        format!("GET /a HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(len - frame.len()))
    };
    let (heard, _) = world.hear((head(max) + &head(max)).as_bytes()).await;
    assert_eq!(statuses(&heard), [200, 200]);
    let (heard, outcome) = world.hear((head(max) + &head(max + 1)).as_bytes()).await;
    assert_eq!(statuses(&heard), [200, 431]);
    assert_eq!(outcome, Outcome::Refused(Refused::Head(HttpError::TooLarge)));
}

#[tokio::test]
async fn a_large_answer_waits_for_a_slow_reader_and_arrives_whole() {
    let body: String = (0..400_000).map(|i| char::from(b'a' + (i % 23) as u8)).collect();
    let sent = body.clone();
    let origin = Origin::new(move |_| super::world::ok(&sent)).await;
    let world = world_with(&origin).await;
    let (mut client, task) = world.connect_by(700, ServiceKind::Http);
    client.write_all(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    let mut some = [0; 333];
    loop {
        match client.read(&mut some).await.unwrap() {
            0 => break,
            n => heard.extend_from_slice(&some[..n]),
        }
    }
    assert_eq!(bodies(&String::from_utf8(heard).unwrap()), [body]);
    assert_eq!(task.await.unwrap(), Outcome::Refused(Refused::Ended));
}

#[tokio::test]
async fn a_large_body_passes_and_the_next_request_begins_right_behind_it() {
    let origin = Origin::echo().await;
    let world = world_with(&origin).await;
    let body = "b".repeat(300_000);
    let talk = format!(
        "PUT /one HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}GET /two HTTP/1.1\r\nHost: h\r\n\r\n",
        body.len()
    );
    let (heard, _) = world.hear(talk.as_bytes()).await;
    assert_eq!(bodies(&heard), ["PUT /one HTTP/1.1", "GET /two HTTP/1.1"]);
    assert!(origin.heard()[0].ends_with(&body));
}

#[tokio::test]
async fn what_was_read_before_is_the_beginning() {
    let world = World::new();
    let (_near, far) = tokio::io::duplex(64);
    let text = "GET /live/a.flv HTTP/1.1\r\nHost: h\r\n\r\nrest";
    let mut intake = Intake::new(far, text.as_bytes(), world.proxy.limits(), Arc::new(|_| Ok(true)));
    let head = intake.next().await.unwrap();
    assert_eq!((head.path(), head.len), ("/live/a.flv", text.len() - 4));
    assert_eq!(intake.into_parts().1, text.as_bytes());
}
