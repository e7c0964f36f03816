//! What is asked of this host and its kernel. A test has its own.

use super::Ports;
use crate::offload::{Half, NewHalf, Offload, SpliceError, Survey, Way, survey};
use balancer_common::abi::FlowKey;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;
use tracing::{debug, warn};

/// How long the answer "nobody's" holds.
const NOBODYS_FOR: Duration = Duration::from_secs(10);

pub trait Host: Send + Sync {
    fn half(&self, key: FlowKey) -> Option<Half>;

    /// Both halves, the one to the origin first; neither replaces another.
    fn install(&self, to_origin: &NewHalf, to_client: &NewHalf) -> Result<(), SpliceError>;

    fn remove(&self, client: FlowKey, origin: FlowKey);

    /// The kernel has asked about a packet, and it is nobody's.
    fn nobodys(&self, key: FlowKey);

    /// It has asked, and the answer is in the flow table.
    fn answered(&self, key: FlowKey);

    /// From now on, packets of unknown flows are asked about: those to the VIPs, and to these addresses and ports.
    fn ask_for(&self, sources: &[Ports]);

    /// Whether packets to the address are this host's at the moment.
    fn is_here(&self, ip: IpAddr) -> bool;

    /// By which ways hosts are reached. Blocks.
    fn ways(&self, known: &mut Survey, hosts: &BTreeSet<IpAddr>) -> HashMap<IpAddr, Way>;
}

impl Host for Offload {
    fn half(&self, key: FlowKey) -> Option<Half> {
        self.flow(key)
    }

    fn install(&self, to_origin: &NewHalf, to_client: &NewHalf) -> Result<(), SpliceError> {
        self.splice_new(to_origin, to_client)
    }

    fn remove(&self, client: FlowKey, origin: FlowKey) {
        Offload::remove(self, client, origin);
    }

    fn nobodys(&self, key: FlowKey) {
        if let Err(error) = Offload::nobodys(self, key, NOBODYS_FOR) {
            debug!(%error, "the kernel goes on asking");
        }
    }

    fn answered(&self, key: FlowKey) {
        self.forget_miss(key);
    }

    fn ask_for(&self, sources: &[Ports]) {
        // What fits is asked about, whatever does not.
        for done in [self.set_sources(sources), self.ask_on_miss(true)] {
            if let Err(error) = done {
                warn!(%error, "packets of other balancers' flows are refused instead of asked about");
            }
        }
    }

    fn is_here(&self, ip: IpAddr) -> bool {
        crate::sources::is_here(ip)
    }

    fn ways(&self, known: &mut Survey, hosts: &BTreeSet<IpAddr>) -> HashMap<IpAddr, Way> {
        survey(known, hosts).unwrap_or_else(|error| {
            warn!("the ways of flows cannot be found: {error:#}");
            HashMap::new()
        })
    }
}
