//! Leases of origins whose beats only another balancer hears.

use super::*;

fn is_healthy(lb: &Balancer, now: Duration) -> bool {
    lb.store.origin("o1", now).is_some_and(|origin| origin.status.label() == "healthy")
}

#[tokio::test]
async fn while_the_store_is_away_origins_that_beat_elsewhere_live_on() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    a.store.register(&beat(1, "run"), s(9)).await.unwrap();
    both(&mut a, &mut b, s(9)).await;
    fake.down(true);
    for now in (10..60).map(s) {
        a.settle(now).await;
        b.settle(now).await;
        [&a, &b].into_iter().for_each(|lb| lb.store.tick(now));
    }
    assert!(!is_healthy(&a, s(60)), "who heard its beats knows that they have ended");
    assert!(is_healthy(&b, s(60)));
    // Nobody says that it lives: then it does not.
    fake.down(false);
    for now in (60..140).map(s) {
        b.settle(now).await;
        b.store.tick(now);
    }
    assert!(!is_healthy(&b, s(140)));
}
