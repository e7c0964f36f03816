//! An origin as all balancers know it: what one of them tells the others, and what becomes of it there.
//!
//! Health is not among it: each balancer has its own way to the origin, and sees for itself whether that works.

use super::endpoint::{Endpoints, Transport};
use super::origin::{Draining, Origin, Source};
use super::origins::{RegisterError, Registry};
use super::registration::{Capacity, Incarnation, Lease, Name, OriginRole};
use crate::placement::Load;
use crate::recognize::proxy_header::ProxyVersion;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedOrigin {
    pub id: Name,
    /// Which run of it this is: a later one has a higher number. 0 is no run that anybody has told of.
    pub epoch: u64,
    /// [`Source::Srs`] or [`Source::Api`].
    pub source: Source,
    pub device_id: Option<Name>,
    pub server: Option<Name>,
    pub incarnation: Option<Incarnation>,
    pub ip: Option<IpAddr>,
    pub endpoints: Endpoints,
    pub weight: u32,
    pub capacity: Capacity,
    pub role: OriginRole,
    pub proxy_protocol: Option<ProxyVersion>,
    /// Never [`Lease::Default`], which may be another one elsewhere.
    pub lease: Lease,
    /// By the clock of this process; `None`: never.
    pub expires_at: Option<Duration>,
    pub draining: Option<Draining>,
}

/// Clocks are compared to less than that, and leases are longer.
const LATER_MIN: Duration = Duration::from_secs(1);

impl SharedOrigin {
    /// Two balancers that heard of a run at once have given it two dates; that ends no flow.
    fn is_same_run(&self, origin: &Origin) -> bool {
        self.incarnation.is_some() && self.incarnation == origin.incarnation
    }
}

/// What was told of an origin is known now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub index: u16,
    /// Slots whose flows and streams ended with it.
    pub ended: Vec<u16>,
}

impl Registry {
    /// What to tell the others. `None`: it is of no concern to them, or known too little.
    pub fn shared(&self, index: u16) -> Option<SharedOrigin> {
        let origin = self.get(index).filter(|o| matches!(o.source, Source::Srs | Source::Api) && o.epoch != 0)?;
        let lease = match origin.lease {
            Lease::Default => Lease::For(self.default_ttl),
            lease => lease,
        };
        Some(SharedOrigin {
            id: Name::parse(&origin.id).ok()?,
            epoch: origin.epoch,
            source: origin.source,
            device_id: origin.device_id.clone(),
            server: origin.server.clone(),
            incarnation: origin.incarnation.clone(),
            ip: origin.ip,
            endpoints: origin.endpoints.clone(),
            weight: origin.weight,
            capacity: origin.capacity,
            role: origin.role,
            proxy_protocol: origin.proxy_protocol,
            lease,
            expires_at: origin.expires_at,
            draining: origin.draining,
        })
    }

    /// Another balancer tells of an origin. `Ok(None)`: it is old news.
    pub fn apply(&mut self, told: &SharedOrigin, now: Duration) -> Result<Option<Applied>, RegisterError> {
        self.check(&told.endpoints)?;
        if told.endpoints.is_empty() {
            return Err(RegisterError::NoEndpoints);
        }
        let known = self.index_of(&told.id);
        if known.and_then(|index| self.get(index)).is_some_and(|o| o.source == Source::Default) {
            return Err(RegisterError::FromSettings);
        }
        let is_old = |origin: &Origin| origin.epoch > told.epoch && !told.is_same_run(origin);
        if known.and_then(|index| self.get(index)).is_some_and(is_old) {
            return Ok(None);
        }
        // Of two that say that they listen at one place, the later one does; everywhere the same one.
        let others = self.slots.at_place(&told.endpoints).filter(|(index, _)| Some(*index) != known);
        let others: Vec<(u16, u64, _)> = others.map(|(index, o)| (index, o.epoch, o.id.clone())).collect();
        let is_later = |(_, epoch, id): &&(u16, u64, Arc<str>)| (*epoch, &**id) > (told.epoch, &*told.id);
        if let Some((.., id)) = others.iter().find(is_later) {
            return Err(RegisterError::EndpointsTaken { id: id.clone() });
        }
        let mut ended: Vec<u16> = others.into_iter().map(|(index, ..)| index).collect();
        for index in &ended {
            self.slots.leave(*index, now);
        }
        let Some(index) = known else {
            let mut origin = Origin::new(told.id.shared(), told.source);
            origin.take_shared(told);
            let index = self.slots.occupy(origin).ok_or(RegisterError::Full)?;
            return Ok(Some(Applied { index, ended }));
        };
        if self.refresh_shared(index, told, now) {
            ended.push(index);
        }
        Ok(Some(Applied { index, ended }))
    }

