//! Ordinary sockets on the VIP ports: accept, recognize, place, connect, relay, and the hand-over to the fast path.
//!
//! Works by itself: without a fast path it relays. Asks `offload` for what concerns the kernel and writes no map.

mod admission;
mod arm;
mod connection;
mod dialect;
#[cfg(test)]
mod fixtures;
mod front;
mod greeting;
mod handover;
mod http;
mod leave;
mod legs;
mod listener;
mod origin_leg;
mod pipe;
mod ports;
pub mod provoke;
mod relay;
mod rtc;
mod rtmp;
mod rtsp;
pub mod socket;
mod srt;
mod syn;
pub mod udp;
mod visitor;
mod wire;

pub use admission::Admission;
pub use listener::{Bound, bind, serve};
pub use ports::{PortLease, PortPool};
pub use rtc::made;
pub use srt::Srt;

use crate::announce::Announcer;
use crate::auth::Authorizer;
use crate::config::Settings;
use crate::counters::Counters;
use crate::live::Live;
use crate::offload::{Offload, Ways};
use crate::proxy::Proxy;
use crate::readiness::Readiness;
use crate::reconcile::Reconciler;
use crate::rtc::Sessions;
use crate::sources::Sources;
use crate::store::{Clock, Store};
use crate::telemetry::{Facts, Telemetry};
use crate::tls::Tls;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;
use udp::Udp;

/// What every connection works with.
pub struct Context {
    pub settings: Arc<Settings>,
    pub store: Arc<Store>,
    pub counters: Arc<Counters>,
    pub live: Arc<Live>,
    pub facts: Arc<dyn Facts>,
    pub telemetry: Arc<Telemetry>,
    /// Whether clients are to come here, and who is told.
    pub readiness: Arc<Readiness>,
    pub announcer: Option<Arc<Announcer>>,
    /// `None`: everything is relayed.
    pub offload: Option<Arc<Offload>>,
    pub reconciler: Arc<Reconciler>,
    pub authorizer: Arc<Authorizer>,
    /// Answers what is not spliced.
    pub proxy: Arc<Proxy>,
    pub ports: Arc<PortPool>,
    /// Our addresses towards origins.
    pub sources: Sources,
    pub rtc: Arc<Sessions>,
    pub udp: Udp,
    /// Cookies of SRT, and what its callers were answered.
    pub srt: Srt,
    /// By which way origins are reached.
    pub ways: Arc<Ways>,
    pub admission: Arc<Admission>,
    /// Connections that the proxy answers.
    pub proxied: Arc<Admission>,
    /// `None`: no certificate, no TLS.
    pub tls: Option<Arc<Tls>>,
    /// RTMP chunk size that the origins here announce: told to clients ahead, so that nothing has to change when the
    /// legs are joined.
    pub usual_chunk_size: AtomicU32,
    pub clock: Clock,
}

impl Context {
    /// Time since the process started: what the pure core takes as "now".
    pub fn now(&self) -> Duration {
        self.clock.now()
    }
}
