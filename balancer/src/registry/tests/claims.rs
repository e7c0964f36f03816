//! What origins say about their publishers, in every order.

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

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn confirmed(origin: u16) -> Mapping {
    Mapping { origin, generation: 1, confirmed: true }
}

fn ticket(stream: u32, origin: u16, role: Role) -> FlowTicket {
    FlowTicket { stream, origin, generation: 1, role, protocol: Protocol::Rtmp }
}

fn claim(t: &mut Streams, path: &str, origin: u16, client: &str) -> Result<Claimed, ClaimError> {
    t.claim(&key(path), (origin, 1), &name(client), false, s(0))
}

#[test]
fn a_claimed_stream_stays_without_a_flow_until_it_is_let_go() {
    let mut t = Streams::default();
    assert_eq!(claim(&mut t, "live/a", 2, "1"), Ok(Claimed::Placed));
    assert_eq!(t.take_changes()[0].placed_on, Some((2, 1)));
    t.tick(s(100_000));
    let stream = t.get(&key("live/a")).unwrap();
    assert!(stream.is_published() && stream.publishers() == 0);
    assert_eq!((stream.mapping, t.claims_on(2), t.on(2)), (Some(confirmed(2)), 1, 1));
    assert!(!t.unclaim(&key("live/a"), 1, &name("1"), s(100_000)), "another origin has no say");
    assert!(t.unclaim(&key("live/a"), 2, &name("1"), s(100_000)));
    assert!(!t.unclaim(&key("live/a"), 2, &name("1"), s(100_000)) && t.claims_on(2) == 0);
    t.tick(s(100_000) + LINGER - s(1));
    assert!(!t.get(&key("live/a")).unwrap().is_published(), "its viewers' playlists are there for a while");
    t.tick(s(100_000) + LINGER);
    assert!(t.is_empty());
}

#[test]
fn order_of_hook_and_flow_does_not_matter() {
    for hook_first in [true, false] {
        for unhook_first in [true, false] {
            let mut t = Streams::default();
            let k = key("live/a");
            let index = t.assign(&k, confirmed(1), s(0)).unwrap();
            t.take_changes();
            let publisher = ticket(index, 1, Role::Publish);
            if !hook_first {
                t.flow_opened(publisher);
            }
            assert_eq!(claim(&mut t, "live/a", 1, "7"), Ok(Claimed::Known));
            if hook_first {
                t.flow_opened(publisher);
            }
            assert!(!t.has_news(), "nothing has changed for the maps");
            if unhook_first {
                assert!(t.unclaim(&k, 1, &name("7"), s(9)));
            }
            t.flow_closed(publisher, s(9));
            assert_eq!(t.unclaim(&k, 1, &name("7"), s(9)), !unhook_first);
            t.tick(s(9) + LINGER);
            assert!(t.is_empty() && t.claims_on(1) == 0, "{hook_first} {unhook_first}");
        }
    }
}

#[test]
fn who_was_refused_at_the_origin_does_not_take_the_stream_with_it() {
    let mut t = Streams::default();
    claim(&mut t, "live/a", 1, "first").unwrap();
    // The origin asks before it looks whether the stream is taken, and says goodbye all the same.
    claim(&mut t, "live/a", 1, "second").unwrap();
    assert!(!t.unclaim(&key("live/a"), 1, &name("second"), s(1)));
    assert!(t.get(&key("live/a")).unwrap().is_claimed());
    assert!(t.unclaim(&key("live/a"), 1, &name("first"), s(2)));
    for client in 0..100 {
        claim(&mut t, "live/b", 1, &client.to_string()).unwrap();
    }
    assert_eq!(t.claims_on(1), 1, "forgotten publishers of one stream are bounded");
}

