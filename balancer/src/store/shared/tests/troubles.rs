//! What goes wrong with the shelf, with clocks, and with what others write there.

use super::*;
use crate::cluster::fake::Trouble;
use crate::cluster::record::{OriginRecord, StreamRecord};

const MINUTES: Duration = Duration::from_secs(600);

fn stream_record(fake: &Fake, stream: &str) -> Option<String> {
    value(fake, &stream_key(&key(stream)))
}

fn value(fake: &Fake, wanted: &Key) -> Option<String> {
    fake.records().into_iter().find(|entry| entry.key == *wanted)?.value.map(|value| value.to_string())
}

/// As a newer version writes it.
fn with_more(text: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_str(text).unwrap();
    value["later"] = serde_json::json!({ "deep": [1, 2] });
    value.to_string()
}

/// The host's own clock is wrong by so much.
fn skew(balancer: &Balancer, clock: impl Fn(Duration) -> Duration) {
    let mut state = balancer.store.lock();
    let replica = state.shared.as_mut().unwrap();
    let own = Duration::from_millis(replica.ms(s(0)));
    replica.guess_clock(clock(own), s(0));
}

async fn read_clock(balancer: &Balancer, now: Duration) {
    let common = balancer.store.share.as_ref().unwrap().shelf.now().await.unwrap();
    balancer.store.lock().shared.as_mut().unwrap().set_clock(common, now);
}

fn runs(balancer: &Balancer) -> Vec<(Arc<str>, u32)> {
    balancer.store.origins(s(0)).into_iter().map(|origin| (origin.id, origin.generation)).collect()
}

#[tokio::test]
async fn a_store_that_refuses_is_not_asked_at_once_again_and_nobody_waits_behind_another() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    fake.trouble(Trouble::ReadOnly);
    for n in 0..100 {
        assert_eq!(a.publish(&format!("s{n}"), s(1)).await.reason, Reason::PlacedAlone);
    }
    let calls = fake.calls();
    assert_eq!(a.store.write_batch(s(1)).await, Batch::Failed);
    assert_eq!(fake.calls() - calls, WRITES_MAX);
    assert_eq!(a.store.shelf_view().unwrap().waiting, 100);
    assert!(matches!(a.store.shelf_view().unwrap().trouble, Some(ShelfError::Refused(_))));
    // The rest, not the same ones again.
    assert_eq!(a.store.write_batch(s(1)).await, Batch::Failed);
    assert_eq!(fake.calls() - calls, 100);
    fake.trouble(Trouble::None);
    both(&mut a, &mut b, s(2)).await;
    both(&mut a, &mut b, s(2)).await;
    let view = a.store.shelf_view().unwrap();
    assert_eq!((view.waiting, view.trouble), (0, None));
    for n in 0..100 {
        let stream = format!("s{n}");
        assert!(b.store.stream(&key(&stream)).unwrap().publisher && a.origin_of(&stream) == b.origin_of(&stream));
    }
}

#[tokio::test]
async fn a_record_of_another_format_is_left_alone_and_served_without() {
    let fake = Fake::new();
    let (mut a, _) = world(&fake).await;
    let newer = "{\"v\":2,\"where\":\"elsewhere\"}";
    fake.scribble(&stream_key(&key("x")), Some(newer));
    a.settle(s(1)).await;
    a.publish("x", s(1)).await;
    a.settle(s(1)).await;
    assert_eq!(stream_record(&fake, "x").as_deref(), Some(newer));
    assert!(a.store.stream(&key("x")).unwrap().publisher && a.counters.get(Reason::RecordFormat) > 0);
    assert_eq!(a.store.shelf_view().unwrap().waiting, 0);
}

#[tokio::test]
async fn what_is_no_record_is_written_over() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    for (n, text) in ["null", "", &"x".repeat(20_000), "{\"v\":1,\"key\":\"a/b/c\"}"].into_iter().enumerate() {
        let stream = format!("s{n}");
        fake.scribble(&stream_key(&key(&stream)), Some(text));
        both(&mut a, &mut b, s(1)).await;
        a.publish(&stream, s(1)).await;
        both(&mut a, &mut b, s(1)).await;
        assert!(b.store.stream(&key(&stream)).unwrap().publisher, "{n}");
        assert!(StreamRecord::read(&stream_record(&fake, &stream).unwrap()).is_ok(), "{n}");
    }
}

