//! Streams that more than one origin carries, and more than one balancer: each knows of a copy or a publisher that the
//! other has been told of.

use super::*;
use crate::config::SecondPublisher;
use crate::placement::Loads;
use crate::registry::SILENT;
use crate::store::shared::carriers::CARRIED_ON_WITHIN;
use std::collections::BTreeSet;

/// Two balancers and three origins that beat to the first one.
pub(super) async fn sharing(fake: &Fake, how: Sharing) -> (Balancer, Balancer) {
    let (mut a, mut b) = (Balancer::new(fake, 1, how), Balancer::new(fake, 2, how));
    both(&mut a, &mut b, s(0)).await;
    for n in 1..=3 {
        a.store.register(&beat(n, "run"), s(0)).await.unwrap();
    }
    both(&mut a, &mut b, s(0)).await;
    (a, b)
}

fn how(copies: usize, second_publisher: SecondPublisher) -> Sharing {
    Sharing { copies, second_publisher }
}

fn client(n: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, n], 5000))
}

/// Both hear and write; then each of them does what it does once a second.
async fn second(a: &mut Balancer, b: &mut Balancer, now: Duration) {
    both(a, b, now).await;
    for balancer in [&*a, &*b] {
        for n in 1..=3 {
            balancer.store.register(&beat(n, "run"), now).await.unwrap();
        }
        balancer.store.tick(now);
    }
    both(a, b, now).await;
}

/// Where viewers of the stream are sent.
async fn viewers(balancer: &Balancer, now: Duration) -> BTreeSet<Arc<str>> {
    let mut all = BTreeSet::new();
    for n in 0..40 {
        all.insert(balancer.place_from(client(n), "x", Role::Play, now).await.unwrap().origin_id);
    }
    all
}

fn open(balancer: &Balancer, placement: &Placement, role: Role) {
    balancer.store.flow_opened(placement.ticket(role, Protocol::Rtmp));
}

fn close(balancer: &Balancer, placement: &Placement, now: Duration) {
    balancer.store.flow_closed(placement.ticket(Role::Publish, Protocol::Rtmp), now);
}

/// For how long these publishers have sent nothing.
fn unfed(balancer: &Balancer, all: &[(&Placement, Duration)]) {
    let of = |p: &Placement| (p.stream, (p.origin, p.generation), Role::Publish);
    let unfed = all.iter().map(|(p, quiet)| (of(p), *quiet)).collect();
    balancer.store.set_loads(&Loads { unfed, ..Loads::default() });
}

fn other_than(origin: &str) -> Arc<str> {
    if origin == "o1" { "o2".into() } else { "o1".into() }
}

fn view(balancer: &Balancer) -> crate::store::StreamView {
    balancer.store.stream(&key("x")).unwrap()
}

#[tokio::test]
async fn viewers_that_come_to_one_are_spread_over_the_copies_that_the_other_was_told_of() {
    let fake = Fake::new();
    let (mut a, mut b) = sharing(&fake, how(2, SecondPublisher::Origin)).await;
    let home = a.publish("x", s(1)).await;
    let copy = other_than(&home.origin_id);
    a.store.set_copies(&key("x"), std::slice::from_ref(&copy), s(1)).await.unwrap();
    both(&mut a, &mut b, s(1)).await;
    assert_eq!(view(&b).copies, std::slice::from_ref(&copy));
    assert_eq!(viewers(&b, s(2)).await, [home.origin_id.clone(), copy.clone()].into());
    let calls = fake.calls();
    viewers(&b, s(2)).await;
    assert_eq!(fake.calls(), calls, "what is known costs no round trip");

    a.store.set_copies(&key("x"), &[], s(3)).await.unwrap();
    both(&mut a, &mut b, s(3)).await;
    assert_eq!(viewers(&b, s(3)).await, [home.origin_id.clone()].into());

    // A word holds for one run of an origin, and as long as who gave it.
    a.store.set_copies(&key("x"), std::slice::from_ref(&copy), s(4)).await.unwrap();
    both(&mut a, &mut b, s(4)).await;
    assert_eq!(view(&b).copies, std::slice::from_ref(&copy));
    let n = copy.strip_prefix('o').unwrap().parse().unwrap();
    b.store.register(&beat(n, "another run"), s(5)).await.unwrap();
    both(&mut a, &mut b, s(5)).await;
    assert!(view(&a).copies.is_empty() && view(&b).copies.is_empty());
}

