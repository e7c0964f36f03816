//! Records of flows: found by either name, and loaded by whoever takes them over.

use super::*;
use balancer::cluster::FlowAt;
use balancer::cluster::record::{FORMAT, FlowRecord, Record};
use std::collections::BTreeSet;
use std::time::Instant;

const FLOWS: u32 = 100_000;
const BATCH: usize = 500;

/// As the kernel's keys are written, and a record as long as they are.
fn flow(n: u32) -> FlowAt {
    let client = format!("198.18.{}.{}:{}", n >> 8 & 0xff, n & 0xff, 40_000 + (n >> 16));
    let source = format!("10.0.{}.1:{}", n >> 13, 20_000 + (n & 0x1fff));
    let record = FlowRecord {
        v: FORMAT,
        proto: 6,
        client: client.parse().unwrap(),
        vip: "192.0.2.10:1935".parse().unwrap(),
        source: source.parse().unwrap(),
        origin_address: "10.0.0.7:1935".parse().unwrap(),
        origin: "origin-1".into(),
        epoch: 3,
        stream: format!("__defaultVhost__/live/stream-{n}"),
        made_ms: 1_800_000_000_000,
        to_origin: [3, n, !n, 7, 9],
        to_client: [5, !n, n, 9, 7],
        unknown: Default::default(),
    };
    FlowAt {
        client: format!("6 {client} 192.0.2.10:1935").into(),
        origin: format!("6 10.0.0.7:1935 {source}").into(),
        value: Some(record.text().into()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_flows_are_written_found_loaded_and_forgotten() {
    let Some(server) = server(&[]) else { return };
    let (one, two) = (Balancer::join(&server.url(), "lb1").await, Balancer::join(&server.url(), "lb2").await);
    let used = || -> u64 {
        let text = server.cli(&["INFO", "memory"]).unwrap();
        text.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap()
    };
    let (before, all) = (used(), (0..FLOWS).map(flow).collect::<Vec<_>>());
    let began = Instant::now();
    for batch in all.chunks(BATCH) {
        one.shelf.put_flows("lb1", batch).await.unwrap();
    }
    let written = began.elapsed();

    let began = Instant::now();
    let (mut loaded, mut page, mut pages) = (BTreeSet::new(), Some(0), 0);
    while let Some(number) = page {
        let part = two.shelf.flows_of("lb1", number).await.unwrap();
        loaded.extend(part.flows);
        (page, pages) = (part.next, pages + 1);
    }
    println!(
        "{FLOWS} flows: {} B each, written in {written:?}, loaded in {:?} ({pages} pages)",
        (used() - before) / u64::from(FLOWS),
        began.elapsed()
    );
    let wanted: BTreeSet<_> = all.iter().filter_map(|flow| flow.value.clone()).collect();
    assert!(loaded == wanted, "{} of {}", loaded.len(), wanted.len());

    let keys: Vec<_> = all.iter().step_by(997).flat_map(|flow| [flow.client.clone(), flow.origin.clone()]).collect();
    let owners: Vec<Arc<str>> = vec!["lb2".into(), "lb1".into()];
    for (pair, flow) in two.shelf.find_flows(&owners, &keys).await.unwrap().chunks(2).zip(all.iter().step_by(997)) {
        for found in pair {
            let found = found.as_ref().expect("by either name");
            assert_eq!((&*found.owner, &found.value), ("lb1", flow.value.as_ref().unwrap()));
        }
    }
    let ended: Vec<_> = all[..BATCH].iter().map(|flow| FlowAt { value: None, ..flow.clone() }).collect();
    one.shelf.put_flows("lb1", &ended).await.unwrap();
    let names = [all[0].client.clone(), all[0].origin.clone()];
    assert_eq!(two.shelf.find_flows(&owners, &names).await, Ok(vec![None, None]));
    two.shelf.forget_flows("lb1").await.unwrap();
    assert_eq!(server.cli(&["KEYS", "test:{f:*"]).unwrap(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_of_a_balancer_that_never_comes_back_expire_some_day() {
    let Some(server) = server(&[]) else { return };
    let one = Balancer::join(&server.url(), "lb1").await;
    one.shelf.put_flows("lb1", &[flow(1)]).await.unwrap();
    for key in server.cli(&["KEYS", "test:{f:*"]).unwrap().lines() {
        let seconds: i64 = server.cli(&["TTL", key]).unwrap().parse().unwrap();
        assert!(seconds > 24 * 3600, "{key}: {seconds}");
    }
}
