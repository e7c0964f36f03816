//! Balancers behind a router that spreads packets over them: whichever of them gets a packet, it goes where it belongs.

mod hosts_scene;

use balancer_lab::data_centre::Family;
use balancer_lab::hosts::HostsPlot;
use balancer_lab::requirements::met;
use hosts_scene::{NEEDS, Stage, nothing_left};

const ALL: [usize; 3] = [0, 1, 2];

fn the_router_changes_its_mind(family: Family) {
    if !met(NEEDS) {
        return;
    }
    let (stage, plot) = Stage::new(family, 40);
    let hosts = HostsPlot::new(3, plot).routed().store().build().unwrap();
    ALL.into_iter().for_each(|machine| hosts.wait_origins(machine).unwrap());
    let streams = stage.begin(&hosts, 0, &ALL, 1);
    // Clients' packets to one, origins' packets to another.
    hosts.route_vip(&[1]).unwrap();
    streams.moving(&hosts, "with all clients at one balancer");
    ALL.into_iter().for_each(|home| hosts.route_source(home, &[2]).unwrap());
    streams.moving(&hosts, "with all origins at another");
    hosts.route_vip(&[2, 0]).unwrap();
    streams.moving(&hosts, "with clients at two");
    streams.finish(&hosts);
    nothing_left(&hosts, &ALL);
}

#[test]
fn flows_go_on_when_the_router_leads_them_to_other_balancers_over_ipv4() {
    the_router_changes_its_mind(Family::V4);
}

#[test]
fn flows_go_on_when_the_router_leads_them_to_other_balancers_over_ipv6() {
    the_router_changes_its_mind(Family::V6);
}

#[test]
fn every_packet_may_come_to_any_balancer() {
    if !met(NEEDS) {
        return;
    }
    let (stage, plot) = Stage::new(Family::V4, 40);
    let hosts = HostsPlot::new(3, plot).routed().store().build().unwrap();
    ALL.into_iter().for_each(|machine| hosts.wait_origins(machine).unwrap());
    let streams = stage.begin(&hosts, 0, &ALL, 1);
    hosts.spray().unwrap();
    streams.moving(&hosts, "with packets everywhere");
    streams.finish(&hosts);
    nothing_left(&hosts, &ALL);
}
