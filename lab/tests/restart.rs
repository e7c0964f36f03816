//! The control plane comes and goes; spliced flows do not notice.

use balancer_lab::client::Running;
use balancer_lab::net;
use balancer_lab::plan::{Plan, Role};
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::synthetic::Manners;
use balancer_lab::transfer::{Gate, Style};
use balancer_lab::wait::wait_until;
use serde_json::Value;

const NEEDS: &[Need] = &[Need::Network, Need::Balancer];
const TOTAL: u64 = 30_000_000;

struct Show {
    scene: Scene,
    gate: Gate,
    running: Vec<Running>,
    flows: Vec<Value>,
}

/// Four flows in the kernel, half of them publishers, each with a tenth of its bytes received.
fn curtain() -> Show {
    let gate = Gate::at(TOTAL / 10);
    let style = Style { gate: gate.clone(), ..Style::default() };
    let scene = Plot::default().origins(2).manners(Manners { style, ..Manners::default() }).build().unwrap();
    let clients = (0..4).map(|seed| {
        let role = if seed < 2 { Role::Publish } else { Role::Play };
        let mut client = scene.client(Plan::new(role, seed, TOTAL, TOTAL));
        client.style.gate = gate.clone();
        client
    });
    let running = scene.dial_all(clients.collect(), 4).unwrap();
    let flows = scene.wait_kernel(4).unwrap();
    all_received(&running, TOTAL / 10);
    Show { scene, gate, running, flows }
}

fn all_received(running: &[Running], bytes: u64) {
    wait_until("every client to have its bytes", SOON, || running.iter().all(|r| r.received() >= bytes)).unwrap();
}

fn identity(flow: &Value) -> [String; 5] {
    ["client", "source", "stream", "origin", "role"].map(|field| flow[field].to_string())
}

fn adopted(show: &Show) {
    let flows = show.scene.wait_kernel(4).unwrap();
    let sorted = |flows: &[Value]| {
        let mut all: Vec<_> = flows.iter().map(identity).collect();
        all.sort();
        all
    };
    assert_eq!(sorted(&flows), sorted(&show.flows));
    for flow in &flows {
        assert!(flow["to_client"]["bytes"].as_u64().unwrap() >= TOTAL / 2, "counters go on: {flow:#}");
    }
}

#[test]
fn killed_in_the_middle_of_streams_it_adopts_them_and_serves_on() {
    if !met(NEEDS) {
        return;
    }
    let mut show = curtain();
    show.scene.balancer.kill();
    show.gate.set(TOTAL / 2);
    all_received(&show.running, TOTAL / 2);
    show.scene.balancer.launch().unwrap();
    adopted(&show);
    // A new viewer of a stream that was adopted finds it where it is.
    wait_until("an origin to register again", SOON, || {
        show.scene.balancer.list("origins").is_ok_and(|origins| origins.len() == 2)
    })
    .unwrap();
    let before = show.scene.ended();
    show.gate.set(u64::MAX);
    let scene = &show.scene;
    let newcomers = (10..14).map(|seed| scene.client(Plan::new(Role::Play, seed, 1000, 1_000_000))).collect();
    scene.join_exact(show.running, before).unwrap();
    scene.run_exact(newcomers, 4).unwrap();
    scene.wait_no_flows().unwrap();
}

#[test]
fn a_viewer_after_a_restart_is_placed_where_the_adopted_stream_is() {
    if !met(NEEDS) {
        return;
    }
    let mut show = curtain();
    show.scene.balancer.kill();
    show.scene.balancer.launch().unwrap();
    let publish = show.flows.iter().find(|flow| flow["role"] == "publish").unwrap();
    let streams = show.scene.balancer.list("streams").unwrap();
    let stream = streams.iter().find(|stream| stream["key"] == publish["stream"]);
    assert_eq!(stream.map(|stream| &stream["origin"]), Some(&publish["origin"]), "{streams:#?}");
}

#[test]
fn terminated_it_leaves_the_fast_path_and_unload_removes_it() {
    if !met(NEEDS) {
        return;
    }
    let mut show = curtain();
    let before = show.scene.ended();
    show.scene.balancer.stop().unwrap();
    let pins = show.scene.balancer.settings().pin_path.clone();
    assert!(pins.exists());
    show.gate.set(u64::MAX);
    show.scene.join_exact(show.running, before).unwrap();
    show.scene.balancer.unload().unwrap();
    assert!(!pins.exists(), "{} is still there", pins.display());
    // The kernel frees a link a moment after its pin is gone.
    let mut links = String::new();
    let gone = wait_until("the programs to leave the interfaces", SOON, || {
        let shown = net::run(show.scene.dc.lb.command("ip").args(["-details", "link", "show"])).unwrap();
        links = String::from_utf8_lossy(&shown.stdout).into_owned();
        !links.contains("prog/xdp")
    });
    gone.unwrap_or_else(|error| panic!("{error:#}: {links}"));
}

#[test]
fn a_second_process_with_another_fast_path_does_not_disturb_the_first() {
    if !met(NEEDS) {
        return;
    }
    // Two data centres side by side are two balancers on one machine: names, pins and ports are their own.
    let (a, b) = (Plot::default().build().unwrap(), Plot::default().build().unwrap());
    for scene in [&a, &b] {
        scene.run_exact(vec![scene.client(Plan::new(Role::Publish, 1, 1_000_000, 1_000_000))], 1).unwrap();
    }
    drop(a);
    b.run_exact(vec![b.client(Plan::new(Role::Play, 2, 1_000_000, 1_000_000))], 1).unwrap();
}
