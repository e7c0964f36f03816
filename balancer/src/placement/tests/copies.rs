//! Streams that more than one server carries: edges, copies, second publishers.

use super::{VIP, World, key, s};
use crate::config::{Policy, SecondPublisher};
use crate::flow::{Protocol, Role};
use crate::placement::*;
use crate::registry::{BARRED, ConnectFailure, FlowTicket, Name, OriginRole, OriginSpec, Reset, Serving, Unfed};
use balancer_common::abi::Reason;
use proptest::prelude::*;
use std::net::SocketAddr;

fn edge() -> OriginSpec {
    OriginSpec { role: Some(OriginRole::Edge), ..OriginSpec::default() }
}

/// One origin and so many edges behind it.
fn with_edges(edges: u16) -> World {
    let mut w = World::new(Policy::LeastLoad, 1);
    (2..2 + edges).for_each(|n| w.origin(n, edge()));
    w
}

fn with(copies: usize, second_publisher: SecondPublisher) -> World {
    let mut w = World::new(Policy::LeastLoad, 3);
    w.placer = Placer::new(Policy::LeastLoad, Sharing { copies, second_publisher });
    w
}

fn from(w: &mut World, client: SocketAddr, role: Role) -> Result<Placement, PlaceError> {
    let request = PlaceRequest { key: &key("a"), role, protocol: Protocol::Rtmp, vip: VIP, client, exclude: &[] };
    w.placer.place(&mut w.registry, &mut w.streams, &request, w.now)
}

fn client(n: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, n], 5000))
}

fn unfed(w: &mut World, all: &[(&Placement, Role, u64)]) {
    let of = |p: &Placement, role| -> Serving { (p.stream, (p.origin, p.generation), role) };
    let all: Unfed = all.iter().map(|(p, role, seconds)| (of(p, *role), s(*seconds))).collect();
    w.streams.set_unfed(&all);
}

fn close(w: &mut World, p: &Placement, role: Role) {
    w.registry.flow_closed(p.origin);
    w.streams.flow_closed(p.ticket(role, Protocol::Rtmp), w.now);
}

#[test]
fn viewers_are_spread_over_the_origin_and_its_edges_and_none_is_left_behind() {
    for policy in [Policy::LeastLoad, Policy::RoundRobin, Policy::Rendezvous] {
        let mut w = with_edges(2);
        w.placer = Placer::new(policy, Sharing::default());
        let home = w.publish("a");
        assert_eq!(home.origin, 1, "no edge takes a publisher");
        let mut counts = [0; 4];
        for n in 0..60 {
            let viewer = from(&mut w, client(n), Role::Play).unwrap();
            assert_eq!(viewer.reason == Reason::PlacedCopy, viewer.origin != 1);
            w.open(&viewer, Role::Play);
            counts[usize::from(viewer.origin)] += 1;
        }
        assert!(counts[1..].iter().all(|n| *n >= 10), "{policy:?} {counts:?}");
        let stream = w.streams.get(&key("a")).unwrap();
        assert_eq!((stream.copies().count(), stream.players()), (2, 60));
        assert_eq!((w.streams.on(1), w.streams.on(2), w.streams.on(3)), (1, 1, 1));
        assert!(w.streams.take_resets().is_empty());
    }
}

#[test]
fn an_edge_that_fetches_is_sent_to_the_origin_and_never_to_an_edge() {
    let mut w = with_edges(3);
    let fetches = SocketAddr::from(([10, 0, 0, 2], 40000));
    // Before it is published as well.
    assert_eq!(from(&mut w, fetches, Role::Play).unwrap().origin, 1);
    w.publish("a");
    for _ in 0..20 {
        let placed = from(&mut w, fetches, Role::Play).unwrap();
        assert_eq!((placed.origin, placed.reason), (1, Reason::PlacedPull));
    }
    let mut only_edges = World::new(Policy::LeastLoad, 0);
    (1..=2).for_each(|n| only_edges.origin(n, edge()));
    assert_eq!(from(&mut only_edges, client(1), Role::Play).unwrap().reason, Reason::PlacedViewer);
    assert_eq!(from(&mut only_edges, fetches, Role::Play), Err(PlaceError::NoOrigin));
}

