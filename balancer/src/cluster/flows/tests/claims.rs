//! Every flow has one owner, whoever dies, is taken for dead, comes back, or gets and loses the address.

use super::super::wire::key_text;
use super::{Lb, VIP, ip, records, talk};
use crate::cluster::fake::Fake;
use crate::live::{Claim, Standing};
use balancer_common::abi::FlowKey;
use std::time::Duration;

async fn two(fake: &Fake) -> (Lb, Lb) {
    let (a, b) = (Lb::new(fake, "a").await, Lb::new(fake, "b").await);
    a.meet(&[&b]).await;
    b.meet(&[&a]).await;
    (a, b)
}

fn has_address(lb: &Lb, has: bool) {
    let mut elsewhere = lb.kernel.elsewhere.lock().unwrap();
    if has {
        elsewhere.remove(&ip(VIP))
    } else {
        elsewhere.insert(ip(VIP))
    };
    drop(elsewhere);
    lb.flows.look();
}

/// As a process does that finds flows in its kernel.
fn adopt(lb: &Lb, number: usize) -> FlowKey {
    let client = lb.carry(number);
    lb.live.set_claim(client, Claim::Adopted);
    client
}

/// Until nobody has anything to say.
async fn all_said(lbs: [&Lb; 2]) {
    for _ in 0..3 {
        talk(lbs[0], lbs[1]).await;
        talk(lbs[1], lbs[0]).await;
    }
    lbs[0].write_all().await;
    lbs[1].write_all().await;
}

async fn owned(fake: &Fake, lbs: [&Lb; 2], client: FlowKey) -> [bool; 2] {
    for lb in lbs {
        let is_written =
            records(fake, &lb.id).await.iter().any(|text| text.contains(&client.addresses().0.to_string()));
        assert_eq!(
            is_written,
            lb.live.carried(client).is_some(),
            "{}: what is owned is written, and nothing else",
            lb.id
        );
    }
    lbs.map(|lb| lb.live.carried(client).is_some())
}

#[tokio::test]
async fn who_was_taken_for_dead_and_lives_keeps_its_flows() {
    let fake = Fake::new();
    let (a, b) = two(&fake).await;
    let key = a.carry(1);
    a.write_all().await;
    b.flows.peer_lost("a").await;
    assert!(b.live.carried(key).is_some() && records(&fake, "a").await.is_empty());
    all_said([&b, &a]).await;
    assert_eq!(owned(&fake, [&a, &b], key).await, [true, false]);
    assert_eq!(b.live.standing(key), Some(Standing::GuestOf("a".into())), "forwarded all the same");
    // And dies at last, though it was dead already as far as anybody had been told.
    b.meet(&[]).await;
    b.write_all().await;
    assert!(b.live.carried(key).is_some());
    assert_eq!((records(&fake, "a").await.len(), records(&fake, "b").await.len()), (0, 1));
}

#[tokio::test]
async fn who_could_not_be_told_asks_when_it_is_back() {
    let fake = Fake::new();
    let (a, b) = two(&fake).await;
    let key = a.carry(1);
    a.write_all().await;
    fake.cut("a", true);
    b.flows.peer_lost("a").await;
    b.flows.tell_claims().await;
    fake.cut("a", false);
    a.flows.settle().await.unwrap();
    all_said([&a, &b]).await;
    assert_eq!(owned(&fake, [&a, &b], key).await, [true, false]);
}

#[tokio::test]
async fn a_process_that_comes_back_leaves_alone_what_its_heir_carries() {
    for shares_address in [true, false] {
        let fake = Fake::new();
        let b = Lb::new(&fake, "b").await;
        let key = b.carry(1);
        b.write_all().await;
        let a = Lb::new(&fake, "a").await;
        adopt(&a, 1);
        let only = adopt(&a, 2);
        has_address(&a, shares_address);
        a.meet(&[&b]).await;
        b.meet(&[&a]).await;
        a.flows.shelf_up().await;
        all_said([&a, &b]).await;
        assert_eq!(owned(&fake, [&a, &b], key).await, [false, true]);
        assert_eq!(a.live.carries(key), shares_address, "who has not the address forwards nothing");
        assert!(a.live.carried(only).is_some());
    }
}

#[tokio::test]
async fn of_two_that_both_have_it_the_one_with_the_address_wins() {
    for (has, wins) in [("a", "a"), ("b", "b"), ("both", "a")] {
        let fake = Fake::new();
        let (a, b) = two(&fake).await;
        let key = a.carry(1);
        assert_eq!(b.carry(1), key);
        has_address(&a, has != "b");
        has_address(&b, has != "a");
        for lb in [&a, &b] {
            lb.write_all().await;
        }
        for lb in [&b, &a] {
            lb.flows.shelf_up().await;
            lb.write_all().await;
        }
        all_said([&a, &b]).await;
        assert_eq!(owned(&fake, [&a, &b], key).await, [wins == "a", wins == "b"], "{has}");
    }
}

