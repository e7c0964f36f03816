//! One origin as the registry holds it.

use super::endpoint::Endpoints;
use super::health::{Health, ProbeSpec};
use super::registration::{
    Capacity, Incarnation, Lease, Name, OriginRole, OriginSpec, SrsRegistration, WEIGHT_DEFAULT,
};
use crate::placement::Load;
use crate::recognize::proxy_header::ProxyVersion;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Who vouches for an origin, which decides who may change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `POST /api/v1/srs/register`: its id follows what the beats say.
    Srs,
    /// `PUT /api/v1/origins/{id}`: the id is the operator's.
    Api,
    /// The settings; never expires, used when nobody else can.
    Default,
    /// Read back from the maps; known by its id alone until it registers again.
    Adopted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginStatus {
    Healthy,
    Draining,
    Down,
}

impl OriginStatus {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Draining => "draining",
            Self::Down => "down",
        }
    }
}

/// An operator's word: only undrain or deletion ends it, not a beat and not a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draining {
    /// When what is still there is reset.
    pub deadline: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct Origin {
    pub id: Arc<str>,
    pub source: Source,
    pub device_id: Option<Name>,
    pub server: Option<Name>,
    pub incarnation: Option<Incarnation>,
    pub ip: Option<IpAddr>,
    pub endpoints: Endpoints,
    pub weight: u32,
    pub capacity: Capacity,
    pub role: OriginRole,
    /// The header that its TCP listeners expect before anything else.
    pub proxy_protocol: Option<ProxyVersion>,
    pub probe: ProbeSpec,
    pub lease: Lease,
    /// `None`: never.
    pub expires_at: Option<Duration>,
    /// Its lease was last renewed at another balancer.
    pub beats_elsewhere: bool,
    pub draining: Option<Draining>,
    /// Which run of it this is, where several balancers share it; 0: they do not.
    pub epoch: u64,
    pub health: Health,
    pub load: Load,
    /// What other balancers bring it.
    pub others: Load,
    pub others_flows: u32,
    /// Runs that a newer one has replaced.
    superseded: VecDeque<Incarnation>,
}

/// How long a dead origin stays listed, so that an operator sees why it is gone.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// The same for one that was being drained: a drain outlasts a maintenance.
const FORGET_DRAINING_AFTER: Duration = Duration::from_secs(86_400);
/// Enough to recognize two servers that fight over one name.
const SUPERSEDED_MAX: usize = 4;

impl Origin {
    pub fn new(id: Arc<str>, source: Source) -> Self {
        Self {
            id,
            source,
            device_id: None,
            server: None,
            incarnation: None,
            ip: None,
            endpoints: Endpoints::default(),
            weight: WEIGHT_DEFAULT,
            capacity: Capacity::default(),
            role: OriginRole::default(),
            proxy_protocol: None,
            probe: ProbeSpec::default(),
            lease: Lease::Default,
            expires_at: None,
            beats_elsewhere: false,
            draining: None,
            epoch: 0,
            health: Health::default(),
            load: Load::default(),
            others: Load::default(),
            others_flows: 0,
            superseded: VecDeque::new(),
        }
    }

    /// Suspicion counts as down: it gets no new streams.
    pub fn status(&self) -> OriginStatus {
        match (self.health.why(), self.draining) {
            (Some(_), _) => OriginStatus::Down,
            (None, Some(_)) => OriginStatus::Draining,
            (None, None) => OriginStatus::Healthy,
        }
    }

    pub fn renew(&mut self, default_ttl: Duration, now: Duration) {
        self.beats_elsewhere = false;
        self.expires_at = match (self.source, self.lease) {
            (Source::Default, _) | (_, Lease::Never) => None,
            (_, Lease::Default) => Some(now + default_ttl),
            (_, Lease::For(ttl)) => Some(now + ttl),
        };
    }

    /// What a beat says about it. Answers whether another run has begun.
    pub fn take_beat(&mut self, beat: &SrsRegistration) -> bool {
        if self.source == Source::Adopted {
            self.source = Source::Srs;
        }
        self.device_id.clone_from(&beat.device_id);
        self.server = Some(beat.server.clone());
        self.ip = Some(beat.ip);
        self.endpoints.clone_from(&beat.endpoints);
        self.run(&beat.incarnation)
    }

    /// What an operator says about it. Answers whether another run has begun.
    pub fn take_spec(&mut self, spec: &OriginSpec) -> bool {
        self.source = Source::Api;
        if let Some(endpoints) = &spec.endpoints {
            self.endpoints.clone_from(endpoints);
        }
        self.device_id = spec.device_id.clone().or(self.device_id.take());
        self.server = spec.server.clone().or(self.server.take());
        self.ip = spec.ip.or(self.ip);
        self.weight = spec.weight.unwrap_or(self.weight);
        self.capacity = spec.capacity.unwrap_or(self.capacity);
        self.role = spec.role.unwrap_or(self.role);
        self.proxy_protocol = spec.proxy_protocol.unwrap_or(self.proxy_protocol);
        if let Some(probe) = &spec.probe {
            self.probe.clone_from(probe);
        }
        self.lease = spec.lease.unwrap_or(self.lease);
        spec.incarnation.as_ref().is_some_and(|i| self.run(i))
    }

    pub(super) fn run(&mut self, incarnation: &Incarnation) -> bool {
        if self.incarnation.as_ref() == Some(incarnation) {
            return false;
        }
        let Some(old) = self.incarnation.replace(incarnation.clone()) else { return false };
        self.superseded.retain(|s| s != incarnation);
        self.superseded.truncate(SUPERSEDED_MAX - 1);
        self.superseded.push_front(old);
        true
    }

    /// A run that was replaced and beats on: not a late beat but a second server of the same name. To let it win would
    /// reset all flows at every beat of either. Once the newer run is dead, it may have the name.
    pub fn was_superseded(&self, incarnation: &Incarnation) -> bool {
        !self.health.is_dead() && self.superseded.contains(incarnation)
    }

    /// What time has done to it.
    pub(super) fn due(&self, now: Duration) -> Option<Due> {
        if let Some(expired_at) = self.expires_at.filter(|at| *at <= now) {
            let listed = if self.draining.is_some() { FORGET_DRAINING_AFTER } else { FORGET_AFTER };
            let forget = self.health.is_expired() && now >= expired_at + listed;
            return Some(if forget { Due::Forget } else { Due::Expired });
        }
        self.draining.and_then(|d| d.deadline).filter(|at| *at <= now).map(|_| Due::DrainDeadline)
    }
}

pub(super) enum Due {
    Expired,
    DrainDeadline,
    Forget,
}
