//! What placements send to origins, before anything of it can be measured.

use super::origins::Registry;
use crate::placement::STREAM_COST;
use balancer_common::abi::ServiceKind;
use std::time::Duration;

impl Registry {
    /// A placement sends a connection there.
    pub fn attempted(&mut self, index: u16, kind: ServiceKind, now: Duration) {
        if let Some(origin) = self.slots.get_mut(index) {
            origin.health.attempted(kind, now);
            origin.load.pending = origin.load.pending.saturating_add(STREAM_COST);
        }
    }

    /// A placement sends a viewer there, of whom this much is expected.
    pub fn expects(&mut self, index: u16, kind: ServiceKind, bits_per_second: u64, now: Duration) {
        if let Some(origin) = self.slots.get_mut(index) {
            origin.health.attempted(kind, now);
            origin.load.pending = origin.load.pending.saturating_add(bits_per_second);
        }
    }

    /// A request goes there, which is no stream's load. Of an origin that has failed, only one such finds out more.
    pub fn retrying(&mut self, index: u16, kind: ServiceKind, now: Duration) {
        if let Some(origin) = self.slots.get_mut(index) {
            origin.health.attempted(kind, now);
        }
    }
}
