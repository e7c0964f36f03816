//! Running empty: an origin, and a balancer. What is new goes elsewhere, what lives goes on until it ends or its time is over.

use balancer_lab::balancer::API_PORT;
use balancer_lab::cleanup::{self, Made};
use balancer_lab::client::Running;
use balancer_lab::http;
use balancer_lab::plan::{Plan, Role};
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::srt_lite::{Caller, SrtManners};
use balancer_lab::synthetic::Manners;
use balancer_lab::transfer::{End, Gate, Style};
use balancer_lab::wait::wait_until;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Output;

const NEEDS: &[Need] = &[Need::Network, Need::Balancer];
const TOTAL: u64 = 1_000_000;

fn gated() -> (Plot, Gate) {
    let gate = Gate::at(TOTAL / 10);
    let style = Style { gate: gate.clone(), ..Style::default() };
    (Plot::default().manners(Manners { style, ..Manners::default() }), gate)
}

fn play(scene: &Scene, seed: u64) -> Running {
    let client = scene.client(Plan::new(Role::Play, seed, 0, TOTAL));
    scene.dial_all(vec![client], 1).unwrap().remove(0)
}

/// A command of the binary, and the status that it ends with.
fn command(scene: &Scene, arguments: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = scene.balancer.command(arguments).unwrap();
    let text = [stdout, stderr].concat();
    (status.code().unwrap(), String::from_utf8(text).unwrap())
}

fn origin(scene: &Scene, id: &str) -> Value {
    scene.balancer.get(&format!("/api/v1/origins/{id}")).unwrap().json().unwrap()
}

fn origin_of(scene: &Scene, seed: u64) -> Vec<String> {
    let of_it = |flow: &Value| flow["stream"].as_str().is_some_and(|key| key.contains(&format!("play-{seed}-")));
    let flows = scene.balancer.flows().unwrap();
    flows.iter().filter(|flow| of_it(flow)).map(|flow| flow["origin"].as_str().unwrap().to_owned()).collect()
}

/// The origin says by a hook that somebody publishes what is played.
fn publish_there(scene: &Scene, id: &str, seed: u64) {
    let number: usize = id.trim_start_matches("origin").parse().unwrap();
    let name = Plan::new(Role::Play, seed, 0, TOTAL).stream_name();
    let api = SocketAddr::new(scene.dc.vip(scene.family), API_PORT);
    let path = format!("/api/v1/hooks/nginx-rtmp?call=publish&app=live&name={name}&addr=10.71.200.2&clientid=1");
    let netns = &scene.dc.origins[number].netns;
    let answer = netns.run(|| http::request("GET", api, &path, None)).unwrap().unwrap();
    assert!((200..300).contains(&answer.status), "{answer:?}");
}

#[test]
fn a_draining_origin_keeps_its_streams_and_their_viewers_until_the_deadline() {
    if !met(NEEDS) {
        return;
    }
    let (plot, gate) = gated();
    let scene = plot.origins(2).build().unwrap();
    let first = play(&scene, 1);
    scene.wait_kernel(1).unwrap();
    let id = origin_of(&scene, 1).remove(0);
    publish_there(&scene, &id, 1);
    assert_eq!(command(&scene, &["drain", &id]).0, 0);

    // A beat does not end it: the lease has been renewed since.
    let lease = |origin: &Value| origin["lease_s"].as_f64().unwrap();
    let before = lease(&origin(&scene, &id));
    wait_until("a beat", SOON, || lease(&origin(&scene, &id)) > before).unwrap();
    assert_eq!(origin(&scene, &id)["state"], "draining");
    let again = play(&scene, 1);
    assert_eq!(origin_of(&scene, 1), [id.as_str(), id.as_str()], "a viewer of what lives there");
    let others: Vec<_> = (2..6).map(|seed| play(&scene, seed)).collect();
    for seed in 2..6 {
        assert_ne!(origin_of(&scene, seed), [id.as_str()], "a new stream");
    }
    scene.wait_kernel(6).unwrap();
    let (status, said) = command(&scene, &["drain", &id, "--wait", "--timeout", "1s"]);
    assert_eq!(status, 3, "{said}");
    assert!(said.contains("2 flows are left"), "{said}");

    let (status, said) = command(&scene, &["drain", &id, "--deadline", "1s", "--wait", "--timeout", "60s"]);
    assert_eq!(status, 0, "{said}");
    assert!(said.ends_with("no flows are left\n"), "{said}");
    assert_eq!([first.join().end, again.join().end], [End::Reset, End::Reset]);
    assert_eq!(origin(&scene, &id)["state"], "draining", "it drains on");
    gate.set(u64::MAX);
    for other in others {
        let transfer = other.join();
        assert_eq!((transfer.received, transfer.bad_at, transfer.end), (TOTAL, None, End::Eof));
    }
    assert_eq!(command(&scene, &["undrain", &id]).0, 0);
    assert_eq!(origin(&scene, &id)["state"], "healthy");
    assert_eq!(command(&scene, &["drain", "nobody"]).0, 1);
    assert_eq!(command(&scene, &["drain"]).0, 2);
}

