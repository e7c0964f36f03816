//! The store that two balancers share comes late, is emptied, has its data elsewhere from one moment to the next, or holds
//! what none of them has written: streams that run get every byte, and both know the same afterwards.

mod hosts_scene;

use balancer_lab::balancer::RTMP_PORT;
use balancer_lab::data_centre::Family;
use balancer_lab::hosts::{Hosts, HostsPlot, SharedStore, StorePlot};
use balancer_lab::requirements::met;
use balancer_lab::wait::wait_until;
use hosts_scene::steady::{Steady, agree, store_of, streams};
use hosts_scene::{LATER, NEEDS, Stage, nothing_left, tails};
use serde_json::{Value, json};

fn build(store: StorePlot) -> (Steady, Hosts) {
    let (stage, plot) = Stage::new(Family::V4, 4);
    let mut hosts = HostsPlot::new(2, plot).store_of(store).build().unwrap();
    let steady = Steady::begin(stage, &mut hosts);
    (steady, hosts)
}

fn store(hosts: &mut Hosts) -> &mut SharedStore {
    hosts.store.as_mut().unwrap()
}

fn until_down(hosts: &Hosts) {
    for machine in [0, 1] {
        wait_until("the store to be missed", LATER, || store_of(hosts, machine)["up"] == false).unwrap();
    }
}

#[test]
fn a_store_that_comes_late_is_filled_and_filled_again_when_it_is_emptied() {
    if !met(NEEDS) {
        return;
    }
    let (mut steady, mut hosts) = build(StorePlot::Later);
    until_down(&hosts);
    steady.dial(&hosts, "before there is a store");
    let log = hosts.balancer(1).process().log();
    assert!(log.contains("does the server run?"), "{}", tails(&hosts));
    steady.step(&hosts, "before there is a store");
    store(&mut hosts).launch().unwrap();
    agree(&hosts, "now there is one");
    steady.dial(&hosts, "now there is one");
    steady.step(&hosts, "now there is one");
    agree(&hosts, "before it is emptied");
    let records = store(&mut hosts).records().unwrap();
    store(&mut hosts).ask(&["FLUSHALL"]).unwrap();
    wait_until("every record to be there again", LATER, || {
        hosts.store.as_ref().unwrap().records().is_ok_and(|now| now == records)
    })
    .unwrap_or_else(|error| panic!("{error:#}: {records:#?}\n{}", tails(&hosts)));
    agree(&hosts, "after it was emptied");
    steady.dial(&hosts, "after it was emptied");
    steady.step(&hosts, "after it was emptied");
    steady.finish(&hosts);
    assert_eq!(hosts.balancer(0).reason("peer_lost").unwrap(), 0.0);
}

#[test]
fn sentinels_name_another_primary_in_mid_stream() {
    if !met(NEEDS) {
        return;
    }
    let (mut steady, mut hosts) = build(StorePlot::Sentinels);
    agree(&hosts, "at first");
    steady.dial(&hosts, "before the fail-over");
    let SharedStore::Sentinels(sentinels) = store(&mut hosts) else { unreachable!("built so") };
    let old = sentinels.primary().unwrap();
    sentinels.primary_server().unwrap().kill();
    steady.dial(&hosts, "the primary is gone");
    steady.step(&hosts, "the primary is gone");
    let SharedStore::Sentinels(sentinels) = store(&mut hosts) else { unreachable!("built so") };
    sentinels.wait_other(old).unwrap();
    agree(&hosts, "after the fail-over");
    steady.dial(&hosts, "after the fail-over");
    steady.step(&hosts, "after the fail-over");
    steady.finish(&hosts);
    nothing_left(&hosts, &[0, 1]);
}

#[test]
fn slots_of_a_cluster_move_and_a_node_is_lost_in_mid_stream() {
    if !met(NEEDS) {
        return;
    }
    let (mut steady, mut hosts) = build(StorePlot::Cluster);
    agree(&hosts, "at first");
    for shard in [12, 40] {
        let SharedStore::Cluster(cluster) = store(&mut hosts) else { unreachable!("built so") };
        cluster.move_slot_of(&format!("balancer:{{{shard}}}:t")).unwrap();
        steady.dial(&hosts, "slots have moved");
    }
    agree(&hosts, "slots have moved");
    let freeze = |hosts: &mut Hosts, frozen| {
        let SharedStore::Cluster(cluster) = store(hosts) else { unreachable!("built so") };
        cluster.nodes[1].freeze(frozen).unwrap();
    };
    freeze(&mut hosts, true);
    until_down(&hosts);
    steady.dial(&hosts, "a node is lost");
    steady.step(&hosts, "a node is lost");
    freeze(&mut hosts, false);
    agree(&hosts, "the node is back");
    steady.step(&hosts, "the node is back");
    steady.finish(&hosts);
    nothing_left(&hosts, &[0, 1]);
}

