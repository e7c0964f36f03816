//! Where single HTTP requests go, and that they leave nothing behind.

use super::{VIP, World, key, s};
use crate::config::Policy;
use crate::flow::Role;
use crate::placement::*;
use crate::recognize::StreamKey;
use crate::registry::{ConnectFailure, OriginRole, OriginSpec, VIEWER_LEASE};
use balancer_common::abi::{Reason, ServiceKind};
use std::sync::Arc;

fn keys(paths: &[&str]) -> Vec<StreamKey> {
    paths.iter().map(|path| StreamKey::from_path("", path).unwrap()).collect()
}

impl World {
    fn request(&mut self, paths: &[&str], exclude: &[u16]) -> Result<RequestPlaced, PlaceError> {
        self.request_by(ServiceKind::Http, &keys(paths), "/x", exclude)
    }

    fn request_by(
        &mut self,
        service: ServiceKind,
        keys: &[StreamKey],
        path: &str,
        exclude: &[u16],
    ) -> Result<RequestPlaced, PlaceError> {
        let request = RequestPlace { keys, path, service, vip: VIP, client: VIP, exclude };
        place_request(&mut self.registry, &mut self.streams, &request, self.now)
    }
}

#[test]
fn the_first_key_that_is_known_wins_whatever_stands_before_it() {
    let mut w = World::new(Policy::RoundRobin, 3);
    let published = ["a", "b", "c"].map(|stream| w.publish(stream));
    for (stream, placement) in ["a", "b", "c"].iter().zip(&published) {
        let path = format!("live/{stream}");
        let placed = w.request(&[&format!("live/{stream}-7"), &path, "live/none"], &[]).unwrap();
        assert_eq!(placed.placement.origin, placement.origin);
        assert_eq!((placed.placement.stream, placed.placement.reason), (placement.stream, Reason::PlacedSticky));
        assert_eq!(placed.placement.endpoint.port(), 8080);
        assert_eq!(placed.stream, Some(key(stream)));
    }
}

#[test]
fn a_name_that_only_one_stream_has_is_enough() {
    let mut w = World::new(Policy::RoundRobin, 3);
    w.publish("x");
    let published = w.publish("a");
    let placed = w.request(&["hls/a-12", "hls/a"], &[]).unwrap();
    assert_eq!((placed.placement.origin, placed.stream), (published.origin, Some(key("a"))));
    w.streams.assign(&Arc::new(keys(&["vod/a"])[0].clone()), mapping(&published), w.now).unwrap();
    assert_eq!(w.request(&["hls/a-12", "hls/a"], &[]).unwrap().stream, None, "two of them: nobody can tell");
}

fn mapping(placement: &Placement) -> crate::registry::Mapping {
    crate::registry::Mapping { origin: placement.origin, generation: placement.generation, confirmed: true }
}

#[test]
fn what_means_no_stream_goes_to_the_same_origin_every_time_and_leaves_no_trace() {
    let mut w = World::new(Policy::LeastLoad, 4);
    let mut used = std::collections::BTreeSet::new();
    for n in 0..1000 {
        let path = format!("/players/{n}.js");
        let first = w.request_by(ServiceKind::Http, &[], &path, &[]).unwrap();
        let again = w.request_by(ServiceKind::Http, &[], &path, &[]).unwrap();
        assert_eq!((first.placement.origin, first.placement.stream, &first.stream), (again.placement.origin, 0, &None));
        used.insert(first.placement.origin);
    }
    assert_eq!((used.len(), w.streams.len(), w.streams.has_news()), (4, 0, false));
    assert_eq!(w.registry.get(1).unwrap().load.pending, 0, "no load of a stream is expected");
}

#[test]
fn an_unknown_playlist_and_its_segments_meet() {
    let mut w = World::new(Policy::LeastLoad, 5);
    for n in 0..50 {
        let name = format!("live/s{n}");
        let playlist = w.request(&[&name, "live"][..1], &[]).unwrap();
        let segment = w.request(&[&name, &format!("{name}-1")], &[]).unwrap();
        assert_eq!(playlist.placement.origin, segment.placement.origin);
    }
}

