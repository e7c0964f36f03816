//! What the running parts say of themselves, for the system API and the metrics.

use crate::announce::{Announced, Announcer};
use crate::config::Settings;
use crate::flow::{Counter, FlowRecord};
use crate::live::Live;
use crate::offload::Offload;
use crate::readiness::Readiness;
use crate::telemetry::{Facts, Forwarded, InterfaceStatus, MapUsage};
use balancer_common::abi::{Reason, ReasonCount};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub struct Running {
    pub settings: Arc<Settings>,
    pub live: Arc<Live>,
    pub offload: Option<Arc<Offload>>,
    /// Why there is no fast path although one was wanted.
    pub problem: Option<String>,
    pub readiness: Arc<Readiness>,
    pub announcer: Option<Arc<Announcer>>,
}

impl Facts for Running {
    fn flows(&self) -> Vec<FlowRecord> {
        self.live.scan(self.settings.idle_times());
        self.live.flows()
    }

    fn reasons(&self) -> Vec<(Reason, ReasonCount)> {
        self.offload.as_ref().map(|o| o.reasons().into_iter().collect()).unwrap_or_default()
    }

    fn relayed(&self) -> Forwarded {
        let totals = self.live.relayed_totals();
        let counter =
            |reads: &AtomicU64, bytes: &AtomicU64| Counter { packets: reads.load(Relaxed), bytes: bytes.load(Relaxed) };
        Forwarded {
            to_origin: counter(&totals.reads_to_origin, &totals.bytes_to_origin),
            to_client: counter(&totals.reads_to_client, &totals.bytes_to_client),
        }
    }

    fn interfaces(&self) -> Vec<InterfaceStatus> {
        match &self.offload {
            Some(offload) => offload
                .interfaces()
                .iter()
                .map(|i| InterfaceStatus { name: i.name.clone(), mode: i.mode, problem: None })
                .collect(),
            None => self
                .settings
                .interfaces
                .iter()
                .map(|name| InterfaceStatus { name: name.clone(), mode: "off", problem: self.problem.clone() })
                .collect(),
        }
    }

    fn map_usage(&self) -> Vec<MapUsage> {
        let usage = self.offload.as_ref().map(|o| o.usage()).unwrap_or_default();
        usage.into_iter().map(|u| MapUsage { name: u.map, entries: u.entries, capacity: u.capacity }).collect()
    }

    fn ready(&self) -> Result<(), String> {
        self.readiness.state().ready()
    }

    fn announced(&self) -> Option<Announced> {
        self.announcer.as_ref().map(|announcer| announcer.status())
    }
}
