//! Whatever is wrong with the store that two balancers share: streams that run get every byte on the connections that they
//! have, new ones are placed alike by both, it is said what is wrong and what to do, and both know the same afterwards.

mod hosts_scene;

use anyhow::Result;
use balancer_lab::data_centre::Family;
use balancer_lab::hosts::{Hosts, HostsPlot, SharedStore, StorePlot};
use balancer_lab::requirements::met;
use balancer_lab::wait::wait_until;
use hosts_scene::steady::{Steady, agree, store_of};
use hosts_scene::{LATER, NEEDS, Stage, nothing_left, tails};

struct Trouble {
    name: &'static str,
    begin: fn(&mut SharedStore) -> Result<()>,
    end: fn(&mut SharedStore) -> Result<()>,
    /// Of what `balancer status` says.
    problem: &'static str,
    /// Of what the log says is to be done.
    remedy: &'static str,
    /// Whether the store answers at all.
    is_up: bool,
}

const DIES: Trouble = Trouble {
    name: "it dies, and comes back with nothing",
    begin: SharedStore::kill,
    end: SharedStore::launch,
    problem: "not reached",
    remedy: "does the server run?",
    is_up: false,
};
const HANGS: Trouble = Trouble {
    name: "it does not answer any more",
    begin: |store| store.server()?.freeze(true),
    end: |store| store.server()?.freeze(false),
    problem: "did not answer in time",
    remedy: "store_timeout",
    is_up: false,
};
const FULL: Trouble = Trouble {
    name: "its memory is full",
    begin: |store| store.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1"]).map(drop),
    end: |store| store.ask(&["CONFIG", "SET", "maxmemory", "0"]).map(drop),
    problem: "OOM",
    remedy: "raise its maxmemory",
    is_up: true,
};
const READ_ONLY: Trouble = Trouble {
    name: "it is a replica",
    begin: |store| store.ask(&["REPLICAOF", "127.0.0.1", "1"]).map(drop),
    end: |store| store.ask(&["REPLICAOF", "NO", "ONE"]).map(drop),
    problem: "READONLY",
    remedy: "name the primary",
    is_up: true,
};
const LOCKED: Trouble = Trouble {
    name: "it has another password",
    begin: |store| {
        store.ask(&["CONFIG", "SET", "requirepass", "another"])?;
        let drop_all = |kind| store.ask(&["-a", "another", "CLIENT", "KILL", "TYPE", kind]).map(drop);
        ["normal", "pubsub"].into_iter().try_for_each(drop_all)
    },
    end: |store| store.ask(&["-a", "another", "CONFIG", "SET", "requirepass", ""]).map(drop),
    problem: "NOAUTH",
    remedy: "correct the user and the password",
    is_up: false,
};

fn build(store: StorePlot) -> (Steady, Hosts) {
    let (stage, plot) = Stage::new(Family::V4, 4);
    let mut hosts = HostsPlot::new(2, plot).store_of(store).build().unwrap();
    let steady = Steady::begin(stage, &mut hosts);
    (steady, hosts)
}

/// While it lasts.
fn is_said(hosts: &Hosts, trouble: &Trouble) {
    for machine in [0, 1] {
        let said = || store_of(hosts, machine)["problem"].as_str().is_some_and(|text| text.contains(trouble.problem));
        wait_until(trouble.problem, LATER, said)
            .unwrap_or_else(|error| panic!("{error:#}: {:#?}\n{}", store_of(hosts, machine), tails(hosts)));
        wait_until("the state of the store", LATER, || {
            let up = hosts.balancer(machine).metric("balancer_store_up", &["kind=\"redis\""]).unwrap();
            store_of(hosts, machine)["up"] == trouble.is_up && up == f64::from(u8::from(trouble.is_up))
        })
        .unwrap();
        let store = store_of(hosts, machine);
        assert!(store["remedy"].as_str().is_some_and(|text| text.contains(trouble.remedy)), "{store:#?}");
        let log = hosts.balancer(machine).process().log();
        assert!(log.contains(trouble.remedy), "nothing of {:?} in the log:\n{}", trouble.remedy, tails(hosts));
    }
}

fn troubled(troubles: &[Trouble]) {
    if !met(NEEDS) {
        return;
    }
    let (mut steady, mut hosts) = build(StorePlot::Server);
    agree(&hosts, "at first");
    for trouble in troubles {
        (trouble.begin)(hosts.store.as_mut().unwrap()).unwrap();
        steady.dial(&hosts, trouble.name);
        is_said(&hosts, trouble);
        steady.dial(&hosts, trouble.name);
        steady.step(&hosts, trouble.name);
        (trouble.end)(hosts.store.as_mut().unwrap()).unwrap();
        agree(&hosts, trouble.name);
        steady.step(&hosts, "afterwards");
    }
    steady.finish(&hosts);
    for machine in [0, 1] {
        assert_eq!(hosts.balancer(machine).reason("peer_lost").unwrap(), 0.0, "nobody was dead");
        assert_eq!(hosts.balancer(machine).reason("conflict_lost").unwrap(), 0.0, "nobody had to give way");
    }
    nothing_left(&hosts, &[0, 1]);
}

#[test]
fn a_store_that_dies_or_hangs_takes_nothing_with_it() {
    troubled(&[DIES, HANGS]);
}

#[test]
fn a_store_that_refuses_is_done_without() {
    troubled(&[FULL, READ_ONLY, LOCKED]);
}
