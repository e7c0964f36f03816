//! The sessions and what they own in the kernel.

use super::table::Table;
use super::{NewSession, RtcError};
use crate::counters::Counters;
use crate::live::Live;
use crate::offload::Offload;
use crate::slowpath::PortPool;
use crate::store::{Clock, Store};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub struct Sessions {
    table: Mutex<Table>,
    #[allow(dead_code, reason = "what the kernel is told comes next")]
    parts: Parts,
}

/// Whom the sessions work with.
pub struct Parts {
    /// `None`: every flow is relayed.
    pub offload: Option<Arc<Offload>>,
    pub store: Arc<Store>,
    pub live: Arc<Live>,
    pub ports: Arc<PortPool>,
    pub counters: Arc<Counters>,
    pub clock: Clock,
}

impl Sessions {
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self { table: Mutex::default(), parts })
    }

    /// For tests of who tells us of sessions.
    #[cfg(test)]
    pub fn without_kernel(store: Arc<Store>, live: Arc<Live>, counters: Arc<Counters>, clock: Clock) -> Arc<Self> {
        let ports = PortPool::new(20_000..=29_999);
        Self::new(Parts { offload: None, store, live, ports, counters, clock })
    }

    /// From now on a STUN request that has one of the names makes a flow to the origin. Before the client may read the
    /// answer: its first request follows at once.
    pub async fn register(&self, new: NewSession) -> Result<(), RtcError> {
        self.table().add(new)
    }

    /// ICE has been restarted (RFC 8445 section 9): these are the names from now on. The old ones stay for a while.
    pub fn rename(&self, resource: &str, ufrags: Vec<String>) -> Result<(), RtcError> {
        self.table().rename(resource, ufrags)
    }

    /// The session is over, and with it all its flows. `false`: nobody knows it.
    pub fn end(&self, resource: &str) -> bool {
        self.table().take(resource).is_some()
    }

    /// Whether a STUN request that has this name makes a flow.
    pub fn knows(&self, ufrag: &str) -> bool {
        self.table().knows(ufrag)
    }

    pub fn len(&self) -> usize {
        self.table().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change of the table is whole; what a panic left out in the kernel runs out there by its deadline.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
