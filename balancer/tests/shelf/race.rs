//! Two balancers that write the same record at the same moment.

use super::*;
use tokio::sync::Barrier;

const ROUNDS: usize = 3000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_write_at_once_exactly_one_has_written() {
    let Some(server) = server(&[]) else { return };
    let balancers = [Balancer::join(&server.url(), "lb1").await, Balancer::join(&server.url(), "lb2").await];
    let barrier = Arc::new(Barrier::new(2));
    let racer = |n: usize| {
        let (shelf, barrier) = (balancers[n].shelf.clone(), barrier.clone());
        tokio::spawn(async move {
            let mut outcomes = Vec::new();
            for round in 0..ROUNDS {
                let (key, value) = (stream(&format!("live/{round}")), format!("{{\"by\":{n}}}"));
                barrier.wait().await;
                outcomes.push(shelf.put(&key, Some(&value), &Version::none()).await.unwrap());
            }
            outcomes
        })
    };
    let (first, second) = (racer(0), racer(1));
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    let mut won = [0, 0];
    for (one, two) in first.iter().zip(&second) {
        let (winner, version, told) = match (one, two) {
            (Put::Done(version), Put::Lost(told)) => (0, version, told),
            (Put::Lost(told), Put::Done(version)) => (1, version, told),
            both => panic!("{both:?}"),
        };
        won[winner] += 1;
        assert_eq!(told.value.as_deref(), Some(&*format!("{{\"by\":{winner}}}")));
        assert_eq!(told.version, *version);
    }
    println!("{ROUNDS} rounds: {} to {}", won[0], won[1]);
    for mut balancer in balancers {
        balancer.until_copy("all rounds", |copy| copy.len() == ROUNDS).await;
        assert_eq!(balancer.counters.get(Reason::RecordRepaired), 0, "every push was heard");
    }
}
