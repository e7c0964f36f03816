//! Hosts of balancers are lost in mid-stream, and come back: whoever plays or publishes goes on over another one, with
//! every byte, on the connection that he has.

mod hosts_scene;

use balancer_lab::data_centre::Family;
use balancer_lab::hosts::{Hosts, HostsPlot};
use balancer_lab::requirements::met;
use balancer_lab::wait::wait_until;
use hosts_scene::{DETECTION, EACH, LATER, NEEDS, Stage, Streams, nothing_left, print_gaps, tails};
use std::time::{Duration, Instant};

/// `lost` has no power any more, and after a while its pairs are with `heir`.
fn fail_over(hosts: &mut Hosts, what: &str, lost: usize, heir: usize, pairs: &[usize], streams: &[&Streams]) {
    hosts.lose(lost).unwrap();
    std::thread::sleep(DETECTION);
    pairs.iter().for_each(|pair| hosts.take(heir, *pair).unwrap());
    let taken = Instant::now();
    let beyond: Vec<_> = streams.iter().flat_map(|streams| streams.moved_after(hosts, what, taken)).collect();
    print_gaps(what, &beyond);
}

fn the_active_one_is_lost(family: Family) {
    if !met(NEEDS) {
        return;
    }
    let (stage, plot) = Stage::new(family, 40);
    let mut hosts = HostsPlot::new(2, plot).store().build().unwrap();
    let streams = stage.begin(&hosts, 0, &[0], 1);
    fail_over(&mut hosts, &format!("{family:?}, one loss"), 0, 1, &[0], &[&streams]);
    hosts.wait_kernel(1, EACH).unwrap();
    streams.finish(&hosts);
    nothing_left(&hosts, &[1]);
}

#[test]
fn every_stream_goes_on_when_the_host_that_carries_it_is_lost_over_ipv4() {
    the_active_one_is_lost(Family::V4);
}

#[test]
fn every_stream_goes_on_when_the_host_that_carries_it_is_lost_over_ipv6() {
    the_active_one_is_lost(Family::V6);
}

#[test]
fn one_host_waits_with_the_addresses_of_the_other_and_takes_over() {
    if !met(NEEDS) {
        return;
    }
    let (stage, plot) = Stage::new(Family::V4, 100);
    let mut hosts = HostsPlot::new(2, plot).one_pair().store().build().unwrap();
    let streams = stage.begin(&hosts, 0, &[0], 1);
    fail_over(&mut hosts, "one pair", 0, 1, &[0], &[&streams]);
    // New ones are taken meanwhile.
    let more = stage.dial(&hosts, 0, 2);
    streams.finish(&hosts);
    more.finish(&hosts);
    nothing_left(&hosts, &[1]);
}

#[test]
fn two_of_three_hosts_are_lost_one_after_the_other() {
    if !met(NEEDS) {
        return;
    }
    let (stage, plot) = Stage::new(Family::V4, 100);
    let mut hosts = HostsPlot::new(3, plot).store().build().unwrap();
    let first = stage.begin(&hosts, 0, &[0], 1);
    fail_over(&mut hosts, "first of two losses", 0, 1, &[0], &[&first]);
    hosts.wait_kernel(1, EACH).unwrap();
    // Those leave from the second host's own address.
    let second = stage.begin(&hosts, 1, &[1], 2);
    fail_over(&mut hosts, "second of two losses", 1, 2, &[0, 1], &[&first, &second]);
    hosts.wait_kernel(2, 2 * EACH).unwrap();
    first.finish(&hosts);
    second.finish(&hosts);
    nothing_left(&hosts, &[2]);
}

#[test]
fn a_host_comes_back_and_gets_its_flows_again() {
    if !met(NEEDS) {
        return;
    }
    let (stage, plot) = Stage::new(Family::V4, 100);
    let mut hosts = HostsPlot::new(2, plot).store().build().unwrap();
    let streams = stage.begin(&hosts, 0, &[0], 1);
    fail_over(&mut hosts, "to the other host", 0, 1, &[0], &[&streams]);
    hosts.wait_kernel(1, EACH).unwrap();
    hosts.boot(0).unwrap();
    hosts.wait_origins(0).unwrap();
    // The other one lives: it still thinks that the flows are its own.
    hosts.leave(1, 0).unwrap();
    hosts.take(0, 0).unwrap();
    streams.moving(&hosts, "at home again");
    hosts.wait_kernel(0, EACH).unwrap();
    hosts.wait_kernel(1, 0).unwrap();
    // And is lost in its turn.
    hosts.lose(1).unwrap();
    streams.moving(&hosts, "without the other host");
    streams.finish(&hosts);
    nothing_left(&hosts, &[0]);
}

