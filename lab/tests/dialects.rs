//! Peers differ: chunk sizes, stream ids, headers, what they send without waiting, and which TCP they speak.

use balancer_lab::client::{Client, Start};
use balancer_lab::data_centre::Family;
use balancer_lab::net::Netns;
use balancer_lab::plan::{Framing, Plan, Role};
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::{Plot, Scene};
use balancer_lab::synthetic::Manners;
use balancer_lab::transfer::{Gate, Style};

const NEEDS: &[Need] = &[Need::Network, Need::Balancer];
const SIZE: u64 = 3_000_000;

/// Two publishers and two players, framed as RTMP, both ways; returns once all bytes were exact at both ends and, if
/// asked, once all four were seen in the kernel.
fn four_exact(scene: &Scene, gate: &Gate, in_kernel: bool, adapt: impl Fn(Client) -> Client) {
    let before = scene.ended();
    let clients = [(Role::Publish, 1), (Role::Publish, 2), (Role::Play, 3), (Role::Play, 4)].map(|(role, seed)| {
        let framing = if seed % 2 == 0 { Framing::Messages } else { Framing::Raw };
        adapt(scene.client(Plan { framing, ..Plan::new(role, seed, SIZE, SIZE) }))
    });
    let running = scene.dial_all(clients.into(), 4).unwrap();
    if in_kernel {
        scene.wait_kernel(4).unwrap();
    }
    gate.set(u64::MAX);
    scene.join_exact(running, before).unwrap();
}

fn gated(manners: Manners) -> (Manners, Gate) {
    let gate = Gate::at(SIZE / 2);
    (Manners { style: Style { gate: gate.clone(), ..Style::default() }, ..manners }, gate)
}

fn with_manners(manners: Manners, in_kernel: bool) -> Scene {
    let (manners, gate) = gated(manners);
    let scene = Plot::default().manners(manners).build().unwrap();
    four_exact(&scene, &gate, in_kernel, |client| client);
    scene
}

#[test]
fn an_origin_that_announces_60000_as_srs_does() {
    if met(NEEDS) {
        with_manners(Manners { chunk_size: Some(60_000), ..Manners::default() }, true);
    }
}

#[test]
fn an_origin_that_announces_no_chunk_size() {
    if met(NEEDS) {
        with_manners(Manners { chunk_size: None, ..Manners::default() }, true);
    }
}

#[test]
fn a_client_that_announces_its_own_chunk_size() {
    if !met(NEEDS) {
        return;
    }
    let (manners, gate) = gated(Manners::default());
    let scene = Plot::default().manners(manners).build().unwrap();
    four_exact(&scene, &gate, true, |client| Client { chunk_size: Some(65_536), ..client });
}

#[test]
fn an_origin_that_continues_chunk_headers_across_the_preamble() {
    if met(NEEDS) {
        with_manners(Manners { continued_headers: true, ..Manners::default() }, false);
    }
}

#[test]
fn an_origin_with_another_stream_id_is_relayed_and_translated() {
    if !met(NEEDS) {
        return;
    }
    let (manners, gate) = gated(Manners { message_stream: 7, ..Manners::default() });
    let scene = Plot::default().manners(manners).build().unwrap();
    let before = scene.ended();
    let framing = Framing::Messages;
    let plans = [Role::Publish, Role::Play].map(|role| Plan { framing, ..Plan::new(role, role as u64, SIZE, SIZE) });
    let running = scene.dial_all(plans.map(|plan| scene.client(plan)).into(), 2).unwrap();
    let flows = scene.balancer.flows().unwrap();
    assert!(flows.len() == 2 && flows.iter().all(|flow| flow["path"] == "relay"), "{flows:#?}");
    gate.set(u64::MAX);
    scene.join_exact(running, before).unwrap();
    assert_eq!(scene.balancer.metric("balancer_splices_total", &["result=\"disagree\""]).unwrap(), 2.0);
}

#[test]
fn clients_that_send_everything_without_waiting() {
    if !met(NEEDS) {
        return;
    }
    let (manners, gate) = gated(Manners::default());
    let scene = Plot::default().manners(manners).build().unwrap();
    for early in [0, 1, 700, 1400, 10_000, 200_000] {
        four_exact(&scene, &gate, false, |client| Client { start: Start::Pipelined(early), ..client });
        four_exact(&scene, &gate, false, |client| Client { start: Start::Behind(early), ..client });
    }
}

/// The client's host speaks a poorer TCP than the origin's.
fn with_tcp(family: Family, shape: impl Fn(&Netns), adapt: impl Fn(Client) -> Client) {
    if !met(NEEDS) {
        return;
    }
    let (manners, gate) = gated(Manners::default());
    let scene = Plot::default().family(family).manners(manners).build().unwrap();
    shape(&scene.dc.clients[0].netns);
    four_exact(&scene, &gate, true, adapt);
}

fn sysctl(name: &'static str, value: &'static str) -> impl Fn(&Netns) {
    move |netns| netns.sysctl(name, value).unwrap()
}

#[test]
fn a_client_without_timestamps() {
    with_tcp(Family::V4, sysctl("net.ipv4.tcp_timestamps", "0"), |client| client);
}

#[test]
fn a_client_without_selective_acknowledgements() {
    with_tcp(Family::V4, sysctl("net.ipv4.tcp_sack", "0"), |client| client);
}

#[test]
fn a_client_without_window_scaling() {
    with_tcp(Family::V6, sysctl("net.ipv4.tcp_window_scaling", "0"), |client| client);
}

#[test]
fn a_client_with_segments_of_1000_bytes() {
    with_tcp(Family::V4, |_| {}, |client| Client { mss: Some(1000), ..client });
}

#[test]
fn a_client_with_a_small_receive_buffer() {
    with_tcp(Family::V6, |_| {}, |client| Client { receive_buffer_bytes: Some(16_384), ..client });
}

#[test]
fn an_origin_without_timestamps() {
    if !met(NEEDS) {
        return;
    }
    let (manners, gate) = gated(Manners::default());
    let scene = Plot::default().manners(manners).build().unwrap();
    scene.dc.origins[0].netns.sysctl("net.ipv4.tcp_timestamps", "0").unwrap();
    four_exact(&scene, &gate, true, |client| client);
}
