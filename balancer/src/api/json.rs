//! The JSON of origins, streams, flows and the balancer's own state. Field names are a contract; new ones may be added.
//! Lists are written from borrowed values, without a tree of values between: there may be a million flows.

use crate::announce::Announced;
use crate::cluster;
use crate::counters::Counters;
use crate::flow::{Counter, FlowRecord};
use crate::readiness::{Drain, Word};
use crate::recognize::proxy_header::ProxyVersion;
use crate::registry::{self, KINDS, Why, kind_label};
use crate::store::shared::ShelfView;
use crate::store::{OriginView, StreamView};
use crate::telemetry::InterfaceStatus;
use balancer_common::abi::{Reason, ReasonCount, ReasonKind};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

#[derive(Serialize)]
pub struct Origins<'a> {
    pub origins: Vec<Origin<'a>>,
}

#[derive(Serialize)]
pub struct Origin<'a> {
    id: &'a str,
    state: &'static str,
    why: Option<&'static str>,
    /// Until a connection is tried again.
    retry_s: Option<f64>,
    /// What they answered to the last probes: `up`, or what was wrong.
    probes: BTreeMap<&'static str, &'static str>,
    /// Services that refuse connections, or fail their probes, while others work.
    refusing: Vec<&'static str>,
    draining: bool,
    device_id: Option<&'a str>,
    server: Option<&'a str>,
    service: Option<&'a str>,
    pid: Option<&'a str>,
    ip: Option<IpAddr>,
    endpoints: BTreeMap<&'static str, &'a [SocketAddr]>,
    role: &'static str,
    weight: u32,
    capacity: Capacity,
    /// `null`: it is told nothing of the client.
    proxy_protocol: Option<&'static str>,
    streams: u32,
    flows: u32,
    bits_per_second_in: u64,
    bits_per_second_out: u64,
    /// `null`: it never expires.
    lease_s: Option<f64>,
    index: u16,
    generation: u32,
}

#[derive(Serialize)]
struct Capacity {
    bits_per_second: Option<u64>,
    flows: Option<u32>,
    streams: Option<u32>,
}

impl<'a> Origin<'a> {
    pub fn new(o: &'a OriginView) -> Self {
        let lists = KINDS.into_iter().map(|kind| (kind_label(kind), o.endpoints.get(kind)));
        let registry::Capacity { bits_per_second, flows, streams } = o.capacity;
        Self {
            id: &o.id,
            state: o.status.label(),
            why: o.why.map(Why::text),
            retry_s: o.retry_in.map(seconds),
            probes: o.probes.iter().map(|(kind, state)| (kind_label(*kind), *state)).collect(),
            refusing: o.refusing.iter().map(|kind| kind_label(*kind)).collect(),
            draining: o.draining,
            device_id: o.device_id.as_deref(),
            server: o.server.as_deref(),
            service: o.service.as_deref(),
            pid: o.pid.as_deref(),
            ip: o.ip,
            endpoints: lists.filter(|(_, list)| !list.is_empty()).collect(),
            role: o.role.label(),
            weight: o.weight,
            capacity: Capacity { bits_per_second, flows, streams },
            proxy_protocol: o.proxy_protocol.map(ProxyVersion::label),
            streams: o.streams,
            flows: o.flows,
            bits_per_second_in: o.rate.bits_per_second_in,
            bits_per_second_out: o.rate.bits_per_second_out,
            lease_s: o.lease.map(seconds),
            index: o.index,
            generation: o.generation,
        }
    }
}

#[derive(Serialize)]
pub struct Streams<'a> {
    pub streams: Vec<Stream<'a>>,
}

#[derive(Serialize)]
pub struct Stream<'a> {
    key: String,
    /// `null`: its origin has died and nobody has asked for it since.
    origin: Option<&'a str>,
    /// Origins and edges that have it too.
    copies: Vec<&'a str>,
    /// Where a second publisher waits.
    backup: Option<&'a str>,
    /// Somebody publishes it, through us or at the origin itself.
    publisher: bool,
    /// The origin says so by hooks.
    claimed: bool,
    players: u32,
    protocols: Vec<&'static str>,
    bits_per_second_in: u64,
    bits_per_second_out: u64,
}

impl<'a> Stream<'a> {
    pub fn new(s: &'a StreamView) -> Self {
        Self {
            key: s.key.to_string(),
            origin: s.origin.as_deref(),
            copies: s.copies.iter().map(|id| &**id).collect(),
            backup: s.backup.as_deref(),
            publisher: s.publisher,
            claimed: s.claimed,
            players: s.players,
            protocols: s.protocols.iter().map(|p| p.label()).collect(),
            bits_per_second_in: s.rate.bits_per_second_in,
            bits_per_second_out: s.rate.bits_per_second_out,
        }
    }
}

