//! The same bytes by every way the balancer can work: relaying only, generic XDP on one host, one arm, an origin by
//! environment only.

use balancer_lab::balancer::{API_PORT, Balancer, RTMP_PORT, Settings};
use balancer_lab::client::{Client, run_all};
use balancer_lab::data_centre::{Arms, DataCentre, Family, Layout};
use balancer_lab::net::Netns;
use balancer_lab::origin::{Heartbeat, Registrar};
use balancer_lab::plan::{Ending, Framing, Plan, Role};
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::{Plot, SOON};
use balancer_lab::synthetic::{Manners, SyntheticOrigin};
use balancer_lab::transfer::{Endpoint, Gate, Style};
use balancer_lab::wait;
use std::net::SocketAddr;
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Network, Need::Balancer];

#[test]
fn without_the_fast_path_everything_is_relayed_exactly() {
    if !met(NEEDS) {
        return;
    }
    for family in [Family::V4, Family::V6] {
        let scene = Plot::default().family(family).settings(|settings| settings.xdp_mode = "off").build().unwrap();
        let endings = [Ending::Fin, Ending::ClientReset, Ending::OriginReset];
        let clients = (0..24).map(|seed| {
            let role = if seed % 2 == 0 { Role::Publish } else { Role::Play };
            let framing = if seed % 4 < 2 { Framing::Raw } else { Framing::Messages };
            scene.client(Plan {
                ending: endings[seed % 3],
                framing,
                ..Plan::new(role, seed as u64, 3_000_000, 5_000_000)
            })
        });
        scene.run_exact(clients.collect(), 8).unwrap();
        assert!(scene.relayed_bytes().unwrap() >= 24.0 * 8e6);
        assert_eq!(scene.kernel_bytes().unwrap(), 0.0);
    }
}

#[test]
fn one_arm_is_enough() {
    if !met(NEEDS) {
        return;
    }
    for family in [Family::V4, Family::V6] {
        let gate = Gate::at(100_000);
        let style = Style { gate: gate.clone(), ..Style::default() };
        let layout = Layout { arms: Arms::One, origins: 2, ..Layout::default() };
        let plot = Plot::default().layout(layout).family(family).manners(Manners { style, ..Manners::default() });
        let scene = plot.build().unwrap();
        let before = scene.ended();
        let clients = (0..10).map(|seed| scene.client(Plan::new(Role::Publish, seed, 20_000_000, 10_000_000)));
        let running = scene.dial_all(clients.collect(), 10).unwrap();
        scene.wait_kernel(10).unwrap();
        gate.set(u64::MAX);
        scene.join_exact(running, before).unwrap();
    }
}

/// The quick start of the SRS documentation: VIP and origins on 127.0.0.1, other ports.
#[test]
fn everything_on_one_host_by_generic_xdp_on_the_loopback() {
    if !met(NEEDS) {
        return;
    }
    const ORIGIN_PORT: u16 = 19_350;
    // An empty data centre, for its names and its directory; its balancer host is the one host.
    let dc = DataCentre::build(&Layout { clients: 0, origins: 0, ..Layout::default() }).unwrap();
    let host: &Netns = &dc.lb;
    let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let settings = Settings {
        interfaces: vec!["lo".into()],
        vips: vec![loopback(0).ip()],
        xdp_mode: "generic",
        system_api: loopback(API_PORT),
        allow_register: Vec::new(),
        origin_networks: vec!["127.0.0.0/8".into()],
        ..Settings::of(&dc)
    };
    let balancer = Balancer::start(&dc, settings).unwrap();
    let gate = Gate::at(100_000);
    let style = Style { gate: gate.clone(), ..Style::default() };
    let origin = SyntheticOrigin::start(host, ORIGIN_PORT, Manners { style, ..Manners::default() }).unwrap();
    let heartbeat = Heartbeat {
        device_id: "origin0".into(),
        ip: "127.0.0.1".into(),
        server: "vid-local".into(),
        service: "run1".into(),
        pid: "1".into(),
        rtmp: vec![ORIGIN_PORT.to_string()],
        ..Heartbeat::default()
    };
    let _registrar = Registrar::start(host, loopback(API_PORT), heartbeat, Duration::from_secs(1)).unwrap();
    let clients: Vec<_> = (0..4)
        .map(|seed| Client::new(loopback(RTMP_PORT), Plan::new(Role::Publish, seed, 30_000_000, 30_000_000)))
        .collect();
    let opener = std::thread::scope(|scope| {
        let opener = scope.spawn(|| {
            let in_kernel = wait::wait_for("four flows in the kernel", SOON, || {
                let flows = balancer.flows().ok()?;
                (flows.len() == 4 && flows.iter().all(|flow| flow["path"] == "kernel")).then_some(())
            });
            gate.set(u64::MAX);
            in_kernel.map_err(|error| format!("{error:#}: {:#?}", balancer.flows()))
        });
        let transfers = run_all(host, clients, 4).unwrap();
        assert!(transfers.iter().all(|transfer| transfer.is_complete(Endpoint::Client)), "{transfers:#?}");
        opener.join().unwrap()
    });
    opener.unwrap();
    let at_origin = origin.wait_transfers(4, SOON).unwrap();
    assert!(at_origin.iter().all(|transfer| transfer.is_complete(Endpoint::Origin)), "{at_origin:#?}");
}

#[test]
fn an_origin_named_in_the_environment_needs_no_registration() {
    if !met(NEEDS) {
        return;
    }
    let dc = DataCentre::build(&Layout::default()).unwrap();
    let mut settings = Settings::of(&dc);
    settings.environment.extend([
        ("PROXY_DEFAULT_BACKEND_ENABLED".into(), "on".into()),
        ("PROXY_DEFAULT_BACKEND_IP".into(), dc.origins[0].v4.to_string()),
        ("PROXY_DEFAULT_BACKEND_RTMP".into(), RTMP_PORT.to_string()),
    ]);
    let balancer = Balancer::start(&dc, settings).unwrap();
    let origin = SyntheticOrigin::start(&dc.origins[0].netns, RTMP_PORT, Manners::default()).unwrap();
    let vip = SocketAddr::new(dc.vip(Family::V4), RTMP_PORT);
    let client = Client::new(vip, Plan::new(Role::Play, 1, 1000, 1_000_000));
    let transfers = run_all(&dc.clients[0].netns, vec![client], 1).unwrap();
    assert!(transfers[0].is_complete(Endpoint::Client), "{transfers:#?}");
    assert!(origin.wait_transfers(1, SOON).unwrap()[0].is_complete(Endpoint::Origin));
    assert_eq!(balancer.list("origins").unwrap().len(), 1);
}
