//! How long a client may take, by tokio's own clock.

use super::world::{Outcome, World, statuses};
use crate::proxy::{Intake, Refused};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::time::Instant;

const ONE: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_is_answered_with_408() {
    for sent in [&b""[..], b"GET /a HT", b"GET /a HTTP/1.1\r\nHost: h\r\n"] {
        let world = World::new();
        let (mut client, task) = world.connect();
        let start = Instant::now();
        client.write_all(sent).await.unwrap();
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.unwrap();
        assert_eq!((statuses(&heard), start.elapsed().as_secs()), (vec![408], 10));
        drop(client);
        assert_eq!(task.await.unwrap(), Outcome::Refused(Refused::Slow));
    }
}

#[tokio::test(start_paused = true)]
async fn drops_of_a_head_do_not_prolong_it() {
    let world = World::new();
    let (mut client, task) = world.connect();
    let start = Instant::now();
    client.write_all(b"GET /a HTTP/1.1\r\n").await.unwrap();
    while client.write_all(b"X: y\r\n").await.is_ok() && !task.is_finished() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(start.elapsed().as_secs() < 20);
    }
    assert_eq!(task.await.unwrap(), Outcome::Refused(Refused::Slow));
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_further_requests_is_closed_without_a_word() {
    let world = World::new();
    let (mut client, task) = world.connect();
    let start = Instant::now();
    client.write_all(ONE).await.unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    // Nobody has registered.
    assert_eq!((statuses(&heard), start.elapsed().as_secs()), (vec![503], 75));
    assert!(heard.to_ascii_lowercase().contains("retry-after: 1\r\n"), "{heard}");
    drop(client);
    assert_eq!(task.await.unwrap(), Outcome::Refused(Refused::Idle));
}

#[tokio::test(start_paused = true)]
async fn a_later_head_has_its_own_ten_seconds() {
    let world = World::new();
    let (mut client, task) = world.connect();
    let start = Instant::now();
    client.write_all(ONE).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    client.write_all(b"G").await.unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    assert_eq!((statuses(&heard), start.elapsed().as_secs()), (vec![503, 408], 70));
    drop(client);
    assert_eq!(task.await.unwrap(), Outcome::Refused(Refused::Slow));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_left_after_half_a_minute() {
    let world = World::new();
    // Not even a refusal fits.
    let (mut client, task) = world.connect_by(16, balancer_common::abi::ServiceKind::Http);
    let start = Instant::now();
    client.write_all(ONE).await.unwrap();
    assert_eq!(task.await.unwrap(), Outcome::Closed);
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for_longer_than_half_a_minute() {
    let world = World::new();
    let (mut client, task) = world.connect();
    let start = Instant::now();
    client.write_all(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc").await.unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    assert_eq!(statuses(&heard), [503], "the answer does not wait for the body");
    drop(client);
    assert_eq!(task.await.unwrap(), Outcome::Closed);
    assert!(start.elapsed().as_secs() <= 30);
}

/// Takes everything at once, and gets nothing of it to its peer: a TLS stream whose client has closed its window.
struct Stuck(DuplexStream);

impl AsyncRead for Stuck {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Stuck {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stays_in_the_streams_own_buffer_is_not_waited_for_for_ever() {
    let world = World::new();
    let (mut client, far) = duplex(1024);
    let start = Instant::now();
    client.write_all(ONE).await.unwrap();
    let mut intake = Intake::new(Stuck(far), &[], world.proxy.limits(), world.judge());
    let head = intake.next().await.unwrap();
    let service = balancer_common::abi::ServiceKind::Http;
    let served = world.proxy.serve(&mut intake, &head, super::world::client(service));
    let handback = tokio::time::timeout(Duration::from_secs(60), served).await.expect("an end");
    assert!(matches!(handback, crate::proxy::Handback::Closed));
    assert_eq!(start.elapsed().as_secs(), 30);
}
