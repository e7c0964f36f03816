//! What a client says behind a request that was spliced. Its connection belongs to one origin then, and the next request
//! may mean another.

use balancer_lab::data_centre::Family;
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::transfer::{Gate, Style};
use balancer_lab::wait::wait_until;
use balancer_lab::web::client::Closed;
use balancer_lab::web::origin::WebManners;
use balancer_lab::web::plan::{Shape, WebPlan};
use balancer_lab::web::viewer::Viewer;
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Network, Need::Balancer];
const EARLY: u64 = 100_000;

/// Origins that hold every stream after its first bytes, until the gate is opened, and then take whatever comes next.
fn held() -> (Gate, WebManners) {
    let gate = Gate::at(EARLY);
    let style = Style { gate: gate.clone(), write_bytes: 16 * 1024, ..Style::default() };
    (gate, WebManners { style, ignores_close: true, refuses_upgrade: true, ..WebManners::default() })
}

/// Two streams that are placed on two origins.
fn two_streams(scene: &Scene) -> [WebPlan; 2] {
    let plans = [1, 2].map(|seed| WebPlan::new(seed, 300_000, Shape::Chunked));
    let viewers = plans.map(|plan| {
        let viewer = scene.view(plan, "flv").unwrap();
        wait_until("its first bytes", SOON, || viewer.received() > 0).unwrap();
        viewer
    });
    for origin in &scene.web {
        assert_eq!(origin.arrived().len(), 1, "the second goes to the less loaded origin");
    }
    viewers.iter().for_each(Viewer::stop);
    plans
}

/// A connection to an origin that was spliced for one request has carried that one, and nothing behind it.
fn one_request_for_each_connection(scene: &Scene, case: &str) {
    for origin in &scene.web {
        let mut arrived = origin.arrived();
        arrived.sort_by_key(|arrived| arrived.connection);
        for pair in arrived.windows(2) {
            let lines = [&pair[0].head.line, &pair[1].head.line];
            assert_ne!(pair[0].connection, pair[1].connection, "{case}: {lines:#?}");
        }
    }
}

/// The promise of ARCHITECTURE.md: whatever a client says behind a spliced request, another origin's request does not
/// reach this one, even if this one would gladly take it.
fn the_next_request_is_kept_from_the_wrong_origin(xdp_mode: &'static str, family: Family) {
    if !met(NEEDS) {
        return;
    }
    let (gate, manners) = held();
    let plot =
        Plot::default().origins(2).family(family).web(manners).settings(move |settings| settings.xdp_mode = xdp_mode);
    let scene = plot.build().unwrap();
    let [here, there] = two_streams(&scene);
    gate.set(u64::MAX);
    let get = |plan: &WebPlan, mark: &str| format!("GET {}?{mark} HTTP/1.1\r\nHost: a\r\n\r\n", plan.path("flv"));
    let upgrade = get(&here, "up").replace(
        "Host: a\r\n",
        "Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    );
    let firsts = [
        ("after", get(&here, "a")),
        ("pipelined", get(&here, "b")),
        ("upgrade", upgrade.clone()),
        ("pipelined behind an upgrade", upgrade),
    ];
    for (case, first) in firsts {
        let second = get(&there, &format!("second-{}", case.replace(' ', "-")));
        let mut client = scene.dial_http().unwrap();
        if case.starts_with("pipelined") {
            client.send(first + &second).unwrap();
        } else {
            client.send(first).unwrap();
            let answer = client.answer("GET").unwrap();
            assert_eq!(answer.status(), if case == "upgrade" { 404 } else { 200 }, "{case}");
            let _ = client.send(&second);
        }
        // Reset, closed, or served by the origin that has it.
        let (_, closed) = client.patience(Duration::from_secs(5)).unwrap().rest().unwrap();
        one_request_for_each_connection(&scene, &format!("{case}, {closed:?}"));
    }
    // A connection of its own is what such a client makes next.
    let mut client = scene.dial_http().unwrap();
    client.send(get(&there, "third")).unwrap();
    assert_eq!(client.answer("GET").unwrap().body.len() as u64, there.bytes);
    one_request_for_each_connection(&scene, "third");
    assert!(scene.balancer.reason("another_request").unwrap() >= 1.0);
}

#[test]
fn the_next_request_of_a_connection_never_reaches_the_wrong_origin() {
    the_next_request_is_kept_from_the_wrong_origin("native", Family::V4);
}

#[test]
fn nor_does_it_over_ipv6() {
    the_next_request_is_kept_from_the_wrong_origin("native", Family::V6);
}

#[test]
fn nor_does_it_where_user_space_relays() {
    the_next_request_is_kept_from_the_wrong_origin("off", Family::V4);
}

/// The same where the second request comes in pieces, some of them with the first, all while the first one's body runs.
#[test]
fn a_second_request_in_pieces_does_not_slip_through() {
    if !met(NEEDS) {
        return;
    }
    let (gate, manners) = held();
    let scene = Plot::default().origins(2).web(manners).build().unwrap();
    let [here, there] = two_streams(&scene);
    let first = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", here.path("flv"));
    let second = format!("GET {}?second HTTP/1.1\r\nHost: a\r\n\r\n", there.path("flv"));
    for cut in [0, 1, 4, 20, second.len() - 2, second.len() - 1] {
        gate.set(EARLY);
        let mut client = scene.dial_http().unwrap();
        client.send(format!("{first}{}", &second[..cut])).unwrap();
        let head = client.head();
        for piece in second.as_bytes()[cut..].chunks(7) {
            if client.send(piece).is_err() {
                break;
            }
        }
        // Only now the origin comes to read what it may have got.
        gate.set(u64::MAX);
        let (_, closed) = client.patience(Duration::from_secs(2)).unwrap().rest().unwrap();
        one_request_for_each_connection(&scene, &format!("cut at {cut}: {head:?}, {closed:?}"));
    }
}

/// The promise is the kernel's: it holds while no balancer runs, and when the next one has adopted the flow.
#[test]
fn it_is_kept_while_the_balancer_is_dead_and_by_the_one_after_it() {
    if !met(NEEDS) {
        return;
    }
    let (gate, manners) = held();
    let mut scene = Plot::default().origins(2).web(manners).build().unwrap();
    let [here, there] = two_streams(&scene);
    scene.wait_no_flows().unwrap();
    let second = format!("GET {}?second HTTP/1.1\r\nHost: a\r\n\r\n", there.path("flv"));
    let watch = |scene: &Scene| {
        let mut client = scene.dial_http().unwrap();
        client.send(format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", here.path("flv"))).unwrap();
        client.head().unwrap();
        client
    };
    let (mut meanwhile, mut afterwards, patient) = (watch(&scene), watch(&scene), scene.view(here, "flv").unwrap());
    wait_until("the viewer's first bytes", SOON, || patient.received() == EARLY).unwrap();
    scene.wait_kernel(3).unwrap();
    scene.balancer.kill();
    meanwhile.send(&second).unwrap();
    assert_eq!(meanwhile.rest().unwrap().1, Closed::Reset);
    scene.balancer.launch().unwrap();
    afterwards.send(&second).unwrap();
    assert_eq!(afterwards.rest().unwrap().1, Closed::Reset);
    gate.set(u64::MAX);
    let seen = patient.join();
    assert!(seen.is_exact(), "{seen:#?}");
    one_request_for_each_connection(&scene, "restart");
}
