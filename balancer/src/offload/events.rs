//! Waits for what the kernel reports through `EVENTS`.

use super::Offload;
use balancer_common::abi::{EventKind, FlowKey};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub struct EventSource {
    offload: Arc<Offload>,
    ready: AsyncFd<OwnedFd>,
}

impl EventSource {
    pub fn new(offload: Arc<Offload>) -> io::Result<Self> {
        let fd = offload.maps().events_fd()?;
        // SAFETY: an OwnedFd keeps its descriptor open, and the same one, until it is dropped.
        let ready = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(io::Error::from)?;
        Ok(Self { offload, ready })
    }

    /// The next events, in the order in which the kernel wrote them.
    pub async fn next(&self) -> io::Result<Vec<(EventKind, FlowKey)>> {
        let mut guard = self.ready.readable().await?;
        guard.clear_ready();
        Ok(self.offload.events())
    }
}
