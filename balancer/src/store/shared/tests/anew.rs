//! What was ended while nobody heard it, and has begun anew; who is not named for a while, and lives.

use super::*;
use crate::cluster::record::Record;
use crate::registry::{Lease, OriginSpec};

#[tokio::test]
async fn an_origin_that_was_deleted_unheard_and_comes_anew_stays() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    let name = Name::parse("studio").unwrap();
    let mut endpoints = Endpoints::default();
    endpoints.add(ServiceKind::Rtmp, "10.0.0.9:1935".parse().unwrap()).unwrap();
    let spec = OriginSpec { endpoints: Some(endpoints), lease: Some(Lease::Never), ..OriginSpec::default() };
    a.store.put_origin(&name, &spec, s(1)).await.unwrap();
    both(&mut a, &mut b, s(1)).await;
    fake.down(true);
    both(&mut a, &mut b, s(2)).await;
    a.store.delete_origin("studio", s(2)).await.unwrap();
    a.store.put_origin(&name, &spec, s(3)).await.unwrap();
    fake.down(false);
    both(&mut a, &mut b, s(4)).await;
    assert!(a.store.origin("studio", s(4)).is_some() && b.store.origin("studio", s(4)).is_some());
}

#[tokio::test]
async fn a_stream_that_was_ended_unheard_and_begins_anew_goes_on() {
    for is_emptied in [false, true] {
        let fake = Fake::new();
        let (mut a, mut b) = world(&fake).await;
        a.publish("x", s(1)).await;
        both(&mut a, &mut b, s(1)).await;
        fake.down(true);
        both(&mut a, &mut b, s(2)).await;
        a.store.delete_stream(&key("x"), s(2)).await;
        a.publish("x", s(3)).await;
        if is_emptied {
            fake.empty();
        }
        fake.down(false);
        both(&mut a, &mut b, s(4)).await;
        both(&mut a, &mut b, s(5)).await;
        assert!(a.store.lock().streams.is_carried(&key("x")), "emptied: {is_emptied}");
        assert!(fake.records().iter().any(|entry| entry.key == stream_key(&key("x")) && entry.value.is_some()));
        assert_eq!(a.origin_of("x"), b.origin_of("x"));
    }
}

#[tokio::test]
async fn who_lives_is_alive_while_his_record_is_gone() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    both(&mut a, &mut b, s(1)).await;
    fake.empty();
    a.settle(s(2)).await;
    assert_eq!(a.store.peers(), [(Arc::from("lb2"), Some(true))]);
    both(&mut a, &mut b, s(3)).await;
    assert_eq!(a.store.peers(), [(Arc::from("lb2"), Some(true))]);
    assert!(fake.records().iter().any(|entry| entry.key == Key::new(Kind::Peer, "lb2")));
}

#[tokio::test]
async fn a_newer_balancer_may_listen_in_ways_that_are_not_known_but_not_be_nonsense() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    let known = |a: &Balancer| a.store.peers().into_iter().map(|(id, _)| id).filter(|id| **id == *"lb9").count();
    let newer = PeerRecord { listens: vec!["sctp 10.9.0.9:1".into(), "tcp 10.9.0.9:1935".into()], ..peer("lb9", 9) };
    let nonsense = [
        PeerRecord { source_ports: (0, 20_000), ..newer.clone() },
        PeerRecord { source_ports: (20_001, 20_000), ..newer.clone() },
        PeerRecord { sources: vec![[10, 9, 0, 9].into(); 17], ..newer.clone() },
        PeerRecord { listens: vec!["tcp 10.9.0.9:1935".into(); 1025], ..newer.clone() },
    ];
    for (record, count) in nonsense.iter().map(|record| (record, 0)).chain([(&newer, 1)]) {
        fake.scribble(&Key::new(Kind::Peer, "lb9"), Some(&record.text()));
        both(&mut a, &mut b, s(2)).await;
        assert_eq!(known(&a), count, "{record:?}");
    }
    assert!(a.store.register(&beat_at([10, 9, 0, 9]), s(3)).await.is_err(), "it listens there");
}