#[test]
fn what_an_origin_has_is_leased_and_a_publisher_moves_it() {
    let mut w = World::new(Policy::LeastLoad, 3);
    let placed = w.request(&["live/a"], &[]).unwrap();
    let index = lease_stream(&w.registry, &mut w.streams, &key("a"), &placed.placement, w.now).unwrap();
    let again = w.request(&["live/a"], &[]).unwrap();
    assert_eq!((again.placement.stream, again.placement.origin), (index, placed.placement.origin));
    let elsewhere = placed.placement.origin % 3 + 1;
    let published = w.place_as("a", Role::Publish, crate::flow::Protocol::Rtmp, &[placed.placement.origin]).unwrap();
    w.open(&published, Role::Publish);
    assert_ne!(published.origin, placed.placement.origin, "{elsewhere} or the third");
    assert_eq!(w.request(&["live/a"], &[]).unwrap().placement.origin, published.origin, "at the next reload");
    let late = lease_stream(&w.registry, &mut w.streams, &key("a"), &placed.placement, w.now);
    assert_eq!(late, None, "an answer of the old origin takes nothing back");
}

#[test]
fn a_lease_ends_when_nobody_asks_any_more() {
    let mut w = World::new(Policy::LeastLoad, 1);
    let placed = w.request(&["live/a"], &[]).unwrap();
    lease_stream(&w.registry, &mut w.streams, &key("a"), &placed.placement, w.now).unwrap();
    for _ in 0..3 {
        w.now += VIEWER_LEASE / 2;
        w.streams.tick(w.now);
        assert!(w.request(&["live/a"], &[]).unwrap().stream.is_some());
    }
    w.now += VIEWER_LEASE;
    w.streams.tick(w.now);
    assert!(w.streams.is_empty());
}

#[test]
fn leases_leave_room_for_those_who_publish() {
    let mut w = World::new(Policy::LeastLoad, 1);
    let placement = w.request(&["live/a"], &[]).unwrap().placement;
    for n in 0..LEASED_MAX {
        assert!(lease_stream(&w.registry, &mut w.streams, &key(&format!("s{n}")), &placement, w.now).is_some());
    }
    assert_eq!(lease_stream(&w.registry, &mut w.streams, &key("a"), &placement, w.now), None);
    assert!(w.place("a", Role::Publish).is_ok());
    w.now += VIEWER_LEASE;
    w.streams.tick(w.now);
    assert!(lease_stream(&w.registry, &mut w.streams, &key("b"), &placement, w.now).is_some());
}

#[test]
fn a_dead_origin_is_left_and_one_without_the_service_is_named() {
    let mut w = World::new(Policy::RoundRobin, 2);
    let published = w.publish("a");
    let other = 3 - published.origin;
    let error = w.request_by(ServiceKind::Api, &keys(&["live/a"]), "/", &[]).unwrap_err();
    assert_eq!(error, PlaceError::NoEndpoint { origin: published.origin_id.clone() });
    assert_eq!(w.request_by(ServiceKind::Api, &[], "/", &[]), Err(PlaceError::NoOrigin));
    assert!(matches!(w.request(&["live/a"], &[published.origin]), Err(PlaceError::Unreachable { .. })));
    w.fails(&published, ConnectFailure::Refused);
    assert_eq!(w.request(&["live/a"], &[]).unwrap().placement.origin, other);
    assert_eq!(w.request(&["live/a"], &[other]), Err(PlaceError::NoOrigin));
}

#[test]
fn an_edge_serves_those_who_only_watch() {
    let mut w = World::new(Policy::LeastLoad, 0);
    w.origin(1, OriginSpec { role: Some(OriginRole::Edge), ..OriginSpec::default() });
    assert_eq!(w.request(&["live/a"], &[]).unwrap().placement.origin, 1);
    w.now += s(1);
    assert_eq!(w.place("a", Role::Publish), Err(PlaceError::NoOrigin));
}
