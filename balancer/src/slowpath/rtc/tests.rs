//! Media of WebRTC without a kernel, over sockets of the loopback.

use crate::config::Settings;
use crate::flow::{Protocol, Role};
use crate::placement::{Placement, service_of};
use crate::rtc::NewSession;
use crate::slowpath::Context;
use crate::slowpath::fixtures::{context, serve_udp};
use balancer_common::abi::{Reason, ServiceKind};
use balancer_lab::rtc::stun::{USERNAME, forged, request};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(20);

async fn received(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2000];
    let (len, from) = tokio::time::timeout(SOON, socket.recv_from(&mut buffer)).await.expect("a datagram").unwrap();
    (buffer[..len].to_vec(), from)
}

async fn session(ctx: &Arc<Context>, media: SocketAddr, ufrag: &str) {
    ctx.add_origin("a", ServiceKind::WebRtc, media).await;
    let origin = ctx.store.desired_origins().into_iter().find(|origin| &*origin.id == "a").unwrap();
    let placement = Placement {
        origin: origin.index,
        generation: origin.generation as u16,
        origin_id: origin.id,
        endpoint: media,
        service: service_of(Protocol::Webrtc),
        proxy_protocol: None,
        stream: 1,
        reason: Reason::PlacedSticky,
        placed_at: ctx.now(),
    };
    let key = Arc::new("__defaultVhost__/live/cam".parse().unwrap());
    let (ufrags, resource) = (vec![ufrag.to_owned()], Some("/whip/1".to_owned()));
    let (role, client) = (Role::Publish, None);
    ctx.rtc.register(NewSession { ufrags, key, role, placement, media, client, resource }).await.unwrap();
}

async fn counted(ctx: &Context, reason: Reason, count: u64) {
    let reached = async {
        while ctx.counters.get(reason) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, reached).await.unwrap_or_else(|_| panic!("{}", reason.label()));
}

#[tokio::test]
async fn a_request_that_names_a_session_reaches_its_origin_and_all_that_follows() {
    let ctx = context(Settings::default());
    let origin = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    // Too long for the kernel, and served all the same.
    let ufrag = "u".repeat(200);
    session(&ctx, origin.local_addr().unwrap(), &ufrag).await;
    let listener = serve_udp(&ctx, ServiceKind::WebRtc);
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let first = forged(&format!("{ufrag}:client"));
    client.send_to(&first, listener.address).await.unwrap();
    let (heard, source) = received(&origin).await;
    assert_eq!(heard, first, "the very packet that began the flow");
    for (from, to, receiver, seen) in
        [(&origin, source, &client, listener.address), (&client, listener.address, &origin, source)]
    {
        from.send_to(b"media", to).await.unwrap();
        assert_eq!(received(receiver).await, (b"media".to_vec(), seen));
    }
    let flows = ctx.live.flows();
    assert_eq!((flows.len(), flows[0].protocol, flows[0].client), (1, Protocol::Webrtc, client.local_addr().unwrap()));

    // Another address: a flow of its own.
    let moved = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    moved.send_to(&first, listener.address).await.unwrap();
    assert_ne!(received(&origin).await.1, source);
    counted(&ctx, Reason::LimitRtcMigrations, 1).await;

    assert!(ctx.rtc.end("/whip/1"));
    let ended = async {
        while !ctx.live.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, ended).await.expect("every flow ends");
}

#[tokio::test]
async fn nothing_else_reaches_an_origin() {
    let ctx = context(Settings::default());
    let origin = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    session(&ctx, origin.local_addr().unwrap(), "ufrag").await;
    let listener = serve_udp(&ctx, ServiceKind::WebRtc);
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let crowded: Vec<(u16, &[u8])> = (0..300).map(|_| (0x8022, &b""[..])).collect();
    for (reason, datagrams) in [
        (Reason::LimitRtcUnknown, vec![forged("other:client")]),
        (Reason::LimitRtcStray, vec![b"media".to_vec(), vec![0x80; 200], vec![]]),
        (
            Reason::StunMalformed,
            vec![
                request(&crowded),
                request(&[(USERNAME, &[b'u'; 600])]),
                request(&[(USERNAME, b"ufrag")]),
                [&forged("ufrag:client")[..], &[0; 4]].concat(),
            ],
        ),
    ] {
        for datagram in &datagrams {
            client.send_to(datagram, listener.address).await.unwrap();
        }
        counted(&ctx, reason, datagrams.len() as u64).await;
    }
    client.send_to(&forged("ufrag:client"), listener.address).await.unwrap();
    assert_eq!(received(&origin).await.0, forged("ufrag:client"), "and it is the first that does");
    assert_eq!(ctx.live.len(), 1);
}

#[tokio::test]
async fn one_address_gets_no_more_flows_than_user_space_may_carry_for_it() {
    let ctx = context(Settings::default());
    let origin = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    session(&ctx, origin.local_addr().unwrap(), "ufrag").await;
    let listener = serve_udp(&ctx, ServiceKind::WebRtc);
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = client.local_addr().unwrap().ip();
    let places: Vec<_> = std::iter::from_fn(|| ctx.udp.admit(address).ok()).collect();
    client.send_to(&forged("ufrag:client"), listener.address).await.unwrap();
    counted(&ctx, Reason::LimitRelayedPerClient, 1).await;
    assert!(ctx.live.is_empty());
    drop(places);
    client.send_to(&forged("ufrag:client"), listener.address).await.unwrap();
    received(&origin).await;
}