#[test]
fn callers_of_srt_hear_a_shutdown_at_the_deadline() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().srt_lite(|_| SrtManners::default()).build().unwrap();
    let netns = &scene.dc.clients[0].netns;
    let mut caller = Caller::accepted(netns, scene.srt_vip(), "#!::r=live/s1,m=publish").unwrap();
    let flow = scene.wait_kernel(1).unwrap().remove(0);
    let id = flow["origin"].as_str().unwrap();
    assert_eq!(command(&scene, &["drain", id, "--deadline", "1s"]).0, 0);
    caller.wait_shutdown(SOON).unwrap();
    scene.wait_no_flows().unwrap();
}

/// What the announce command was told.
struct Told(PathBuf);

impl Told {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(cleanup::unique_name());
        cleanup::make(Made::Directory(folder.clone()), || std::fs::create_dir_all(&folder)).unwrap();
        Self(folder)
    }

    fn config(&self) -> String {
        let file = self.0.join("told");
        format!("announce_command = [\"/bin/sh\", \"-c\", \"echo $1 >>{}\", \"announce\"]\n", file.display())
    }

    fn wait(&self, words: &str) {
        let told = || std::fs::read_to_string(self.0.join("told")).unwrap_or_default().replace('\n', " ");
        wait_until(&format!("{words:?} to be announced"), SOON, || told().trim() == words).unwrap_or_else(|error| {
            panic!("{error}, but {:?}", told());
        });
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        cleanup::remove(&Made::Directory(self.0.clone()));
    }
}

#[test]
fn a_draining_balancer_withdraws_itself_and_its_flows_go_on() {
    if !met(NEEDS) {
        return;
    }
    let told = Told::new();
    let config = told.config();
    let (plot, gate) = gated();
    let scene = plot.settings(move |settings| settings.config += &config).build().unwrap();
    told.wait("up");
    let readyz = || scene.balancer.get("/readyz").unwrap();
    assert_eq!(readyz().status, 200);
    let first = play(&scene, 1);
    scene.wait_kernel(1).unwrap();

    assert_eq!(command(&scene, &["drain", "--self"]).0, 0);
    assert_eq!(readyz().status, 503);
    assert!(readyz().body.contains("draining"), "{}", readyz().body);
    told.wait("up down");
    let status = scene.balancer.command_json("status").unwrap();
    assert_eq!((&status["ready"], &status["announced"]["said"]), (&false.into(), &"down".into()), "{status:#}");
    assert!(status["drain"]["since_s"].is_number(), "{status:#}");
    // Whoever the router still sends here is served.
    let late = play(&scene, 2);
    scene.wait_kernel(2).unwrap();
    let (status, said) = command(&scene, &["drain", "--self", "--wait", "--timeout", "1s"]);
    assert_eq!((status, said.contains("2 flows are left")), (3, true), "{said}");
    gate.set(u64::MAX);
    for client in [first, late] {
        let transfer = client.join();
        assert_eq!((transfer.received, transfer.bad_at, transfer.end), (TOTAL, None, End::Eof));
    }

    gate.set(TOTAL / 10);
    let rest = play(&scene, 3);
    let (status, said) = command(&scene, &["drain", "--self", "--deadline", "1s", "--wait", "--timeout", "60s"]);
    assert_eq!(status, 0, "{said}");
    assert_eq!(rest.join().end, End::Reset);
    assert_eq!(command(&scene, &["undrain", "--self"]).0, 0);
    assert_eq!(readyz().status, 200);
    told.wait("up down up");
}

#[test]
fn a_balancer_that_is_stopped_withdraws_itself_before_it_turns_anybody_away() {
    if !met(NEEDS) {
        return;
    }
    let told = Told::new();
    let config = told.config() + "announce_grace = \"5m\"\n";
    let (plot, gate) = gated();
    let mut scene = plot.settings(move |settings| settings.config += &config).build().unwrap();
    told.wait("up");
    scene.balancer.process().terminate().unwrap();
    told.wait("up down");
    // The router may need a while.
    assert!(scene.balancer.get("/readyz").unwrap().body.contains("stopping"));
    let late = play(&scene, 1);
    scene.wait_kernel(1).unwrap();
    // A second signal ends the waiting.
    scene.balancer.stop().unwrap();
    told.wait("up down");
    gate.set(u64::MAX);
    let transfer = late.join();
    assert_eq!((transfer.received, transfer.bad_at, transfer.end), (TOTAL, None, End::Eof));
}
