//! What registrations, time and connections do to origins.

use crate::config::DefaultOrigin;
use crate::recognize::proxy_header::ProxyVersion;
use crate::registry::*;
use balancer_common::abi::{OriginState, ServiceKind};
use std::net::SocketAddr;
use std::time::Duration;

const TTL: Duration = Duration::from_secs(30);

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn admission() -> Admission {
    Admission { networks: vec!["10.0.0.0/8".parse().unwrap()], own: vec![] }
}

fn registry() -> Registry {
    Registry::new(admission(), TTL, None).unwrap()
}

fn endpoints(rtmp: &str) -> Endpoints {
    let mut endpoints = Endpoints::default();
    endpoints.add(ServiceKind::Rtmp, rtmp.parse().unwrap()).unwrap();
    endpoints
}

fn beat(device: &str, server: &str, run: &str, rtmp: &str) -> SrsRegistration {
    let at: SocketAddr = rtmp.parse().unwrap();
    SrsRegistration {
        device_id: (!device.is_empty()).then(|| name(device)),
        server: name(server),
        incarnation: Incarnation { service: name(run), pid: name("1") },
        ip: at.ip(),
        endpoints: endpoints(rtmp),
    }
}

fn spec(rtmp: &str) -> OriginSpec {
    OriginSpec { endpoints: Some(endpoints(rtmp)), ..OriginSpec::default() }
}

fn state(registry: &Registry, index: u16) -> Option<(OriginState, u32)> {
    registry.desired().into_iter().find(|d| d.index == index).map(|d| (d.state, d.generation))
}

#[test]
fn an_origin_is_named_by_its_device_or_else_its_server() {
    let mut r = registry();
    assert_eq!(&*r.register(&beat("cam", "s1", "a", "10.0.0.1:1935"), s(0)).unwrap().id, "cam");
    assert_eq!(&*r.register(&beat("", "s2", "a", "10.0.0.2:1935"), s(0)).unwrap().id, "s2");
    let third = r.register(&beat("cam", "s3", "a", "10.0.0.3:1935"), s(0)).unwrap();
    assert_eq!((&*third.id, third.index), ("s3", 3), "a device id that another has names nobody else");
    assert_eq!(r.live().count(), 3);
}

#[test]
fn a_container_that_comes_back_elsewhere_has_its_name_once_the_old_one_is_dead() {
    let mut r = registry();
    r.register(&beat("cam", "s1", "a", "10.0.0.1:1935"), s(0)).unwrap();
    let next = beat("cam", "s2", "b", "10.0.0.2:1935");
    assert_eq!(&*r.register(&next, s(20)).unwrap().id, "s2");
    r.tick(s(30));
    let renamed = r.register(&next, s(31)).unwrap();
    assert_eq!((&*renamed.id, renamed.kind, renamed.index), ("cam", RegisterKind::Renewed, 2));
    assert_eq!((r.index_of("cam"), r.index_of("s2"), r.live().count()), (Some(2), None, 1));
}

#[test]
fn servers_that_share_a_server_id_are_told_apart_by_their_device_ids() {
    let mut r = registry();
    let (a, b) = (beat("a", "s", "1", "10.0.0.1:1935"), beat("b", "s", "2", "10.0.0.1:1936"));
    let first = r.register(&a, s(0)).unwrap();
    let second = r.register(&b, s(0)).unwrap();
    assert_ne!(first.index, second.index);
    for beat in [&a, &b, &a, &b] {
        assert_eq!(r.register(beat, s(1)).unwrap().kind, RegisterKind::Renewed);
    }
}

#[test]
fn a_beat_renews_the_lease_and_nothing_else() {
    let mut r = registry();
    let b = beat("", "s1", "a", "10.0.0.1:1935");
    let first = r.register(&b, s(0)).unwrap();
    let before = r.desired();
    let second = r.register(&b, s(9)).unwrap();
    assert_eq!((second.kind, second.index, second.ended.len()), (RegisterKind::Renewed, first.index, 0));
    assert_eq!(r.desired(), before);
    assert_eq!(r.get(1).unwrap().expires_at, Some(s(39)));
}