#[test]
fn a_process_that_comes_back_leaves_alone_what_was_taken_over() {
    if !met(NEEDS) {
        return;
    }
    let (stage, plot) = Stage::new(Family::V4, 100);
    let mut hosts = HostsPlot::new(2, plot).store().build().unwrap();
    let streams = stage.begin(&hosts, 0, &[0], 1);
    fail_over(&mut hosts, "to the other host", 0, 1, &[0], &[&streams]);
    hosts.wait_kernel(1, EACH).unwrap();
    // It was not without power: what it had in its kernel is still there.
    hosts.leave(0, 0).unwrap();
    hosts.links(0, "up").unwrap();
    hosts.balancer_mut(0).launch().unwrap();
    streams.moving(&hosts, "when the process is back");
    hosts.wait_kernel(0, 0).unwrap();
    hosts.wait_kernel(1, EACH).unwrap();
    recorded(&hosts, EACH);
    streams.finish(&hosts);
    nothing_left(&hosts, &[0, 1]);
}

#[test]
fn two_that_both_believe_to_be_active_harm_nothing() {
    if !met(NEEDS) {
        return;
    }
    let (stage, plot) = Stage::new(Family::V4, 100);
    let hosts = HostsPlot::new(2, plot).store().build().unwrap();
    hosts.wait_origins(1).unwrap();
    let streams = stage.begin(&hosts, 0, &[0], 1);
    hosts.take(1, 0).unwrap();
    for round in 0..20 {
        hosts.announce(round % 2, 0).unwrap();
        std::thread::sleep(Duration::from_millis(60));
    }
    streams.moving(&hosts, "while both have the addresses");
    let forwarded =
        |machine: usize| hosts.balancer(machine).metric("balancer_forwarded_packets_total", &["path=\"kernel\""]);
    assert!([0, 1].into_iter().all(|machine| forwarded(machine).unwrap() > 100.0), "both had packets of them");
    recorded(&hosts, EACH);
    hosts.leave(0, 0).unwrap();
    hosts.announce(1, 0).unwrap();
    streams.moving(&hosts, "when one of them has given in");
    streams.finish(&hosts);
    nothing_left(&hosts, &[0, 1]);
}

#[test]
fn a_store_that_dies_or_is_emptied_is_filled_again_from_what_runs() {
    if !met(NEEDS) {
        return;
    }
    let (stage, plot) = Stage::new(Family::V4, 100);
    let mut hosts = HostsPlot::new(2, plot).store().build().unwrap();
    hosts.wait_origins(1).unwrap();
    let streams = stage.begin(&hosts, 0, &[0], 1);
    hosts.store.as_mut().unwrap().kill().unwrap();
    streams.moving(&hosts, "without a store");
    // New ones, through both.
    let more: Vec<_> = [0, 1].map(|pair| stage.dial(&hosts, pair, 2 + pair as u64)).into();
    more.iter().for_each(|streams| streams.moving(&hosts, "begun without a store"));
    hosts.store.as_mut().unwrap().launch().unwrap();
    recorded(&hosts, 3 * EACH);
    hosts.store.as_ref().unwrap().ask(&["FLUSHALL"]).unwrap();
    recorded(&hosts, 3 * EACH);
    hosts.wait_origins(0).unwrap();
    hosts.wait_origins(1).unwrap();
    fail_over(&mut hosts, "after the store was lost twice", 0, 1, &[0], &[&streams, &more[0], &more[1]]);
    streams.finish(&hosts);
    more.into_iter().for_each(|streams| streams.finish(&hosts));
    nothing_left(&hosts, &[1]);
}

fn recorded(hosts: &Hosts, flows: usize) {
    let store = hosts.store.as_ref().unwrap();
    wait_until("one record of every flow", LATER, || store.flows().is_ok_and(|count| count == flows as i64))
        .unwrap_or_else(|error| panic!("{error:#}: {:?} of {flows}\n{}", store.flows(), tails(hosts)));
}
