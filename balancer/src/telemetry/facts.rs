//! What only the running parts know, for `/metrics` and the system API: the one trait that the app's wiring implements.

use crate::announce::Announced;
use crate::flow::{Counter, FlowRecord, Path, Protocol, Role};
use balancer_common::abi::{Reason, ReasonCount};
use std::collections::BTreeMap;

/// Asked at every scrape and request, on a thread that may block.
pub trait Facts: Send + Sync + 'static {
    /// All flows, with their counters up to date.
    fn flows(&self) -> Vec<FlowRecord>;

    /// The kernel's counts. What user space counts is in [`crate::counters::Counters`].
    fn reasons(&self) -> Vec<(Reason, ReasonCount)>;

    /// What relays have copied since the process started, ended flows included.
    fn relayed(&self) -> Forwarded;

    fn interfaces(&self) -> Vec<InterfaceStatus>;

    fn map_usage(&self) -> Vec<MapUsage>;

    /// Whether clients are served; if not, why.
    fn ready(&self) -> Result<(), String>;

    /// What those who steer clients were told; `None`: there is nobody to tell.
    fn announced(&self) -> Option<Announced> {
        None
    }

    /// Flows by what they are. For those who can count without copying all flows.
    fn flow_counts(&self) -> BTreeMap<(Protocol, Role, Path), u64> {
        let mut counts = BTreeMap::new();
        for flow in self.flows() {
            *counts.entry((flow.protocol, flow.role, flow.path)).or_default() += 1;
        }
        counts
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    pub to_origin: Counter,
    pub to_client: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceStatus {
    pub name: String,
    /// `native`, `generic` or `off`.
    pub mode: &'static str,
    /// Why it is not what was asked for.
    pub problem: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapUsage {
    pub name: &'static str,
    pub entries: u64,
    pub capacity: u64,
}