#[test]
fn a_restarted_origin_replaces_itself_at_once() {
    let mut r = registry();
    let first = r.register(&beat("", "s1", "a", "10.0.0.1:1935"), s(0)).unwrap();
    let (_, generation) = state(&r, first.index).unwrap();
    let second = r.register(&beat("", "s1", "b", "10.0.0.1:1935"), s(1)).unwrap();
    assert_eq!((second.kind, second.index, second.ended), (RegisterKind::Replaced, first.index, vec![first.index]));
    assert_eq!(state(&r, first.index), Some((OriginState::Up, generation + 1)));
    // On other ports, as long as the server is the same.
    let third = r.register(&beat("", "s1", "c", "10.0.0.1:2935"), s(2)).unwrap();
    assert_eq!((third.kind, third.index), (RegisterKind::Replaced, first.index));
    assert_eq!(r.get(first.index).unwrap().endpoints, endpoints("10.0.0.1:2935"));
}

#[test]
fn who_listens_at_the_same_place_replaces_who_did() {
    let mut r = registry();
    let first = r.register(&beat("", "s1", "a", "10.0.0.1:1935"), s(0)).unwrap();
    let second = r.register(&beat("", "s2", "b", "10.0.0.1:1935"), s(1)).unwrap();
    assert_eq!((second.index, &*second.id, second.kind), (first.index, "s2", RegisterKind::Replaced));
    assert_eq!((r.index_of("s1"), r.index_of("s2"), r.live().count()), (None, Some(first.index), 1));
}

#[test]
fn a_server_that_takes_anothers_place_ends_both() {
    let mut r = registry();
    r.register(&beat("", "s1", "a", "10.0.0.1:1935"), s(0)).unwrap();
    r.register(&beat("", "s2", "a", "10.0.0.2:1935"), s(0)).unwrap();
    let moved = r.register(&beat("", "s1", "b", "10.0.0.2:1935"), s(1)).unwrap();
    assert_eq!((moved.index, moved.ended), (1, vec![2, 1]));
    assert_eq!((r.index_of("s2"), state(&r, 2).unwrap().0), (None, OriginState::Down));
}

#[test]
fn a_run_that_was_replaced_cannot_come_back_while_the_newer_one_lives() {
    let mut r = registry();
    let (old, new) = (beat("", "s1", "a", "10.0.0.1:1935"), beat("", "s1", "b", "10.0.0.1:2935"));
    r.register(&old, s(0)).unwrap();
    r.register(&new, s(1)).unwrap();
    let error = r.register(&old, s(2)).unwrap_err();
    assert_eq!(error, RegisterError::Superseded { id: "s1".into() });
    r.tick(s(31));
    assert_eq!(r.register(&old, s(32)).unwrap().kind, RegisterKind::Replaced, "the newer one is dead");
}

#[test]
fn a_lease_that_runs_out_ends_the_flows_and_a_beat_brings_the_origin_back() {
    let mut r = registry();
    let b = beat("", "s1", "a", "10.0.0.1:1935");
    r.register(&b, s(0)).unwrap();
    assert_eq!((r.tick(s(29)), r.tick(s(30)), r.tick(s(31))), (vec![], vec![1], vec![]));
    let origin = r.get(1).unwrap();
    assert_eq!((origin.status(), origin.health.why()), (OriginStatus::Down, Some(Why::LeaseExpired)));
    let (down, generation) = state(&r, 1).unwrap();
    assert_eq!(down, OriginState::Down);
    assert_eq!(r.register(&b, s(40)).unwrap().kind, RegisterKind::Returned);
    assert_eq!(state(&r, 1), Some((OriginState::Up, generation)), "above that of the flows that ended");
}