#[test]
fn a_publisher_that_we_carry_is_stronger_than_a_claim_elsewhere() {
    let mut t = Streams::default();
    let k = key("live/a");
    let index = t.assign(&k, confirmed(1), s(0)).unwrap();
    t.flow_opened(ticket(index, 1, Role::Publish));
    assert_eq!(claim(&mut t, "live/a", 2, "x"), Err(ClaimError::Published));
    assert_eq!((t.get(&k).unwrap().mapping, t.has_news()), (Some(confirmed(1)), true));
    t.flow_closed(ticket(index, 1, Role::Publish), s(1));
    assert_eq!(claim(&mut t, "live/a", 2, "x"), Ok(Claimed::Placed), "it has left");
    // One that was placed before and arrives late is sent away: two publishers would be one too many.
    t.take_resets();
    t.flow_opened(ticket(index, 1, Role::Publish));
    assert_eq!(t.take_resets(), [Reset::all(index, (1, 1))]);
}

#[test]
fn the_newest_claim_wins_and_its_viewers_follow() {
    let mut t = Streams::default();
    let k = key("live/a");
    claim(&mut t, "live/a", 1, "x").unwrap();
    let index = t.get(&k).unwrap().index;
    t.flow_opened(ticket(index, 1, Role::Play));
    assert_eq!(claim(&mut t, "live/a", 2, "y"), Ok(Claimed::Placed));
    assert_eq!(t.take_resets(), [Reset::all(index, (1, 1))]);
    assert_eq!((t.claims_on(1), t.claims_on(2)), (0, 1));
    let again = t.claim(&k, (1, 1), &name("x"), true, s(1));
    assert_eq!(again, Ok(Claimed::Elsewhere), "who repeats itself does not win it back");
    assert!(!t.unclaim(&k, 1, &name("x"), s(1)));
    assert!(t.unclaim(&k, 2, &name("y"), s(1)));
    let again = t.claim(&k, (1, 1), &name("x"), true, s(2));
    assert_eq!(again, Ok(Claimed::Placed), "but has it once the other has left");
}

#[test]
fn a_claim_brings_early_viewers_along() {
    let mut t = Streams::default();
    let k = key("live/a");
    let index = t.assign(&k, Mapping { confirmed: false, ..confirmed(1) }, s(0)).unwrap();
    t.flow_opened(ticket(index, 1, Role::Play));
    claim(&mut t, "live/a", 2, "x").unwrap();
    assert_eq!(t.take_resets(), [Reset::all(index, (1, 1))]);
}

#[test]
fn claims_end_with_their_origin_and_with_an_operators_word() {
    let mut t = Streams::default();
    claim(&mut t, "live/a", 1, "x").unwrap();
    claim(&mut t, "live/b", 1, "x").unwrap();
    claim(&mut t, "live/c", 2, "x").unwrap();
    t.free_origin(1, s(1));
    assert_eq!((t.len(), t.claims_on(1), t.claims_on(2)), (1, 0, 1));
    assert!(t.release(&key("live/c"), s(1)).is_some());
    assert!(t.is_empty() && t.claims_on(2) == 0);
}

#[test]
fn an_origin_that_forgets_to_say_goodbye_does_not_hold_what_came_through_us() {
    let mut t = Streams::default();
    let k = key("live/a");
    let index = t.assign(&k, confirmed(1), s(0)).unwrap();
    t.flow_opened(ticket(index, 1, Role::Publish));
    claim(&mut t, "live/a", 1, "x").unwrap();
    t.flow_closed(ticket(index, 1, Role::Publish), s(10));
    assert!(t.get(&k).unwrap().is_claimed());
    t.tick(s(10) + LINGER);
    assert!(t.is_empty());
}

#[test]
fn an_origin_claims_no_more_than_its_share() {
    let mut t = Streams::default();
    for n in 0..CLAIMS_PER_ORIGIN_MAX {
        claim(&mut t, &format!("live/{n}"), 1, "x").unwrap();
    }
    assert_eq!(claim(&mut t, "live/more", 1, "x"), Err(ClaimError::TooMany));
    assert_eq!(claim(&mut t, "live/7", 1, "y"), Ok(Claimed::Known));
    assert_eq!(claim(&mut t, "live/more", 2, "x"), Ok(Claimed::Placed));
    t.assign(&key("live/ours"), confirmed(1), s(0)).unwrap();
    assert_eq!(claim(&mut t, "live/ours", 1, "x"), Ok(Claimed::Known), "it came through us: nothing to remember");
    assert_eq!(t.claims_on(1), CLAIMS_PER_ORIGIN_MAX);
}