#[tokio::test]
async fn claims_that_cross_come_to_the_same_owner() {
    let fake = Fake::new();
    let (a, b) = two(&fake).await;
    let key = a.carry(1);
    b.carry(1);
    b.live.set_claim(key, Claim::Inherited);
    for lb in [&a, &b] {
        lb.write_all().await;
        // Each finds the other's record before it hears anything.
        lb.flows.settle().await.unwrap();
    }
    a.flows.settle().await.unwrap();
    all_said([&b, &a]).await;
    assert_eq!(owned(&fake, [&a, &b], key).await, [true, false]);
}

#[tokio::test]
async fn two_that_take_each_other_for_the_owner_find_out() {
    let fake = Fake::new();
    let (a, b) = two(&fake).await;
    let key = a.carry(1);
    b.carry(1);
    a.live.become_guest(key, &b.id);
    b.live.become_guest(key, &a.id);
    assert!(a.flows.told(&format!(r#"{{"about":"flows","from":"b","heard":[["{}",1]]}}"#, key_text(key))));
    all_said([&a, &b]).await;
    assert_eq!(owned(&fake, [&a, &b], key).await, [true, false]);
}

#[tokio::test]
async fn a_guest_whose_record_went_to_another_heir_or_was_never_written_is_no_orphan() {
    let fake = Fake::new();
    let (a, b) = two(&fake).await;
    let key = b.carry(1);
    b.live.become_guest(key, &a.id);
    // No record is anywhere.
    b.flows.peer_lost("a").await;
    b.write_all().await;
    assert_eq!(owned(&fake, [&a, &b], key).await, [false, true]);
    // With another one that has the address, either may be the heir, and both agree.
    let c = Lb::new(&fake, "c").await;
    let keys: Vec<FlowKey> = (2..40).map(|n| b.carry(n)).collect();
    for key in &keys {
        b.live.become_guest(*key, &a.id);
    }
    b.meet(&[&c]).await;
    b.flows.told(&format!(r#"{{"about":"flows","from":"c","holds":["{VIP}"]}}"#));
    b.flows.peer_lost("a").await;
    b.flows.take(&"a".into()).await.unwrap();
    let mine = keys.iter().filter(|key| b.live.carried(**key).is_some()).count();
    let theirs = keys.iter().filter(|key| b.live.standing(**key) == Some(Standing::GuestOf("c".into()))).count();
    assert!(mine > 0 && theirs > 0 && mine + theirs == keys.len(), "{mine} and {theirs}");
}

#[tokio::test]
async fn what_is_over_is_told_to_all_who_may_forward_it_and_what_is_unknown_is_asked_anew() {
    let fake = Fake::new();
    let (a, b) = two(&fake).await;
    let key = a.carry(1);
    a.write_all().await;
    b.flows.take(&a.id).await.unwrap();
    assert!(b.live.is_guest(key));
    // Nobody has said that he has heard it.
    a.live.let_go(key);
    talk(&a, &b).await;
    assert!(!b.live.carries(key));
    // That is lost, and b goes on with what a has no more.
    let other = b.carry(2);
    b.live.become_guest(other, &a.id);
    a.flows.told(&format!(r#"{{"about":"flows","from":"b","heard":[["{}",1]]}}"#, key_text(other)));
    talk(&a, &b).await;
    assert!(!b.live.carries(other));
}

#[tokio::test]
async fn guests_go_with_the_address() {
    let fake = Fake::new();
    let (a, b) = two(&fake).await;
    let key = a.carry(1);
    a.write_all().await;
    has_address(&b, true);
    b.flows.take(&a.id).await.unwrap();
    assert!(b.live.is_guest(key));
    has_address(&b, false);
    assert!(!b.live.carries(key) && a.live.carries(key));
}

#[tokio::test]
async fn who_dies_before_it_could_inherit_leaves_it_to_the_next() {
    let fake = Fake::new();
    let (a, b, c) = (Lb::new(&fake, "a").await, Lb::new(&fake, "b").await, Lb::new(&fake, "c").await);
    let keys: Vec<FlowKey> = (0..40).map(|n| a.carry(n)).collect();
    a.write_all().await;
    c.meet(&[&a, &b]).await;
    c.flows.told(&format!(r#"{{"about":"flows","from":"b","holds":["{VIP}"]}}"#));
    c.flows.peer_lost("a").await;
    let own = c.live.all_carried().len();
    assert!(own > 0 && own < keys.len(), "some are b's, which has not heard of it");
    c.flows.peer_lost("b").await;
    c.flows.take_waiting(Duration::ZERO).await;
    c.write_all().await;
    assert_eq!(c.live.all_carried().len(), keys.len());
    assert_eq!((records(&fake, "a").await.len(), records(&fake, "c").await.len()), (0, keys.len()));
}
