//! From counters to rates.

use super::{key, s};
use crate::flow::{Counter, FlowId, FlowRecord, FlowState, Path, Protocol, Role};
use crate::placement::*;
use std::net::SocketAddr;
use std::time::Duration;

fn record(id: u64, origin: u16, bytes_in: u64, made_at: Duration) -> (FlowId, FlowRecord) {
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let record = FlowRecord {
        client: nowhere,
        announced: None,
        vip: nowhere,
        origin,
        origin_generation: 0,
        origin_id: "o".into(),
        origin_address: nowhere,
        source: nowhere,
        protocol: Protocol::Rtmp,
        role: Role::Publish,
        stream: key("a"),
        stream_index: 1,
        path: Path::Kernel,
        state: FlowState::Spliced,
        to_origin: Counter { packets: bytes_in / 1000, bytes: bytes_in },
        to_client: Counter { packets: bytes_in / 2000, bytes: 0 },
        made_at,
        active_at: made_at,
    };
    (FlowId(id), record)
}

#[test]
fn rates_follow_the_counters_and_fade_with_the_flows() {
    let mut sampler = Sampler::default();
    let sample = |sampler: &mut Sampler, bytes: Option<u64>, now: u64| {
        let flow = bytes.map(|b| record(1, 7, b, s(0)));
        sampler.sample(flow.iter().map(|(id, f)| (*id, f)), s(now))
    };
    // Adopted with a past: what it carried before is no rate.
    let first = sample(&mut sampler, Some(1_000_000_000), 10);
    assert_eq!(first.origins[&7].rate, Rate::default());
    let mut last = first;
    for t in 1..=60 {
        last = sample(&mut sampler, Some(1_000_000_000 + t * 500_000), 10 + t);
    }
    let bits = last.origins[&7].rate.bits_per_second_in;
    assert!((3_990_000..=4_000_000).contains(&bits), "{bits}");
    assert_eq!(last.origins[&7].heard_at, Some(s(70)));
    assert_eq!(last.streams[&1].bits_per_second_in, bits);
    let silent = sample(&mut sampler, Some(1_000_000_000 + 60 * 500_000), 71);
    assert_eq!(silent.origins[&7].heard_at, Some(s(70)), "heard when it last was");
    for t in 0..200 {
        last = sample(&mut sampler, None, 72 + t);
    }
    assert!(last.origins.is_empty() && last.streams.is_empty());
}
