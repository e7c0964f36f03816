//! The JSON of origins, streams, flows and the balancer's own state. Field names are a contract; new ones may be added.

use crate::counters::Counters;
use crate::flow::{Counter, FlowRecord};
use crate::registry::{Endpoints, KINDS, kind_label};
use crate::store::{OriginView, StreamView};
use crate::telemetry::InterfaceStatus;
use balancer_common::abi::{Reason, ReasonCount, ReasonKind};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// `{"origins": […]}` and the like.
pub fn list(name: &str, items: Vec<Value>) -> Value {
    json!({ name: items })
}

pub fn origin(o: &OriginView) -> Value {
    json!({
        "id": &*o.id,
        "index": o.index,
        "generation": o.generation,
        "device_id": o.device_id.as_deref(),
        "server": o.server.as_deref(),
        "service": o.service.as_deref(),
        "pid": o.pid.as_deref(),
        "ip": o.ip,
        "endpoints": endpoints(&o.endpoints),
        "state": o.status.label(),
        "why": o.why.map(|w| w.text()),
        "retry_s": o.retry_in.map(seconds),
        "draining": o.draining,
        "role": o.role.label(),
        "weight": o.weight,
        "capacity": {
            "bits_per_second": o.capacity.bits_per_second,
            "flows": o.capacity.flows,
            "streams": o.capacity.streams,
        },
        "streams": o.streams,
        "flows": o.flows,
        "bits_per_second_in": o.rate.bits_per_second_in,
        "bits_per_second_out": o.rate.bits_per_second_out,
        "lease_s": o.lease.map(seconds),
    })
}

fn endpoints(endpoints: &Endpoints) -> Value {
    let lists = KINDS.into_iter().map(|kind| (kind_label(kind).to_owned(), json!(endpoints.get(kind))));
    Value::Object(lists.filter(|(_, list)| list.as_array().is_some_and(|l| !l.is_empty())).collect())
}

pub fn stream(s: &StreamView) -> Value {
    json!({
        "key": s.key.to_string(),
        "origin": s.origin.as_deref(),
        "publisher": s.publisher,
        "players": s.players,
        "protocols": s.protocols.iter().map(|p| p.label()).collect::<Vec<_>>(),
        "bits_per_second_in": s.rate.bits_per_second_in,
        "bits_per_second_out": s.rate.bits_per_second_out,
    })
}

/// Written without a tree of values between: there may be a million.
#[derive(Serialize)]
pub struct Flow {
    client: std::net::SocketAddr,
    vip: std::net::SocketAddr,
    origin: String,
    origin_address: std::net::SocketAddr,
    source: std::net::SocketAddr,
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
    }
}

/// Milliseconds are enough.
pub fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1000.0
}
