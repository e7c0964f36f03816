//! A scene with several balancers, each on a host of its own: hosts are lost and come back, addresses move, and a router
//! changes its mind. What is not about there being several is [`Scene`]'s.

mod announce;
mod layout;
mod plot;
mod shared;

pub use announce::announce;
pub use layout::{Fabric, Machine, Network, Pair, SIDES, STORE};
pub use plot::HostsPlot;
pub use shared::{SharedStore, StorePlot};

use crate::balancer::Balancer;
use crate::scene::{SOON, Scene};
use crate::wait;
use anyhow::{Context, Result};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// In the order in which it is taken down.
pub struct Hosts {
    /// Its balancer is the first machine's.
    pub scene: Scene,
    others: Vec<Balancer>,
    pub machines: Vec<Machine>,
    pub store: Option<SharedStore>,
    pub fabric: Fabric,
}

impl Hosts {
    pub fn balancer(&self, machine: usize) -> &Balancer {
        if machine == 0 { &self.scene.balancer } else { &self.others[machine - 1] }
    }

    pub fn balancer_mut(&mut self, machine: usize) -> &mut Balancer {
        if machine == 0 { &mut self.scene.balancer } else { &mut self.others[machine - 1] }
    }

    /// Of the pair that is at home on a machine, for the scene's family.
    pub fn vip(&self, pair: usize, port: u16) -> SocketAddr {
        SocketAddr::new(self.machines[pair].pair.vip(self.scene.family), port)
    }

    /// A machine that has no power any more: `kill -9`, and all of its links down. When that was.
    pub fn lose(&mut self, machine: usize) -> Result<Instant> {
        self.balancer_mut(machine).kill();
        self.links(machine, "down")?;
        Ok(Instant::now())
    }

    /// It has power again, knows nothing any more, and has none of the addresses that move; its balancer starts.
    pub fn boot(&mut self, machine: usize) -> Result<()> {
        self.balancer(machine).unload()?;
        if self.fabric.network == Network::Bridged {
            for pair in 0..self.machines.len() {
                // It had some of them.
                let _ = self.leave(machine, pair);
            }
        }
        self.links(machine, "up")?;
        self.balancer_mut(machine).launch()
    }

    /// Its links to clients, origins and store, as the other end sees them.
    pub fn links(&self, machine: usize, state: &str) -> Result<()> {
        let ports = [0, 1].map(|side| format!("link set {} {state}\n", layout::port(side, machine)));
        self.fabric.middle.ip(&ports.concat())?;
        self.store_link(machine, state)
    }

    /// Its link to the store alone.
    pub fn store_link(&self, machine: usize, state: &str) -> Result<()> {
        self.fabric.store.ip(&format!("link set {} {state}\n", layout::store_port(machine)))
    }

    /// Both addresses of a pair are on this machine from now on, and it says so. Whoever has them too keeps them.
    pub fn take(&self, machine: usize, pair: usize) -> Result<()> {
        self.machines[machine].hold(&self.machines[pair].pair)?;
        self.announce(machine, pair)
    }

    /// Says again that a pair is here.
    pub fn announce(&self, machine: usize, pair: usize) -> Result<()> {
        let netns = &self.machines[machine].netns;
        for (side, (v4, v6)) in self.machines[pair].pair.sides().into_iter().enumerate() {
            announce(netns, SIDES[side], IpAddr::from(v4))?;
            announce(netns, SIDES[side], IpAddr::from(v6))?;
        }
        Ok(())
    }

    /// The machine has the pair no more.
    pub fn leave(&self, machine: usize, pair: usize) -> Result<()> {
        self.machines[machine].release(&self.machines[pair].pair)
    }

    /// The router's next hops for the VIP, from now on. Only routed.
    pub fn route_vip(&self, machines: &[usize]) -> Result<()> {
        self.fabric.route(0, self.machines[0].pair.sides()[0], machines)
    }

    /// The same for the source address that is at home on a machine.
    pub fn route_source(&self, home: usize, machines: &[usize]) -> Result<()> {
        self.fabric.route(1, self.machines[home].pair.sides()[1], machines)
    }

    /// Takes away the router's routes of all of these addresses: something else announces them. Only routed.
    pub fn forget_routes(&self) -> Result<()> {
        self.fabric.forget_routes(&self.machines)
    }

    /// Has the router give each packet of TCP and UDP to any of the machines, whatever flow it is of; see [`Fabric`].
    pub fn spray(&self) -> Result<()> {
        self.fabric.spray(&self.machines)
    }

    /// Waits until every origin of the scene is known to this machine's balancer.
    pub fn wait_origins(&self, machine: usize) -> Result<()> {
        let count = self.scene.dc.origins.len();
        let listed = || self.balancer(machine).list("origins").unwrap_or_default();
        wait::wait_until(&format!("{count} origins at balancer {machine}"), SOON, || listed().len() == count)
            .with_context(|| format!("{:#?}\n{}", listed(), self.balancer(machine).process().tail()))
    }

    /// Waits until this machine's balancer lists exactly so many flows, all of them in the kernel.
    pub fn wait_kernel(&self, machine: usize, count: usize) -> Result<Vec<Value>> {
        let mut last = Vec::new();
        wait::wait_for(&format!("{count} flows in the kernel of {machine}"), SOON, || {
            last = self.balancer(machine).flows().ok()?;
            (last.len() == count && last.iter().all(|flow| flow["path"] == "kernel")).then(|| last.clone())
        })
        .with_context(|| format!("{} flows: {:#?}", last.len(), last.iter().take(3).collect::<Vec<_>>()))
    }

    /// For all of `machines`.
    pub fn wait_no_flows(&self, machines: &[usize]) -> Result<()> {
        machines.iter().try_for_each(|machine| self.wait_kernel(*machine, 0).map(drop))
    }
}
