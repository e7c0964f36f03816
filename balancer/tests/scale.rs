//! What `cargo xtask bench scale` measures, much smaller: that nothing fails or is lost on the way, and by counts, that it
//! costs no more than it should; and that balancers which are asked at once agree.

#[path = "../examples/bench_scale/simulation/mod.rs"]
mod simulation;

use balancer::flow::Role;
use balancer::recognize::StreamKey;
use balancer::store::Clock;
use balancer_common::abi::Reason;
use balancer_lab::redis::{Place, Server, Setup};
use balancer_lab::requirements::{Need, met};
use serde_json::Value;
use simulation::moment::until;
use simulation::node::Node;
use simulation::streams::{self, Size};
use simulation::takeover;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Barrier;

fn figure(measured: &Value, place: &str) -> f64 {
    measured.pointer(place).and_then(Value::as_f64).unwrap_or_else(|| panic!("{place} in {measured}"))
}

#[test]
fn a_stream_is_written_once_for_its_place_and_once_for_its_publisher() {
    if !met(&[Need::Redis]) {
        return;
    }
    let size = Size { streams: 200, origins: 20, balancers: 3, rest: Duration::from_millis(500) };
    let measured = streams::measure(size).unwrap();
    // Beside them a second's few calls of each balancer's, which asks for the time.
    let scripts = figure(&measured, "/stream/scripts");
    assert!((2.0..3.0).contains(&scripts), "{measured}");
    assert!(figure(&measured, "/carrier/scripts") < 2.0, "{measured}");
    for trouble in ["alone", "conflict_lost", "store_refused"] {
        assert!(measured["troubles"].get(trouble).is_none(), "{measured}");
    }
}

#[test]
fn a_dead_balancers_flows_are_all_taken_over() {
    if !met(&[Need::Redis, Need::Network]) {
        return;
    }
    let measured = takeover::measure(1500, 1).unwrap();
    assert_eq!(figure(&measured, "/flows"), 1500.0);
}

/// Two balancers are asked for the same stream in the same instant, thousands of times.
#[test]
fn two_that_are_asked_at_once_never_disagree() {
    const ROUNDS: usize = 3000;
    if !met(&[Need::Redis]) {
        return;
    }
    let server = Server::start(&Place::loopback(), &Setup::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let clock = Clock::start();
        let nodes = [1, 2].map(|number| Arc::new(Node::start(&server.url(), number, clock).unwrap()));
        until("both know each other", || nodes.iter().all(|node| node.others_alive() == 1)).await.unwrap();
        for origin in 0..20 {
            nodes[origin % 2].register(origin).await.unwrap();
        }
        until("both know all origins", || nodes.iter().all(|node| node.store.origins(clock.now()).len() == 20))
            .await
            .unwrap();
        let barrier = Arc::new(Barrier::new(2));
        let racers = nodes.each_ref().map(|node| {
            let (node, barrier) = (node.clone(), barrier.clone());
            tokio::spawn(async move {
                let mut origins = Vec::new();
                for round in 0..ROUNDS {
                    let key = Arc::new(StreamKey::new("", "live", &round.to_string()).unwrap());
                    barrier.wait().await;
                    origins.push(node.come(&key, Role::Play).await.unwrap().origin_id);
                }
                origins
            })
        });
        let [first, second] = racers;
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        let different: Vec<_> = (0..ROUNDS).filter(|round| first[*round] != second[*round]).collect();
        let raced: u64 = nodes.iter().map(|node| node.counters.get(Reason::RecordRaced)).sum();
        println!("{ROUNDS} rounds, {raced} of them lost by one");
        assert!(different.is_empty(), "rounds {different:?}");
        assert!(raced > 0, "they never met");
        assert!(first.iter().collect::<BTreeSet<_>>().len() == 20, "they were spread");
    });
}