#[tokio::test]
async fn what_a_newer_version_adds_to_a_record_stays_in_it() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    let published = a.publish("x", s(1)).await;
    both(&mut a, &mut b, s(1)).await;
    let keys = [origin_key("o1"), stream_key(&key("x")), Key::new(Kind::Peer, "lb1")];
    for key in &keys {
        fake.scribble(key, Some(&with_more(&value(&fake, key).unwrap())));
    }
    both(&mut a, &mut b, s(2)).await;
    b.store.drain("o1", None, s(2)).await.unwrap();
    a.store.flow_closed(published.ticket(Role::Publish, Protocol::Rtmp), s(3));
    both(&mut a, &mut b, s(3)).await;
    let [origin, stream, _] = keys.each_ref().map(|key| value(&fake, key).unwrap());
    assert!(OriginRecord::read(&origin).unwrap().draining.is_some() && origin.contains("\"deep\":[1,2]"), "{origin}");
    assert!(StreamRecord::read(&stream).unwrap().publisher.is_none() && stream.contains("\"deep\":[1,2]"), "{stream}");
}

#[tokio::test]
async fn a_beat_that_comes_before_the_shelf_was_read_ends_nothing() {
    let fake = Fake::new();
    let (mut a, b) = world(&fake).await;
    a.publish("x", s(1)).await;
    a.settle(s(1)).await;
    drop(b);
    let before = runs(&a);
    for minutes in [Duration::ZERO, MINUTES] {
        let mut again = Balancer::new(&fake, 2, Sharing::default());
        skew(&again, |own| own + minutes);
        again.store.register(&beat(1, "run"), s(2)).await.unwrap();
        read_clock(&again, s(2)).await;
        both(&mut a, &mut again, s(2)).await;
        assert_eq!((runs(&a), runs(&again)), (before.clone(), before.clone()));
        assert!(a.store.take_changes().resets.is_empty() && again.origin_of("x").is_some());
    }
}

#[tokio::test]
async fn hosts_whose_clocks_differ_by_minutes_know_which_run_is_the_later_one() {
    for ahead in [false, true] {
        let fake = Fake::new();
        let (mut a, _) = world(&fake).await;
        let generation = |balancer: &Balancer| balancer.store.origin("o1", s(2)).unwrap().generation;
        // Started anew while the store is away, and by the host's own clock.
        fake.cut("lb2", true);
        let mut b = Balancer::new(&fake, 2, Sharing::default());
        skew(&b, |own| if ahead { own + MINUTES } else { own - MINUTES });
        b.settle(s(1)).await;
        b.store.register(&beat(1, "run 2"), s(1)).await.unwrap();
        fake.cut("lb2", false);
        read_clock(&b, s(2)).await;
        both(&mut a, &mut b, s(2)).await;
        assert_eq!((generation(&a), generation(&b)), (2, 1), "ahead: {ahead}");
        // The run that is gone is not taken for the newer one, and the next one is noticed at once.
        b.store.register(&beat(1, "run 2"), s(3)).await.unwrap();
        both(&mut a, &mut b, s(3)).await;
        assert_eq!((generation(&a), generation(&b)), (2, 1), "ahead: {ahead}");
        a.store.register(&beat(1, "run 3"), s(4)).await.unwrap();
        both(&mut a, &mut b, s(4)).await;
        assert_eq!((generation(&a), generation(&b)), (3, 2), "ahead: {ahead}");
    }
}