#[test]
fn a_dead_origin_is_listed_for_a_while_and_its_slot_rests_until_its_flows_are_gone() {
    let mut r = registry();
    r.register(&beat("", "s1", "a", "10.0.0.1:1935"), s(0)).unwrap();
    r.flow_opened(1);
    r.tick(s(30));
    r.tick(s(89));
    assert!(r.index_of("s1").is_some());
    r.tick(s(90));
    assert_eq!((r.index_of("s1"), state(&r, 1).unwrap().0), (None, OriginState::Down));
    let other = r.register(&beat("", "s2", "a", "10.0.0.2:1935"), s(500)).unwrap();
    r.tick(s(501));
    assert_eq!((other.index, state(&r, 1).unwrap().0), (2, OriginState::Down), "a flow is left");
    r.flow_closed(1);
    r.tick(s(502));
    assert_eq!(state(&r, 1).unwrap().0, OriginState::Empty);
    let generation = r.generation(1);
    assert_eq!(r.register(&beat("", "s3", "a", "10.0.0.3:1935"), s(503)).unwrap().index, 1);
    assert!(r.generation(1) > generation);
}

#[test]
fn a_beat_does_not_end_a_back_off_but_a_restart_does() {
    let mut r = registry();
    let b = beat("", "s1", "a", "10.0.0.1:1935");
    r.register(&b, s(0)).unwrap();
    let placed_on = (1, r.generation(1) as u16);
    assert!(r.connect_failed(placed_on, ServiceKind::Rtmp, ConnectFailure::Refused, s(1), s(1)));
    assert_eq!(state(&r, 1).unwrap().0, OriginState::Down);
    r.register(&b, s(1)).unwrap();
    assert!(!r.get(1).unwrap().health.available(ServiceKind::Rtmp, s(1)));
    r.register(&beat("", "s1", "b", "10.0.0.1:1935"), s(1)).unwrap();
    assert!(r.get(1).unwrap().health.available(ServiceKind::Rtmp, s(1)));
    assert_eq!(state(&r, 1).unwrap().0, OriginState::Up);
}

#[test]
fn news_about_an_earlier_generation_is_no_news() {
    let mut r = registry();
    r.register(&beat("", "s1", "a", "10.0.0.1:1935"), s(0)).unwrap();
    let old = (1, r.generation(1) as u16);
    r.register(&beat("", "s1", "b", "10.0.0.1:1935"), s(1)).unwrap();
    assert!(!r.connect_failed(old, ServiceKind::Rtmp, ConnectFailure::Refused, s(0), s(2)));
    assert!(r.get(1).unwrap().health.available(ServiceKind::Rtmp, s(2)));
    let new = (1, r.generation(1) as u16);
    assert!(r.connect_failed(new, ServiceKind::Rtmp, ConnectFailure::Refused, s(2), s(2)));
    assert!(!r.connect_succeeded(new, ServiceKind::Rtmp), "an attempt from before its death");
    let retry = (1, r.generation(1) as u16);
    assert!(r.connect_succeeded(retry, ServiceKind::Rtmp), "back to life");
    assert!(!r.connect_succeeded(retry, ServiceKind::Rtmp));
}

#[test]
fn an_operator_names_origins_and_changes_what_beats_have_made() {
    let mut r = registry();
    let edge = OriginSpec { role: Some(OriginRole::Edge), lease: Some(Lease::Never), ..spec("10.0.0.1:1935") };
    assert_eq!(r.put(&name("mine"), &OriginSpec::default(), s(0)), Err(RegisterError::NoEndpoints));
    assert_eq!(r.put(&name("mine"), &edge, s(0)).unwrap().kind, RegisterKind::New);
    r.tick(s(1_000_000));
    assert_eq!(r.get(1).unwrap().status(), OriginStatus::Healthy, "it never expires");
    // A server that beats there is that origin, under the operator's name and lease.
    let beaten = r.register(&beat("dev", "s1", "a", "10.0.0.1:1935"), s(0)).unwrap();
    assert_eq!((&*beaten.id, beaten.kind, r.get(1).unwrap().expires_at), ("mine", RegisterKind::Renewed, None));
    let proxy_protocol = Some(Some(ProxyVersion::V2));
    let heavier = OriginSpec { weight: Some(300), proxy_protocol, ..OriginSpec::default() };
    r.register(&beat("", "s2", "a", "10.0.0.2:1935"), s(0)).unwrap();
    r.put(&name("s2"), &heavier, s(0)).unwrap();
    r.register(&beat("", "s2", "a", "10.0.0.2:1935"), s(5)).unwrap();
    let second = r.get(2).unwrap();
    assert_eq!((second.weight, &second.endpoints), (300, &endpoints("10.0.0.2:1935")));
    assert_eq!(second.proxy_protocol, Some(ProxyVersion::V2));
    r.put(&name("s2"), &OriginSpec { proxy_protocol: Some(None), ..OriginSpec::default() }, s(6)).unwrap();
    assert_eq!(r.get(2).unwrap().proxy_protocol, None);
    let taken = r.put(&name("other"), &spec("10.0.0.2:1935"), s(0)).unwrap_err();
    assert_eq!(taken, RegisterError::EndpointsTaken { id: "s2".into() });
}