#[test]
fn an_edge_that_brings_nothing_is_not_asked_for_a_while_and_its_viewers_come_again() {
    let mut w = with_edges(1);
    let home = w.publish("a");
    let viewer = (0..50).map(|n| from(&mut w, client(n), Role::Play).unwrap()).find(|p| p.origin == 2).unwrap();
    w.open(&viewer, Role::Play);
    unfed(&mut w, &[(&home, Role::Publish, 6), (&viewer, Role::Play, 6)]);
    w.streams.tick(w.now);
    assert!(w.streams.take_resets().is_empty(), "nobody gets it: not the edge's fault");
    unfed(&mut w, &[(&home, Role::Publish, 0), (&viewer, Role::Play, 5)]);
    w.streams.tick(w.now);
    assert_eq!(w.streams.take_resets(), [Reset::all(viewer.stream, (2, viewer.generation))]);
    close(&mut w, &viewer, Role::Play);
    assert!((0..50).all(|n| from(&mut w, client(n), Role::Play).unwrap().origin == 1));
    w.now += BARRED;
    w.streams.tick(w.now);
    assert!((0..50).any(|n| from(&mut w, client(n), Role::Play).unwrap().origin == 2));
}

#[test]
fn three_viewers_in_a_row_that_leave_with_nothing_bar_an_edge() {
    let mut w = with_edges(1);
    let home = w.publish("a");
    unfed(&mut w, &[(&home, Role::Publish, 0)]);
    let viewer = (0..50).map(|n| from(&mut w, client(n), Role::Play).unwrap()).find(|p| p.origin == 2).unwrap();
    for left in 1..=3 {
        assert!(!w.streams.get(&key("a")).unwrap().is_barred(2, w.now), "{left}");
        w.streams.left_unfed(viewer.ticket(Role::Play, Protocol::Rtmp), w.now);
    }
    assert!(w.streams.get(&key("a")).unwrap().is_barred(2, w.now));
}

#[test]
fn viewers_of_a_dead_edge_find_the_stream_at_its_origin() {
    let mut w = with_edges(1);
    w.publish("a");
    let viewer = (0..50).map(|n| from(&mut w, client(n), Role::Play).unwrap()).find(|p| p.origin == 2).unwrap();
    w.fails(&viewer, ConnectFailure::Refused);
    assert_eq!((w.streams.on(2), w.streams.get(&key("a")).unwrap().copies().count()), (0, 0));
    assert!((0..50).all(|n| from(&mut w, client(n), Role::Play).unwrap().origin == 1));
}

#[test]
fn told_copies_are_used_as_far_as_they_are_allowed() {
    for (copies, used) in [(1, 1), (2, 2), (3, 3)] {
        let mut w = with(copies, SecondPublisher::Origin);
        let home = w.publish("a");
        let name = Name::parse("push").unwrap();
        for origin in (1..=3).filter(|o| *o != home.origin) {
            let placed_on = (origin, w.registry.generation(origin) as u16);
            assert!(w.streams.tell_copy(&key("a"), placed_on, (&name, false), w.now));
        }
        let on: std::collections::BTreeSet<u16> =
            (0..60).map(|n| from(&mut w, client(n), Role::Play).unwrap().origin).collect();
        assert_eq!(on.len(), used, "{on:?}");
        assert!(on.contains(&home.origin));
    }
}

