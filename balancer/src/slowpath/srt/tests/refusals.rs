//! Who is refused, in which words, under which number, and that no origin hears of it.

use super::*;
use crate::config::{AuthFailure, HttpUrl, Settings};

#[track_caller]
fn refused(answer: &Said) -> u32 {
    assert!(answer.kind >= REFUSED && answer.kind < 1 << 31, "{answer:x?}");
    answer.kind - REFUSED
}

#[tokio::test]
async fn an_origins_refusal_reaches_the_caller_as_it_is() {
    for code in [10, 1402, 1403, 2345] {
        let (world, origin) = World::with_origin(Manners { refuses: Some(code), ..Manners::default() }).await;
        let caller = world.caller().await;
        let said = caller.conclusion(PUBLISH).await;
        assert_eq!(caller.ask(&said).await, said.refusal(code));
        assert_eq!((world.count(Reason::SrtRefused), world.count(Reason::SrtOriginFailed)), (1, 0));
        assert_eq!((world.ctx.live.len(), origin.callers().len()), (0, 1));
        // Asked again, it says the same, and nobody asks the origin again.
        assert_eq!(caller.ask(&said).await, said.refusal(code));
        assert_eq!(origin.callers().len(), 1);
    }
}

#[tokio::test]
async fn a_stream_id_that_is_none_is_refused() {
    let (world, origin) = World::with_origin(Manners::default()).await;
    for (id, code) in [("", 1400), ("#!::m=publish", 1400), ("#!::r=a/b,r=c/d", 1400), ("#!::r=a/b,m=push", 1405)] {
        assert_eq!(refused(&world.call(id).await.1), code, "{id}");
    }
    let long = "x".repeat(513);
    assert_eq!(refused(&world.call(&long).await.1), 1400);
    assert_eq!(world.count(Reason::SrtBadName), 5);
    assert_eq!(origin.heard(), []);
}

#[tokio::test]
async fn a_caller_of_version_4_is_told_so() {
    let (world, origin) = World::with_origin(Manners::default()).await;
    let caller = world.caller().await;
    let said = Said { version: 4, extension_field: 2, extensions: vec![], ..caller.conclusion("").await };
    assert_eq!(refused(&caller.ask(&said).await), 8);
    assert_eq!((world.count(Reason::SrtOldVersion), origin.heard().len()), (1, 0));
}

#[tokio::test]
async fn a_rendezvous_is_refused() {
    let (world, origin) = World::with_origin(Manners::default()).await;
    let caller = world.caller().await;
    let said = Said { kind: WAVE_A_HAND, version: 5, ..Said::induction(caller.id) };
    assert_eq!(refused(&caller.ask(&said).await), 2);
    assert_eq!((world.count(Reason::SrtRendezvous), origin.heard().len()), (1, 0));
}

#[tokio::test]
async fn only_a_cookie_of_its_own_takes_a_caller_further() {
    let (world, origin) = World::with_origin(Manners::default()).await;
    let (caller, other) = (world.caller().await, world.caller().await);
    let said = caller.conclusion(PUBLISH).await;
    let forged = [0, 1, said.cookie ^ 1, Origin::COOKIE].map(|cookie| Said { cookie, ..said.clone() });
    for said in &forged {
        caller.say(said).await;
    }
    other.say(&Said { socket: other.id, ..said.clone() }).await;
    world::until("all to be counted", || world.count(Reason::SrtBadCookie) == 5).await;
    caller.hears_nothing().await;
    other.hears_nothing().await;
    assert_eq!((origin.heard().len(), world.ctx.admission.in_progress()), (0, 0));
    assert_eq!(caller.ask(&said).await.kind, CONCLUSION);
}

#[tokio::test]
async fn what_is_no_handshake_of_a_callers_is_counted_and_dropped() {
    let (world, origin) = World::with_origin(Manners::default()).await;
    let caller = world.caller().await;
    let induction = Said::induction(caller.id);
    let malformed = [
        induction.bytes()[..63].to_vec(),
        Said { destination: 7, ..induction.clone() }.bytes(),
        Said { socket: 0, ..induction.clone() }.bytes(),
        Said { kind: packet::AGREEMENT, ..induction.clone() }.bytes(),
        Said { kind: 5, ..induction }.bytes(),
        Said { extensions: vec![(9, vec![0; 1600])], ..caller.conclusion(PUBLISH).await }.bytes(),
    ];
    let strays = [vec![0x80], vec![], packet::data(1, 2, b"x"), packet::control(Kind::Shutdown, 9), vec![0xff; 1400]];
    for datagram in malformed.iter().chain(&strays) {
        caller.socket.send(datagram).await.unwrap();
    }
    let counts = || (world.count(Reason::SrtMalformed), world.count(Reason::SrtStray));
    world::until("all to be counted", || counts() == (6, 5)).await;
    caller.hears_nothing().await;
    assert_eq!(origin.heard(), []);
}

#[tokio::test]
async fn without_an_origin_there_is_no_stream() {
    let world = World::new();
    assert_eq!(refused(&world.call(PUBLISH).await.1), 1404);
    let lost = Origin::new(Manners { silent: true, ..Manners::default() }).await;
    world.add("a", &lost).await;
    let (_, answer) = world.call("#!::r=live/s2,m=request").await;
    assert!([1404, 1502].contains(&refused(&answer)), "{answer:x?}");
    assert_eq!(world.ctx.admission.in_progress(), 0);
}

#[tokio::test]
async fn whom_the_hook_does_not_allow_is_forbidden() {
    // Nobody listens there, and that is a no.
    let hook = Some(HttpUrl("http://127.0.0.1:1/".into()));
    let world = World::of(Settings { auth_hook: hook, auth_failure: AuthFailure::Deny, ..Settings::default() });
    let origin = Origin::new(Manners::default()).await;
    world.add("a", &origin).await;
    assert_eq!(refused(&world.call(PUBLISH).await.1), 1403);
    assert_eq!((world.count(Reason::AuthFailed), origin.heard().len()), (1, 0));
}

#[tokio::test]
async fn more_callers_at_once_than_allowed_hear_of_an_overload() {
    let settings = Settings { handshakes_max: 2, connect_timeout: Duration::from_secs(300), ..Settings::default() };
    let world = World::of(settings);
    let slow = Origin::new(Manners { loses_conclusions: true, ..Manners::default() }).await;
    world.add("a", &slow).await;
    let mut waiting = Vec::new();
    for number in 0..2 {
        let caller = world.caller().await;
        caller.say(&caller.conclusion(&format!("live/s{number}")).await).await;
        waiting.push(caller);
    }
    world::until("both to wait", || world.ctx.admission.in_progress() == 2).await;
    assert_eq!(refused(&world.call(PUBLISH).await.1), 1402);
    assert_eq!(world.count(Reason::LimitHandshakes), 1);
    assert_eq!(slow.callers().len(), 2);
}
