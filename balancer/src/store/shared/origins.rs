//! Origins as records and back, and what becomes of them when other balancers tell of them.

use super::super::State;
use super::replica::{Replica, Seen};
use crate::cluster::record::{DrainingRecord, FORMAT, OriginRecord, RecordError, Unknown};
use crate::cluster::{Entry, Key, Kind, Version};
use crate::recognize::proxy_header::ProxyVersion;
use crate::registry::{
    Capacity, Draining, Endpoints, Incarnation, KINDS, Lease, Name, OriginRole, RegisterKind, Registered, SharedOrigin,
    Source, WEIGHTS, kind_label,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long all remember that an origin was deleted: longer than any balancer is away and comes back with its flows.
const TOMBSTONE: Duration = Duration::from_secs(600);
/// How long after its lease the record of an origin is kept, for an operator to see why it is gone.
const KEPT_AFTER_LEASE: Duration = Duration::from_secs(120);
/// No run has begun so long from now, whatever a clock may have said: it could never be followed by another one.
const AHEAD_MAX: Duration = Duration::from_secs(86_400);

pub fn origin_key(id: &str) -> Key {
    Key::new(Kind::Origin, id)
}

impl State {
    /// What the shelf should say of an origin: `Some(None)`: nothing. `None`: leave it as it is.
    pub(super) fn wanted_origin(&self, replica: &Replica, id: &str, now: Duration) -> Option<Option<OriginRecord>> {
        let seen = replica.origins.get(id);
        if let Some(tombstone) = replica.buried.get(id) {
            // The clock may have been set since.
            let until_ms = Some(replica.ms(now + TOMBSTONE));
            return Some(Some(OriginRecord { until_ms, ..tombstone.clone() }));
        }
        let ours = self.registry.index_of(id).and_then(|index| self.registry.shared(index));
        match (ours, seen) {
            (Some(origin), seen) => Some(Some(record_of(&origin, seen.map(|s| &s.record), replica))),
            (None, Some(seen)) => {
                let until = seen.record.until_ms.map(|ms| replica.at(ms));
                let kept = if seen.record.deleted { Duration::ZERO } else { KEPT_AFTER_LEASE };
                until.is_some_and(|until| until + kept <= now).then_some(None)
            }
            (None, None) => None,
        }
    }

    /// Another balancer has told of an origin. What was wrong with it, if anything.
    pub(super) fn hear_origin(
        &mut self,
        replica: &mut Replica,
        entry: &Entry,
        now: Duration,
    ) -> Result<(), RecordError> {
        let id = entry.key.name.clone();
        let Some(value) = &entry.value else {
            replica.origins.remove(&id);
            return Ok(());
        };
        let record: OriginRecord = super::read(value)?;
        if record.id != *id {
            return Err(RecordError::Nonsense("its id is not its name"));
        }
        if replica.is_dated && record.epoch > replica.ms(now + AHEAD_MAX) {
            return Err(RecordError::Nonsense("its run begins in the future"));
        }
        if replica.early.remove(&id) {
            self.date(replica, (&id, 0), Some(&record), now);
        }
        if record.deleted || replica.buried.get(&id).is_some_and(|buried| buried.epoch < record.epoch) {
            replica.buried.remove(&id);
        }
        let result =
            if record.deleted { self.forget_origin(&record, now) } else { self.take_origin(replica, &record, now) };
        replica.origins.insert(id, Seen { version: entry.version.clone(), record });
        result
    }

    fn take_origin(&mut self, replica: &Replica, record: &OriginRecord, now: Duration) -> Result<(), RecordError> {
        let mut told = origin_of(record, replica)?;
        if replica.unsaid.contains(&*record.id) {
            self.keep_said(&mut told);
        }
        // Long over: nobody has written it since.
        if told.expires_at.is_some_and(|at| at + KEPT_AFTER_LEASE <= now) {
            return Ok(());
        }
        let refused = RecordError::Nonsense("its addresses are none that an origin may have here");
        if let Some(applied) = self.registry.apply(&told, now).map_err(|_| refused)? {
            for index in applied.ended {
                self.streams.free_origin(index, now);
            }
        }
        Ok(())
    }

    fn forget_origin(&mut self, record: &OriginRecord, now: Duration) -> Result<(), RecordError> {
        let Some(index) = self.registry.index_of(&record.id).filter(|i| self.registry.epoch(*i) <= record.epoch) else {
            return Ok(());
        };
        if matches!(self.registry.remove(&record.id, now), Ok(Some(_))) {
            self.streams.free_origin(index, now);
        }
        Ok(())
    }

    /// A run of an origin that this balancer was the first to hear of gets a date; one that the others know already, theirs.
    pub(super) fn date_origin(&mut self, replica: &mut Replica, registered: &Registered, now: Duration) {
        let index = registered.index;
        let Some(origin) = self.registry.get(index) else { return };
        let begins = matches!(registered.kind, RegisterKind::Replaced | RegisterKind::Returned);
        if origin.epoch != 0 && !begins {
            return;
        }
        let (id, before) = (origin.id.clone(), origin.epoch);
        if !replica.is_dated {
            replica.early.insert(id.clone());
        }
        // One that was deleted, and of which nobody has heard that, has come anew.
        let deleted = replica.buried.remove(&id);
        let known = deleted.or_else(|| replica.origins.get(&id).map(|seen| seen.record.clone()));
        self.date(replica, (&id, before), known.as_ref(), now);
    }

    /// With what the others say of it. No run has an earlier date than the one `before`.
    fn date(&mut self, replica: &Replica, (id, before): (&str, u64), known: Option<&OriginRecord>, now: Duration) {
        let Some(index) = self.registry.index_of(id) else { return };
        let Some(origin) = self.registry.get(index) else { return };
        let run = origin.incarnation.as_ref();
        let is_same = |record: &&OriginRecord| {
            let is_alive = record.until_ms.is_none_or(|ms| replica.at(ms) > now);
            let is_same =
                (record.service.as_deref(), record.pid.as_deref()) == (run.map(|r| &*r.service), run.map(|r| &*r.pid));
            !record.deleted && is_alive && is_same
        };
        let epoch = match known.filter(is_same) {
            Some(record) => record.epoch,
            None => replica.ms(now).max(known.map_or(0, |record| record.epoch).max(before).saturating_add(1)),
        };
        self.registry.set_epoch(index, epoch);
    }

    /// Runs of which the others know nothing, now that it is known what time it is.
    pub(super) fn date_early(&mut self, replica: &mut Replica, now: Duration) {
        if replica.is_dated {
            for id in std::mem::take(&mut replica.early) {
                self.date(replica, (&id, 0), None, now);
            }
        }
    }

    /// What an operator has said here and the others do not know yet holds against what they say.
    fn keep_said(&self, told: &mut SharedOrigin) {
        let Some(ours) = self.registry.index_of(&told.id).and_then(|index| self.registry.shared(index)) else { return };
        if ours.source == Source::Api {
            (told.source, told.endpoints) = (ours.source, ours.endpoints);
            (told.lease, told.expires_at) = (ours.lease, ours.expires_at);
        }
        (told.weight, told.capacity, told.role) = (ours.weight, ours.capacity, ours.role);
        (told.proxy_protocol, told.draining) = (ours.proxy_protocol, ours.draining);
    }

    /// An operator, or another registration, has removed an origin.
    pub(in super::super) fn bury_origin(&mut self, id: &str, epoch: u64, now: Duration) {
        if let Some(replica) = &mut self.shared {
            replica.buried.insert(id.into(), tombstone(id, epoch, replica, now));
        }
    }
}

/// What all are told of an origin that was deleted.
fn tombstone(id: &str, epoch: u64, replica: &Replica, now: Duration) -> OriginRecord {
    let seen = replica.origins.get(id).map(|seen| seen.record.clone());
    let mut record = seen.unwrap_or_else(|| OriginRecord {
        v: FORMAT,
        id: id.into(),
        epoch,
        source: "api".into(),
        device_id: None,
        server: None,
        service: None,
        pid: None,
        ip: None,
        endpoints: BTreeMap::new(),
        weight: *WEIGHTS.start(),
        bits_per_second_max: None,
        flows_max: None,
        streams_max: None,
        role: OriginRole::Origin.label().into(),
        proxy_protocol: None,
        lease_ms: None,
        until_ms: None,
        draining: None,
        deleted: true,
        unknown: Unknown::new(),
    });
    record.deleted = true;
    record.epoch = record.epoch.max(epoch);
    record.until_ms = Some(replica.ms(now + TOMBSTONE));
    record
}

fn record_of(origin: &SharedOrigin, before: Option<&OriginRecord>, replica: &Replica) -> OriginRecord {
    let text = |name: &Option<Name>| name.as_ref().map(|name| name.to_string());
    let endpoints = KINDS.into_iter().map(|kind| (kind_label(kind).to_owned(), origin.endpoints.get(kind).to_vec()));
    let ms = |at: Duration| replica.ms(at);
    OriginRecord {
        v: FORMAT,
        id: origin.id.to_string(),
        epoch: origin.epoch,
        source: if origin.source == Source::Api { "api" } else { "srs" }.into(),
        device_id: text(&origin.device_id),
        server: text(&origin.server),
        service: origin.incarnation.as_ref().map(|run| run.service.to_string()),
        pid: origin.incarnation.as_ref().map(|run| run.pid.to_string()),
        ip: origin.ip,
        endpoints: endpoints.filter(|(_, addresses)| !addresses.is_empty()).collect(),
        weight: origin.weight,
        bits_per_second_max: origin.capacity.bits_per_second,
        flows_max: origin.capacity.flows,
        streams_max: origin.capacity.streams,
        role: origin.role.label().into(),
        proxy_protocol: origin.proxy_protocol.map(|version| version.label().into()),
        lease_ms: match origin.lease {
            Lease::For(lease) => Some(lease.as_millis() as u64),
            Lease::Default | Lease::Never => None,
        },
        until_ms: origin.expires_at.map(ms),
        draining: origin.draining.map(|draining| DrainingRecord { deadline_ms: draining.deadline.map(ms) }),
        deleted: false,
        unknown: before.map(|record| record.unknown.clone()).unwrap_or_default(),
    }
}

/// Everything that may be wrong with it but its addresses, which the registry judges.
fn origin_of(record: &OriginRecord, replica: &Replica) -> Result<SharedOrigin, RecordError> {
    let name = |text: &str| Name::parse(text).map_err(|_| RecordError::Nonsense("a name of it is none"));
    let optional = |text: &Option<String>| text.as_deref().map(name).transpose();
    let mut endpoints = Endpoints::default();
    for (label, addresses) in &record.endpoints {
        // A service that a newer version knows.
        let Some(kind) = KINDS.into_iter().find(|kind| kind_label(*kind) == label) else { continue };
        for address in addresses {
            if address.port() == 0 {
                return Err(RecordError::Nonsense("an endpoint without a port"));
            }
            endpoints.add(kind, *address).map_err(|_| RecordError::Nonsense("too many endpoints"))?;
        }
    }
    if !WEIGHTS.contains(&record.weight) {
        return Err(RecordError::Nonsense("its weight is out of range"));
    }
    let incarnation = match (optional(&record.service)?, optional(&record.pid)?) {
        (Some(service), Some(pid)) => Some(Incarnation { service, pid }),
        _ => None,
    };
    Ok(SharedOrigin {
        id: name(&record.id)?,
        epoch: record.epoch,
        source: match record.source.as_str() {
            "srs" => Source::Srs,
            "api" => Source::Api,
            _ => return Err(RecordError::Nonsense("nobody vouches for it")),
        },
        device_id: optional(&record.device_id)?,
        server: optional(&record.server)?,
        incarnation,
        ip: record.ip,
        endpoints,
        weight: record.weight,
        capacity: Capacity {
            bits_per_second: record.bits_per_second_max,
            flows: record.flows_max,
            streams: record.streams_max,
        },
        role: match record.role.as_str() {
            "origin" => OriginRole::Origin,
            "edge" => OriginRole::Edge,
            _ => return Err(RecordError::Nonsense("its role is none")),
        },
        proxy_protocol: match record.proxy_protocol.as_deref() {
            None => None,
            Some(text) => Some(ProxyVersion::parse(text).ok_or(RecordError::Nonsense("its PROXY version is none"))?),
        },
        lease: record.lease_ms.map_or(Lease::Never, |ms| Lease::For(Duration::from_millis(ms))),
        expires_at: record.until_ms.map(|ms| replica.at(ms)),
        draining: record
            .draining
            .as_ref()
            .map(|draining| Draining { deadline: draining.deadline_ms.map(|ms| replica.at(ms)) }),
    })
}

/// Which write of an origin's record was seen last.
pub fn seen_version(replica: &Replica, id: &str) -> Version {
    replica.origins.get(id).map_or_else(Version::none, |seen| seen.version.clone())
}

/// Ids of all that are registered, to see which are gone after a change.
pub fn ids(state: &State) -> Vec<Arc<str>> {
    state.registry.live().map(|(_, origin)| origin.id.clone()).collect()
}
