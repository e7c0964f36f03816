//! Origins that register, refuse, fall silent, die and come back; and what clients see of it.

use balancer_lab::balancer::{API_PORT, RTMP_PORT};
use balancer_lab::data_centre::Family;
use balancer_lab::loss;
use balancer_lab::origin::{Heartbeat, Registrar};
use balancer_lab::plan::{Plan, Role};
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::synthetic::Manners;
use balancer_lab::transfer::{End, Gate, Style};
use balancer_lab::wait::wait_until;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Network, Need::Balancer];
const BEAT: Duration = Duration::from_secs(1);

/// Twelve streams, while one of two registered origins is of no use: all of them end up complete on the other.
fn twelve_streams_survive(scene: &Scene) {
    let clients = (0..12).map(|seed| {
        let role = if seed % 2 == 0 { Role::Publish } else { Role::Play };
        scene.client(Plan::new(role, seed, 200_000, 200_000))
    });
    scene.run_exact(clients.collect(), 12).unwrap();
    assert!(scene.balancer.metric("balancer_placements_total", &["reason=\"retry\""]).unwrap() >= 1.0);
}

fn impatient() -> Plot {
    Plot::default().origins(2).config("connect_timeout = \"500ms\"")
}

#[test]
fn an_origin_that_refuses_connections_is_replaced_in_the_same_attempt() {
    if !met(NEEDS) {
        return;
    }
    let mut scene = impatient().build().unwrap();
    drop(scene.origins.remove(0));
    twelve_streams_survive(&scene);
}

#[test]
fn an_origin_that_is_cut_off_is_replaced_in_the_same_attempt() {
    if !met(NEEDS) {
        return;
    }
    let scene = impatient().build().unwrap();
    let lost = &scene.dc.origins[0];
    loss::black_hole(&lost.netns, lost.device).unwrap();
    twelve_streams_survive(&scene);
}

#[test]
fn an_origin_that_connects_and_stays_silent_is_replaced_in_the_same_attempt() {
    if !met(NEEDS) {
        return;
    }
    let mut scene = impatient().build().unwrap();
    drop(scene.origins.remove(0));
    let listen = || TcpListener::bind(("0.0.0.0", RTMP_PORT));
    let _mute = scene.dc.origins[0].netns.run(listen).unwrap().unwrap();
    twelve_streams_survive(&scene);
}

#[test]
fn without_any_origin_the_client_is_told_so_and_closed() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().origins(0).build().unwrap();
    for role in [Role::Publish, Role::Play] {
        let transfer = scene.dial(scene.client(Plan::new(role, 1, 10, 10))).unwrap().join();
        assert!(matches!(transfer.end, End::Refused(_)), "{transfer:?}");
    }
    assert!(scene.balancer.reason("no_origin").unwrap() >= 2.0);
}

#[test]
fn a_dead_host_resets_its_clients_and_frees_its_streams_at_once() {
    if !met(NEEDS) {
        return;
    }
    let gate = Gate::at(100_000);
    let style = Style { gate: gate.clone(), ..Style::default() };
    let plot = Plot::default().origins(2).manners(Manners { style, ..Manners::default() });
    let mut scene = plot.config("origin_ttl = \"3s\"").config("connect_timeout = \"500ms\"").build().unwrap();
    let plans: Vec<_> = (0..6).map(|seed| Plan::new(Role::Publish, seed, 1_000_000, 1_000_000)).collect();
    let mut running = scene.dial_all(plans.iter().map(|&plan| scene.client(plan)).collect(), 6).unwrap();
    let flows = scene.wait_kernel(6).unwrap();
    // The host of the first flow goes: no FIN, no RST, no further beat.
    let address = flows[0]["origin_address"].as_str().unwrap().parse::<SocketAddr>().unwrap().ip();
    let lost = scene.dc.origins.iter().position(|host| host.ip(scene.family) == address).unwrap();
    let on_lost: Vec<_> = flows.iter().filter(|flow| flow["origin"] == flows[0]["origin"]).collect();
    scene.registrars[lost] = None;
    loss::black_hole(&scene.dc.origins[lost].netns, scene.dc.origins[lost].device).unwrap();
    wait_until("the lost host's clients to be reset", SOON, || {
        running.iter().filter(|running| running.is_finished()).count() == on_lost.len()
    })
    .unwrap();
    let mut resets = 0;
    for i in (0..running.len()).rev() {
        if running[i].is_finished() {
            let transfer = running.remove(i).join();
            assert_eq!((&transfer.end, transfer.bad_at), (&End::Reset, None), "{transfer:?}");
            resets += 1;
            // The same stream again is on the other origin.
            running.push(scene.dial(scene.client(plans[i])).unwrap());
        }
    }
    assert_eq!(resets, on_lost.len());
    wait_until("all six streams on the other origin", SOON, || {
        let listed = scene.balancer.flows().unwrap();
        let moved = listed.iter().filter(|flow| flow["path"] == "kernel" && flow["origin"] != flows[0]["origin"]);
        moved.count() == 6
    })
    .unwrap();
}

