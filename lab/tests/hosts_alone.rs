//! The lab with several balancers, before any of them knows of the other: each serves, on its own host, and addresses
//! and routes lead where a test wants them.

use balancer_lab::balancer::{API_PORT, RTMP_PORT};
use balancer_lab::client::Client;
use balancer_lab::data_centre::Family;
use balancer_lab::hosts::{Hosts, HostsPlot};
use balancer_lab::origin::Heartbeat;
use balancer_lab::plan::{Plan, Role};
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::Plot;

const NEEDS: &[Need] = &[Need::Network, Need::Balancer];
const BYTES: u64 = 3_000_000;

/// Without a store an origin has to tell every balancer by itself; always the same run of it.
struct Beats(Vec<Heartbeat>);

impl Beats {
    /// Instead of those of the scene.
    fn of(hosts: &mut Hosts) -> Self {
        hosts.scene.registrars.iter_mut().for_each(|registrar| drop(registrar.take()));
        let origins = hosts.scene.dc.origins.iter().enumerate();
        Self(origins.map(|(number, host)| Heartbeat::of(host, number, hosts.scene.family)).collect())
    }

    fn send(&self, hosts: &Hosts) {
        for pair in 0..hosts.machines.len() {
            for (beat, host) in self.0.iter().zip(&hosts.scene.dc.origins) {
                let registered = beat.send(&host.netns, hosts.vip(pair, API_PORT)).unwrap();
                assert_eq!(registered.status, 200, "{}", registered.body);
            }
        }
    }
}

/// Through the VIP of a pair, every byte; who carried it.
fn exact_through(hosts: &Hosts, pair: usize, carrier: usize, seed: u64) {
    let scene = &hosts.scene;
    let before = hosts.balancer(carrier).metric("balancer_splices_total", &["result=\"armed\""]).unwrap();
    let clients = (0..4).map(|i| {
        let role = if i % 2 == 0 { Role::Publish } else { Role::Play };
        Client::new(hosts.vip(pair, RTMP_PORT), Plan::new(role, seed * 10 + i, BYTES, BYTES))
    });
    scene.run_exact(clients.collect(), 4).unwrap();
    let after = hosts.balancer(carrier).metric("balancer_splices_total", &["result=\"armed\""]).unwrap();
    assert_eq!(after - before, 4.0, "{:#?}", hosts.balancer(carrier).flows());
}

fn each_on_its_own(family: Family) {
    if !met(NEEDS) {
        return;
    }
    let mut hosts = HostsPlot::new(2, Plot::default().origins(2).family(family)).build().unwrap();
    let beats = Beats::of(&mut hosts);
    beats.send(&hosts);
    exact_through(&hosts, 0, 0, 1);
    exact_through(&hosts, 1, 1, 2);
    // The first pair moves to the second host: whoever dials it next is served there.
    hosts.leave(0, 0).unwrap();
    hosts.take(1, 0).unwrap();
    exact_through(&hosts, 0, 1, 3);
    // The host is gone, and comes back with its addresses.
    hosts.lose(0).unwrap();
    exact_through(&hosts, 0, 1, 4);
    hosts.boot(0).unwrap();
    hosts.leave(1, 0).unwrap();
    hosts.take(0, 0).unwrap();
    beats.send(&hosts);
    exact_through(&hosts, 0, 0, 5);
}

#[test]
fn two_balancers_serve_on_their_own_and_an_address_moves_over_ipv4() {
    each_on_its_own(Family::V4);
}

#[test]
fn two_balancers_serve_on_their_own_and_an_address_moves_over_ipv6() {
    each_on_its_own(Family::V6);
}

#[test]
fn a_router_leads_to_the_balancer_that_it_is_told() {
    if !met(NEEDS) {
        return;
    }
    for family in [Family::V4, Family::V6] {
        let mut hosts = HostsPlot::new(3, Plot::default().family(family)).routed().build().unwrap();
        let beats = Beats::of(&mut hosts);
        for machine in [1, 2, 0] {
            hosts.route_vip(&[machine]).unwrap();
            beats.send(&hosts);
            exact_through(&hosts, 0, machine, machine as u64);
        }
    }
}
