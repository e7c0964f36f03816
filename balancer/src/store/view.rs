//! What the outside may see of an origin and of a stream: copies, taken under the lock and read without it.

use super::State;
use crate::flow::Protocol;
use crate::placement::Rate;
use crate::recognize::StreamKey;
use crate::recognize::proxy_header::ProxyVersion;
use crate::registry::{Capacity, Endpoints, Name, OriginRole, OriginStatus, Stream, Why};
use balancer_common::abi::ServiceKind;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct OriginView {
    pub id: Arc<str>,
    pub index: u16,
    pub generation: u32,
    pub device_id: Option<Name>,
    pub server: Option<Name>,
    pub service: Option<Name>,
    pub pid: Option<Name>,
    pub ip: Option<IpAddr>,
    pub endpoints: Endpoints,
    pub status: OriginStatus,
    /// Why it is down.
    pub why: Option<Why>,
    /// Until a connection is tried again.
    pub retry_in: Option<Duration>,
    /// What its services have answered to probes, as far as they are asked.
    pub probes: Vec<(ServiceKind, &'static str)>,
    /// Services that refuse connections while others work.
    pub refusing: Vec<ServiceKind>,
    pub draining: bool,
    pub role: OriginRole,
    pub weight: u32,
    pub capacity: Capacity,
    pub proxy_protocol: Option<ProxyVersion>,
    pub streams: u32,
    pub flows: u32,
    pub rate: Rate,
    /// What is left of it; `None`: it never expires.
    pub lease: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct StreamView {
    pub key: Arc<StreamKey>,
    pub index: u32,
    /// `None`: its origin has died and nobody has asked for it since.
    pub origin: Option<Arc<str>>,
    /// Ids of origins and edges that have it too.
    pub copies: Vec<Arc<str>>,
    /// Where a second publisher waits.
    pub backup: Option<Arc<str>>,
    pub publisher: bool,
    /// Its origin says by hooks that it is published there.
    pub claimed: bool,
    pub players: u32,
    pub protocols: Vec<Protocol>,
    pub rate: Rate,
}

impl State {
    pub(super) fn origin_view(&self, index: u16, now: Duration) -> Option<OriginView> {
        let origin = self.registry.get(index)?;
        let run = origin.incarnation.as_ref();
        Some(OriginView {
            id: origin.id.clone(),
            index,
            generation: self.registry.generation(index),
            device_id: origin.device_id.clone(),
            server: origin.server.clone(),
            service: run.map(|r| r.service.clone()),
            pid: run.map(|r| r.pid.clone()),
            ip: origin.ip,
            endpoints: origin.endpoints.clone(),
            status: origin.status(),
            why: origin.health.why(),
            retry_in: origin.health.retry_at().map(|at| at.saturating_sub(now)),
            probes: origin.health.probes().collect(),
            refusing: origin.health.aside().collect(),
            draining: origin.draining.is_some(),
            role: origin.role,
            weight: origin.weight,
            capacity: origin.capacity,
            proxy_protocol: origin.proxy_protocol,
            streams: self.streams.on(index),
            flows: self.registry.flows(index),
            rate: origin.load.rate,
            lease: origin.expires_at.map(|at| at.saturating_sub(now)),
        })
    }

    pub(super) fn stream_view(&self, stream: &Stream) -> StreamView {
        let origin = stream.mapping.and_then(|m| self.registry.get(m.origin));
        let id = |placed_on: (u16, u16)| {
            let current = self.registry.is_current(placed_on);
            self.registry.get(placed_on.0).filter(|_| current).map(|o| o.id.clone())
        };
        StreamView {
            key: stream.key.clone(),
            index: stream.index,
            origin: origin.map(|o| o.id.clone()),
            copies: stream.copies().filter_map(id).collect(),
            backup: stream.backup().and_then(|backup| id(backup.placed_on)),
            publisher: stream.is_published(),
            claimed: stream.is_claimed(),
            players: stream.players(),
            protocols: stream.protocols(),
            rate: stream.rate,
        }
    }
}
