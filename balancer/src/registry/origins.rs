//! All origins: registration, replacement, leases, death and return. Pure; time is an argument.

use super::admission::{Admission, Refusal, check_peers};
use super::endpoint::{Endpoints, Transport};
use super::health::ConnectFailure;
use super::origin::{Draining, Due, Origin, Source};
use super::probes::Care;
use super::registration::{Name, OriginSpec, SrsRegistration};
use super::slots::{DesiredOrigin, ORIGINS_MAX, Slots};
use crate::config::DefaultOrigin;
use crate::placement::Load;
use balancer_common::abi::ServiceKind;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The id of the origin that comes from the settings.
pub const DEFAULT_ORIGIN_ID: &str = "default";

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{ORIGINS_MAX} origins are registered already: delete those that are gone")]
    Full,
    #[error("device_id and server are both ids of other origins: give each origin a device_id of its own")]
    NoFreeId,
    #[error("origin {id:?} is run by a newer service and pid: do two servers share this server id or these endpoints?")]
    Superseded { id: Arc<str> },
    #[error("its endpoints belong to origin {id:?} already")]
    EndpointsTaken { id: Arc<str> },
    #[error("a new origin needs endpoints")]
    NoEndpoints,
    #[error("origin {DEFAULT_ORIGIN_ID:?} comes from the settings: change it there")]
    FromSettings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterKind {
    New,
    Renewed,
    /// Another run of the same origin: the flows of the old one are reset.
    Replaced,
    /// Its lease had run out: does it beat less often than its lease allows?
    Returned,
}

impl RegisterKind {
    pub const fn label(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Renewed => "renewed",
            Self::Replaced => "replaced",
            Self::Returned => "returned",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    pub index: u16,
    pub id: Arc<str>,
    pub kind: RegisterKind,
    /// Slots whose flows and streams ended with it.
    pub ended: Vec<u16>,
}

/// Origins by index and by id.
#[derive(Debug)]
pub struct Registry {
    pub(super) slots: Slots,
    admission: Admission,
    pub(super) default_ttl: Duration,
    /// Where the other balancers listen.
    pub(super) peers_listen: Vec<(Transport, SocketAddr)>,
    pub(super) care: Care,
}

impl Registry {
    pub fn new(
        admission: Admission,
        default_ttl: Duration,
        default_origin: Option<&DefaultOrigin>,
    ) -> Result<Self, RegisterError> {
        let mut slots = Slots::default();
        if let Some(settings) = default_origin {
            let origin = from_settings(settings);
            admission.check_configured(&origin.endpoints)?;
            slots.reserve_last(origin);
        }
        Ok(Self { slots, admission, default_ttl, peers_listen: Vec::new(), care: Care::default() })
    }

    /// A beat of an SRS origin.
    pub fn register(&mut self, beat: &SrsRegistration, now: Duration) -> Result<Registered, RegisterError> {
        self.check(&beat.endpoints)?;
        let known = self.slots.find(beat);
        let id = self.slots.id_for(beat, known)?;
        let mut stale: Vec<u16> = self.slots.index_of(&id).filter(|i| Some(*i) != known).into_iter().collect();
        for (index, other) in self.slots.at_place(&beat.endpoints).filter(|(i, _)| Some(*i) != known) {
            if other.source == Source::Api {
                return Err(RegisterError::EndpointsTaken { id: other.id.clone() });
            }
            if !stale.contains(&index) {
                stale.push(index);
            }
        }
        if let Some(origin) = known.and_then(|index| self.slots.get(index))
            && origin.was_superseded(&beat.incarnation)
        {
            return Err(RegisterError::Superseded { id: origin.id.clone() });
        }
        for index in &stale {
            self.slots.leave(*index, now);
        }
        let Some(index) = known else {
            let mut origin = Origin::new(id.clone(), Source::Srs);
            origin.take_beat(beat);
            origin.renew(self.default_ttl, now);
            let index = self.slots.occupy(origin).ok_or(RegisterError::Full)?;
            return Ok(Registered { index, id, kind: RegisterKind::New, ended: stale });
        };
        let kind = self.refresh(index, now, |origin| origin.take_beat(beat));
        let id = self.slots.rename(index, id);
        let ended = stale.into_iter().chain((kind == RegisterKind::Replaced).then_some(index)).collect();
        Ok(Registered { index, id, kind, ended })
    }

