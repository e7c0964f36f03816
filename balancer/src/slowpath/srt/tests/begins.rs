//! How a conversation begins: what the origin hears of the caller, and the caller of the origin.

use super::*;
use crate::flow::{Path, Protocol, Role};

/// 127.0.0.1 as libsrt writes it.
const LOOPBACK: [u8; 16] = [1, 0, 0, 127, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[tokio::test]
async fn both_ends_hear_each_other_unchanged_but_for_cookie_and_addresses() {
    let (world, origin) = World::with_origin(Manners::default()).await;
    let caller = world.caller().await;
    let mut said = caller.conclusion("#!::h=a.b.com,r=live/s1,m=publish,token=x").await.in_group(7, 1);
    said.extensions.push((3, vec![1, 2, 3, 4, 5, 6, 7, 8]));
    said.extensions.push((7, b"cef,".to_vec()));
    said.encryption = 2;
    let answer = caller.ask(&said).await;

    let (source, arrived) = origin.conclusions().remove(0);
    assert_eq!(arrived, Said { cookie: Origin::COOKIE, peer: LOOPBACK, ..said.clone() });
    let induction = Said::parse(&origin.heard()[0].1).unwrap();
    let expected = Said { kind: INDUCTION, version: 4, encryption: 0, extension_field: 2, cookie: 0, ..arrived };
    assert_eq!(induction, Said { extensions: vec![], ..expected });
    let expected = Said { peer: LOOPBACK, cookie: said.cookie, ..said.answer_to_conclusion(Origin::ID) };
    assert_eq!(answer, expected);

    let flow = world.ctx.live.flows().remove(0);
    assert_eq!((flow.protocol, flow.role, flow.path), (Protocol::Srt, Role::Publish, Path::Relay));
    assert_eq!((flow.client, flow.source), (caller.socket.local_addr().unwrap(), source));
    assert_eq!((flow.stream.to_string().as_str(), flow.origin_address), ("a.b.com/live/s1", origin.address));
}

#[tokio::test]
async fn what_follows_is_passed_on_both_ways() {
    let (world, origin) = World::with_origin(Manners::default()).await;
    let (caller, _) = world.call(PUBLISH).await;
    let sent: Vec<_> = (0..50).map(|number| packet::data(number, Origin::ID, &[number as u8; 1316])).collect();
    for datagram in &sent {
        caller.socket.send(datagram).await.unwrap();
    }
    let data =
        || origin.heard().into_iter().map(|(_, bytes)| bytes).skip_while(|b| packet::kind(b) != Some(Kind::Data));
    world::until("the media", || data().count() == sent.len()).await;
    assert!(data().eq(sent));
    let back = packet::data(9, caller.id, b"back");
    origin.say(origin.callers()[0], &back).await;
    assert_eq!(caller.hear_kind(Kind::Data).await, back);
}

#[tokio::test]
async fn real_callers_are_brought_to_an_origin() {
    let (world, origin) = World::with_origin(Manners::default()).await;
    let captures: [&[u8]; 3] = [
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/srt/ffmpeg-play.bin")),
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/srt/transmit-passphrase.bin")),
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/srt/transmit-filter.bin")),
    ];
    for (number, capture) in captures.into_iter().enumerate() {
        let mut caller = world.caller().await;
        let said = Said::parse(capture).unwrap();
        caller.id = said.socket;
        let cookie = caller.conclusion("").await.cookie;
        let mut said = capture.to_vec();
        said[44..48].copy_from_slice(&cookie.to_be_bytes());
        caller.socket.send(&said).await.unwrap();
        let answer = Said::parse(&caller.hear_kind(Kind::Handshake).await).unwrap();
        assert_eq!((answer.kind, answer.socket, answer.cookie), (CONCLUSION, Origin::ID, cookie));
        said[44..48].copy_from_slice(&Origin::COOKIE.to_be_bytes());
        assert!(origin.heard().iter().any(|(_, arrived)| *arrived == said), "capture {number}");
    }
}

#[tokio::test]
async fn a_conclusion_that_comes_again_is_answered_alike_and_once_for_the_origin() {
    let (world, origin) = World::with_origin(Manners { loses: 3, ..Manners::default() }).await;
    let caller = world.caller().await;
    let said = caller.conclusion(PUBLISH).await;
    // While it is under way.
    for _ in 0..5 {
        caller.say(&said).await;
    }
    let first = caller.hear_kind(Kind::Handshake).await;
    caller.hears_nothing().await;
    // And after it.
    for _ in 0..5 {
        caller.say(&said).await;
        assert_eq!(caller.hear_kind(Kind::Handshake).await, first);
    }
    assert_eq!(origin.callers().len(), 1);
    assert_eq!(world.ctx.live.len(), 1);
    let inductions = origin.heard().iter().filter(|(_, bytes)| bytes.len() == packet::HANDSHAKE).count();
    assert!(inductions > 3, "asked again until it was heard");
}

#[tokio::test]
async fn an_origin_that_loses_what_it_is_told_is_told_again() {
    for loses in [1, 2] {
        let (world, origin) = World::with_origin(Manners { loses, ..Manners::default() }).await;
        let (_, answer) = world.call(PUBLISH).await;
        assert_eq!(answer.kind, CONCLUSION);
        assert_eq!(origin.callers().len(), 1);
    }
}
