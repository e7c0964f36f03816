//! What the tests of several balancers share: exact streams that run on while hosts and addresses change, and what has
//! to hold for all of them afterwards.

// Each test program uses a part of it.
#![allow(dead_code)]

pub mod steady;

use balancer_lab::balancer::{API_PORT, HTTP_PORT, RTMP_PORT};
use balancer_lab::client::{Client, Running};
use balancer_lab::data_centre::Family;
use balancer_lab::hosts::Hosts;
use balancer_lab::plan::{Plan, Role};
use balancer_lab::requirements::Need;
use balancer_lab::scene::Plot;
use balancer_lab::synthetic::Manners;
use balancer_lab::transfer::{Gate, Style};
use balancer_lab::wait::{wait_for, wait_until};
use balancer_lab::web::origin::WebManners;
use balancer_lab::web::plan::{Shape, WebPlan};
use balancer_lab::web::viewer::{Seen, Viewer};
use std::time::{Duration, Instant};

pub const NEEDS: &[Need] = &[Need::Network, Need::Balancer, Need::Redis];
/// For a machine that does much else.
pub const LATER: Duration = Duration::from_secs(60);
/// As long as VRRP takes to notice that a host is gone.
pub const DETECTION: Duration = Duration::from_millis(700);
/// What streams have before all of them are in the kernel.
const EARLY: u64 = 20_000;
const PACE: u64 = 300_000;
const POLL: Duration = Duration::from_millis(2);
pub const RTMP_EACH: usize = 6;
pub const FLV_EACH: usize = 4;
pub const EACH: usize = RTMP_EACH + FLV_EACH;

/// RTMP and FLV whose every byte is checked, at a pace, by origins and clients that wait for a gate.
pub struct Stage {
    gate: Gate,
    bytes: u64,
}

impl Stage {
    /// Streams of so many seconds at most: they hurry when they are to finish.
    pub fn new(family: Family, seconds: u64) -> (Self, Plot) {
        let this = Self { gate: Gate::at(EARLY), bytes: seconds * PACE };
        let web = WebManners { style: this.style(), ..WebManners::default() };
        let manners = Manners { style: this.style(), ..Manners::default() };
        (this, Plot::default().origins(2).family(family).manners(manners).web(web))
    }

    fn style(&self) -> Style {
        Style {
            gate: self.gate.clone(),
            write_bytes: 8192,
            bytes_per_second: Some(PACE),
            silence_max: Duration::from_secs(60),
        }
    }

    /// Six by RTMP, half of them publishers, and four by FLV, through the VIP of this pair; then all of them in the kernel
    /// of `carriers` together, told to the store, and under way.
    pub fn begin(&self, hosts: &Hosts, pair: usize, carriers: &[usize], seed: u64) -> Streams {
        let recorded = || hosts.store.as_ref().map(|store| store.flows().unwrap());
        let all = recorded().unwrap_or(0) + EACH as i64;
        let streams = self.dial(hosts, pair, seed);
        wait_for("every flow in a kernel", LATER, || {
            let flows: Vec<_> = carriers.iter().flat_map(|m| hosts.balancer(*m).flows().unwrap_or_default()).collect();
            (flows.len() as i64 >= all && flows.iter().all(|flow| flow["path"] == "kernel")).then_some(())
        })
        .unwrap();
        wait_until("every flow in the store", LATER, || recorded().is_none_or(|count| count >= all))
            .unwrap_or_else(|error| panic!("{error:#}: {:?} records\n{}", recorded(), tails(hosts)));
        self.gate.set(u64::MAX);
        streams.moving(hosts, "at first");
        streams
    }

    pub fn dial(&self, hosts: &Hosts, pair: usize, seed: u64) -> Streams {
        let scene = &hosts.scene;
        let before = scene.ended();
        let clients = (0..RTMP_EACH as u64).map(|i| {
            let role = if i % 2 == 0 { Role::Publish } else { Role::Play };
            let plan = Plan::new(role, seed * 100 + i, self.bytes, self.bytes);
            Client { style: self.style(), ..Client::new(hosts.vip(pair, RTMP_PORT), plan) }
        });
        let running = scene.dial_all(clients.collect(), RTMP_EACH).unwrap();
        let shapes = [Shape::Chunked, Shape::UntilClose];
        let viewers = (0..FLV_EACH as u64).map(|i| {
            let plan = WebPlan::new(seed * 100 + 50 + i, self.bytes, shapes[i as usize % 2]);
            let netns = &scene.dc.clients[0].netns;
            Viewer::start(netns, hosts.vip(pair, HTTP_PORT), plan, "flv", "?lab").unwrap()
        });
        Streams { viewers: viewers.collect(), running, before, gate: self.gate.clone() }
    }
}

