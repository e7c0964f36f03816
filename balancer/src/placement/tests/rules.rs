//! Who goes where, one rule at a time.

use super::{VIP, World, key, s};
use crate::config::{DefaultOrigin, Policy};
use crate::flow::{Protocol, Role};
use crate::placement::*;
use crate::recognize::proxy_header::ProxyVersion;
use crate::registry::{
    Admission, Capacity, ConnectFailure, Endpoints, Name, OriginRole, OriginSpec, Registry, VIEWER_LEASE,
};
use balancer_common::abi::{Reason, ServiceKind};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

#[test]
fn a_publisher_decides_and_everybody_follows_in_every_protocol() {
    let mut w = World::new(Policy::LeastLoad, 3);
    let published = w.publish("a");
    assert_eq!(published.reason, Reason::PlacedLeastLoad);
    assert_eq!(published.endpoint, SocketAddr::from(([10, 0, 0, published.origin as u8], 1935)));
    for (protocol, port) in [(Protocol::Rtmp, 1935), (Protocol::Flv, 8080), (Protocol::Srt, 10080)] {
        let viewer = w.place_as("a", Role::Play, protocol, &[]).unwrap();
        assert_eq!((viewer.origin, viewer.stream), (published.origin, published.stream));
        assert_eq!((viewer.reason, viewer.endpoint.port()), (Reason::PlacedSticky, port));
    }
    let no_listener = w.place_as("a", Role::Play, Protocol::Rtsp, &[]).unwrap_err();
    assert_eq!(no_listener, PlaceError::NoEndpoint { origin: published.origin_id.clone() });
    assert_eq!(w.place_as("b", Role::Play, Protocol::Rtsp, &[]), Err(PlaceError::NoOrigin));
}

#[test]
fn an_early_viewer_holds_the_stream_for_a_short_lease_only() {
    let mut w = World::new(Policy::RoundRobin, 3);
    let viewer = w.place("a", Role::Play).unwrap();
    assert_eq!(viewer.reason, Reason::PlacedViewer);
    assert_eq!(w.place("a", Role::Play).unwrap().origin, viewer.origin, "viewers share their guess");
    w.open(&viewer, Role::Play);
    let publisher = w.publish("a");
    assert_ne!(publisher.origin, viewer.origin, "round robin goes on, whatever viewers wish");
    assert_eq!(w.streams.take_resets().len(), 1);
    assert_eq!(w.place("a", Role::Play).unwrap().origin, publisher.origin);
    let alone = w.place("b", Role::Play).unwrap();
    w.now += VIEWER_LEASE;
    w.streams.tick(w.now);
    assert!(w.streams.by_index(alone.stream).is_none());
}

#[test]
fn a_publisher_joins_waiting_viewers_where_that_is_as_good() {
    let mut w = World::new(Policy::LeastLoad, 2);
    let viewer = w.place("a", Role::Play).unwrap();
    w.open(&viewer, Role::Play);
    w.registry.set_loads(&HashMap::new());
    for _ in 0..60 {
        w.registry.set_loads(&HashMap::new());
    }
    assert_eq!(w.publish("a").origin, viewer.origin);
    assert!(w.streams.take_resets().is_empty());
}

#[test]
fn a_publisher_that_comes_back_finds_its_viewers() {
    let mut w = World::new(Policy::RoundRobin, 3);
    let first = w.publish("a");
    let ticket = first.ticket(Role::Publish, Protocol::Rtmp);
    w.streams.flow_closed(ticket, w.now);
    w.registry.flow_closed(ticket.origin);
    w.now += s(20);
    w.streams.tick(w.now);
    let again = w.place("a", Role::Publish).unwrap();
    assert_eq!((again.origin, again.reason), (first.origin, Reason::PlacedSticky));
}

#[test]
fn a_dead_origins_streams_go_elsewhere_at_once() {
    let mut w = World::new(Policy::LeastLoad, 2);
    let first = w.publish("a");
    w.now += s(5);
    let viewer = w.place("a", Role::Play).unwrap();
    w.fails(&viewer, ConnectFailure::Refused);
    let again = w.place("a", Role::Publish).unwrap();
    assert_ne!(again.origin, first.origin);
    assert_eq!(again.stream, first.stream);
    assert_eq!(w.place("a", Role::Play).unwrap().origin, again.origin);
}