#[test]
fn a_copy_that_is_lost_sends_its_viewers_back() {
    let mut w = with(3, SecondPublisher::Origin);
    let home = w.publish("a");
    let copy = if home.origin == 1 { 2 } else { 1 };
    let placed_on = (copy, w.registry.generation(copy) as u16);
    let name = Name::parse("push").unwrap();
    w.streams.tell_copy(&key("a"), placed_on, (&name, false), w.now);
    let viewer = (0..50).map(|n| from(&mut w, client(n), Role::Play).unwrap()).find(|p| p.origin == copy).unwrap();
    w.open(&viewer, Role::Play);
    assert!(w.streams.untell_copy(&key("a"), copy, &name));
    assert_eq!(w.streams.take_resets(), [Reset::all(viewer.stream, placed_on)]);
    assert_eq!(w.streams.on(copy), 0);
}

#[test]
fn a_second_publisher_is_refused_unless_the_first_is_silent() {
    let mut w = with(1, SecondPublisher::Refuse);
    let first = from(&mut w, client(1), Role::Publish).unwrap();
    w.open(&first, Role::Publish);
    for second in [client(1), client(2)] {
        assert_eq!(from(&mut w, second, Role::Publish), Err(PlaceError::Published));
    }
    assert_eq!(PlaceError::Published.reason(), Reason::PublisherRefused);
    unfed(&mut w, &[(&first, Role::Publish, 2)]);
    assert_eq!(from(&mut w, client(2), Role::Publish), Err(PlaceError::Published));
    let same = from(&mut w, client(1), Role::Publish).unwrap();
    assert_eq!((same.origin, same.reason), (first.origin, Reason::PublisherReplaced));
    let resets = w.streams.take_resets();
    assert_eq!((resets.len(), resets[0].publishers_before), (1, Some(w.now)), "not the viewers");
    unfed(&mut w, &[(&first, Role::Publish, 5)]);
    assert_eq!(from(&mut w, client(2), Role::Publish).unwrap().reason, Reason::PublisherReplaced);
}

#[test]
fn a_publisher_that_has_left_keeps_nobody_out() {
    let mut w = with(1, SecondPublisher::Refuse);
    let first = from(&mut w, client(1), Role::Publish).unwrap();
    w.open(&first, Role::Publish);
    let placed_on = (first.origin, first.generation);
    // Its origin says so, and forgets to say that it is over.
    w.streams.claim(&key("a"), placed_on, &Name::parse("1").unwrap(), false, w.now).unwrap();
    close(&mut w, &first, Role::Publish);
    assert_eq!(from(&mut w, client(2), Role::Publish).unwrap().origin, first.origin);
}

#[test]
fn by_replace_the_newest_publisher_wins_where_the_viewers_are() {
    let mut w = with(1, SecondPublisher::Replace);
    let first = from(&mut w, client(1), Role::Publish).unwrap();
    w.open(&first, Role::Publish);
    w.now += s(1);
    let second = from(&mut w, client(2), Role::Publish).unwrap();
    assert_eq!((second.origin, second.reason), (first.origin, Reason::PublisherReplaced));
    let reset = w.streams.take_resets()[0];
    assert_eq!((reset.origin, reset.publishers_before), (first.origin, Some(w.now)));
}