pub struct Streams {
    running: Vec<Running>,
    viewers: Vec<Viewer>,
    /// Transfers that were complete before these.
    before: usize,
    gate: Gate,
}

impl Streams {
    fn received(&self) -> Vec<u64> {
        self.running.iter().map(Running::received).chain(self.viewers.iter().map(Viewer::received)).collect()
    }

    /// Every one of them gets on.
    pub fn moving(&self, hosts: &Hosts, when: &str) {
        self.moved_after(hosts, when, Instant::now());
    }

    /// Waits until every stream has got something new; how long each took from `since` on.
    pub fn moved_after(&self, hosts: &Hosts, when: &str, since: Instant) -> Vec<Duration> {
        let (before, mut first) = (self.received(), vec![None; EACH]);
        let deadline = Instant::now() + LATER;
        while first.contains(&None) {
            for (first, (now, before)) in first.iter_mut().zip(self.received().into_iter().zip(&before)) {
                if first.is_none() && now > *before {
                    *first = Some(since.elapsed());
                }
            }
            assert!(Instant::now() < deadline, "{when}: stands still: {first:?} at {before:?}\n{}", tails(hosts));
            std::thread::sleep(POLL);
        }
        first.into_iter().flatten().collect()
    }

    /// To the end: every byte at both ends, and no stream was asked for twice.
    pub fn finish(self, hosts: &Hosts) {
        self.gate.hurry();
        let plans: Vec<WebPlan> = self.viewers.into_iter().map(Viewer::join).map(|seen| exact(hosts, seen)).collect();
        hosts.scene.join_exact(self.running, self.before).unwrap_or_else(|error| panic!("{error:#}\n{}", tails(hosts)));
        let seen = hosts.scene.origins.iter().flat_map(|origin| origin.transfers()).filter_map(|t| t.plan);
        let mut seen: Vec<String> = seen.map(|plan| plan.to_string()).collect();
        let all = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), all, "somebody dialled twice");
        for plan in plans {
            let asked = hosts.scene.web.iter().map(|web| web.arrived_for(&plan.to_string()).len()).sum::<usize>();
            assert_eq!(asked, 1, "{plan} was asked for again");
        }
    }
}

fn exact(hosts: &Hosts, seen: Seen) -> WebPlan {
    assert!(seen.is_exact(), "{seen:#?}\n{}", tails(hosts));
    seen.plan
}

/// Nothing is left of any flow: not with these balancers, not in the store.
pub fn nothing_left(hosts: &Hosts, machines: &[usize]) {
    let listed = || machines.iter().flat_map(|m| hosts.balancer(*m).flows().unwrap_or_default()).collect::<Vec<_>>();
    wait_until("no flow to be left", LATER, || listed().is_empty())
        .unwrap_or_else(|error| panic!("{error:#}: {:#?}\n{}", listed(), tails(hosts)));
    let store = hosts.store.as_ref().unwrap();
    wait_until("no record of a flow to be left", LATER, || store.flows().unwrap() == 0)
        .unwrap_or_else(|error| panic!("{error:#}: {}\n{}", store.flows().unwrap(), tails(hosts)));
}

/// Prints how long streams stood still: from the loss on, and from the moment that the addresses were elsewhere.
pub fn print_gaps(what: &str, beyond: &[Duration]) {
    let mut beyond: Vec<u128> = beyond.iter().map(Duration::as_millis).collect();
    beyond.sort();
    println!(
        "{what}: first byte after the addresses had moved: median {} ms, last {} ms; {} ms more for the detection",
        beyond[beyond.len() / 2],
        beyond[beyond.len() - 1],
        DETECTION.as_millis()
    );
}

/// What the balancers said last.
pub fn tails(hosts: &Hosts) -> String {
    let of = |machine: usize| {
        let name = if machine == 0 { String::new() } else { format!("lb{machine}/") };
        let path = hosts.scene.dc.directory().join(format!("{name}balancer.log"));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("---- balancer {machine} ----\n{}\n", lines[lines.len().saturating_sub(40)..].join("\n"))
    };
    (0..hosts.machines.len()).map(of).collect()
}