#[test]
fn a_viewer_is_not_held_by_a_publishers_failed_try_of_a_dead_origin() {
    let mut w = World::new(Policy::LeastLoad, 1);
    let first = w.place("x", Role::Publish).unwrap();
    w.fails(&first, ConnectFailure::Refused);
    w.now += s(1);
    let again = w.place("x", Role::Publish).unwrap();
    w.fails(&again, ConnectFailure::Refused);
    assert_eq!(w.place("x", Role::Play), Err(PlaceError::NoOrigin));
    w.origin(2, OriginSpec::default());
    assert_eq!(w.place("x", Role::Play).unwrap().origin, 2);
}

#[test]
fn a_retry_goes_to_another_origin_and_says_so() {
    let mut w = World::new(Policy::LeastLoad, 2);
    let first = w.place("a", Role::Publish).unwrap();
    let second = w.place_as("a", Role::Publish, Protocol::Rtmp, &[first.origin]).unwrap();
    assert_eq!(second.reason, Reason::PlacedRetry);
    assert_ne!(second.origin, first.origin);
    assert_eq!(w.place("a", Role::Play).unwrap().origin, second.origin, "the stream moved with it");
    let nowhere = w.place_as("a", Role::Publish, Protocol::Rtmp, &[1, 2]);
    assert_eq!(nowhere, Err(PlaceError::NoOrigin));
}

#[test]
fn a_viewer_is_not_sent_where_the_stream_is_not() {
    let mut w = World::new(Policy::LeastLoad, 2);
    let published = w.publish("a");
    let lost = w.place_as("a", Role::Play, Protocol::Rtmp, &[published.origin]);
    assert_eq!(lost, Err(PlaceError::Unreachable { origin: published.origin_id.clone() }));
    // A time-out makes the origin suspect; its viewers have nowhere else to go.
    let viewer = w.place("a", Role::Play).unwrap();
    w.fails(&viewer, ConnectFailure::TimedOut);
    assert_eq!(w.place("a", Role::Play).unwrap().origin, published.origin);
    assert_ne!(w.place("b", Role::Publish).unwrap().origin, published.origin);
    assert_ne!(w.place("a", Role::Publish).unwrap().origin, published.origin, "its publisher has");
}

#[test]
fn a_draining_origin_keeps_its_streams_and_gets_no_new_ones() {
    let mut w = World::new(Policy::LeastLoad, 2);
    let first = w.publish("a");
    w.registry.drain(&first.origin_id, None);
    for i in 0..20 {
        assert_ne!(w.place(&format!("n{i}"), Role::Publish).unwrap().origin, first.origin);
    }
    assert_eq!(w.place("a", Role::Play).unwrap().origin, first.origin);
    assert_eq!(
        w.place("a", Role::Publish).unwrap().origin,
        first.origin,
        "a second publisher is the origin's to refuse"
    );
    w.streams.flow_closed(first.ticket(Role::Publish, Protocol::Rtmp), w.now);
    assert_ne!(w.place("a", Role::Publish).unwrap().origin, first.origin, "coming back it leaves");
}

#[test]
fn capacity_turns_new_streams_away_but_not_the_viewers_of_old_ones() {
    let mut w = World::new(Policy::LeastLoad, 0);
    let two = Capacity { streams: Some(2), ..Capacity::default() };
    w.origin(1, OriginSpec { capacity: Some(two), ..OriginSpec::default() });
    w.publish("a");
    w.publish("b");
    assert_eq!(w.place("c", Role::Publish), Err(PlaceError::AtCapacity));
    assert!(w.place("a", Role::Play).is_ok());
    let flows = Capacity { flows: Some(2), ..Capacity::default() };
    w.origin(2, OriginSpec { capacity: Some(flows), ..OriginSpec::default() });
    assert_eq!((w.publish("c").origin, w.publish("d").origin), (2, 2));
    assert_eq!(w.place("e", Role::Publish), Err(PlaceError::AtCapacity));
}