#[tokio::test]
async fn a_second_publisher_at_the_other_balancer_is_refused_until_the_first_is_silent() {
    let fake = Fake::new();
    let (mut a, mut b) = sharing(&fake, how(1, SecondPublisher::Refuse)).await;
    let first = a.place_from(client(1), "x", Role::Publish, s(1)).await.unwrap();
    open(&a, &first, Role::Publish);
    second(&mut a, &mut b, s(1)).await;
    for n in [1, 2] {
        assert_eq!(b.place_from(client(n), "x", Role::Publish, s(2)).await, Err(PlaceError::Published));
    }
    unfed(&a, &[(&first, s(2))]);
    second(&mut a, &mut b, s(4)).await;
    assert_eq!(b.place_from(client(2), "x", Role::Publish, s(4)).await, Err(PlaceError::Published));
    let again = b.place_from(client(1), "x", Role::Publish, s(4)).await.unwrap();
    assert_eq!((again.reason, &again.origin_id), (Reason::PublisherReplaced, &first.origin_id));
    a.settle(s(4)).await;
    let resets = a.store.take_changes().resets;
    assert_eq!((resets.len(), resets[0].publishers_before), (1, Some(s(4))), "not the viewers");
    // It begins to send again, as far as anybody can tell; then not for longer.
    unfed(&a, &[(&first, s(0))]);
    second(&mut a, &mut b, s(5)).await;
    assert_eq!(b.place_from(client(1), "x", Role::Publish, s(5)).await, Err(PlaceError::Published));
    unfed(&a, &[(&first, s(2))]);
    second(&mut a, &mut b, s(7)).await;
    assert_eq!(b.place_from(client(2), "x", Role::Publish, s(9)).await, Err(PlaceError::Published));
    assert!(b.place_from(client(2), "x", Role::Publish, s(5) + SILENT).await.is_ok());
}

#[tokio::test]
async fn a_second_publisher_replaces_one_that_another_balancer_has() {
    let fake = Fake::new();
    let (mut a, mut b) = sharing(&fake, how(1, SecondPublisher::Replace)).await;
    let first = a.publish("x", s(1)).await;
    second(&mut a, &mut b, s(1)).await;
    let second_one = b.place_from(client(2), "x", Role::Publish, s(2)).await.unwrap();
    assert_eq!((second_one.reason, &second_one.origin_id), (Reason::PublisherReplaced, &first.origin_id));
    open(&b, &second_one, Role::Publish);
    a.settle(s(2)).await;
    let reset = a.store.take_changes().resets[0];
    assert_eq!((reset.origin, reset.publishers_before), (first.origin, Some(s(2))));
    second(&mut a, &mut b, s(2)).await;
    assert!(a.store.take_changes().resets.is_empty(), "once");
    close(&a, &first, s(3));
    second(&mut a, &mut b, s(3)).await;
    assert!(b.store.take_changes().resets.iter().all(|reset| reset.publishers_before < Some(s(3))));
    assert!(view(&a).publisher && view(&b).publisher, "the other one has it");
    close(&b, &second_one, s(4));
    second(&mut a, &mut b, s(4)).await;
    assert!(!view(&a).publisher && !view(&b).publisher);
}