#[tokio::test]
async fn two_that_hear_of_a_run_at_once_end_nothing_twice() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    skew(&b, |own| own + s(1));
    let (again, meanwhile) = (beat(1, "again"), beat(1, "again"));
    let (x, y) = tokio::join!(a.store.register(&again, s(1)), b.store.register(&meanwhile, s(1)));
    x.and(y).unwrap();
    both(&mut a, &mut b, s(1)).await;
    assert_eq!((runs(&a)[0].1, runs(&b)[0].1), (2, 2));
    let placed = a.publish("x", s(2)).await;
    both(&mut a, &mut b, s(2)).await;
    assert_eq!(b.origin_of("x"), Some(placed.origin_id));
}

#[tokio::test]
async fn a_stream_is_not_told_before_the_run_that_it_is_on() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    // The store was late: neither knows the other's date.
    skew(&b, |own| own + s(1));
    fake.trouble(Trouble::Slow);
    for balancer in [&a, &b] {
        for n in 1..=3 {
            balancer.store.register(&beat(n, "again"), s(1)).await.unwrap();
        }
    }
    fake.trouble(Trouble::None);
    let one = b.place("x", Role::Play, s(2)).await.unwrap();
    b.store.flow_opened(one.ticket(Role::Play, Protocol::Rtmp));
    let other = a.place("x", Role::Play, s(2)).await.unwrap();
    a.settle(s(2)).await;
    assert_eq!(one.origin_id, other.origin_id);
    both(&mut a, &mut b, s(2)).await;
    assert_eq!(a.origin_of("x"), b.origin_of("x"));
    assert!(b.store.take_changes().resets.is_empty());
}

#[tokio::test]
async fn a_write_that_was_given_up_as_late_moves_nobody() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    fake.trouble(Trouble::SlowDone);
    let mut placed = Vec::new();
    for n in 0..20 {
        for balancer in [&a, &b] {
            let one = balancer.place(&format!("s{n}"), Role::Play, s(1)).await.unwrap();
            balancer.store.flow_opened(one.ticket(Role::Play, Protocol::Rtmp));
            placed.push(one.origin_id);
        }
    }
    assert!(placed.chunks(2).all(|pair| pair[0] == pair[1]));
    fake.trouble(Trouble::None);
    fake.down(true);
    fake.down(false);
    both(&mut a, &mut b, s(2)).await;
    assert!(a.store.take_changes().resets.is_empty() && b.store.take_changes().resets.is_empty());
    for n in 0..20 {
        let stream = format!("s{n}");
        assert!(a.origin_of(&stream) == b.origin_of(&stream) && a.origin_of(&stream).as_ref() == Some(&placed[2 * n]));
    }
}

#[tokio::test]
async fn what_an_operator_says_while_the_store_is_away_holds() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    fake.down(true);
    both(&mut a, &mut b, s(1)).await;
    b.store.drain("o1", None, s(1)).await.unwrap();
    a.store.register(&beat(1, "run"), s(1)).await.unwrap();
    fake.down(false);
    both(&mut a, &mut b, s(2)).await;
    let is_draining = |balancer: &Balancer| balancer.store.origin("o1", s(2)).unwrap().draining;
    assert!(is_draining(&a) && is_draining(&b));
    // What everybody knows is nobody's word any more.
    a.store.undrain("o1", s(3)).await.unwrap();
    both(&mut a, &mut b, s(3)).await;
    assert!(!is_draining(&a) && !is_draining(&b));
}