#[test]
fn an_operator_may_name_what_has_only_named_itself() {
    let mut r = registry();
    let b = beat("", "vid-1", "a", "10.0.0.1:1935");
    r.register(&b, s(0)).unwrap();
    let named = r.put(&name("studio"), &spec("10.0.0.1:1935"), s(1)).unwrap();
    assert_eq!((named.index, named.kind, &*named.id), (1, RegisterKind::Renewed, "studio"));
    assert_eq!((r.index_of("vid-1"), r.index_of("studio")), (None, Some(1)));
    assert_eq!(&*r.register(&b, s(2)).unwrap().id, "studio");
}

#[test]
fn an_adopted_origin_that_never_beats_lives_as_long_as_its_flows_are_heard() {
    let mut r = registry();
    r.adopt(3, "static", 5, s(0));
    let heard = |at| {
        std::collections::HashMap::from([(3, crate::placement::Load { heard_at: Some(s(at)), ..Default::default() })])
    };
    r.set_loads(&heard(25));
    assert_eq!(r.tick(s(54)), Vec::<u16>::new());
    assert_eq!(r.tick(s(55)), [3]);
}

#[test]
fn deletion_ends_the_flows_and_frees_the_name() {
    let mut r = registry();
    r.put(&name("mine"), &spec("10.0.0.1:1935"), s(0)).unwrap();
    assert_eq!((r.remove("mine", s(1)), r.remove("mine", s(1))), (Ok(Some(1)), Ok(None)));
    assert_eq!(state(&r, 1).unwrap().0, OriginState::Down);
    assert_eq!(r.put(&name("mine"), &spec("10.0.0.1:1935"), s(2)).unwrap().index, 2);
}

#[test]
fn a_drain_outlasts_beats_and_restarts_and_ends_at_its_deadline() {
    let mut r = registry();
    r.register(&beat("", "s1", "a", "10.0.0.1:1935"), s(0)).unwrap();
    assert_eq!((r.drain("s1", Some(s(20))), r.drain("nobody", None)), (Some(1), None));
    r.register(&beat("", "s1", "b", "10.0.0.1:1935"), s(10)).unwrap();
    assert_eq!(r.get(1).unwrap().status(), OriginStatus::Draining);
    assert_eq!((r.tick(s(19)), r.tick(s(20)), r.tick(s(21))), (vec![], vec![1], vec![]));
    assert_eq!(state(&r, 1).unwrap().0, OriginState::Up);
    r.undrain("s1");
    assert_eq!(r.get(1).unwrap().status(), OriginStatus::Healthy);
}

#[test]
fn addresses_that_are_not_allowed_register_nothing() {
    let mut r = registry();
    let outside = r.register(&beat("", "s1", "a", "192.0.2.1:1935"), s(0)).unwrap_err();
    assert!(matches!(outside, RegisterError::Refused(Refusal::OutsideNetworks { field: "rtmp", .. })));
    assert!(r.put(&name("x"), &spec("192.0.2.1:1935"), s(0)).is_err());
    assert_eq!((r.live().count(), r.take_changed()), (0, false));
}

#[test]
fn there_is_a_last_origin() {
    let mut r = registry();
    for i in 0..ORIGINS_MAX as u32 {
        let at = SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + i + 1), 1935)).to_string();
        r.put(&name(&format!("o{i}")), &spec(&at), s(0)).unwrap();
    }
    assert_eq!(r.put(&name("one more"), &spec("10.9.9.9:1935"), s(0)), Err(RegisterError::Full));
}

