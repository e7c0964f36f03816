//! Hosts of balancers are lost in mid-stream, and come back: whoever plays or publishes goes on over another one, with
//! every byte, on the connection that he has.

mod hosts_scene;

use balancer_lab::data_centre::Family;
use balancer_lab::hosts::{Hosts, HostsPlot};
use balancer_lab::requirements::met;
use hosts_scene::{DETECTION, EACH, NEEDS, Stage, Streams, nothing_left, print_gaps};
use std::time::Instant;

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
    let (stage, plot) = Stage::new(family, 20);
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
    let (stage, plot) = Stage::new(Family::V4, 20);
    let mut hosts = HostsPlot::new(2, plot).one_pair().store().build().unwrap();
    let streams = stage.begin(&hosts, 0, &[0], 1);
    fail_over(&mut hosts, "one pair", 0, 1, &[0], &[&streams]);
    // New ones are taken meanwhile.
    let more = stage.dial(&hosts, 0, 2);
    streams.finish(&hosts);
    more.finish(&hosts);
    nothing_left(&hosts, &[1]);
}