/// An origin that anybody could register, but for what is said.
fn origin(id: &str, address: &str) -> Value {
    json!({"v": 1, "id": id, "epoch": 9, "source": "api", "endpoints": {"rtmp": [address]}, "weight": 100,
           "role": "origin", "lease_ms": null, "until_ms": null})
}

#[test]
fn what_others_write_is_believed_no_further_than_an_origin_would_be() {
    if !met(NEEDS) {
        return;
    }
    let (mut steady, mut hosts) = build(StorePlot::Server);
    steady.dial(&hosts, "at first");
    agree(&hosts, "at first");
    let vips = [0, 1].map(|pair| hosts.vip(pair, RTMP_PORT).to_string());
    let network = hosts.scene.dc.origins[0].v4.octets();
    let free = format!("{}.{}.{}.199:1935", network[0], network[1], network[2]);
    let known =
        [0, 1].map(|machine| (hosts.balancer(machine).list("origins").unwrap().len(), streams(&hosts, machine)));
    let entries =
        |hosts: &Hosts| [0, 1].map(|m| hosts.balancer(m).metric("balancer_map_entries", &["map=\"STREAMS\""]).unwrap());
    let in_kernel = entries(&hosts);
    let oversized = json!({"v": 1, "id": "big", "padding": "x".repeat(20_000)});
    let mut king = origin("king", &free);
    king["role"] = "king".into();
    let foreign = [
        ("o/evil", origin("evil", "8.8.8.8:1935").to_string()),
        ("o/loop", origin("loop", &vips[0]).to_string()),
        ("o/other-loop", origin("other-loop", &vips[1]).to_string()),
        ("o/portless", origin("portless", &free.replace(":1935", ":0")).to_string()),
        ("o/double", origin("another", &free).to_string()),
        ("o/king", king.to_string()),
        ("o/big", oversized.to_string()),
        ("o/text", "hello".to_owned()),
        ("s/text", "{\"v\":1}".to_owned()),
        ("s/v/live/forged", "{\"v\":1,\"key\":\"v/live/other\"}".to_owned()),
        ("b/lb9", "[]".to_owned()),
    ];
    for (key, value) in &foreign {
        store(&mut hosts).write_record(key, value).unwrap();
    }
    store(&mut hosts).write_record("o/newer", "{\"v\":2,\"id\":\"newer\"}").unwrap();
    for machine in [0, 1] {
        let count = |label: &str| hosts.balancer(machine).reason(label).unwrap();
        wait_until("every one to be counted", LATER, || {
            count("record_foreign") >= foreign.len() as f64 && count("record_format") >= 1.0
        })
        .unwrap_or_else(|error| panic!("{error:#}: {}\n{}", count("record_foreign"), tails(&hosts)));
        let now = (hosts.balancer(machine).list("origins").unwrap().len(), streams(&hosts, machine));
        assert_eq!(now, known[machine]);
    }
    // Two that say that they are at one place: all know the same one.
    for id in ["twin-b", "twin-c", "twin-a"] {
        store(&mut hosts).write_record(&format!("o/{id}"), &origin(id, &free).to_string()).unwrap();
    }
    for machine in [0, 1] {
        let twins = || {
            let all = hosts.balancer(machine).list("origins").unwrap();
            let ids = all.iter().filter_map(|origin| origin["id"].as_str().map(str::to_owned));
            ids.filter(|id| id.starts_with("twin")).collect::<Vec<_>>()
        };
        wait_until("one of the twins", LATER, || twins() == ["twin-c"])
            .unwrap_or_else(|e| panic!("{e:#}: {:?}", twins()));
    }
    assert_eq!(entries(&hosts), in_kernel, "nothing of it is in the kernel");
    steady.step(&hosts, "among foreign records");

    // What a newer version has added to ours stays where it is.
    let key = known[0].1.keys().find(|key| key.contains("lab-publish")).unwrap().clone();
    let id = hosts.balancer(1).list("origins").unwrap()[0]["id"].as_str().unwrap().to_owned();
    let records = [format!("s/{key}"), format!("o/{id}")];
    for record in &records {
        let text = store(&mut hosts).record(record).unwrap();
        let mut value: Value = serde_json::from_str(&text).unwrap();
        value["later"] = json!({"deep": [1, 2]});
        store(&mut hosts).write_record(record, &value.to_string()).unwrap();
    }
    let drained = hosts.balancer(1).request("POST", &format!("/api/v1/origins/{id}/drain"), Some("{}")).unwrap();
    assert_eq!(drained.status, 200, "{}", drained.body);
    steady.finish(&hosts);
    for (record, changed) in records.iter().zip(["\"publisher\":null", "\"draining\":{"]) {
        let read = || hosts.store.as_ref().unwrap().record(record).unwrap();
        let is_written =
            |text: &str| text.contains(changed) || (changed.contains("null") && !text.contains("publisher"));
        wait_until("the record to be written", LATER, || is_written(&read()))
            .unwrap_or_else(|error| panic!("{error:#}: {}\n{}", read(), tails(&hosts)));
        assert!(read().contains("\"deep\":[1,2]"), "{}", read());
    }
}