#[test]
fn an_edge_takes_viewers_only_and_the_default_origin_what_nobody_else_can() {
    let admission = Admission { networks: vec!["0.0.0.0/0".parse().unwrap()], own: vec![] };
    let settings = DefaultOrigin { ip: VIP, rtmp: Some(19350), http: None, api: None, rtc: None, srt: None };
    let mut w = World::new(Policy::LeastLoad, 0);
    w.registry = Registry::new(admission, s(3600), Some(&settings)).unwrap();
    assert_eq!(w.place("a", Role::Publish).unwrap().reason, Reason::PlacedDefault);
    w.origin(1, OriginSpec { role: Some(OriginRole::Edge), ..OriginSpec::default() });
    assert_eq!(w.place("b", Role::Play).unwrap().origin, 1);
    assert_eq!(w.place("c", Role::Publish).unwrap().reason, Reason::PlacedDefault);
    w.origin(2, OriginSpec::default());
    assert_eq!(w.place("d", Role::Publish).unwrap().origin, 2);
}

#[test]
fn a_burst_of_publishers_is_spread_by_weight_before_any_rate_is_known() {
    let mut w = World::new(Policy::LeastLoad, 0);
    for (n, weight) in [(1, 100), (2, 100), (3, 200)] {
        w.origin(n, OriginSpec { weight: Some(weight), ..OriginSpec::default() });
    }
    let mut counts = [0u32; 4];
    for i in 0..400 {
        counts[usize::from(w.publish(&format!("s{i}")).origin)] += 1;
    }
    assert!((95..=105).contains(&counts[1]) && (190..=210).contains(&counts[3]), "{counts:?}");
}

#[test]
fn measured_rates_decide() {
    let mut w = World::new(Policy::LeastLoad, 2);
    let rate = Rate { bits_per_second_in: 5_000_000_000, bits_per_second_out: 0 };
    w.registry.set_loads(&HashMap::from([(1, Load { rate, ..Load::default() })]));
    assert!((0..50).all(|i| w.publish(&format!("s{i}")).origin == 2));
}

#[test]
fn an_endpoint_of_the_vips_family_is_preferred() {
    let mut w = World::new(Policy::LeastLoad, 0);
    let mut endpoints = Endpoints::default();
    for address in ["[2001:db8::1]:1935", "10.0.0.1:1935", "10.0.0.1:1936"] {
        endpoints.add(ServiceKind::Rtmp, address.parse().unwrap()).unwrap();
    }
    w.registry = Registry::new(
        Admission { networks: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()], own: vec![] },
        s(30),
        None,
    )
    .unwrap();
    let spec = OriginSpec { endpoints: Some(endpoints), ..OriginSpec::default() };
    w.registry.put(&Name::parse("o").unwrap(), &spec, s(0)).unwrap();
    let k = key("a");
    for vip in ["192.0.2.10", "2001:db8::10"] {
        let vip: IpAddr = vip.parse().unwrap();
        let request = PlaceRequest {
            key: &k,
            role: Role::Publish,
            protocol: Protocol::Rtmp,
            vip,
            client: ([198, 51, 100, 7], 40000).into(),
            exclude: &[],
        };
        let placed = w.placer.place(&mut w.registry, &mut w.streams, &request, s(0)).unwrap();
        assert_eq!(placed.endpoint.is_ipv4(), vip.is_ipv4());
    }
}

#[test]
fn an_origins_tcp_listeners_are_told_the_client_if_it_wants_to_know() {
    let mut world = World::new(Policy::LeastLoad, 0);
    world.origin(1, OriginSpec { proxy_protocol: Some(Some(ProxyVersion::V1)), ..OriginSpec::default() });
    for (protocol, expected) in
        [(Protocol::Rtmp, Some(ProxyVersion::V1)), (Protocol::Flv, Some(ProxyVersion::V1)), (Protocol::Srt, None)]
    {
        let placement = world.place_as("a", Role::Publish, protocol, &[]).unwrap();
        assert_eq!(placement.proxy_protocol, expected, "{protocol:?}");
    }
}