/// `total` counts all that match, also those beyond a limit.
#[derive(Serialize)]
pub struct Flows {
    pub total: usize,
    pub flows: Vec<Flow>,
}

#[derive(Serialize)]
pub struct Flow {
    client: SocketAddr,
    /// For whom a load balancer in front speaks; `null`: for nobody, or that is not known any more.
    announced: Option<SocketAddr>,
    vip: SocketAddr,
    origin: String,
    origin_address: SocketAddr,
    source: SocketAddr,
    protocol: &'static str,
    role: &'static str,
    stream: String,
    path: &'static str,
    state: &'static str,
    to_origin: Count,
    to_client: Count,
    age_s: f64,
    idle_s: f64,
}

#[derive(Serialize)]
struct Count {
    packets: u64,
    bytes: u64,
}

impl Flow {
    pub fn new(f: &FlowRecord, now: Duration) -> Self {
        let count = |c: Counter| Count { packets: c.packets, bytes: c.bytes };
        Self {
            client: f.client,
            announced: f.announced.as_deref().copied(),
            vip: f.vip,
            origin: f.origin_id.to_string(),
            origin_address: f.origin_address,
            source: f.source,
            protocol: f.protocol.label(),
            role: f.role.label(),
            stream: f.stream.to_string(),
            path: f.path.label(),
            state: f.state.label(),
            to_origin: count(f.to_origin),
            to_client: count(f.to_client),
            age_s: seconds(now.saturating_sub(f.made_at)),
            idle_s: seconds(now.saturating_sub(f.active_at)),
        }
    }
}

/// This balancer's own drain.
pub fn drain(drain: &Drain, now: Duration) -> Value {
    let left = drain.deadline.map(|at| seconds(at.saturating_sub(now)));
    json!({ "since_s": seconds(now.saturating_sub(drain.since)), "deadline_s": left })
}

/// Where origins and streams are kept, and who else keeps them there.
pub fn store(shelf: Option<&ShelfView>) -> Value {
    let Some(shelf) = shelf else { return json!({ "kind": "memory", "up": true }) };
    let state = |lives| match lives {
        Some(true) => "alive",
        Some(false) => "lost",
        None => "unknown",
    };
    let peers = shelf.peers.iter().map(|peer| {
        let about = json!({ "state": state(peer.lives), "draining": peer.is_draining, "version": peer.version });
        (peer.id.to_string(), about)
    });
    json!({
        "kind": "redis",
        "up": shelf.is_up,
        "problem": shelf.trouble.as_ref().map(ToString::to_string),
        "remedy": shelf.trouble.as_ref().map(cluster::remedy),
        "waiting": shelf.waiting,
        "peers": peers.collect::<Map<_, _>>(),
    })
}

pub fn announced(announced: &Announced) -> Value {
    let Announced { said, runs, failures, problem } = announced;
    json!({ "said": said.map(Word::label), "runs": runs, "failures": failures, "problem": problem })
}

pub fn interfaces(all: &[InterfaceStatus]) -> Value {
    let each = all.iter().map(|i| (i.name.clone(), json!({ "xdp": i.mode, "problem": i.problem })));
    Value::Object(each.collect())
}

/// By kind and label: what has happened at least once, in the kernel and in user space.
pub fn reasons(kernel: &[(Reason, ReasonCount)], counters: &Counters) -> Value {
    let mut kinds: Map<String, Value> = Map::new();
    for reason in Reason::ALL {
        let counted = kernel.iter().filter(|(r, _)| r == reason);
        let (packets, bytes) = counted.fold((counters.get(*reason), 0), |(p, b), (_, c)| (p + c.packets, b + c.bytes));
        if packets > 0 {
            let kind = kinds.entry(kind_of(*reason)).or_insert_with(|| json!({}));
            kind[reason.label()] =
                json!({ "number": *reason as u32, "help": reason.help().trim(), "packets": packets, "bytes": bytes });
        }
    }
    Value::Object(kinds)
}

const fn kind_of(reason: Reason) -> &'static str {
    match reason.kind() {
        ReasonKind::Forward => "forward",
        ReasonKind::Upcall => "upcall",
        ReasonKind::Pass => "pass",
        ReasonKind::Drop => "drop",
        ReasonKind::Placement => "placement",
        ReasonKind::Splice => "splice",
        ReasonKind::Limit => "limit",
        ReasonKind::Cluster => "cluster",
    }
}

/// Milliseconds are enough.
pub fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1000.0
}