#[tokio::test]
async fn what_nobody_takes_over_is_swept_some_day() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    a.publish("x", s(1)).await;
    both(&mut a, &mut b, s(1)).await;
    let text = stream_record(&fake, "x").unwrap();
    let ghost = text.replace("\"lb1\"", "\"ghost\"").replace("/x\"", "/y\"");
    fake.scribble(&stream_key(&key("y")), Some(&ghost));
    both(&mut a, &mut b, s(2)).await;
    assert!(b.store.stream(&key("y")).is_some());
    for at in (10..150).step_by(10) {
        for n in 1..=3 {
            a.store.register(&beat(n, "run"), s(at)).await.unwrap();
        }
        for balancer in [&a, &b] {
            balancer.store.sweep_records(s(at));
            balancer.store.tick(s(at));
        }
        both(&mut a, &mut b, s(at)).await;
    }
    assert_eq!(stream_record(&fake, "y"), None);
    assert!(stream_record(&fake, "x").is_some() && a.store.stream(&key("y")).is_none());

    // A balancer that never comes back; where it listened an origin may be one day.
    let lb2 = Key::new(Kind::Peer, "lb2");
    a.store.hear_living(&[], s(150));
    assert!(a.store.register(&beat_at([10, 9, 0, 2]), s(150)).await.is_err());
    assert!(a.store.sweep_records(s(150 + 86_399)).is_empty());
    assert_eq!(a.store.sweep_records(s(150 + 86_400)), [Arc::<str>::from("lb2")]);
    a.store.change(|state| state.dirty([lb2.clone()]));
    a.settle(s(150 + 86_400)).await;
    assert_eq!(value(&fake, &lb2), None);
    a.store.register(&beat_at([10, 9, 0, 2]), s(90_000)).await.unwrap();
}

#[tokio::test]
async fn who_was_taken_for_dead_says_again_what_it_carries() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    a.publish("x", s(1)).await;
    both(&mut a, &mut b, s(1)).await;
    b.store.hear_living(&["lb2".into()], s(5));
    b.settle(s(5)).await;
    b.store.hear_living(&["lb1".into()], s(6));
    both(&mut a, &mut b, s(6)).await;
    assert!(b.store.stream(&key("x")).unwrap().publisher);
    // An operator has removed its own record.
    fake.scribble(&Key::new(Kind::Peer, "lb1"), None);
    both(&mut a, &mut b, s(7)).await;
    assert!(value(&fake, &Key::new(Kind::Peer, "lb1")).is_some());
}

#[tokio::test]
async fn of_two_origins_at_one_place_all_know_the_same_one() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    let twin = |id: &str| {
        let record = value(&fake, &origin_key("o1")).unwrap();
        fake.scribble(
            &origin_key(id),
            Some(&record.replace("\"o1\"", &format!("\"{id}\"")).replace("0.0.1:", "0.0.9:")),
        );
    };
    ["twin-b", "twin-a", "twin-c"].into_iter().for_each(twin);
    both(&mut a, &mut b, s(1)).await;
    let known = runs(&a);
    assert!(known.iter().any(|(id, _)| &**id == "twin-c") && known.len() == 4, "{known:?}");
    // Read all over again, nothing comes or goes.
    fake.down(true);
    fake.down(false);
    both(&mut a, &mut b, s(2)).await;
    assert_eq!(runs(&a), known);
    assert_eq!(runs(&b).len(), 4);
    assert!(a.counters.get(Reason::RecordForeign) > 0);
}

#[tokio::test]
async fn a_balancer_says_that_it_drains_and_notices_another_of_its_name() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    a.store.set_draining(true);
    both(&mut a, &mut b, s(1)).await;
    let seen = b.store.shelf_view().unwrap();
    assert!(seen.peers[0].is_draining && seen.peers[0].lives == Some(true) && seen.is_up);
    assert_eq!(a.counters.get(Reason::PeerCollision), 0);
    let other = PeerRecord { started_ms: 2, ..peer("lb1", 7) };
    fake.scribble(&Key::new(Kind::Peer, "lb1"), Some(&other.text()));
    both(&mut a, &mut b, s(2)).await;
    assert_eq!(a.counters.get(Reason::PeerCollision), 1, "and they do not write in turn for ever");
}

#[tokio::test]
async fn a_store_that_was_away_does_not_make_anybody_dead() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    a.publish("x", s(1)).await;
    both(&mut a, &mut b, s(1)).await;
    b.store.hear_of_nobody();
    for at in [20, 21, 22] {
        b.store.hear_living(&[], s(at));
        assert!(b.store.stream(&key("x")).unwrap().publisher, "{at}");
    }
    assert_eq!(b.counters.get(Reason::PeerLost), 0);
    b.store.hear_living(&[], s(26));
    assert_eq!(b.counters.get(Reason::PeerLost), 1);
}
