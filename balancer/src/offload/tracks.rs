//! A connection's entry in `TRACKS4`/`TRACKS6` and its control word, removed together when the handle is dropped: no
//! HOLD outlives the task that set it.

use super::Offload;
use balancer_common::abi::{Control, FlowKey, Track};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum TrackError {
    #[error("all {0} tracks are in use: the connection is relayed")]
    Full(u32),
    #[error("map {map}: {source}")]
    Map { map: &'static str, source: aya::maps::MapError },
}

pub struct TrackHandle {
    offload: Arc<Offload>,
    key: FlowKey,
    control: u32,
}

impl TrackHandle {
    pub(super) fn new(offload: Arc<Offload>, key: FlowKey, control: u32) -> Self {
        Self { offload, key, control }
    }

    pub fn key(&self) -> FlowKey {
        self.key
    }

    /// What the kernel has recorded.
    pub fn read(&self) -> Track {
        self.offload.maps().read_track(self.key).unwrap_or_default()
    }

    /// Data is trimmed to bare ACKs until [`Self::release`], and not past `at_most` from now (the kernel's own clock,
    /// [`super::load::kernel_now`]).
    pub fn hold(&self, at_most: Duration) {
        let deadline = super::load::kernel_now() + at_most;
        self.offload.maps().set_control(self.control, Control::hold_until(deadline.as_nanos() as u64));
    }

    /// Data is passed again.
    pub fn release(&self) {
        self.offload.maps().set_control(self.control, Control::TRACK);
    }
}

impl Drop for TrackHandle {
    fn drop(&mut self) {
        self.offload.maps().untrack(self.key, self.control);
    }
}
