//! Several origins, and several callers at once.

use super::*;
use crate::config::Settings;
use crate::registry::OriginStatus;
use std::net::SocketAddr;

/// Each as wanted.
async fn two(first: Manners) -> (World, Origin, Origin) {
    let (world, bad) = World::with_origin(first).await;
    let good = Origin::new(Manners::default()).await;
    world.add("b", &good).await;
    (world, bad, good)
}

/// Callers for as many streams as it takes until both origins were asked.
async fn all_reach(world: &World, bad: &Origin, good: &Origin) {
    for number in 0..8 {
        let (_, answer) = world.call(&format!("#!::r=live/s{number},m=publish")).await;
        assert_eq!((answer.kind, answer.socket), (CONCLUSION, Origin::ID), "caller {number}");
    }
    assert_eq!(good.callers().len(), 8);
    assert!(!bad.heard().is_empty(), "asked first at least once");
}

#[tokio::test]
async fn a_silent_origin_is_given_up_for_another() {
    let (world, bad, good) = two(Manners { silent: true, ..Manners::default() }).await;
    all_reach(&world, &bad, &good).await;
    assert!(world.count(Reason::SrtOriginFailed) > 0);
}

#[tokio::test]
async fn so_is_one_that_loses_conclusions_and_one_that_is_too_old() {
    let (world, bad, good) = two(Manners { loses_conclusions: true, ..Manners::default() }).await;
    all_reach(&world, &bad, &good).await;
    let (world, bad, good) = two(Manners { old: true, ..Manners::default() }).await;
    all_reach(&world, &bad, &good).await;
}

#[tokio::test]
async fn an_origin_that_is_not_there_is_given_up_at_once() {
    let (world, good) = World::with_origin(Manners::default()).await;
    let nobody: SocketAddr = Origin::new(Manners::default()).await.address;
    world.ctx.add_origin("b", balancer_common::abi::ServiceKind::Srt, nobody).await;
    for number in 0..8 {
        let (_, answer) = world.call(&format!("#!::r=live/s{number},m=publish")).await;
        assert_eq!(answer.kind, CONCLUSION);
    }
    assert_eq!(good.callers().len(), 8);
    assert_eq!(world.count(Reason::SrtOriginFailed), 1, "and its health remembers");
}

#[tokio::test]
async fn a_silent_origin_keeps_no_other_caller_waiting() {
    let settings = Settings { connect_timeout: Duration::from_secs(300), ..Settings::default() };
    let world = World::of(settings);
    let lost = Origin::new(Manners { loses_conclusions: true, ..Manners::default() }).await;
    world.add("a", &lost).await;
    let mut waiting = Vec::new();
    for number in 0..20 {
        let caller = world.caller().await;
        let said = caller.conclusion(&format!("#!::r=live/s{number},m=publish")).await;
        caller.say(&said).await;
        waiting.push(caller);
    }
    world::until("all to wait", || lost.callers().len() == 20).await;
    assert_eq!(world.ctx.admission.in_progress(), 20);
    let good = Origin::new(Manners::default()).await;
    world.add("b", &good).await;
    let mut taken = 0;
    // Half of the new streams go to either origin.
    for number in 20..24 {
        let caller = world.caller().await;
        let said = caller.conclusion(&format!("#!::r=live/s{number},m=publish")).await;
        caller.say(&said).await;
        taken += usize::from(caller.hear(Duration::from_secs(1)).await.is_some());
    }
    assert!(taken > 0 && taken == good.callers().len(), "{taken}");
}

#[tokio::test]
async fn members_of_a_group_and_players_find_the_publishers_origin() {
    let (world, a, b) = two(Manners::default()).await;
    for number in 0..4 {
        for role in ["publish", "publish", "request", "request"] {
            let caller = world.caller().await;
            let said = caller.conclusion(&format!("#!::r=live/s{number},m={role}")).await.in_group(7, 1);
            assert_eq!(caller.ask(&said).await.kind, CONCLUSION);
        }
    }
    let streams = |origin: &Origin| {
        let mut ids: Vec<_> = origin.conclusions().into_iter().map(|(_, said)| said.stream_id().unwrap()).collect();
        ids.iter_mut().for_each(|id| id.truncate("#!::r=live/s0".len()));
        ids.sort();
        ids.dedup();
        ids
    };
    assert_eq!(a.callers().len() + b.callers().len(), 16);
    assert_eq!(streams(&a).len() + streams(&b).len(), 4, "no stream is on both");
}

#[tokio::test]
async fn an_origin_that_drops_one_callers_conclusion_is_no_worse_for_the_others() {
    let (world, origin) = World::with_origin(Manners { loses_conclusions: true, ..Manners::default() }).await;
    for number in 0..2 {
        let (_, answer) = world.call(&format!("#!::r=live/s{number},m=publish")).await;
        assert!(answer.kind >= packet::REFUSED, "{answer:x?}");
    }
    assert!(origin.callers().len() >= 2, "asked again");
    let view = world.ctx.store.origin("a", world.ctx.now()).unwrap();
    assert_eq!((view.status, view.retry_in), (OriginStatus::Healthy, None));
}

#[tokio::test]
async fn a_caller_that_has_given_up_meanwhile_gets_no_flow() {
    let (world, bad, good) = two(Manners { silent: true, ..Manners::default() }).await;
    let mut callers = Vec::new();
    for number in 0..8 {
        let caller = world.caller().await;
        let said = caller.conclusion(&format!("#!::r=live/s{number},m=publish")).await;
        caller.say(&said).await;
        callers.push(caller);
    }
    world::until("all to be settled", || good.callers().len() == 8 && world.ctx.admission.in_progress() == 0).await;
    let mut waited: Vec<_> = bad.heard().into_iter().map(|(from, _)| from).collect();
    waited.sort();
    waited.dedup();
    assert!(!waited.is_empty());
    assert_eq!(world.ctx.live.len(), 8 - waited.len());
    let is_bye = |(_, datagram): &(SocketAddr, Vec<u8>)| packet::kind(datagram) == Some(Kind::Shutdown);
    world::until("the origin to know", || good.heard().iter().filter(|d| is_bye(d)).count() == waited.len()).await;
}
