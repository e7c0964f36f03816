//! The part of the store that probes work with.

use super::Store;
use crate::registry::{Care, Judged, ProbeResult, Probing};
use std::time::Duration;

impl Store {
    /// How origins are looked after, from now on.
    #[must_use]
    pub fn caring(self, care: Care) -> Self {
        self.change(|state| state.registry.set_care(care));
        self
    }

    /// See [`crate::registry::Registry::probes_due`].
    pub fn probes_due(&self, max: usize, now: Duration) -> Vec<Probing> {
        self.change(|state| state.registry.probes_due(max, now))
    }

    /// See [`crate::registry::Registry::probed`].
    pub fn probed(&self, probing: &Probing, result: Option<ProbeResult>, now: Duration) -> Judged {
        self.change(|state| {
            let judged = state.registry.probed(probing, result, now);
            if judged == Judged::Died {
                state.streams.free_origin(probing.on.0, now);
            }
            judged
        })
    }
}
