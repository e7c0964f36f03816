//! What holds whatever happens, in whatever order.

use super::{World, key, s};
use crate::config::Policy;
use crate::flow::{Protocol, Role};
use crate::placement::*;
use crate::registry::{ConnectFailure, Endpoints, FlowTicket, Name, OriginSpec};
use balancer_common::abi::{OriginState, Reason, ServiceKind};
use proptest::prelude::*;
use std::net::SocketAddr;

#[derive(Clone, Debug)]
enum Step {
    Place { stream: u8, publish: bool, exclude: Vec<u16> },
    Connected(bool),
    Fail(bool),
    Close,
    Drain(u8, bool),
    Restart(u8),
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..6, any::<bool>(), proptest::collection::vec(1u16..5, 0..2))
            .prop_map(|(stream, publish, exclude)| Step::Place { stream, publish, exclude }),
        3 => any::<bool>().prop_map(Step::Connected),
        2 => any::<bool>().prop_map(Step::Fail),
        2 => Just(Step::Close),
        1 => (1u8..5, any::<bool>()).prop_map(|(o, on)| Step::Drain(o, on)),
        1 => (1u8..5).prop_map(Step::Restart),
        2 => (0u8..20).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens: nothing new goes to an origin that is down, draining or excluded, a stream is on one origin at
    /// most, viewers of a published stream are where it is, and counts come back to nothing.
    #[test]
    fn placement_keeps_its_rules(
        policy in prop_oneof![Just(Policy::LeastLoad), Just(Policy::Rendezvous), Just(Policy::RoundRobin)],
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut w = World::new(policy, 4);
        let mut tried: Vec<(Placement, Role)> = vec![];
        let mut open: Vec<FlowTicket> = vec![];
        for step in steps {
            match step {
                Step::Place { stream, publish, exclude } => {
                    let stream = format!("s{stream}");
                    let role = if publish { Role::Publish } else { Role::Play };
                    let before = w.streams.get(&key(&stream)).and_then(|s| s.mapping).filter(|m| w.registry.is_current(m.placed_on()));
                    let fine: Vec<u16> = w.registry.live()
                        .filter(|(_, o)| o.draining.is_none() && o.health.available(ServiceKind::Rtmp, w.now))
                        .map(|(i, _)| i).collect();
                    if let Ok(p) = w.place_as(&stream, role, Protocol::Rtmp, &exclude) {
                        prop_assert!(!exclude.contains(&p.origin));
                        prop_assert!(w.registry.is_current((p.origin, p.generation)));
                        if p.reason == Reason::PlacedSticky {
                            prop_assert_eq!(before.map(|m| m.origin), Some(p.origin));
                            let dead = w.registry.get(p.origin).unwrap().health.is_dead();
                            prop_assert!(!dead || fine.contains(&p.origin));
                        } else {
                            prop_assert!(fine.contains(&p.origin), "{:?} of {:?}", p, fine);
                        }
                        prop_assert_eq!(w.streams.get(&key(&stream)).unwrap().mapping.unwrap().placed_on(), (p.origin, p.generation));
                        tried.push((p, role));
                    }
                }
                Step::Connected(newest) if !tried.is_empty() => {
                    let (p, role) = if newest { tried.pop().unwrap() } else { tried.remove(0) };
                    w.open(&p, role);
                    open.push(p.ticket(role, Protocol::Rtmp));
                }
                Step::Fail(refused) if !tried.is_empty() => {
                    let (p, _) = tried.remove(0);
                    w.fails(&p, if refused { ConnectFailure::Refused } else { ConnectFailure::TimedOut });
                }
                Step::Close if !open.is_empty() => {
                    let ticket = open.remove(0);
                    w.registry.flow_closed(ticket.origin);
                    w.streams.flow_closed(ticket, w.now);
                }
                Step::Drain(o, on) => {
                    let id = format!("o{o}");
                    let _ = if on { w.registry.drain(&id, None) } else { w.registry.undrain(&id) };
                }
                Step::Restart(o) => {
                    w.registry.remove(&format!("o{o}"), w.now).unwrap();
                    w.streams.free_origin(u16::from(o), w.now);
                    if w.registry.live().count() < 4 {
                        // Comes back under its name, in a slot that is free.
                        let free = (1..100).find(|i| w.registry.get(*i).is_none() && w.registry.desired().iter().all(|d| d.index != *i || d.state == OriginState::Empty)).unwrap();
                        let mut endpoints = Endpoints::default();
                        endpoints.add(ServiceKind::Rtmp, SocketAddr::from(([10, 0, 1, free as u8], 1935))).unwrap();
                        let spec = OriginSpec { endpoints: Some(endpoints), ..OriginSpec::default() };
                        w.registry.put(&Name::parse(&format!("o{o}")).unwrap(), &spec, w.now).unwrap();
                    }
                }
                Step::Wait(t) => {
                    w.now += s(u64::from(t));
                    for origin in w.registry.tick(w.now) {
                        w.streams.free_origin(origin, w.now);
                    }
                    w.streams.tick(w.now);
                }
                Step::Connected(_) | Step::Fail(_) | Step::Close => {}
            }
            for origin in 1..50u16 {
                let mapped = w.streams.iter().filter(|s| s.mapping.is_some_and(|m| m.origin == origin)).count();
                prop_assert_eq!(w.streams.on(origin) as usize, mapped);
                let flows = open.iter().filter(|t| t.origin == origin).count();
                prop_assert_eq!(w.registry.flows(origin) as usize, flows);
            }
        }
        for ticket in open {
            w.registry.flow_closed(ticket.origin);
            w.streams.flow_closed(ticket, w.now);
        }
        w.streams.tick(w.now + s(3600));
        prop_assert!(w.streams.is_empty());
    }
}
