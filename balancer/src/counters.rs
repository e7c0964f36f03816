//! Counts of everything that has a numbered reason and happens in user space. The kernel keeps its own, by the same
//! numbers; `telemetry` adds them up.

use balancer_common::abi::{REASONS, Reason};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub struct Counters([AtomicU64; REASONS as usize]);

impl Default for Counters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Counters {
    pub fn count(&self, reason: Reason) {
        self.0[reason as usize].fetch_add(1, Relaxed);
    }

    pub fn get(&self, reason: Reason) -> u64 {
        self.0[reason as usize].load(Relaxed)
    }
}