#[test]
fn a_backup_waits_elsewhere_and_takes_over() {
    for silent in [false, true] {
        let mut w = with(1, SecondPublisher::Backup);
        let first = from(&mut w, client(1), Role::Publish).unwrap();
        w.open(&first, Role::Publish);
        let viewer = from(&mut w, client(9), Role::Play).unwrap();
        w.open(&viewer, Role::Play);
        let second = from(&mut w, client(2), Role::Publish).unwrap();
        assert_ne!(second.origin, first.origin);
        w.open(&second, Role::Publish);
        assert!(w.streams.take_resets().is_empty(), "both go on");
        assert_eq!(from(&mut w, client(3), Role::Publish), Err(PlaceError::Published), "one waits already");
        assert!((0..20).all(|n| from(&mut w, client(n), Role::Play).unwrap().origin == first.origin));
        if silent {
            unfed(&mut w, &[(&first, Role::Publish, 5), (&second, Role::Publish, 0)]);
            w.streams.tick(w.now);
        } else {
            close(&mut w, &first, Role::Publish);
        }
        assert_eq!(w.streams.take_resets(), [Reset::all(first.stream, (first.origin, first.generation))]);
        assert_eq!(w.streams.take_tally(), [Reason::BackupTakesOver]);
        let stream = w.streams.get(&key("a")).unwrap();
        assert_eq!((stream.mapping.unwrap().origin, stream.backup()), (second.origin, None));
        assert_eq!(stream.publisher().unwrap().from, Some(client(2).ip()));
        assert!((0..20).all(|n| from(&mut w, client(n), Role::Play).unwrap().origin == second.origin));
        // Who was first may come again and waits in his turn.
        let third = from(&mut w, client(1), Role::Publish).unwrap();
        assert_ne!(third.origin, second.origin);
    }
}

#[test]
fn a_backup_takes_over_when_the_origin_dies_with_the_publisher() {
    let mut w = with(1, SecondPublisher::Backup);
    let first = from(&mut w, client(1), Role::Publish).unwrap();
    w.open(&first, Role::Publish);
    let second = from(&mut w, client(2), Role::Publish).unwrap();
    w.open(&second, Role::Publish);
    w.now += s(1);
    let viewer = from(&mut w, client(9), Role::Play).unwrap();
    w.fails(&viewer, ConnectFailure::Refused);
    assert_eq!(from(&mut w, client(9), Role::Play).unwrap().origin, second.origin);
    assert_eq!((w.streams.on(first.origin), w.streams.on(second.origin)), (0, 1));
}

#[test]
fn without_another_origin_nobody_waits() {
    let mut w = World::new(Policy::LeastLoad, 1);
    w.placer = Placer::new(Policy::LeastLoad, Sharing { copies: 1, second_publisher: SecondPublisher::Backup });
    let first = from(&mut w, client(1), Role::Publish).unwrap();
    w.open(&first, Role::Publish);
    assert_eq!(from(&mut w, client(2), Role::Publish), Err(PlaceError::Published));
}