fn api(scene: &Scene) -> SocketAddr {
    SocketAddr::new(scene.dc.vip(scene.family), API_PORT)
}

#[test]
fn a_restarted_origin_replaces_itself_at_once() {
    if !met(NEEDS) {
        return;
    }
    let mut scene = Plot::default().build().unwrap();
    let before = scene.balancer.list("origins").unwrap();
    // The same server, another run.
    scene.registrars[0] = Some(Registrar::of(&scene.dc, 0, Family::V4, BEAT).unwrap());
    let after = scene.balancer.list("origins").unwrap();
    assert_eq!((before.len(), after.len()), (1, 1), "{after:#?}");
    scene.run_exact(vec![scene.client(Plan::new(Role::Play, 1, 0, 1000))], 1).unwrap();
}

#[test]
fn an_origin_whose_beats_stop_is_forgotten() {
    if !met(NEEDS) {
        return;
    }
    let mut scene = Plot::default().origins(2).config("origin_ttl = \"2s\"").build().unwrap();
    scene.registrars[0] = None;
    wait_until("the silent origin to go", SOON, || {
        let origins = scene.balancer.list("origins").unwrap();
        origins.iter().filter(|origin| origin["state"] == "healthy").count() == 1
    })
    .unwrap();
}

/// Sends a heartbeat that must be refused, and returns what was answered.
fn refused(scene: &Scene, change: impl Fn(&mut Heartbeat)) -> String {
    let host = &scene.dc.origins[0];
    let mut heartbeat = Heartbeat { server: "vid-other".into(), ..Heartbeat::of(host, 9, scene.family) };
    change(&mut heartbeat);
    let response = heartbeat.send(&host.netns, api(scene)).unwrap();
    assert!((400..500).contains(&response.status), "{response:?}");
    assert!(response.json().is_ok(), "one JSON error: {response:?}");
    response.body
}

#[test]
fn registrations_that_make_no_sense_are_refused_and_name_the_field() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().build().unwrap();
    assert!(refused(&scene, |beat| beat.ip.clear()).contains("ip"));
    assert!(refused(&scene, |beat| beat.server.clear()).contains("server"));
    assert!(refused(&scene, |beat| beat.service.clear()).contains("service"));
    assert!(refused(&scene, |beat| beat.pid.clear()).contains("pid"));
    assert!(refused(&scene, |beat| beat.rtmp.clear()).contains("rtmp"));
    assert!(refused(&scene, |beat| beat.rtmp = vec!["udp://x".into()]).contains("rtmp"));
    assert_eq!(scene.balancer.list("origins").unwrap().len(), 1);
}

#[test]
fn an_origin_outside_the_allowed_networks_or_on_the_balancers_own_endpoint_is_refused() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().build().unwrap();
    refused(&scene, |beat| beat.ip = "192.0.2.7".into());
    refused(&scene, |beat| beat.ip = scene.dc.vip4.to_string());
    refused(&scene, |beat| beat.rtmp = vec![format!("tcp://{}:{RTMP_PORT}", scene.dc.vip4)]);
    assert_eq!(scene.balancer.list("origins").unwrap().len(), 1);
}

#[test]
fn a_host_outside_allow_register_cannot_change_anything() {
    if !met(NEEDS) {
        return;
    }
    let plot = Plot::default().settings(|settings| settings.allow_register = vec!["10.71.100.0/24".into()]);
    let scene = plot.build().unwrap();
    let beat = Heartbeat::of(&scene.dc.origins[0], 8, scene.family);
    let response = beat.send(&scene.dc.clients[0].netns, api(&scene)).unwrap();
    assert!([401, 403].contains(&response.status), "{response:?}");
    let delete = || balancer_lab::http::request("DELETE", api(&scene), "/api/v1/streams/a/b/c", None);
    let response = scene.dc.clients[0].netns.run(delete).unwrap().unwrap();
    assert!([401, 403].contains(&response.status), "{response:?}");
    assert_eq!(scene.balancer.list("origins").unwrap().len(), 1);
}