    /// An operator's word, or the registration of any other media server.
    pub fn put(&mut self, id: &Name, spec: &OriginSpec, now: Duration) -> Result<Registered, RegisterError> {
        let mut known = self.slots.index_of(id);
        if &**id == DEFAULT_ORIGIN_ID || known.is_some_and(|i| self.is_default(i)) {
            return Err(RegisterError::FromSettings);
        }
        if let Some(endpoints) = &spec.endpoints {
            self.check(endpoints)?;
            match self.slots.at_place(endpoints).find(|(i, _)| Some(*i) != known) {
                None => {}
                // What has only named itself until now is given its name.
                Some((index, other)) if known.is_none() && other.source != Source::Api => known = Some(index),
                Some((_, other)) => return Err(RegisterError::EndpointsTaken { id: other.id.clone() }),
            }
        }
        let id = id.shared();
        let Some(index) = known else {
            if spec.endpoints.as_ref().is_none_or(Endpoints::is_empty) {
                return Err(RegisterError::NoEndpoints);
            }
            let mut origin = Origin::new(id.clone(), Source::Api);
            origin.take_spec(spec);
            origin.renew(self.default_ttl, now);
            let index = self.slots.occupy(origin).ok_or(RegisterError::Full)?;
            return Ok(Registered { index, id, kind: RegisterKind::New, ended: Vec::new() });
        };
        let kind = self.refresh(index, now, |origin| origin.take_spec(spec));
        self.slots.set_id(index, id.clone());
        let ended = (kind == RegisterKind::Replaced).then_some(index).into_iter().collect();
        Ok(Registered { index, id, kind, ended })
    }

    /// A registration of an origin that is known: `take` applies it and answers whether another run has begun.
    fn refresh(&mut self, index: u16, now: Duration, take: impl FnOnce(&mut Origin) -> bool) -> RegisterKind {
        let default_ttl = self.default_ttl;
        let Some(origin) = self.slots.get_mut(index) else { return RegisterKind::New };
        let (was_dead, was_expired) = (origin.health.is_dead(), origin.health.is_expired());
        let endpoints = origin.endpoints.clone();
        let replaced = take(origin);
        // What happened at other addresses, or to another run, says nothing about this one. A mere beat does not end a
        // back-off: it comes from the origin and says nothing about the way to it.
        if replaced || was_expired || origin.endpoints != endpoints {
            origin.health = origin.health.anew(was_expired || (replaced && !was_dead), now);
        }
        origin.renew(default_ttl, now);
        self.slots.changed |= was_dead != origin.health.is_dead();
        if replaced {
            self.slots.end_flows(index);
        }
        match (replaced, was_expired) {
            (true, _) => RegisterKind::Replaced,
            (false, true) => RegisterKind::Returned,
            (false, false) => RegisterKind::Renewed,
        }
    }

    pub(super) fn check(&self, endpoints: &Endpoints) -> Result<(), Refusal> {
        self.admission.check(endpoints)?;
        check_peers(&self.peers_listen, endpoints)
    }

    fn is_default(&self, index: u16) -> bool {
        self.slots.get(index).is_some_and(|o| o.source == Source::Default)
    }

    /// Deletes an origin: its flows end, and its slot rests until they are gone.
    pub fn remove(&mut self, id: &str, now: Duration) -> Result<Option<u16>, RegisterError> {
        let Some(index) = self.slots.index_of(id) else { return Ok(None) };
        if self.is_default(index) {
            return Err(RegisterError::FromSettings);
        }
        self.slots.leave(index, now);
        Ok(Some(index))
    }

    /// No new streams; what is there stays until it ends or `deadline` resets it.
    pub fn drain(&mut self, id: &str, deadline: Option<Duration>) -> Option<u16> {
        let index = self.slots.index_of(id)?;
        self.slots.get_mut(index)?.draining = Some(Draining { deadline });
        Some(index)
    }

    pub fn undrain(&mut self, id: &str) -> Option<u16> {
        let index = self.slots.index_of(id)?;
        self.slots.get_mut(index)?.draining = None;
        Some(index)
    }

    /// An origin that an earlier process left in the `ORIGINS` map, before anything registers. A default lease runs;
    /// its next registration, known by its id, keeps index and generation. `false`: the slot is not to be had.
    pub fn adopt(&mut self, index: u16, id: &str, generation: u32, now: Duration) -> bool {
        let mut origin = Origin::new(id.into(), Source::Adopted);
        origin.renew(self.default_ttl, now);
        self.slots.adopt(index, origin, generation)
    }

    /// Where an adopted origin was reached, from the flows that were adopted with it.
    pub fn learn_endpoint(&mut self, index: u16, kind: ServiceKind, address: SocketAddr) {
        if let Some(origin) = self.slots.get_mut(index)
            && origin.source == Source::Adopted
        {
            origin.ip.get_or_insert(address.ip());
            // Beyond the limit there are enough to choose from.
            let _ = origin.endpoints.add(kind, address);
            origin.health.succeeded(kind);
        }
    }

    pub fn get(&self, index: u16) -> Option<&Origin> {
        self.slots.get(index)
    }

    pub fn index_of(&self, id: &str) -> Option<u16> {
        self.slots.index_of(id)
    }

