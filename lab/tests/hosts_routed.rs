//! Balancers behind a router that spreads packets over them: whichever of them gets a packet, it goes where it belongs.

mod hosts_scene;

use balancer_lab::balancer::API_PORT;
use balancer_lab::bird::{Announced, Bird, Speaker};
use balancer_lab::data_centre::Family;
use balancer_lab::hosts::{Hosts, HostsPlot};
use balancer_lab::origin::srt::{SRT_PORT, SrtPeer};
use balancer_lab::process::Process;
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::Plot;
use balancer_lab::wait::wait_until;
use hosts_scene::{DETECTION, LATER, NEEDS, Stage, nothing_left, print_gaps};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

const ALL: [usize; 3] = [0, 1, 2];
const SRT_IDLE: &str = "srt_idle_timeout = \"7s\"";
const LONGER_THAN_SRT_IDLE: Duration = Duration::from_secs(10);

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

/// The two halves of a flow at different balancers, which hear of each other by the store, or do not.
#[test]
fn srt_goes_on_at_two_balancers_also_while_the_store_hangs() {
    if !met(&[NEEDS, &[Need::Srt]].concat()) {
        return;
    }
    let plot = Plot::default().origins(2).srt().config(SRT_IDLE);
    let mut hosts = HostsPlot::new(3, plot).routed().store().build().unwrap();
    ALL.into_iter().for_each(|machine| hosts.wait_origins(machine).unwrap());
    let (netns, directory) = (&hosts.scene.dc.clients[0].netns, hosts.scene.dc.directory());
    let (vip, more) = (hosts.vip(0, SRT_PORT), ["latency=4000", "packets=40000"]);
    let id = |mode: &str| format!("#!::r=live/t1,m={mode}");
    let publisher = SrtPeer::publish((netns, directory), "t1", vip, &id("publish"), &more).unwrap();
    publisher.wait_events("connected", 1, LATER).unwrap();
    let player = SrtPeer::play((netns, directory), "t1", vip, &id("request"), &more[..1]).unwrap();
    let goes_on = |when: &str| {
        let packets = player.events().iter().rev().find_map(|e| e["packets"].as_u64()).unwrap_or(0);
        assert_eq!(player.wait_packets(packets + 1000, LATER).unwrap(), 0, "{when}: {}", player.process().tail());
        assert!(publisher.events_of("ended").is_empty(), "{when}: {}", publisher.process().tail());
    };
    goes_on("at first");
    wait_until("both flows in the store", LATER, || hosts.store.as_ref().unwrap().flows().unwrap() == 2).unwrap();
    hosts.route_vip(&[1]).unwrap();
    ALL.into_iter().for_each(|home| hosts.route_source(home, &[2]).unwrap());
    goes_on("with its halves at two balancers");
    hosts.store.as_mut().unwrap().server().unwrap().freeze(true).unwrap();
    // Their owner hears nothing of either half.
    std::thread::sleep(LONGER_THAN_SRT_IDLE);
    goes_on("with a store that hangs");
    hosts.store.as_mut().unwrap().server().unwrap().freeze(false).unwrap();
    goes_on("with a store again");
}

#[test]
fn a_balancer_of_three_is_lost_and_its_flows_are_carried_by_the_others() {
    if !met(NEEDS) {
        return;
    }
    let (stage, plot) = Stage::new(Family::V4, 40);
    let mut hosts = HostsPlot::new(3, plot).routed().store().build().unwrap();
    ALL.into_iter().for_each(|machine| hosts.wait_origins(machine).unwrap());
    let streams = stage.begin(&hosts, 0, &ALL, 1);
    hosts.lose(0).unwrap();
    std::thread::sleep(DETECTION);
    // What its origins send goes to another one than what clients send.
    hosts.route_vip(&[1, 2]).unwrap();
    hosts.route_source(0, &[2]).unwrap();
    let taken = Instant::now();
    print_gaps("one of three behind a router", &streams.moved_after(&hosts, "taken over", taken));
    streams.finish(&hosts);
    nothing_left(&hosts, &[1, 2]);
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// bird on the router and beside each balancer, from the examples; what was routed by hand is so no more. The watcher says
/// when a balancer is ready.
fn bird(hosts: &Hosts) -> (Bird, Vec<(Bird, Process)>) {
    let directory = hosts.scene.dc.directory();
    let speaker = |n: usize| {
        let (v4, v6) = hosts.machines[n].uplink()[0];
        Speaker::balancer(n as u32 + 1, v4, v6)
    };
    let router = |n: usize| {
        let (v4, v6) = hosts.machines[n].uplink()[1];
        Speaker::router(v4, v6)
    };
    let speakers: Vec<Speaker> = ALL.map(speaker).into();
    let networks = ("10.71.9.0/24", "fd71:0:0:9::/64");
    let table = Bird::router(&hosts.fabric.middle, directory, &router(0), &speakers, networks).unwrap();
    let api = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), API_PORT);
    let beside = hosts.machines.iter().map(|machine| {
        let sources = |n: usize| FAMILIES.map(|family| hosts.machines[n].pair.source(family));
        let announced = Announced {
            vips: FAMILIES.map(|family| machine.pair.vip(family)).into(),
            sources: sources(machine.number).into(),
            others: ALL.into_iter().filter(|n| *n != machine.number).flat_map(sources).collect(),
        };
        let (own, to) = (&speakers[machine.number], router(machine.number));
        let bird = Bird::announcer(&machine.netns, &machine.directory, own, &to, &announced).unwrap();
        let watch = bird.watch(api).unwrap();
        (bird, watch)
    });
    let beside = beside.collect();
    hosts.forget_routes().unwrap();
    let hops = |to: IpAddr| table.next_hops(to).unwrap().len();
    wait_until("every balancer to be a next hop", LATER, || {
        FAMILIES.into_iter().all(|family| hops(hosts.machines[0].pair.vip(family)) == ALL.len())
    })
    .unwrap();
    (table, beside)
}

#[test]
fn bird_leads_the_flows_of_a_lost_host_to_the_others() {
    if !met(&[NEEDS, &[Need::Announcing]].concat()) {
        return;
    }
    let (stage, plot) = Stage::new(Family::V4, 40);
    let mut hosts = HostsPlot::new(3, plot).routed().store().build().unwrap();
    let (_table, mut beside) = bird(&hosts);
    ALL.into_iter().for_each(|machine| hosts.wait_origins(machine).unwrap());
    let streams = stage.begin(&hosts, 0, &ALL, 1);
    let lost = hosts.lose(0).unwrap();
    drop(beside.remove(0));
    let gaps = streams.moved_after(&hosts, "taken over", lost);
    println!("bird, one of three: all have moved {} ms after the loss", gaps.iter().max().unwrap().as_millis());
    streams.finish(&hosts);
    nothing_left(&hosts, &[1, 2]);
}
