//! What a scene with several balancers is to consist of, and building it.

use super::layout::{self, Machine, Network};
use super::{Hosts, SharedStore, StorePlot};
use crate::balancer::{Balancer, Settings};
use crate::clock;
use crate::data_centre::{DataCentre, Family};
use crate::scene::Plot;
use anyhow::Result;

/// Each balancer has so many ports of its own towards origins.
const PORTS_EACH: u16 = 4000;
const FIRST_PORT: u16 = 20000;
/// A machine that does much else answers late, and tests of flows are not about that.
const STORE_TIMEOUT: &str = "2s";

pub struct HostsPlot {
    hosts: u8,
    network: Network,
    store: Option<StorePlot>,
    one_pair: bool,
    clocks: &'static [i32],
    plot: Plot,
}

impl HostsPlot {
    /// Origins, clients and settings are the plot's; settings are every balancer's.
    pub fn new(hosts: u8, plot: Plot) -> Self {
        Self { hosts, network: Network::Bridged, store: None, one_pair: false, clocks: &[], plot }
    }

    /// They share one VIP and one source address, which are with the first at the beginning; the others wait. Else each
    /// machine has a pair of its own.
    pub fn one_pair(self) -> Self {
        Self { one_pair: true, ..self }
    }

    /// All have the VIP; a router chooses between them.
    pub fn routed(self) -> Self {
        Self { network: Network::Routed, ..self }
    }

    /// They work together, by a Redis.
    pub fn store(self) -> Self {
        self.store_of(StorePlot::Server)
    }

    /// The same, by another kind of it.
    pub fn store_of(self, store: StorePlot) -> Self {
        Self { store: Some(store), ..self }
    }

    /// So many minutes the balancers' clocks are wrong.
    pub fn clocks(self, clocks: &'static [i32]) -> Self {
        Self { clocks, ..self }
    }

    pub fn build(self) -> Result<Hosts> {
        let (dc, mut machines, fabric) = layout::build(self.plot.layout_of(), self.hosts, self.network)?;
        if self.one_pair {
            let pair = machines[0].pair;
            machines.iter_mut().for_each(|machine| machine.pair = pair);
        }
        let store = self.store.map(|plot| SharedStore::start(&fabric.store, plot)).transpose()?;
        match self.network {
            Network::Bridged => {
                let holders = if self.one_pair { 1 } else { machines.len() };
                machines[..holders].iter().try_for_each(|machine| machine.hold(&machine.pair))?;
            }
            Network::Routed => {
                let all: Vec<usize> = (0..machines.len()).collect();
                fabric.route(0, machines[0].pair.sides()[0], &all)?;
                for machine in &machines {
                    fabric.route(1, machine.pair.sides()[1], &[machine.number])?;
                }
            }
        }
        let mut balancers = Vec::new();
        for machine in &machines {
            let mut settings = settings(&dc, &machines, machine, store.as_ref());
            if let Some(minutes) = self.clocks.get(machine.number) {
                settings.environment.extend(clock::environment(*minutes));
            }
            self.plot.change(&mut settings);
            balancers.push(Balancer::start_in(&machine.netns, &machine.directory, settings)?);
        }
        let first = balancers.remove(0);
        let scene = self.plot.furnish(dc, first)?;
        Ok(Hosts { scene, others: balancers, machines, store, fabric })
    }
}

fn settings(dc: &DataCentre, machines: &[Machine], own: &Machine, store: Option<&SharedStore>) -> Settings {
    let mut settings = Settings::of(dc);
    settings.pin_path = own.pin_path.clone();
    settings.vips = machines.iter().flat_map(|m| [m.pair.vip(Family::V4), m.pair.vip(Family::V6)]).collect();
    settings.vips.sort();
    settings.vips.dedup();
    let from = FIRST_PORT + PORTS_EACH * own.number as u16;
    settings.config = format!("source_ports = \"{from}-{}\"\n", from + PORTS_EACH - 1);
    if let Some(store) = store {
        settings.config += &format!(
            "balancer_id = \"lb{}\"\nstore = \"{}\"\nstore_timeout = \"{STORE_TIMEOUT}\"\n\
             source_address = [\"{}\", \"{}\"]\n",
            own.number,
            store.url(),
            own.pair.source4,
            own.pair.source6,
        );
    }
    settings
}