#[test]
fn an_adopted_origin_keeps_its_index_and_generation_when_it_beats() {
    let mut r = registry();
    assert!(r.adopt(7, "cam", 41, s(0)) && r.adopt(9, "s2", 3, s(0)));
    assert!(!r.adopt(7, "twice", 1, s(0)) && !r.adopt(8, "cam", 1, s(0)) && !r.adopt(0, "zero", 1, s(0)));
    r.learn_endpoint(7, ServiceKind::Rtmp, "10.0.0.1:1935".parse().unwrap());
    assert_eq!(r.get(7).unwrap().endpoints, endpoints("10.0.0.1:1935"));
    let cam = r.register(&beat("cam", "s1", "a", "10.0.0.1:1935"), s(1)).unwrap();
    assert_eq!((cam.index, cam.kind, cam.ended.len()), (7, RegisterKind::Renewed, 0));
    assert_eq!(state(&r, 7), Some((OriginState::Up, 41)));
    assert_eq!(r.register(&beat("", "s2", "a", "10.0.0.2:1935"), s(1)).unwrap().index, 9);
    assert_eq!(r.register(&beat("", "s3", "a", "10.0.0.3:1935"), s(1)).unwrap().index, 1);
    let mut silent = registry();
    silent.adopt(3, "gone", 5, s(0));
    assert_eq!(silent.tick(TTL), [3], "an adopted origin that never beats dies by its lease");
}

#[test]
fn the_default_origin_never_expires_and_comes_from_the_settings_alone() {
    let settings = DefaultOrigin {
        ip: "192.0.2.1".parse().unwrap(),
        rtmp: Some(1935),
        http: None,
        api: Some(1985),
        rtc: Some(8000),
        srt: Some(10080),
    };
    let mut r = Registry::new(admission(), TTL, Some(&settings)).unwrap();
    let index = r.index_of(DEFAULT_ORIGIN_ID).unwrap();
    assert_eq!((r.tick(s(1_000_000)), r.get(index).unwrap().status()), (vec![], OriginStatus::Healthy));
    assert_eq!(r.remove(DEFAULT_ORIGIN_ID, s(0)), Err(RegisterError::FromSettings));
    assert_eq!(r.put(&name(DEFAULT_ORIGIN_ID), &spec("10.0.0.1:1935"), s(0)), Err(RegisterError::FromSettings));
    assert!(r.adopt(index, DEFAULT_ORIGIN_ID, 17, s(0)) && r.adopt(1, "s1", 1, s(0)));
    assert_eq!((state(&r, index), r.get(index).unwrap().source), (Some((OriginState::Up, 17)), Source::Default));
    let own = Admission { networks: vec![], own: vec![(Transport::Tcp, "192.0.2.1:1935".parse().unwrap())] };
    assert!(Registry::new(own, TTL, Some(&settings)).is_err(), "the balancer is no origin");
}

#[test]
fn names_fit_the_map_and_a_terminal() {
    assert_eq!(Name::parse(""), Err(NameError::Empty));
    assert_eq!(Name::parse("a\u{1b}[2J"), Err(NameError::ControlCharacter));
    assert!(Name::parse(&"x".repeat(64)).is_ok());
    assert_eq!(Name::parse(&"x".repeat(65)), Err(NameError::TooLong));
}

#[test]
fn what_another_balancer_tells_does_not_undo_what_was_seen_of_an_origin() {
    let mut r = registry();
    let index = r.register(&beat("", "s1", "run 0", "10.0.0.1:1935"), s(0)).unwrap().index;
    r.set_epoch(index, 1);
    for run in 1..=3_u8 {
        let told = r.shared(index).unwrap();
        let incarnation = Some(Incarnation { service: name(&format!("run {run}")), pid: name("1") });
        let told = SharedOrigin { epoch: told.epoch + 1, incarnation, expires_at: Some(s(300)), ..told };
        assert_eq!(r.apply(&told, s(run.into())).unwrap().unwrap().ended, [index], "{run}");
        // The same run with another date is no other run.
        let dated = SharedOrigin { epoch: told.epoch + 1, ..told };
        assert!(r.apply(&dated, s(run.into())).unwrap().unwrap().ended.is_empty());
    }
    assert_eq!(r.get(index).unwrap().health.why(), Some(Why::Flapping));
}
