//! What lies in the shelf is what the table of live flows has, whatever happens in between.

use super::super::writer::{BATCH_MAX, CHANGES_MAX};
use super::{Lb, records};
use crate::cluster::fake::Fake;
use balancer_common::abi::{FlowKey, Reason};

#[tokio::test]
async fn flows_are_written_in_batches_and_removed_at_their_end() {
    let fake = Fake::new();
    let lb = Lb::new(&fake, "a").await;
    let keys: Vec<FlowKey> = (0..BATCH_MAX + 10).map(|n| lb.carry(n)).collect();
    let before = fake.calls();
    lb.write_all().await;
    assert_eq!(fake.calls() - before, 2);
    assert_eq!(records(&fake, "a").await.len(), keys.len());
    keys[1..].iter().for_each(|key| lb.live.let_go(*key));
    lb.write_all().await;
    assert_eq!(records(&fake, "a").await.len(), 1);
}

#[tokio::test]
async fn a_flow_that_is_over_before_it_was_written_never_is() {
    let fake = Fake::new();
    let lb = Lb::new(&fake, "a").await;
    let key = lb.carry(1);
    lb.live.let_go(key);
    lb.write_all().await;
    assert!(records(&fake, "a").await.is_empty());
}

#[tokio::test]
async fn what_an_outage_has_kept_back_is_written_after_it() {
    let fake = Fake::new();
    let lb = Lb::new(&fake, "a").await;
    let first = lb.carry(1);
    lb.write_all().await;
    fake.down(true);
    lb.carry(2);
    lb.live.let_go(first);
    assert!(lb.flows.write_once().await.is_err());
    assert!(lb.flows.write_once().await.is_err(), "nothing was lost");
    fake.down(false);
    lb.write_all().await;
    let left = records(&fake, "a").await;
    assert_eq!(left.len(), 1);
    assert!(left[0].contains("198.51.0.3:5000"), "{left:?}");
}

#[tokio::test]
async fn an_emptied_store_gets_everything_again() {
    let fake = Fake::new();
    let lb = Lb::new(&fake, "a").await;
    lb.carry_many(700);
    lb.write_all().await;
    fake.empty();
    assert!(records(&fake, "a").await.is_empty());
    lb.flows.shelf_up().await;
    lb.write_all().await;
    assert_eq!(records(&fake, "a").await.len(), 700);
}

#[tokio::test]
async fn records_of_flows_that_are_over_are_swept() {
    let fake = Fake::new();
    let lb = Lb::new(&fake, "a").await;
    let key = lb.carry(1);
    lb.write_all().await;
    lb.live.let_go(key);
    lb.flows.changes().take();
    lb.flows.rewrite();
    lb.write_all().await;
    assert!(records(&fake, "a").await.is_empty());
    assert_eq!(lb.count(Reason::RecordRepaired), 1);
}

#[tokio::test]
async fn too_many_changes_are_counted_and_made_good() {
    let fake = Fake::new();
    let lb = Lb::new(&fake, "a").await;
    lb.carry(1);
    let other = FlowKey::tcp("10.1.0.5:1".parse().unwrap(), "10.0.0.10:1".parse().unwrap()).unwrap();
    for n in 0..=CHANGES_MAX as u32 {
        let client = std::net::SocketAddr::new(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into(), 1);
        lb.flows.change(FlowKey::tcp(client, "192.0.2.10:1935".parse().unwrap()).unwrap(), other);
    }
    assert_eq!(lb.count(Reason::LimitFlowRecords), 1);
    lb.write_all().await;
    assert_eq!(records(&fake, "a").await.len(), 1);
}
