//! Spliced packets never touch the host's stack, so nothing but the control plane keeps their next hops true.

use balancer_lab::data_centre::{Arms, Family, Layout};
use balancer_lab::plan::{Plan, Role};
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::{Plot, SOON};
use balancer_lab::synthetic::Manners;
use balancer_lab::transfer::{Gate, Style};
use balancer_lab::wait::wait_until;

const NEEDS: &[Need] = &[Need::Network, Need::Balancer];
const TOTAL: u64 = 2_000_000;

/// Both hosts get another MAC in the middle of a flow, and say so as a gateway does that takes over an address.
fn everybody_gets_another_mac(family: Family, arms: Arms) {
    if !met(NEEDS) {
        return;
    }
    let gate = Gate::at(TOTAL / 2);
    let style = Style { gate: gate.clone(), ..Style::default() };
    let layout = Layout { arms, ..Layout::default() };
    let plot = Plot::default().layout(layout).family(family).manners(Manners { style, ..Manners::default() });
    let scene = plot.build().unwrap();
    let before = scene.ended();
    let mut client = scene.client(Plan::new(Role::Publish, 1, TOTAL, TOTAL));
    client.style.gate = gate.clone();
    let running = scene.dial_all(vec![client], 1).unwrap();
    scene.wait_kernel(1).unwrap();
    wait_until("half of it", SOON, || running[0].received() == TOTAL / 2).unwrap();
    for (i, host) in scene.dc.clients.iter().chain(&scene.dc.origins).enumerate() {
        host.netns.sysctl("net.ipv4.conf.all.arp_notify", "1").unwrap();
        host.netns.sysctl("net.ipv6.conf.all.ndisc_notify", "1").unwrap();
        host.netns.ip(&format!("link set {} address 02:00:00:00:77:0{i}\n", host.device)).unwrap();
    }
    gate.set(u64::MAX);
    scene.join_exact(running, before).unwrap();
}

#[test]
fn hosts_that_change_their_mac_keep_their_flows_over_ipv4() {
    everybody_gets_another_mac(Family::V4, Arms::Two);
}

#[test]
fn hosts_that_change_their_mac_keep_their_flows_over_ipv6() {
    everybody_gets_another_mac(Family::V6, Arms::Two);
}

#[test]
fn hosts_that_change_their_mac_keep_their_flows_behind_one_arm() {
    everybody_gets_another_mac(Family::V4, Arms::One);
}

#[test]
fn links_with_smaller_and_larger_frames_work() {
    if !met(NEEDS) {
        return;
    }
    for mtu in [1280, 3000] {
        let scene = Plot::default().layout(Layout { mtu, ..Layout::default() }).build().unwrap();
        let clients = (0..4).map(|seed| scene.client(Plan::new(Role::Publish, seed, 10_000_000, 10_000_000)));
        scene.run_exact(clients.collect(), 4).unwrap();
        assert!(scene.kernel_bytes().unwrap() > 60e6, "mtu {mtu}");
    }
}
