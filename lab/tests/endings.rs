//! How flows end: by either end, in order or not, by silence, by an operator; and what is left of them.

use balancer_lab::client::Client;
use balancer_lab::plan::{Ending, Plan, Role};
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::synthetic::Manners;
use balancer_lab::transfer::{End, Gate, Style};
use balancer_lab::wait::wait_until;
use std::net::SocketAddr;

const NEEDS: &[Need] = &[Need::Network, Need::Balancer];

/// A scene whose origins send only what the gate allows.
fn gated(bytes: u64) -> (Plot, Gate) {
    let gate = Gate::at(bytes);
    let style = Style { gate: gate.clone(), ..Style::default() };
    (Plot::default().manners(Manners { style, ..Manners::default() }), gate)
}

fn ends(ending: Ending, up: u64, down: u64) {
    if !met(NEEDS) {
        return;
    }
    let (plot, gate) = gated(down / 2);
    let scene = plot.build().unwrap();
    let before = scene.ended();
    let clients = [(Role::Publish, 1), (Role::Play, 2)]
        .map(|(role, seed)| scene.client(Plan { ending, ..Plan::new(role, seed, up, down) }));
    let running = scene.dial_all(clients.into(), 2).unwrap();
    scene.wait_kernel(2).unwrap();
    gate.set(u64::MAX);
    scene.join_exact(running, before).unwrap();
    scene.wait_no_flows().unwrap();
}

#[test]
fn both_ends_close_in_order() {
    ends(Ending::Fin, 500_000, 500_000);
}

#[test]
fn a_client_that_closes_its_half_still_receives_everything() {
    ends(Ending::Fin, 1000, 20_000_000);
}

#[test]
fn a_client_that_resets() {
    ends(Ending::ClientReset, 500_000, 500_000);
}

#[test]
fn an_origin_that_resets() {
    ends(Ending::OriginReset, 500_000, 500_000);
}

#[test]
fn a_client_may_use_its_port_again() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().build().unwrap();
    let from = SocketAddr::new(scene.dc.clients[0].ip(scene.family), 45_678);
    // Endings that leave no TIME_WAIT at the client, whose own kernel would refuse the port.
    let endings = [Ending::ClientReset, Ending::OriginReset, Ending::ClientReset, Ending::OriginReset];
    for (seed, ending) in endings.into_iter().enumerate() {
        let plan = Plan { ending, ..Plan::new(Role::Play, seed as u64, 100_000, 1_000_000) };
        scene.run_exact(vec![Client { from: Some(from), ..scene.client(plan) }], 1).unwrap();
    }
    // The origin closes first, the client a while later.
    for seed in 10..13 {
        let mut client = Client { from: Some(from), ..scene.client(Plan::new(Role::Publish, seed, 400_000, 1000)) };
        client.style.bytes_per_second = Some(800_000);
        scene.run_exact(vec![client], 1).unwrap();
    }
}

#[test]
fn an_idle_flow_is_removed() {
    if !met(NEEDS) {
        return;
    }
    let (plot, _gate) = gated(100_000);
    let scene = plot.config("idle_timeout = \"1s\"").build().unwrap();
    let running = scene.dial_all(vec![scene.client(Plan::new(Role::Play, 1, 0, 1_000_000))], 1).unwrap();
    wait_until("what the gate allows", SOON, || running[0].received() == 100_000).unwrap();
    scene.wait_no_flows().unwrap();
}

fn one_gated_play(scene: &Scene) -> balancer_lab::client::Running {
    let mut running = scene.dial_all(vec![scene.client(Plan::new(Role::Play, 1, 0, 1_000_000))], 1).unwrap();
    scene.wait_kernel(1).unwrap();
    running.remove(0)
}

#[test]
fn deleting_a_stream_resets_its_flows_and_no_others() {
    if !met(NEEDS) {
        return;
    }
    let (plot, gate) = gated(100_000);
    let scene = plot.build().unwrap();
    let other = scene.dial(scene.client(Plan::new(Role::Play, 2, 0, 1_000_000))).unwrap();
    scene.wait_kernel(1).unwrap();
    let client = scene.client(Plan::new(Role::Play, 1, 0, 1_000_000));
    let running = scene.dial_all(vec![client], 1).unwrap().remove(0);
    let flows = scene.wait_kernel(2).unwrap();
    let stream = flows.iter().filter_map(|flow| flow["stream"].as_str()).find(|stream| stream.contains("play-1-"));
    let response = scene.balancer.request("DELETE", &format!("/api/v1/streams/{}", stream.unwrap()), None).unwrap();
    assert!((200..300).contains(&response.status), "{response:?}");
    assert_eq!(running.join().end, End::Reset);
    let left = scene.wait_kernel(1).unwrap();
    assert!(left[0]["stream"].as_str().unwrap().contains("play-2-"), "{left:#?}");
    gate.set(u64::MAX);
    wait_until("the origin's half of the deleted flow to end", SOON, || !scene.origins[0].transfers().is_empty())
        .unwrap();
    let other = other.join();
    assert_eq!((other.received, other.bad_at, other.end), (1_000_000, None, End::Eof));
}

#[test]
fn a_flow_whose_origin_process_dies_ends_at_the_client() {
    if !met(NEEDS) {
        return;
    }
    let (plot, _gate) = gated(100_000);
    let mut scene = plot.build().unwrap();
    let running = one_gated_play(&scene);
    scene.origins.clear();
    let transfer = running.join();
    assert!(matches!(transfer.end, End::Eof | End::Reset), "{transfer:?}");
    assert_eq!(transfer.bad_at, None);
    scene.wait_no_flows().unwrap();
}