    /// Whether an origin may have this address.
    pub fn admits(&self, kind: ServiceKind, address: SocketAddr) -> bool {
        let mut alone = Endpoints::default();
        alone.add(kind, address).is_ok()
            && self.admission.check(&alone).is_ok()
            && check_peers(&self.peers_listen, &alone).is_ok()
    }

    /// Everything that is registered, by index.
    pub fn live(&self) -> impl Iterator<Item = (u16, &Origin)> {
        self.slots.live()
    }

    pub fn generation(&self, index: u16) -> u32 {
        self.slots.slot(index).map_or(0, |s| s.generation)
    }

    /// Flows placed on the slot, those that are being reset included.
    pub fn flows(&self, index: u16) -> u32 {
        self.slots.slot(index).map_or(0, |s| s.flows)
    }

    /// Whether what was placed on this generation of the origin still holds.
    pub fn is_current(&self, (index, generation): (u16, u16)) -> bool {
        self.slots.get(index).is_some() && self.generation(index) as u16 == generation
    }

    /// A connection failed. Answers whether the origin died of it; its flows and streams end then.
    pub fn connect_failed(
        &mut self,
        placed_on: (u16, u16),
        kind: ServiceKind,
        failure: ConnectFailure,
        tried_at: Duration,
        now: Duration,
    ) -> bool {
        if !self.is_current(placed_on) {
            return false;
        }
        let Some(origin) = self.slots.get_mut(placed_on.0) else { return false };
        let died = origin.health.failed(kind, failure, tried_at, origin.load.heard_at, now);
        if died {
            self.slots.end_flows(placed_on.0);
        }
        died
    }

    /// A connection stands. Answers whether the origin was dead until now: the `ORIGINS` map must say so before any of
    /// its flows is handed to the kernel.
    pub fn connect_succeeded(&mut self, placed_on: (u16, u16), kind: ServiceKind) -> bool {
        if !self.is_current(placed_on) {
            return false;
        }
        let Some(origin) = self.slots.get_mut(placed_on.0) else { return false };
        let revived = origin.health.succeeded(kind);
        self.slots.changed |= revived;
        revived
    }

    pub fn flow_opened(&mut self, index: u16) {
        self.slots.count_flow(index, true);
    }

    pub fn flow_closed(&mut self, index: u16) {
        self.slots.count_flow(index, false);
    }

    /// A measurement; origins that are not in it carry nothing.
    pub fn set_loads(&mut self, loads: &HashMap<u16, Load>) {
        for (index, origin) in self.slots.live_mut() {
            origin.load = origin.load.measured(loads.get(&index).copied().unwrap_or_default());
        }
    }

    /// Leases, drain deadlines, memory of the dead. Answers the slots whose flows end now.
    pub fn tick(&mut self, now: Duration) -> Vec<u16> {
        let mut ended = Vec::new();
        let default_ttl = self.default_ttl;
        for index in 1..=ORIGINS_MAX as u16 {
            let Some(origin) = self.slots.get_mut(index) else { continue };
            origin.health.tick(now);
            // Who was adopted and does not beat lives as long as its flows do: it may be one that never beats.
            if origin.source == Source::Adopted
                && let (Some(heard_at), Some(expires_at)) = (origin.load.heard_at, &mut origin.expires_at)
            {
                *expires_at = (*expires_at).max(heard_at + default_ttl);
            }
            match origin.due(now) {
                None => {}
                Some(Due::Expired) if !origin.health.expire() => {}
                Some(Due::Expired) => {
                    self.slots.end_flows(index);
                    ended.push(index);
                }
                Some(Due::DrainDeadline) => {
                    origin.draining = Some(Draining { deadline: None });
                    self.slots.end_flows(index);
                    ended.push(index);
                }
                Some(Due::Forget) => {
                    self.slots.leave(index, now);
                    ended.push(index);
                }
            }
        }
        self.slots.free_rested(now);
        ended
    }

    /// What the `ORIGINS` map should say; slots that are not listed were never used.
    pub fn desired(&self) -> Vec<DesiredOrigin> {
        self.slots.desired()
    }

    pub fn is_changed(&self) -> bool {
        self.slots.changed
    }

    /// Whether [`Registry::desired`] says something new since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.slots.changed)
    }
}

fn from_settings(settings: &DefaultOrigin) -> Origin {
    let mut origin = Origin::new(DEFAULT_ORIGIN_ID.into(), Source::Default);
    let ip = settings.ip.to_canonical();
    origin.ip = Some(ip);
    for (kind, port) in [
        (ServiceKind::Rtmp, settings.rtmp),
        (ServiceKind::Http, settings.http),
        (ServiceKind::Api, settings.api),
        (ServiceKind::WebRtc, settings.rtc),
        (ServiceKind::Srt, settings.srt),
    ] {
        if let Some(port) = port {
            // One of each kind is within any limit.
            let _ = origin.endpoints.add(kind, SocketAddr::new(ip, port));
        }
    }
    origin
}