#[test]
fn flows_of_an_earlier_process_stay_where_they_were_spread() {
    let mut w = with_edges(1);
    let home = w.publish("a");
    let on = |origin: u16, role| FlowTicket {
        stream: home.stream,
        origin,
        generation: w.registry.generation(origin) as u16,
        role,
        protocol: Protocol::Rtmp,
    };
    let viewer = on(2, Role::Play);
    w.streams.flow_adopted(viewer, w.now);
    assert!(w.streams.take_resets().is_empty());
    assert_eq!(w.streams.get(&key("a")).unwrap().copies().count(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Place(u8, bool, u8),
    Open(bool),
    Close,
    Tell(u16, bool),
    Fed(u64),
    Fail,
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0u8..3, any::<bool>(), 0u8..6).prop_map(|(stream, publish, n)| Step::Place(stream, publish, n)),
        4 => any::<bool>().prop_map(Step::Open),
        3 => Just(Step::Close),
        2 => (1u16..4, any::<bool>()).prop_map(|(origin, told)| Step::Tell(origin, told)),
        2 => (0u64..8).prop_map(Step::Fed),
        1 => Just(Step::Fail),
        2 => (0u8..12).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever happens: who fetches is never sent to an edge, nobody publishes on one, no more origins than are allowed
    /// serve a stream's viewers, one carrier an origin and none on its own, and counts come back to nothing.
    #[test]
    fn carriers_keep_their_rules(
        copies in 1usize..4,
        second in prop_oneof![
            Just(SecondPublisher::Origin), Just(SecondPublisher::Refuse),
            Just(SecondPublisher::Replace), Just(SecondPublisher::Backup)
        ],
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut w = World::new(Policy::LeastLoad, 3);
        (4..=5).for_each(|n| w.origin(n, edge()));
        w.placer = Placer::new(Policy::LeastLoad, Sharing { copies, second_publisher: second });
        let told = Name::parse("told").unwrap();
        let mut tried: Vec<(Placement, Role)> = vec![];
        let mut open: Vec<(Placement, Role)> = vec![];
        for step in steps {
            match step {
                Step::Place(stream, publish, n) => {
                    let role = if publish { Role::Publish } else { Role::Play };
                    // The first two are edges.
                    let fetches = n < 2;
                    let client = if fetches { SocketAddr::from(([10, 0, 0, 4 + n], 9)) } else { client(n) };
                    let k = key(&format!("s{stream}"));
                    let request = PlaceRequest { key: &k, role, protocol: Protocol::Rtmp, vip: VIP, client, exclude: &[] };
                    if let Ok(p) = w.placer.place(&mut w.registry, &mut w.streams, &request, w.now) {
                        prop_assert!(p.origin < 4 || (role == Role::Play && !fetches), "{:?}", p);
                        let told = w.streams.get(&k).unwrap().told_copies().take(copies - 1).any(|(o, _)| o == p.origin);
                        prop_assert!(p.reason != Reason::PlacedCopy || p.origin > 3 || told);
                        tried.push((p, role));
                    }
                }
                Step::Open(newest) if !tried.is_empty() => {
                    let (p, role) = if newest { tried.pop().unwrap() } else { tried.remove(0) };
                    w.open(&p, role);
                    open.push((p, role));
                }
                Step::Close if !open.is_empty() => {
                    let (p, role) = open.remove(0);
                    close(&mut w, &p, role);
                }
                Step::Tell(origin, is_told) => {
                    let placed_on = (origin, w.registry.generation(origin) as u16);
                    if is_told {
                        w.streams.tell_copy(&key("s0"), placed_on, (&told, true), w.now);
                    } else {
                        w.streams.untell_copy(&key("s0"), origin, &told);
                    }
                }
                Step::Fed(seconds) => {
                    let all: Vec<_> = open.iter().map(|(p, role)| (p, *role, seconds * u64::from(p.origin % 2))).collect();
                    unfed(&mut w, &all);
                }
                Step::Fail if !tried.is_empty() => {
                    let (p, _) = tried.remove(0);
                    w.fails(&p, ConnectFailure::Refused);
                }
                Step::Wait(seconds) => {
                    w.now += s(u64::from(seconds));
                    for origin in w.registry.tick(w.now) {
                        w.streams.free_origin(origin, w.now);
                    }
                    w.streams.tick(w.now);
                }
                Step::Open(_) | Step::Close | Step::Fail => {}
            }
            for origin in 1..=5u16 {
                let on_it = w.streams.iter().filter(|s| s.is_on(origin)).count();
                prop_assert_eq!(w.streams.on(origin) as usize, on_it);
            }
            for stream in w.streams.iter() {
                let home = stream.mapping.map(|m| m.origin);
                let mut carriers: Vec<u16> = stream.copies().map(|(o, _)| o).collect();
                carriers.extend(stream.backup().map(|b| b.placed_on.0));
                prop_assert!(carriers.iter().all(|c| Some(*c) != home), "{:?} {:?}", home, carriers);
                let count = carriers.len();
                carriers.sort_unstable();
                carriers.dedup();
                prop_assert_eq!(carriers.len(), count);
            }
        }
        for (p, role) in open {
            close(&mut w, &p, role);
        }
        for origin in 1..=5 {
            w.streams.untell_copy(&key("s0"), origin, &told);
            w.streams.unclaim(&key("s0"), origin, &told, w.now);
        }
        w.streams.tick(w.now + s(3600));
        w.streams.tick(w.now + s(7200));
        prop_assert!(w.streams.is_empty());
        prop_assert!((1..=5).all(|o| w.streams.on(o) == 0));
    }
}
