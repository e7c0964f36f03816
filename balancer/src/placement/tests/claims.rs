//! Where viewers and publishers of a stream go that is published directly at an origin.

use super::{World, key, s};
use crate::config::Policy;
use crate::flow::{Protocol, Role};
use crate::placement::*;
use crate::recognize::StreamKey;
use crate::registry::{Claimed, ConnectFailure, Name, OriginSpec};
use balancer_common::abi::Reason;
use std::sync::Arc;

impl World {
    fn claim(&mut self, stream: &str, origin: u16) -> Claimed {
        let placed_on = (origin, self.registry.generation(origin) as u16);
        self.streams.claim(&key(stream), placed_on, &Name::parse("1").unwrap(), false, self.now).unwrap()
    }
}

#[test]
fn everybody_finds_what_was_published_directly() {
    let mut w = World::new(Policy::RoundRobin, 3);
    w.claim("a", 3);
    for protocol in [Protocol::Rtmp, Protocol::Flv, Protocol::Srt] {
        let viewer = w.place_as("a", Role::Play, protocol, &[]).unwrap();
        assert_eq!((viewer.origin, viewer.reason), (3, Reason::PlacedSticky));
    }
    assert_eq!(w.place("a", Role::Publish).unwrap().origin, 3, "it is the origin's to refuse a second publisher");
    w.registry.drain("o3", None);
    assert_eq!(w.place("a", Role::Publish).unwrap().origin, 3);
    let lost = w.place_as("a", Role::Play, Protocol::Rtmp, &[3]);
    assert_eq!(lost, Err(PlaceError::Unreachable { origin: "o3".into() }));
}

#[test]
fn viewers_of_a_claim_on_a_dead_origin_go_nowhere_else() {
    let mut w = World::new(Policy::LeastLoad, 2);
    let first = w.publish("x");
    w.fails(&first, ConnectFailure::Refused);
    w.claim("a", first.origin);
    assert!(matches!(w.place("a", Role::Play), Err(PlaceError::Unreachable { .. })), "while it rests");
    w.now += s(1);
    assert_eq!(w.place("a", Role::Play).unwrap().origin, first.origin, "the next attempt is a viewer's");
    let elsewhere = w.place("a", Role::Publish).unwrap();
    assert_ne!(elsewhere.origin, first.origin, "a publisher is needed where it can be served");
    assert!(!w.streams.get(&key("a")).unwrap().is_claimed());
}

#[test]
fn a_stream_of_an_origin_without_vhosts_is_found_by_any_name() {
    let mut w = World::new(Policy::LeastLoad, 4);
    let named = Arc::new(StreamKey::new("a.b.com", "live", "cam").unwrap());
    let vip = super::VIP;
    let play = |w: &mut World, exclude: &[u16]| {
        let request = PlaceRequest {
            key: &named,
            role: Role::Play,
            protocol: Protocol::Rtmp,
            vip,
            client: ([198, 51, 100, 7], 40000).into(),
            exclude,
        };
        w.placer.place(&mut w.registry, &mut w.streams, &request, w.now)
    };
    let early = play(&mut w, &[]).unwrap();
    let home = if early.origin == 4 { 3 } else { 4 };
    w.claim("cam", home);
    let viewer = play(&mut w, &[]).unwrap();
    assert_eq!((viewer.origin, viewer.reason), (home, Reason::PlacedViewer));
    assert_eq!(play(&mut w, &[]).unwrap().reason, Reason::PlacedSticky);
    assert_ne!(play(&mut w, &[home]).unwrap().origin, home);
    // Its own publisher is stronger.
    let request = PlaceRequest {
        key: &named,
        role: Role::Publish,
        protocol: Protocol::Rtmp,
        vip,
        client: ([198, 51, 100, 7], 40000).into(),
        exclude: &[home],
    };
    let published = w.placer.place(&mut w.registry, &mut w.streams, &request, w.now).unwrap();
    w.open(&published, Role::Publish);
    assert_eq!(play(&mut w, &[]).unwrap().origin, published.origin);
    w.origin(5, OriginSpec::default());
    assert_eq!(w.place("other", Role::Play).unwrap().reason, Reason::PlacedViewer);
}
