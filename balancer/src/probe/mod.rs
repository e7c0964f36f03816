//! Active probes of origins: asks each listener in its own protocol whether somebody is there, and tells the store.
//!
//! When to ask, and what an answer means, is the registry's ([`crate::registry::Probing`], [`crate::registry::Judged`]);
//! here are the sockets. Nothing is placed, counted as a flow or spliced. Probes leave from the host's own address and not
//! from `source_address`: a balancer that does not have that now must not take the origins for dead.

mod datagram;
mod stream;
#[cfg(test)]
mod tests;

use crate::registry::{Judged, ProbeFailure, ProbeMode, Probing, Transport, kind_label};
use crate::store::{Clock, Store};
use crate::telemetry::Telemetry;
use balancer_common::abi::ServiceKind;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tracing::{debug, info, warn};

/// Under way at the same time; more wait for their turn. 200 origins of five listeners each that are all silent are 1000
/// probes of 2 s every 5 s: 400 at once.
pub const AT_ONCE_MAX: usize = 512;
/// How often it is looked who is due.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub struct Prober {
    pub store: Arc<Store>,
    pub telemetry: Arc<Telemetry>,
    pub clock: Clock,
}

impl Prober {
    /// Probes for as long as the process lives.
    pub async fn run(self) {
        let this = Arc::new(self);
        let places = Arc::new(Semaphore::new(AT_ONCE_MAX));
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            for probing in this.store.probes_due(places.available_permits(), this.clock.now()) {
                // There are as many as were asked for: nobody else takes them.
                let Ok(place) = places.clone().try_acquire_owned() else { return };
                let prober = this.clone();
                tokio::spawn(async move {
                    prober.probe(&probing).await;
                    drop(place);
                });
            }
        }
    }

    async fn probe(&self, probing: &Probing) {
        let asked = ask(probing).await;
        let (result, label) = match &asked {
            Ok(()) => (Some(Ok(())), "ok"),
            Err(Failed::Origin(failure, why)) => {
                debug!(origin = %probing.id, address = %probing.address, why, "probe failed");
                (Some(Err(*failure)), failure.label())
            }
            // Of an address that floats, another host has the use now.
            Err(Failed::Local(error)) if error.kind() == io::ErrorKind::AddrNotAvailable => (None, "local"),
            Err(Failed::Local(error)) => {
                warn!(origin = %probing.id, address = %probing.address, %error, "no probe: this host's fault");
                (None, "local")
            }
        };
        let service = kind_label(probing.kind);
        self.telemetry.probed(service, label);
        match self.store.probed(probing, result, self.clock.now()) {
            Judged::Unchanged => {}
            Judged::Died => {
                let why = asked.err().map_or_else(String::new, |failed| failed.to_string());
                warn!(origin = %probing.id, service, address = %probing.address, why, "origin is down: its probes fail");
            }
            Judged::Revived => info!(origin = %probing.id, service, "origin is back: its probes are answered"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{1}")]
    Origin(ProbeFailure, &'static str),
    /// No socket, no port, no memory.
    #[error(transparent)]
    Local(io::Error),
}

/// One probe, from the first socket to the answer.
async fn ask(probing: &Probing) -> Result<(), Failed> {
    let asked = async {
        match (Transport::of(probing.kind), probing.mode) {
            (Transport::Tcp, ProbeMode::Connect | ProbeMode::Off) => stream::connect(probing.address).await.map(drop),
            (Transport::Tcp, ProbeMode::Protocol) => stream::ask(probing).await,
            (Transport::Udp, _) if probing.kind == ServiceKind::Srt => datagram::induce(probing.address).await,
            (Transport::Udp, _) => datagram::bind_request(probing.address).await,
        }
    };
    match tokio::time::timeout(probing.timeout, asked).await {
        Ok(result) => result,
        Err(_) => Err(Failed::Origin(ProbeFailure::Silent, "no answer in time")),
    }
}

/// What an error of a socket towards an origin says. An answer that is cut off is a wrong one.
fn failed(error: io::Error) -> Failed {
    use io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Failed::Origin(ProbeFailure::Refused, "refused"),
        ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            Failed::Origin(ProbeFailure::Silent, "no way there")
        }
        _ => Failed::Local(error),
    }
}

fn wrong(why: &'static str) -> Failed {
    Failed::Origin(ProbeFailure::Wrong, why)
}
