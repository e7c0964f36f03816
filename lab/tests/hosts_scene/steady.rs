//! Streams that get on step by step, so that a test decides how far they are whatever the machine's pace; and clients that
//! come while something is wrong.

use super::*;
use balancer_lab::origin::{Heartbeat, Registrar};
use serde_json::Value;
use std::collections::BTreeMap;

const STEP: u64 = 60_000;
/// What may be missing of a step: the rest of a write.
const SLACK: u64 = 10_000;
const BEAT: Duration = Duration::from_secs(1);

pub struct Steady {
    pub stage: Stage,
    running: Vec<Running>,
    viewers: Vec<Viewer>,
    /// How often each plan is to arrive at an origin.
    plans: BTreeMap<String, usize>,
    seed: u64,
    _beats: Vec<Registrar>,
}

impl Steady {
    /// The origins beat to both balancers.
    pub fn begin(stage: Stage, hosts: &mut Hosts) -> Self {
        hosts.scene.registrars.iter_mut().for_each(|registrar| drop(registrar.take()));
        let mut beats = Vec::new();
        for (number, host) in hosts.scene.dc.origins.iter().enumerate() {
            let beat = || Heartbeat::of(host, number, hosts.scene.family).http(HTTP_PORT);
            let beat = beat();
            for pair in 0..hosts.machines.len() {
                beats.push(Registrar::start(&host.netns, hosts.vip(pair, API_PORT), beat.clone(), BEAT).unwrap());
            }
        }
        let streams = stage.dial(hosts, 0, 1);
        let Streams { running, viewers, .. } = streams;
        let plans = (0..RTMP_EACH as u64).map(|i| (stage.plan(100 + i).stream_name(), 1)).collect();
        let this = Self { stage, running, viewers, plans, seed: 1000, _beats: beats };
        this.in_the_kernel(hosts);
        this
    }

    fn in_the_kernel(&self, hosts: &Hosts) {
        let count = self.running.len() + self.viewers.len();
        wait_until("every flow in a kernel", LATER, || {
            let all: Vec<_> = [0, 1].iter().flat_map(|m| hosts.balancer(*m).flows().unwrap_or_default()).collect();
            all.len() == count && all.iter().all(|flow| flow["path"] == "kernel")
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", tails(hosts)));
    }

    /// A publisher through the first balancer, and one stream that is asked for through both at once: they agree about it.
    pub fn dial(&mut self, hosts: &Hosts, when: &str) {
        self.seed += 2;
        let (publish, play) = (self.stage.plan(self.seed), self.stage.plan(self.seed + 1));
        let client = |pair: usize, plan: Plan| Client {
            style: self.stage.style(),
            ..Client::new(hosts.vip(pair, RTMP_PORT), plan)
        };
        let clients = vec![client(0, publish), client(0, play), client(1, play)];
        let dialled = hosts.scene.dial_all(clients, 3);
        self.running.extend(dialled.unwrap_or_else(|error| panic!("{when}: {error:#}\n{}", tails(hosts))));
        self.plans.extend([(publish.stream_name(), 1), (play.stream_name(), 2)]);
        let at = |machine| streams(hosts, machine).into_iter().find(|(key, _)| key.ends_with(&play.stream_name()));
        let (one, other) = (at(0), at(1));
        assert!(one.is_some() && one == other, "{when}: {one:?}, {other:?}\n{}", tails(hosts));
    }

    /// Everybody gets on.
    pub fn step(&self, hosts: &Hosts, when: &str) {
        let to = self.stage.gate.bytes() + STEP;
        assert!(to < self.stage.bytes, "{when}: too few bytes for so many steps");
        self.stage.gate.set(to);
        let received = || self.running.iter().map(Running::received).chain(self.viewers.iter().map(Viewer::received));
        wait_until("every stream to get on", LATER, || received().all(|bytes| bytes + SLACK >= to)).unwrap_or_else(
            |error| panic!("{when}: {error:#}: {:?} of {to}\n{}", received().collect::<Vec<_>>(), tails(hosts)),
        );
    }

    /// To the end: every byte, and nobody was asked for again.
    pub fn finish(self, hosts: &Hosts) {
        self.in_the_kernel(hosts);
        self.stage.gate.set(u64::MAX);
        let viewers: Vec<WebPlan> = self.viewers.into_iter().map(Viewer::join).map(|seen| exact(hosts, seen)).collect();
        hosts.scene.join_exact(self.running, 0).unwrap_or_else(|error| panic!("{error:#}\n{}", tails(hosts)));
        let mut seen = BTreeMap::new();
        for plan in hosts.scene.origins.iter().flat_map(|origin| origin.transfers()).filter_map(|t| t.plan) {
            *seen.entry(plan.stream_name()).or_insert(0) += 1;
        }
        assert_eq!(seen, self.plans, "somebody dialled again");
        for plan in viewers {
            let asked = hosts.scene.web.iter().map(|web| web.arrived_for(&plan.to_string()).len()).sum::<usize>();
            assert_eq!(asked, 1, "{plan} was asked for again");
        }
    }
}

impl Stage {
    /// Of the client with this number.
    fn plan(&self, seed: u64) -> Plan {
        Plan::new(if seed.is_multiple_of(2) { Role::Publish } else { Role::Play }, seed, self.bytes, self.bytes)
    }
}

/// Where a balancer says that each stream is.
pub fn streams(hosts: &Hosts, machine: usize) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let all = hosts.balancer(machine).list("streams").unwrap_or_default();
    all.iter().map(|stream| (text(&stream["key"]), text(&stream["origin"]))).collect()
}

/// What `balancer status` says of the store.
pub fn store_of(hosts: &Hosts, machine: usize) -> Value {
    let status = hosts.balancer(machine).command_json("status").unwrap();
    assert_eq!(hosts.balancer(machine).get("/readyz").unwrap().status, 200, "clients are served all the same");
    status["store"].clone()
}

/// Both know the same origins and streams, each knows that the other lives, and nothing is left to be written.
pub fn agree(hosts: &Hosts, when: &str) {
    let origins = |machine: usize| {
        let all = hosts.balancer(machine).list("origins").unwrap_or_default();
        let each = all.iter().map(|origin| format!("{} {} {}", origin["id"], origin["state"], origin["endpoints"]));
        each.collect::<std::collections::BTreeSet<_>>()
    };
    let seen = || [0, 1].map(|machine| (origins(machine), streams(hosts, machine)));
    let is_fine = |machine: usize| {
        let store = store_of(hosts, machine);
        let other = &store["peers"][format!("lb{}", 1 - machine)]["state"];
        store["up"] == true && store["problem"].is_null() && store["waiting"] == 0 && other == "alive"
    };
    wait_until("both balancers to know the same", LATER, || {
        let [one, other] = seen();
        one == other && one.0.len() == hosts.scene.dc.origins.len() && [0, 1].into_iter().all(is_fine)
    })
    .unwrap_or_else(|error| {
        let stores = [0, 1].map(|machine| store_of(hosts, machine));
        panic!("{when}: {error:#}: {:#?}\n{stores:#?}\n{}", seen(), tails(hosts))
    });
}
