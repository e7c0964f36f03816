//! Viewers of a published stream, over its own origin, the copies that it is allowed, and the edges.
//!
//! `copies` bounds how many origins serve one stream, its own among them. Edges are not counted: who registers an edge
//! wants it to be used. What an edge does not carry yet costs it one more stream, the one that it has to fetch.

use super::available::{at_capacity, takes_new};
use super::choose::{Candidate, least_load, rendezvous};
use super::load::STREAM_COST;
use super::place::{PlaceRequest, Placer};
use crate::config::Policy;
use crate::flow::Role;
use crate::registry::{Mapping, OriginRole, Registry, Source, Stream, Streams};
use balancer_common::abi::ServiceKind;
use std::time::Duration;

/// A measured rate below this is that of a stream which has only begun.
const RATE_MIN: u64 = 100_000;

impl Placer {
    /// Where a viewer of a published stream goes: to its own origin, or to one of the others. `None`: there is no other.
    /// `home`: whether its own origin can take the viewer.
    pub(super) fn spread(
        &mut self,
        registry: &Registry,
        streams: &Streams,
        request: &PlaceRequest<'_>,
        (stream, mapping, home): (&Stream, Mapping, bool),
        service: ServiceKind,
        now: Duration,
    ) -> Option<u16> {
        let others = others(registry, stream, mapping, self.sharing.copies);
        let can = |index: &u16| {
            let Some(origin) = registry.get(*index).filter(|_| !request.exclude.contains(index)) else { return false };
            let placed_on = (*index, registry.generation(*index) as u16);
            takes_new(origin, Role::Play, service, now)
                && origin.health.held_until().is_none()
                && !at_capacity(origin, registry.flows(*index), streams.on(*index))
                && !stream.is_barred(*index, now)
                && stream.may_be_carried_by(placed_on)
        };
        let others: Vec<u16> = others.into_iter().filter(can).collect();
        if others.is_empty() {
            return None;
        }
        let home = Some(mapping.origin).filter(|index| {
            let full = |o| at_capacity(o, registry.flows(*index), 0);
            home && !registry.get(*index).is_some_and(full)
        });
        let rate = expected(stream);
        let candidate = |index: u16| {
            let origin = registry.get(index)?;
            let has_it = index == mapping.origin || stream.is_on(index);
            let own = origin.load.cost(registry.flows(index)).saturating_add(origin.others.cost(origin.others_flows));
            let cost = own.saturating_add(if has_it { 0 } else { rate });
            let weight = origin.weight;
            let share = weight * origin.health.share_percent(registry.slow_start(), now);
            Some(Candidate { index, id: &origin.id, weight, share, cost })
        };
        let candidates: Vec<Candidate<'_>> = home.into_iter().chain(others).filter_map(candidate).collect();
        // The client's name in it: else all viewers of a stream would go to the same one.
        let name = format!("{} {}", request.key, request.client);
        match self.policy() {
            Policy::LeastLoad => least_load(&name, &candidates, rate, None),
            Policy::Rendezvous => rendezvous(&name, &candidates),
            Policy::RoundRobin => self.viewers_in_turn.next(&candidates),
        }
    }
}

/// What one more viewer takes.
pub(super) fn expected(stream: &Stream) -> u64 {
    let rate = stream.rate.bits_per_second_in;
    if rate < RATE_MIN { STREAM_COST } else { rate }
}

/// Origins that say that they have it, as many as are allowed beside its own, and all edges.
fn others(registry: &Registry, stream: &Stream, mapping: Mapping, copies_max: usize) -> Vec<u16> {
    let current = |placed_on: &(u16, u16)| registry.is_current(*placed_on) && placed_on.0 != mapping.origin;
    let told = stream.told_copies().filter(current).map(|(index, _)| index).take(copies_max.saturating_sub(1));
    let mut others: Vec<u16> = told.collect();
    let is_edge = |o: &crate::registry::Origin| o.role == OriginRole::Edge && o.source != Source::Default;
    let edges = registry.live().filter(|(index, o)| is_edge(o) && *index != mapping.origin).map(|(index, _)| index);
    others.extend(edges.filter(|edge| !others.contains(edge)).collect::<Vec<_>>());
    others
}
