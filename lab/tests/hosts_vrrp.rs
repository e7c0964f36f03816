//! keepalived, from the example in `scripts`, moves the addresses of two balancers: when one drains, and when its host is
//! lost.

mod hosts_scene;

use balancer_lab::balancer::{API_PORT, binary};
use balancer_lab::data_centre::Family;
use balancer_lab::hosts::{Hosts, HostsPlot, SIDES};
use balancer_lab::keepalived::{Keepalived, Vrrp};
use balancer_lab::net;
use balancer_lab::requirements::{Need, met};
use balancer_lab::wait::wait_until;
use hosts_scene::{EACH, LATER, NEEDS, Stage, nothing_left};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

/// On each host, the first of which has the addresses.
fn keepalived(hosts: &Hosts) -> Vec<Keepalived> {
    let pair = hosts.machines[0].pair;
    let families = [Family::V4, Family::V6];
    let addresses = families.map(|f| [(pair.vip(f), SIDES[0]), (pair.source(f), SIDES[1])]).concat();
    let mut running = Vec::new();
    for machine in &hosts.machines {
        let prefixed =
            addresses.iter().map(|(ip, device)| (*ip, if ip.is_ipv4() { 24 } else { 64 }, device.to_string()));
        let vrrp = Vrrp {
            name: format!("keepalived{}", machine.number),
            interface: SIDES[0].into(),
            priority: 100 - machine.number as u8,
            addresses: prefixed.collect(),
            system_api: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), API_PORT),
        };
        running.push(Keepalived::start(&machine.netns, &machine.directory, &vrrp).unwrap());
        if machine.number == 0 {
            wait_until("the first host to be active", LATER, || running[0].state() == "MASTER").unwrap();
            // They were there by hand.
            hosts.leave(0, 0).unwrap();
            let there = |ip: IpAddr| {
                let shown = net::run(machine.netns.command("ip").args(["addr", "show", "to", &ip.to_string()]));
                shown.is_ok_and(|shown| !shown.stdout.is_empty())
            };
            wait_until("the addresses", LATER, || addresses.iter().all(|(ip, _)| there(*ip))).unwrap();
        }
    }
    wait_until("the second host to wait", LATER, || running[1].state() == "BACKUP").unwrap();
    running
}

#[test]
fn a_balancer_that_drains_hands_its_addresses_over_and_no_stream_loses_a_byte() {
    if !met(&[NEEDS, &[Need::Announcing]].concat()) {
        return;
    }
    let (stage, plot) = Stage::new(Family::V4, 30);
    let hosts = HostsPlot::new(2, plot).one_pair().store().build().unwrap();
    let keepalived = keepalived(&hosts);
    let streams = stage.begin(&hosts, 0, &[0], 1);
    let api = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), API_PORT).to_string();
    let mut drain = hosts.machines[0].netns.command(&binary().unwrap().display().to_string());
    net::run(drain.args(["drain", "--self", "--system-api", &api])).unwrap();
    wait_until("the other host to be active", LATER, || keepalived[1].state() == "MASTER").unwrap();
    wait_until("the first host to be active no more", LATER, || keepalived[0].state() == "FAULT").unwrap();
    streams.moving(&hosts, "with the addresses at the other host");
    let more = stage.dial(&hosts, 0, 2);
    streams.finish(&hosts);
    more.finish(&hosts);
    nothing_left(&hosts, &[0, 1]);
}

#[test]
fn a_host_is_lost_and_keepalived_moves_its_addresses() {
    if !met(&[NEEDS, &[Need::Announcing]].concat()) {
        return;
    }
    for family in [Family::V4, Family::V6] {
        let (stage, plot) = Stage::new(family, 30);
        let mut hosts = HostsPlot::new(2, plot).one_pair().store().build().unwrap();
        let mut keepalived = keepalived(&hosts);
        let streams = stage.begin(&hosts, 0, &[0], 1);
        let lost = hosts.lose(0).unwrap();
        drop(keepalived.remove(0));
        wait_until("the other host to be active", LATER, || keepalived[0].state() == "MASTER").unwrap();
        let detection = lost.elapsed();
        let gaps = streams.moved_after(&hosts, "taken over", Instant::now());
        println!(
            "{family:?}, keepalived: active elsewhere after {} ms, then the last first byte after {} ms",
            detection.as_millis(),
            gaps.iter().max().unwrap().as_millis()
        );
        hosts.wait_kernel(1, EACH).unwrap();
        streams.finish(&hosts);
        nothing_left(&hosts, &[1]);
    }
}
