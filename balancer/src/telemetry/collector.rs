//! What is read at the moment of a scrape.

use super::facts::Facts;
use crate::counters::Counters;
use crate::registry::OriginStatus;
use crate::store::{Clock, Store};
use balancer_common::abi::{Reason, ReasonKind};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use std::fmt;
use std::sync::Arc;

pub(super) struct Scrape {
    pub store: Arc<Store>,
    pub counters: Arc<Counters>,
    pub facts: Arc<dyn Facts>,
    pub clock: Clock,
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

/// A family of one metric: name without prefix and unit, help, unit.
type Declaration = (&'static str, &'static str, Option<Unit>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let e = &mut encoder;
        self.flows(e)?;
        self.forwarded(e)?;
        self.reasons(e)?;
        self.origins(e)?;
        self.maps(e)?;
        self.announced(e)?;
        let up = ("store_up", "1 while the store of origins and streams answers; in memory it always does", None);
        let (kind, is_up) = self.store.shelf_is_up().map_or(("memory", true), |is_up| ("redis", is_up));
        gauges(e, up, [([("kind", kind)], u64::from(is_up))])?;
        let build = ("build_info", "The version that runs; always 1", None);
        gauges(e, build, [([("version", env!("CARGO_PKG_VERSION"))], 1)])
    }
}

impl Scrape {
    fn flows(&self, e: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let rows = self.facts.flow_counts().into_iter().map(|((protocol, role, path), count)| {
            ([("protocol", protocol.label()), ("role", role.label()), ("path", path.label())], count)
        });
        gauges(e, ("flows", "Conversations between a client and an origin; path says who copies the bytes", None), rows)
    }

    fn forwarded(&self, e: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kernel = self.facts.reasons();
        let of = |reason| kernel.iter().find(|(r, _)| *r == reason).map(|(_, c)| *c).unwrap_or_default();
        let (to_origin, to_client) = (of(Reason::ToOrigin), of(Reason::ToClient));
        let relayed = self.facts.relayed();
        let rows = [
            ("kernel", "to_origin", to_origin.packets, to_origin.bytes),
            ("kernel", "to_client", to_client.packets, to_client.bytes),
            ("relay", "to_origin", relayed.to_origin.packets, relayed.to_origin.bytes),
            ("relay", "to_client", relayed.to_client.packets, relayed.to_client.bytes),
        ];
        let labels = |path, direction| [("path", path), ("direction", direction)];
        counters(
            e,
            ("forwarded_packets", "Packets forwarded by the kernel; reads copied by relays", None),
            rows.map(|(path, direction, packets, _)| (labels(path, direction), packets)),
        )?;
        let help = "Frames forwarded by the kernel, headers included; payload copied by relays";
        counters(
            e,
            ("forwarded", help, Some(Unit::Bytes)),
            rows.map(|(path, direction, _, bytes)| (labels(path, direction), bytes)),
        )
    }

    /// One family for each kind of reason; every reason is there from the start, at 0.
    fn reasons(&self, e: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kernel = self.facts.reasons();
        let families: [(ReasonKind, &'static str, Declaration); 8] = [
            (ReasonKind::Upcall, "reason", ("upcalls", "Packets handed to the slow path", None)),
            (ReasonKind::Drop, "reason", ("drops", "Packets dropped by the fast path", None)),
            (ReasonKind::Pass, "reason", ("passes", "Packets of others left to the host's stack", None)),
            (ReasonKind::Forward, "reason", ("forwards", "Packets sent by the fast path", None)),
            (ReasonKind::Splice, "result", ("splices", "Hand-overs to the kernel, by how they ended", None)),
            (ReasonKind::Placement, "reason", ("placements", "Streams placed on origins, by why there", None)),
            (ReasonKind::Limit, "reason", ("limits", "Times that a limit was reached", None)),
            (ReasonKind::Cluster, "reason", ("cluster", "What several balancers did together", None)),
        ];
        for (kind, label, declaration) in families {
            let all = Reason::ALL.iter().filter(|r| r.kind() == kind);
            let rows = all.map(|reason| {
                let in_kernel = kernel.iter().filter(|(r, _)| r == reason).map(|(_, c)| c.packets).sum::<u64>();
                ([(label, reason.label())], in_kernel + self.counters.get(*reason))
            });
            counters(e, declaration, rows)?;
        }
        Ok(())
    }

    fn origins(&self, e: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let origins = self.store.origins(self.clock.now());
        let up = origins.iter().map(|o| ([("origin", &*o.id)], u64::from(o.status != OriginStatus::Down)));
        gauges(e, ("origin_up", "1 unless the origin is down; a draining origin is up", None), up)?;
        let streams = origins.iter().map(|o| ([("origin", &*o.id)], u64::from(o.streams)));
        gauges(e, ("origin_streams", "Streams that are on the origin", None), streams)
    }

    fn announced(&self, e: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let ready = e.encode_descriptor("ready", "1 while this balancer wants clients.", None, MetricType::Gauge)?;
        ConstGauge::new(u64::from(self.facts.ready().is_ok())).encode(ready)?;
        let Some(announced) = self.facts.announced() else { return Ok(()) };
        let rows = [("done", announced.runs - announced.failures), ("failed", announced.failures)];
        let rows = rows.map(|(result, count)| ([("result", result)], count));
        counters(e, ("announcements", "Runs of announce_command", None), rows)
    }

    fn maps(&self, e: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let maps = self.facts.map_usage();
        let entries = maps.iter().map(|m| ([("map", m.name)], m.entries));
        gauges(e, ("map_entries", "Entries in a map of the fast path", None), entries)?;
        let capacity = maps.iter().map(|m| ([("map", m.name)], m.capacity));
        gauges(e, ("map_capacity", "Entries that a map of the fast path can hold", None), capacity)
    }
}

fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): Declaration,
    rows: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, &format!("{help}."), unit.as_ref(), MetricType::Counter)?;
    for (labels, value) in rows {
        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): Declaration,
    rows: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, &format!("{help}."), unit.as_ref(), MetricType::Gauge)?;
    for (labels, value) in rows {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
