//! Which origins could take something new.

use super::choose::Candidate;
use super::place::PlaceError;
use crate::flow::Role;
use crate::registry::{Origin, OriginRole, Registry, Source, Streams};
use balancer_common::abi::{Reason, ServiceKind};
use std::time::Duration;

/// The origins that could take something new.
pub(super) struct Available<'a> {
    candidates: Vec<Candidate<'a>>,
    /// The default origin, for when there is no other.
    fallback: Option<u16>,
    /// Some were left out because they carry as much as they may.
    full: bool,
}

pub(super) fn available<'a>(
    registry: &'a Registry,
    streams: &Streams,
    (role, service): (Role, ServiceKind),
    exclude: &[u16],
    now: Duration,
) -> Available<'a> {
    let mut available = Available { candidates: Vec::new(), fallback: None, full: false };
    let mut held = Vec::new();
    for (index, origin) in registry.live() {
        if exclude.contains(&index) || !takes_new(origin, role, service, now) {
            continue;
        }
        if origin.source == Source::Default {
            available.fallback = Some(index);
            continue;
        }
        let flows = registry.flows(index);
        if at_capacity(origin, flows, streams.on(index)) {
            available.full = true;
            continue;
        }
        let share = origin.health.share_percent(registry.slow_start(), now);
        let cost = origin.load.cost(flows).saturating_add(origin.others.cost(origin.others_flows));
        let weight = origin.weight;
        let candidate = Candidate { index, id: &origin.id, weight, share: weight * share, cost };
        if origin.health.held_until().is_some() {
            held.push(candidate);
        } else {
            available.candidates.push(candidate);
        }
    }
    // Better one that dies often than nobody.
    if available.candidates.is_empty() && available.fallback.is_none() {
        available.candidates = held;
    }
    available
}

impl Available<'_> {
    pub fn only(&mut self, is_fit: impl Fn(u16) -> bool) {
        self.candidates.retain(|candidate| is_fit(candidate.index));
    }

    /// Of several, those that are known for it.
    pub fn prefer(&mut self, is_known: impl Fn(u16) -> bool) {
        if self.candidates.iter().any(|candidate| is_known(candidate.index)) {
            self.candidates.retain(|candidate| is_known(candidate.index));
        }
    }

    pub fn pick(
        &self,
        choose: impl FnOnce(&[Candidate<'_>]) -> Option<u16>,
        reason: Reason,
    ) -> Result<(u16, Reason), PlaceError> {
        match (choose(&self.candidates), self.fallback) {
            (Some(index), _) => Ok((index, reason)),
            (None, Some(index)) => Ok((index, Reason::PlacedDefault)),
            (None, None) if self.full => Err(PlaceError::AtCapacity),
            (None, None) => Err(PlaceError::NoOrigin),
        }
    }
}

pub(super) fn offers(origin: &Origin, service: ServiceKind) -> bool {
    let has = |kind| !origin.endpoints.get(kind).is_empty();
    has(service) && (service != ServiceKind::WebRtc || has(ServiceKind::Api))
}

pub(super) fn takes_new(origin: &Origin, role: Role, service: ServiceKind, now: Duration) -> bool {
    offers(origin, service)
        && origin.draining.is_none()
        && origin.health.available(service, now)
        && (role == Role::Play || origin.role == OriginRole::Origin)
}

pub(super) fn at_capacity(origin: &Origin, flows: u32, streams: u32) -> bool {
    let rate = origin.load.rate;
    let bits = rate.bits_per_second_in.saturating_add(rate.bits_per_second_out).saturating_add(origin.load.pending);
    origin.capacity.bits_per_second.is_some_and(|max| bits >= max)
        || origin.capacity.flows.is_some_and(|max| flows >= max)
        || origin.capacity.streams.is_some_and(|max| streams >= max)
}
