//! How a conversation ends, and that its caller may begin another one.

use super::*;
use crate::config::Settings;

#[tokio::test]
async fn a_shutdown_of_either_end_passes_and_ends_the_flow() {
    for by_caller in [true, false] {
        let (world, origin) = World::with_origin(Manners::default()).await;
        let (caller, _) = world.call(PUBLISH).await;
        if by_caller {
            caller.socket.send(&packet::control(Kind::Shutdown, Origin::ID)).await.unwrap();
            let heard = || origin.heard().iter().any(|(_, bytes)| packet::kind(bytes) == Some(Kind::Shutdown));
            world::until("the origin to hear it", heard).await;
        } else {
            origin.say(origin.callers()[0], &packet::control(Kind::Shutdown, caller.id)).await;
            caller.hear_kind(Kind::Shutdown).await;
        }
        world::until("the flow to end", || world.ctx.live.is_empty()).await;
        assert!(world.ctx.udp.is_empty());
    }
}

#[tokio::test]
async fn when_its_origin_dies_a_caller_is_told_three_times() {
    let (world, origin) = World::with_origin(Manners::default()).await;
    let (caller, _) = world.call(PUBLISH).await;
    let flow = world.ctx.live.flows().remove(0);
    world.ctx.live.origin_died(flow.origin, flow.origin_generation);
    for _ in 0..3 {
        assert_eq!(caller.hear_kind(Kind::Shutdown).await, packet::control(Kind::Shutdown, caller.id));
    }
    caller.hears_nothing().await;
    assert!(world.ctx.live.is_empty());
    // The origin hears it as well, should it live after all.
    let heard = || origin.heard().iter().any(|(_, bytes)| packet::kind(bytes) == Some(Kind::Shutdown));
    world::until("the origin to hear it", heard).await;
}

#[tokio::test]
async fn a_caller_that_begins_anew_on_its_port_is_placed_anew() {
    let (world, origin) = World::with_origin(Manners::default()).await;
    let (mut caller, _) = world.call(PUBLISH).await;
    let first = world.ctx.live.flows().remove(0);
    caller.id += 1000;
    let answer = caller.call("#!::r=live/other,m=request").await;
    assert_eq!((answer.kind, answer.destination), (CONCLUSION, caller.id));
    world::until("the first flow to end", || world.ctx.live.len() == 1).await;
    let second = world.ctx.live.flows().remove(0);
    assert_eq!((second.client, second.stream.to_string().as_str()), (first.client, "__defaultVhost__/live/other"));
    assert_ne!(second.source, first.source);
    let by_first = origin.conclusions().into_iter().filter(|(from, _)| *from == first.source).count();
    assert_eq!(by_first, 1, "nothing that names a stream went by the old flow");
}

#[tokio::test]
async fn a_shutdown_that_names_another_socket_ends_nothing() {
    let (world, origin) = World::with_origin(Manners::default()).await;
    let (caller, _) = world.call(PUBLISH).await;
    let source = origin.callers()[0];
    caller.socket.send(&packet::control(Kind::Shutdown, Origin::ID + 1)).await.unwrap();
    origin.say(source, &packet::control(Kind::Shutdown, caller.id + 1)).await;
    caller.hear_kind(Kind::Shutdown).await;
    let kinds = || origin.heard().iter().filter_map(|(_, bytes)| packet::kind(bytes)).collect::<Vec<_>>();
    world::until("the origin to hear it", || kinds().contains(&Kind::Shutdown)).await;
    caller.socket.send(&packet::control(Kind::KeepAlive, Origin::ID)).await.unwrap();
    world::until("the flow to go on", || kinds().contains(&Kind::KeepAlive)).await;
    assert_eq!(world.count(Reason::SrtStray), 0);
}

#[tokio::test]
async fn of_silence_both_ends_are_told_whatever_one_of_them_goes_on_saying() {
    let world = World::of(Settings { srt_idle_timeout: Duration::from_secs(1), ..Settings::default() });
    let origin = Origin::new(Manners::default()).await;
    world.add("a", &origin).await;
    let (caller, _) = world.call(PUBLISH).await;
    let speak = async {
        loop {
            // The origin has nothing to say to it.
            let _ = caller.socket.send(&packet::control(Kind::KeepAlive, Origin::ID)).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = speak => {}
        word = caller.hear_kind(Kind::Shutdown) => assert_eq!(word, packet::control(Kind::Shutdown, caller.id)),
    }
    let source = origin.callers()[0];
    let word = packet::control(Kind::Shutdown, Origin::ID);
    world::until("the origin to hear it", || origin.heard().contains(&(source, word.clone()))).await;
    world::until("the flow to end", || world.ctx.live.is_empty()).await;
}