#[tokio::test]
async fn a_backup_at_one_takes_over_for_the_viewers_of_both() {
    for silent in [false, true] {
        let fake = Fake::new();
        let (mut a, mut b) = sharing(&fake, how(1, SecondPublisher::Backup)).await;
        let first = a.publish("x", s(1)).await;
        second(&mut a, &mut b, s(1)).await;
        let viewer = a.place("x", Role::Play, s(1)).await.unwrap();
        open(&a, &viewer, Role::Play);
        let backup = b.place_from(client(2), "x", Role::Publish, s(2)).await.unwrap();
        assert_ne!(backup.origin_id, first.origin_id);
        a.settle(s(2)).await;
        assert_eq!(view(&a).backup, Some(backup.origin_id.clone()), "known before the publisher is there");
        open(&b, &backup, Role::Publish);
        second(&mut a, &mut b, s(3)).await;
        assert_eq!(a.place_from(client(3), "x", Role::Publish, s(3)).await, Err(PlaceError::Published), "one waits");
        assert_eq!(viewers(&b, s(3)).await, [first.origin_id.clone()].into());
        assert!(a.store.take_changes().resets.is_empty() && b.store.take_changes().resets.is_empty());
        unfed(&b, &[(&backup, s(0))]);
        if silent {
            unfed(&a, &[(&first, s(2))]);
            second(&mut a, &mut b, s(4)).await;
            assert_eq!(a.origin_of("x"), Some(first.origin_id.clone()));
            second(&mut a, &mut b, s(8)).await;
        } else {
            close(&a, &first, s(4));
            // Nobody has to wait for the next second.
            both(&mut a, &mut b, s(4)).await;
        }
        assert_eq!(b.counters.get(Reason::BackupTakesOver), 1);
        assert_eq!(a.counters.get(Reason::BackupTakesOver), 0);
        for balancer in [&a, &b] {
            assert_eq!(balancer.origin_of("x"), Some(backup.origin_id.clone()), "silent: {silent}");
            assert_eq!((view(balancer).backup, view(balancer).publisher), (None, true));
            assert_eq!(viewers(balancer, s(9)).await, [backup.origin_id.clone()].into());
            assert_eq!(balancer.counters.get(Reason::ConflictLost), 0, "that was the plan");
        }
        let resets = a.store.take_changes().resets;
        assert!(resets.contains(&crate::registry::Reset::all(viewer.stream, (viewer.origin, viewer.generation))));
    }
}

#[tokio::test]
async fn of_two_that_would_wait_at_once_one_does() {
    let fake = Fake::new();
    for round in 0..50 {
        let (mut a, mut b) = sharing(&fake, how(1, SecondPublisher::Backup)).await;
        let _first = a.publish("x", s(1)).await;
        second(&mut a, &mut b, s(1)).await;
        let (x, y) = tokio::join!(
            a.place_from(client(2), "x", Role::Publish, s(2)),
            b.place_from(client(3), "x", Role::Publish, s(2))
        );
        assert!(x.is_ok() != y.is_ok(), "round {round}: {x:?} {y:?}");
        fake.empty();
    }
}

#[tokio::test]
async fn a_backup_waits_a_moment_for_who_carries_a_lost_balancers_publishers_on() {
    for carried_on in [false, true] {
        let fake = Fake::new();
        let (mut a, mut b) = sharing(&fake, how(1, SecondPublisher::Backup)).await;
        let first = a.publish("x", s(1)).await;
        second(&mut a, &mut b, s(1)).await;
        let backup = b.place_from(client(2), "x", Role::Publish, s(2)).await.unwrap();
        open(&b, &backup, Role::Publish);
        second(&mut a, &mut b, s(3)).await;
        b.store.hear_living(&["lb2".into()], s(10));
        b.settle(s(10)).await;
        b.store.tick(s(11));
        assert_eq!(b.origin_of("x"), Some(first.origin_id.clone()));
        if carried_on {
            b.store.flow_taken(first.ticket(Role::Publish, Protocol::Rtmp), s(12));
        }
        let later = s(10) + CARRIED_ON_WITHIN;
        b.store.tick(later);
        b.settle(later).await;
        let home = if carried_on { &first } else { &backup };
        assert_eq!(b.origin_of("x"), Some(home.origin_id.clone()), "{carried_on}");
    }
}

#[tokio::test]
async fn without_the_shelf_nobody_is_kept_out_by_what_others_said() {
    let fake = Fake::new();
    let (mut a, mut b) = sharing(&fake, how(1, SecondPublisher::Refuse)).await;
    let first = a.publish("x", s(1)).await;
    second(&mut a, &mut b, s(1)).await;
    fake.down(true);
    both(&mut a, &mut b, s(2)).await;
    let there = b.place_from(client(2), "x", Role::Publish, s(2)).await.unwrap();
    assert_eq!(there.origin_id, first.origin_id, "its origin decides");
    assert_eq!(a.place_from(client(2), "x", Role::Publish, s(2)).await, Err(PlaceError::Published), "this is known");
}