    /// Answers whether another run has begun.
    fn refresh_shared(&mut self, index: u16, told: &SharedOrigin, now: Duration) -> bool {
        let Some(origin) = self.slots.get_mut(index) else { return false };
        let (was_dead, was_expired) = (origin.health.is_dead(), origin.health.is_expired());
        let is_replaced = origin.epoch != 0 && told.epoch > origin.epoch && !told.is_same_run(origin);
        let is_elsewhere = !origin.endpoints.is_empty() && origin.endpoints != told.endpoints;
        let is_alive = told.expires_at.is_none_or(|at| at > now);
        origin.take_shared(told);
        if is_replaced || is_elsewhere || (was_expired && is_alive) {
            // It was seen to end here too; another balancer's word does not undo that.
            origin.health = origin.health.anew(was_expired || (is_replaced && !was_dead), now);
        }
        self.slots.changed |= was_dead != self.slots.get(index).is_some_and(|o| o.health.is_dead());
        if is_replaced {
            self.slots.end_flows(index);
        }
        is_replaced
    }

    /// Nobody here hears of the beats of origins that beat elsewhere: their leases go on.
    pub fn hold_leases(&mut self, now: Duration) {
        let until = now + self.default_ttl;
        let held = self.slots.live_mut().filter(|(_, origin)| origin.beats_elsewhere && !origin.health.is_expired());
        for expires_at in held.filter_map(|(_, origin)| origin.expires_at.as_mut()) {
            *expires_at = (*expires_at).max(until);
        }
    }

    /// What other balancers bring the origins; those that are not listed get nothing from them.
    pub fn set_others(&mut self, loads: &HashMap<u16, (Load, u32)>) {
        for (index, origin) in self.slots.live_mut() {
            (origin.others, origin.others_flows) = loads.get(&index).copied().unwrap_or_default();
        }
    }

    /// Where other balancers listen: no origin may be there.
    pub fn set_peers_listen(&mut self, listens: Vec<(Transport, SocketAddr)>) {
        self.peers_listen = listens;
    }

    /// The date of the run that it is in.
    pub fn set_epoch(&mut self, index: u16, epoch: u64) {
        if let Some(origin) = self.slots.get_mut(index).filter(|o| o.source != Source::Default) {
            origin.epoch = epoch;
        }
    }

    pub fn epoch(&self, index: u16) -> u64 {
        self.get(index).map_or(0, |origin| origin.epoch)
    }

    /// Index and generation of an origin, as long as it is in the run that is meant.
    pub fn current(&self, id: &str, epoch: u64) -> Option<(u16, u16)> {
        let index = self.index_of(id)?;
        (self.epoch(index) == epoch).then(|| (index, self.generation(index) as u16))
    }
}

impl Origin {
    fn take_shared(&mut self, told: &SharedOrigin) {
        self.source = told.source;
        self.epoch = told.epoch;
        self.device_id.clone_from(&told.device_id);
        self.server.clone_from(&told.server);
        if let Some(incarnation) = &told.incarnation {
            self.run(incarnation);
        }
        self.ip = told.ip;
        self.endpoints.clone_from(&told.endpoints);
        self.weight = told.weight;
        self.capacity = told.capacity;
        self.role = told.role;
        self.proxy_protocol = told.proxy_protocol;
        self.lease = told.lease;
        // Our own word comes back, too.
        let is_later = |(ours, theirs): (Duration, Duration)| theirs > ours + LATER_MIN;
        self.beats_elsewhere |= self.expires_at.zip(told.expires_at).is_none_or(is_later);
        self.expires_at = told.expires_at;
        self.draining = told.draining;
    }
}
