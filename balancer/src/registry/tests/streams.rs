//! What flows, leases and dying origins do to streams.

use crate::flow::{Protocol, Role};
use crate::recognize::StreamKey;
use crate::registry::*;
use std::sync::Arc;
use std::time::Duration;

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn key(path: &str) -> Arc<StreamKey> {
    Arc::new(StreamKey::from_path("", path).unwrap())
}

fn on(origin: u16, generation: u16, confirmed: bool) -> Mapping {
    Mapping { origin, generation, confirmed }
}

fn ticket(stream: u32, origin: u16, role: Role) -> FlowTicket {
    FlowTicket { stream, origin, generation: 1, role, protocol: Protocol::Rtmp }
}

#[test]
fn a_stream_stays_while_a_flow_or_a_lease_is_left() {
    let mut t = Streams::default();
    let index = t.assign(&key("live/a"), on(1, 1, false), s(0)).unwrap();
    assert_eq!((index, t.on(1)), (1, 1));
    t.flow_opened(ticket(index, 1, Role::Play));
    t.tick(s(1000));
    assert_eq!(t.by_index(index).unwrap().players(), 1);
    t.flow_closed(ticket(index, 1, Role::Play), s(1000));
    t.tick(s(1009));
    assert_eq!(t.len(), 1, "the viewer's lease");
    t.tick(s(1010));
    assert_eq!((t.len(), t.on(1)), (0, 0));
    t.assign(&key("live/b"), on(1, 1, true), s(2000)).unwrap();
    t.tick(s(2029));
    assert_eq!(t.len(), 1, "an encoder may come back");
    t.tick(s(2030));
    assert!(t.is_empty());
}

#[test]
fn a_publisher_leaves_early_viewers_behind_and_they_are_reported() {
    let mut t = Streams::default();
    let k = key("live/a");
    let index = t.assign(&k, on(1, 1, false), s(0)).unwrap();
    t.flow_opened(ticket(index, 1, Role::Play));
    assert_eq!(t.assign(&k, on(2, 1, true), s(1)), Ok(index), "the index stays");
    assert_eq!((t.take_resets(), t.on(1), t.on(2)), (vec![], 0, 1), "not before the publisher is connected");
    t.flow_opened(ticket(index, 2, Role::Publish));
    assert_eq!(t.take_resets(), [Reset::all(index, (1, 1))]);
    let stream = t.by_index(index).unwrap();
    assert_eq!((stream.publishers(), stream.players(), stream.protocols()), (1, 0, vec![Protocol::Rtmp]));
    t.flow_closed(ticket(index, 1, Role::Play), s(2));
    t.flow_opened(ticket(index, 2, Role::Play));
    assert_eq!(t.by_index(index).unwrap().players(), 1);
    assert!(t.take_resets().is_empty());
}

#[test]
fn a_dead_origins_streams_are_free_at_once_and_keep_their_index_while_flows_are_left() {
    let mut t = Streams::default();
    let (a, b) = (key("live/a"), key("live/b"));
    let index = t.assign(&a, on(1, 1, true), s(0)).unwrap();
    t.assign(&b, on(1, 1, true), s(0)).unwrap();
    t.flow_opened(ticket(index, 1, Role::Publish));
    t.take_changes();
    t.free_origin(1, s(1));
    assert_eq!((t.len(), t.on(1)), (1, 0), "the one without flows is gone");
    let stream = t.get(&a).unwrap();
    assert_eq!((stream.mapping, stream.publishers()), (None, 0));
    let changes = t.take_changes();
    assert_eq!(changes.len(), 2);
    assert!(changes.iter().all(|c| c.placed_on.is_none()));
    assert_eq!(t.assign(&a, on(2, 1, true), s(1)), Ok(index));
    t.flow_closed(ticket(index, 1, Role::Publish), s(1));
    assert_eq!((t.get(&a).unwrap().publishers(), t.on(2)), (0, 1));
}

#[test]
fn what_is_gone_is_reported_before_what_has_come() {
    let mut t = Streams::default();
    let (a, b) = (key("live/a"), key("live/b"));
    for k in [&a, &b] {
        t.assign(k, on(1, 1, true), s(0)).unwrap();
    }
    t.take_changes();
    t.free_origin(1, s(0));
    t.assign(&b, on(2, 1, true), s(0)).unwrap();
    let changes: Vec<_> = t.take_changes().into_iter().map(|c| (c.key.stream().to_owned(), c.placed_on)).collect();
    assert_eq!(changes.last(), Some(&("b".to_owned(), Some((2, 1)))));
    assert_eq!((changes.len(), t.has_news()), (3, false));
}

#[test]
fn an_operator_ends_a_stream() {
    let mut t = Streams::default();
    let k = key("live/a");
    let index = t.assign(&k, on(1, 1, true), s(0)).unwrap();
    t.flow_opened(ticket(index, 1, Role::Publish));
    assert_eq!((t.release(&k, s(1)), t.release(&key("live/none"), s(1))), (Some(index), None));
    assert_eq!(t.take_resets(), [Reset::all(index, (1, 1))]);
    t.flow_closed(ticket(index, 1, Role::Publish), s(1));
    assert!(t.is_empty());
}

#[test]
fn adopted_streams_keep_their_index_and_new_ones_find_the_gaps() {
    let mut t = Streams::default();
    assert!(t.adopt(3, &key("live/c"), on(1, 1, true), s(0)));
    assert!(t.adopt(2, &key("live/b"), on(1, 1, true), s(0)));
    assert!(!t.adopt(3, &key("live/x"), on(1, 1, true), s(0)) && !t.adopt(0, &key("live/x"), on(1, 1, true), s(0)));
    assert!(!t.adopt(9, &key("live/c"), on(1, 1, true), s(0)), "one stream, one index");
    let fresh = t.assign(&key("live/d"), on(1, 1, true), s(0)).unwrap();
    assert!(![0, 2, 3].contains(&fresh));
    assert_eq!((t.on(1), t.len()), (3, 3));
}

#[test]
fn a_freed_index_rests_before_another_stream_gets_it() {
    let mut t = Streams::default();
    let first = t.assign(&key("live/first"), on(1, 1, true), s(0)).unwrap();
    t.free_origin(1, s(0));
    for i in 0..1000 {
        assert_ne!(t.assign(&key(&format!("live/{i}")), on(1, 1, true), s(0)), Ok(first));
        t.free_origin(1, s(0));
    }
}
