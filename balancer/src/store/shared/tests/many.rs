//! What must not grow with the number of streams, and what happens between two steps that one lock held together once.

use super::*;
use crate::store::Clock;
use crate::store::shared::placing::Step;
use crate::store::shared::sync::LIVES_FOR;

#[tokio::test]
async fn a_newcomer_knows_everything_and_writes_nothing_of_it() {
    const MANY: usize = 2 * AT_ONCE_MAX + 7;
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    for number in 0..MANY {
        a.publish(&format!("s{number}"), s(1)).await;
    }
    both(&mut a, &mut b, s(1)).await;
    let mut newcomer = Balancer::new(&fake, 3, Default::default());
    newcomer.settle(s(2)).await;
    assert_eq!(newcomer.store.stream_count(), MANY);
    assert_eq!(a.settled_news(s(2)).await, ["b/lb3"], "the newcomer's own record is all that it writes");
}

#[tokio::test]
async fn others_get_on_while_everything_is_heard() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    for number in 0..2 * AT_ONCE_MAX {
        a.publish(&format!("s{number}"), s(1)).await;
    }
    both(&mut a, &mut b, s(1)).await;
    let newcomer = Balancer::new(&fake, 3, Default::default());
    let (whole, mut known) = (News::Whole(fake.records()), Vec::new());
    let others = async {
        loop {
            known.push(newcomer.store.stream_count());
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = newcomer.store.hear(&whole, s(2)) => {}
        () = others => {}
    }
    known.dedup();
    assert_eq!(known, [0, AT_ONCE_MAX, 2 * AT_ONCE_MAX]);
}

#[tokio::test]
async fn a_place_that_is_being_written_is_not_written_twice() {
    let fake = Fake::new();
    let (a, _b) = world(&fake).await;
    let k = key("s");
    let request = publisher(&k);
    let Step::Propose(_, _, wanted) = a.store.change(|state| state.propose(&request, s(1))) else {
        panic!("nobody knows of it yet");
    };
    let (behind, _) = a.store.change(|state| state.take_wanted(s(1)));
    assert!(behind.is_empty(), "who waits for it writes it");
    drop(placing::Proposing { store: &a.store, key: wanted.key.clone() });
    let (behind, _) = a.store.change(|state| state.take_wanted(s(1)));
    assert_eq!(behind.iter().map(|w| &w.key).collect::<Vec<_>>(), [&wanted.key], "he has given up");
}

#[tokio::test]
async fn who_was_second_to_choose_the_same_place_keeps_to_it() {
    let fake = Fake::new();
    let (a, mut b) = world(&fake).await;
    let k = key("s");
    let request = publisher(&k);
    let Step::Propose(_, choice, wanted) = b.store.change(|state| state.propose(&request, s(1))) else {
        panic!("nobody knows of it yet");
    };
    let chosen = b.origin_of("s");
    a.place("s", Role::Publish, s(1)).await.unwrap();
    assert_eq!(a.origin_of("s"), chosen, "by the same rule");
    // Its push comes before the answer to what was proposed.
    b.settled_news(s(1)).await;
    let put = b.store.share.as_ref().unwrap().shelf.put(&wanted.key, wanted.value.as_deref(), &wanted.seen).await;
    let Ok(Put::Lost(entry)) = put else { panic!("somebody was first: {put:?}") };
    b.store.change(|state| state.take_back(&request, choice, s(1)));
    b.store.lost(&entry, s(1));
    assert_eq!(b.origin_of("s"), chosen);
    assert!(matches!(b.store.change(|state| state.propose(&request, s(1))), Step::Settled(Ok(_))), "it is agreed");
}

#[tokio::test]
async fn who_hears_late_of_a_stream_does_not_tell_of_it_again() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    a.place("waits", Role::Publish, s(1)).await.unwrap();
    a.publish("carried", s(1)).await;
    a.settle(s(1)).await;
    drop(a.settled_news(s(1)).await);
    let mut newcomer = Balancer::new(&fake, 3, Default::default());
    for late in [&mut b, &mut newcomer] {
        late.settle(s(20)).await;
        assert_eq!(late.store.stream_count(), 2);
    }
    let told = a.settled_news(s(20)).await;
    assert_eq!(told, ["b/lb3"]);
    // Its lease is the one that its record has.
    b.store.tick(s(32));
    assert_eq!(b.store.stream_count(), 2, "it is known to all");
    b.store.change(|state| state.dirty([stream_key(&key("waits"))]));
    b.settle(s(32)).await;
    b.store.tick(s(32));
    assert_eq!(b.store.stream_count(), 1);
}

#[tokio::test]
async fn whoever_is_known_lives() {
    let fake = Fake::new();
    let a = Balancer::new(&fake, 1, Default::default());
    let alive = || async { fake.shelf("lb2").live("lb2", LIVES_FOR, &["lb1".into()]).await.unwrap() };
    assert!(alive().await.is_empty());
    a.store.hear_apart(&News::Whole(Vec::new()), Clock::start()).await;
    assert_eq!(alive().await, [Arc::<str>::from("lb1")], "and its record is not even written");
}

fn publisher(key: &Arc<StreamKey>) -> PlaceRequest<'_> {
    PlaceRequest {
        key,
        role: Role::Publish,
        protocol: Protocol::Rtmp,
        vip: [192, 0, 2, 10].into(),
        client: ([198, 51, 100, 7], 40000).into(),
        exclude: &[],
    }
}

impl Balancer {
    /// The keys that news were heard of.
    async fn settled_news(&mut self, now: Duration) -> Vec<String> {
        let mut keys = Vec::new();
        while let Ok(news) = self.news.try_recv() {
            self.store.hear(&news, now).await;
            if let News::Changed(entry) = news {
                keys.push(entry.key.to_string());
            }
        }
        keys
    }
}
