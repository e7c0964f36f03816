//! What `cargo xtask bench scale` measures, much smaller: that nothing fails or is lost on the way, and by counts, that it
//! costs no more than it should.

#[path = "../examples/bench_scale/simulation/mod.rs"]
mod simulation;

use balancer_lab::requirements::{Need, met};
use serde_json::Value;
use simulation::streams::{self, Size};
use simulation::takeover;
use std::time::Duration;

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
