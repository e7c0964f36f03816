//! Single packets of unknown flows: asked about once, answered by a flow or by "nobody's".

use super::super::{Host, QUESTIONS_MAX};
use super::{Kernel, Lb};
use crate::cluster::fake::{Fake, Trouble};
use balancer_common::abi::{FlowKey, Reason};
use std::time::Duration;

fn nobodys(kernel: &Kernel) -> Vec<FlowKey> {
    kernel.nobodys.lock().unwrap().clone()
}

fn stranger(port: u16) -> FlowKey {
    FlowKey::tcp((std::net::Ipv4Addr::new(203, 0, 113, 1), port).into(), "192.0.2.10:1935".parse().unwrap()).unwrap()
}

#[tokio::test]
async fn a_packet_of_either_half_brings_the_flow() {
    let fake = Fake::new();
    let (a, b) = (Lb::new(&fake, "a").await, Lb::new(&fake, "b").await);
    let keys = [a.carry(1), a.carry(2)];
    b.kernel.elsewhere.lock().unwrap().insert(super::ip(super::VIP));
    b.meet(&[&a]).await;
    a.write_all().await;
    let origins: Vec<FlowKey> = a.live.all_carried().iter().map(|(_, origin)| *origin).collect();
    let second = origins.iter().find(|o| a.live.carried(keys[1]).unwrap().origin == **o).unwrap();
    let before = fake.calls();
    (0..5).for_each(|_| b.flows.missed(keys[0]));
    b.flows.missed(*second);
    b.flows.missed(stranger(1));
    while b.flows.ask_once().await {}
    assert_eq!(fake.calls() - before, 1);
    assert!(keys.iter().all(|key| b.live.is_guest(*key)));
    assert_eq!(nobodys(&b.kernel), [stranger(1)]);
    assert_eq!(b.count(Reason::FlowNotFound), 1);
}

#[tokio::test]
async fn packets_to_the_ports_of_all_balancers_are_asked_about() {
    let fake = Fake::new();
    let (a, b) = (Lb::new(&fake, "a").await, Lb::new(&fake, "b").await);
    b.meet(&[&a]).await;
    let source = super::ip(super::SOURCE);
    assert_eq!(*b.kernel.asks_for.lock().unwrap(), [(source, 30_000..=39_999), (source, 20_000..=29_999)]);
}

#[tokio::test]
async fn a_packet_of_a_dead_balancers_flow_makes_it_ours() {
    let fake = Fake::new();
    let (a, b) = (Lb::new(&fake, "a").await, Lb::new(&fake, "b").await);
    b.meet(&[&a]).await;
    b.flows.peer_lost("a").await;
    let key = a.carry(1);
    a.write_all().await;
    b.flows.stray(key);
    while b.flows.ask_once().await {}
    assert!(b.live.carried(key).is_some());
}

#[tokio::test]
async fn a_flow_that_has_just_ended_is_not_begun_again_by_a_late_packet() {
    let fake = Fake::new();
    let a = Lb::new(&fake, "a").await;
    let key = a.carry(1);
    a.write_all().await;
    let origin = a.live.carried(key).unwrap().origin;
    a.live.let_go(key);
    a.kernel.remove(key, origin);
    // Its removal is not written yet.
    a.flows.missed(key);
    while a.flows.ask_once().await {}
    assert_eq!((nobodys(&a.kernel), a.live.is_empty()), (vec![key], true));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_says_nothing_is_not_waited_for() {
    let fake = Fake::new();
    let b = Lb::new(&fake, "b").await;
    fake.trouble(Trouble::Slow);
    for _ in 0..2 {
        b.flows.missed(stranger(1));
        while b.flows.ask_once().await {}
        assert!(nobodys(&b.kernel).is_empty(), "it may be somebody's");
        tokio::time::advance(Duration::from_secs(3)).await;
    }
    b.flows.missed(stranger(1));
    while b.flows.ask_once().await {}
    assert_eq!(nobodys(&b.kernel), [stranger(1)]);
}

#[tokio::test(start_paused = true)]
async fn while_flows_are_still_to_be_read_nothing_is_nobodys() {
    let fake = Fake::new();
    let (a, b) = (Lb::new(&fake, "a").await, Lb::new(&fake, "b").await);
    let key = a.carry(1);
    a.write_all().await;
    fake.trouble(Trouble::Slow);
    b.meet(&[&a]).await;
    for _ in 0..4 {
        b.flows.missed(key);
        while b.flows.ask_once().await {}
        tokio::time::advance(Duration::from_secs(3)).await;
    }
    assert!(nobodys(&b.kernel).is_empty(), "a's flows could not be read yet");
    fake.trouble(Trouble::None);
    b.flows.missed(key);
    while b.flows.ask_once().await {}
    assert!(b.live.is_guest(key));
}

#[tokio::test]
async fn strays_are_asked_about_once_in_a_while_and_not_without_end() {
    let fake = Fake::new();
    let b = Lb::new(&fake, "b").await;
    b.flows.stray(stranger(1));
    while b.flows.ask_once().await {}
    let before = fake.calls();
    b.flows.stray(stranger(1));
    assert!(!b.flows.ask_once().await);
    assert_eq!(fake.calls(), before);
    for n in 0..QUESTIONS_MAX {
        b.flows.stray(stranger(2 + n as u16));
    }
    assert_eq!(b.count(Reason::LimitQuestionsOfFlows), 1);
}
