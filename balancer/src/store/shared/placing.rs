//! A placement that all balancers agree about before it is used: where a new stream goes, where a backup waits, and that a
//! publisher gives way to another one.

use super::super::{State, Store};
use super::origins::origin_key;
use super::streams::{new_record, seen_version, stream_key};
use super::{ATTEMPTS, Wanted};
use crate::cluster::record::{Record, StreamRecord};
use crate::cluster::{Entry, Key, Put};
use crate::flow::Role;
use crate::placement::{PlaceError, PlaceRequest, Placement};
use crate::registry::{LINGER, Mapping, VIEWER_LEASE};
use balancer_common::abi::Reason;
use std::sync::Arc;
use std::time::Duration;

/// What the state says of a request.
pub(super) enum Step {
    Settled(Result<Placement, PlaceError>),
    /// The others do not know its origin's run yet, or by another date.
    Tell(Mapping, Key),
    /// Nobody knows of it yet.
    Propose(Placement, Choice, Wanted),
}

/// What is taken back when somebody else was first.
#[derive(Clone, Copy)]
pub(super) enum Choice {
    Home(Mapping),
    Backup((u16, u16)),
    /// Another balancer's publisher gives way: that one has to hear of it.
    Replaces,
}

/// What another balancer's publisher takes to be gone from the origin: a push, a reset, the origin's own look at it.
const GIVES_WAY_WITHIN: Duration = Duration::from_millis(250);

/// A place that is being written. What is written behind must not say the same once more, and lose.
pub(super) struct Proposing<'a> {
    pub store: &'a Store,
    pub key: Key,
}

impl Drop for Proposing<'_> {
    fn drop(&mut self) {
        self.store.change(|state| {
            if let Some(replica) = &mut state.shared {
                replica.proposed.remove(&self.key);
                replica.dirty.insert(self.key.clone());
            }
        });
    }
}

impl Store {
    pub(in super::super) async fn place_shared(
        &self,
        request: &PlaceRequest<'_>,
        now: Duration,
    ) -> Result<Placement, PlaceError> {
        let Some(share) = &self.share else { return self.change(|state| state.place(request, now)) };
        let mut lost = false;
        for _ in 0..ATTEMPTS {
            let (mut placement, choice, wanted) = match self.change(|state| state.propose(request, now)) {
                Step::Settled(Ok(placement)) if lost && placement.reason != Reason::PublisherReplaced => {
                    return Ok(Placement { reason: Reason::PlacedElsewhere, ..placement });
                }
                Step::Settled(result) => return result,
                Step::Tell(mapping, origin) => {
                    self.change(|state| state.take_back(request, Choice::Home(mapping), now));
                    if self.write_now(origin, now).await {
                        continue;
                    }
                    return self.change(|state| state.place_alone(request, now));
                }
                Step::Propose(placement, choice, wanted) => (placement, choice, wanted),
            };
            let proposing = Proposing { store: self, key: wanted.key.clone() };
            match share.shelf.put(&wanted.key, wanted.value.as_deref(), &wanted.seen).await {
                Ok(Put::Done(version)) => {
                    let value = wanted.value.map(Arc::from);
                    _ = self.hear_entry(&Entry { key: wanted.key, version, value }, now);
                    drop(proposing);
                    match choice {
                        Choice::Replaces => tokio::time::sleep(GIVES_WAY_WITHIN).await,
                        Choice::Home(_) if lost => placement.reason = Reason::PlacedElsewhere,
                        Choice::Home(_) | Choice::Backup(_) => {}
                    }
                    return Ok(placement);
                }
                Ok(Put::Lost(entry)) => {
                    lost = true;
                    self.change(|state| state.take_back(request, choice, now));
                    self.lost(&entry, now);
                }
                Err(error) => {
                    self.count_put_error(&error);
                    self.change(|state| state.take_back(request, choice, now));
                    return self.change(|state| state.place_alone(request, now));
                }
            }
        }
        // Others write it faster than we can follow: what they have written holds.
        self.change(|state| state.place(request, now))
    }
}

impl State {
    pub(super) fn propose(&mut self, request: &PlaceRequest<'_>, now: Duration) -> Step {
        if self.shared.as_ref().is_none_or(|replica| !replica.is_up) {
            return Step::Settled(self.place_alone(request, now));
        }
        let placement = match self.place(request, now) {
            Ok(placement) => placement,
            Err(error) => return Step::Settled(Err(error)),
        };
        let Some((choice, wanted)) = self.proposal(request, &placement, now) else {
            return Step::Settled(Ok(placement));
        };
        if let (Choice::Home(mapping), Some(origin)) = (choice, self.untold(choice)) {
            return Step::Tell(mapping, origin);
        }
        if let Some(replica) = &mut self.shared {
            replica.proposed.insert(wanted.key.clone());
        }
        Step::Propose(placement, choice, wanted)
    }

    /// A record that names a run of which nobody knows would be taken for one of the past.
    fn untold(&self, choice: Choice) -> Option<Key> {
        let Choice::Home(mapping) = choice else { return None };
        let (id, epoch) = self.run_of(mapping)?;
        let told = self.shared.as_ref()?.origins.get(&id).map(|seen| seen.record.epoch);
        (told != Some(epoch)).then(|| origin_key(&id)).filter(|_| self.registry.shared(mapping.origin).is_some())
    }

    /// What the others have to be told before this holds. `None`: nothing.
    fn proposal(&self, request: &PlaceRequest<'_>, placement: &Placement, now: Duration) -> Option<(Choice, Wanted)> {
        let replica = self.shared.as_ref()?;
        let stream = self.streams.get(request.key)?;
        let placed_on = (placement.origin, placement.generation);
        if request.role == Role::Publish && stream.backup().is_some_and(|b| b.is_ours && b.placed_on == placed_on) {
            return Some((Choice::Backup(placed_on), self.wanted_of(replica, &stream_key(request.key), now)?));
        }
        let mapping = stream.mapping.filter(|m| m.placed_on() == placed_on)?;
        let (origin, epoch) = self.run_of(mapping)?;
        let seen = replica.streams.get(request.key).map(|seen| &seen.record);
        let holds = |record: &&StreamRecord| {
            *record.origin == *origin && record.epoch == epoch && (record.confirmed || !mapping.confirmed)
        };
        let replaces = placement.reason == Reason::PublisherReplaced && stream.publisher_elsewhere().is_some();
        if !replaces && seen.as_ref().is_some_and(holds) {
            return None;
        }
        let kept = if request.role == Role::Publish { LINGER } else { VIEWER_LEASE };
        let until_ms = replica.ms(now + kept);
        let mut record = seen.cloned().unwrap_or_else(|| new_record(request.key, (&origin, epoch), until_ms));
        (record.origin, record.epoch, record.confirmed) = (origin.to_string(), epoch, mapping.confirmed);
        record.until_ms = record.until_ms.max(until_ms);
        if replaces {
            record.replaced_ms = Some(replica.ms(now));
        }
        let key = stream_key(request.key);
        if replica.newer.contains(&key) {
            return None;
        }
        let seen = replica.foreign.get(&key).cloned().unwrap_or_else(|| seen_version(replica, request.key));
        let choice = if replaces { Choice::Replaces } else { Choice::Home(mapping) };
        Some((choice, Wanted { key, value: Some(record.text()), seen }))
    }

    /// As if it had never been chosen here. Who won may have been heard of already, and may have chosen the same: that holds.
    pub(super) fn take_back(&mut self, request: &PlaceRequest<'_>, choice: Choice, now: Duration) {
        match choice {
            Choice::Home(mapping) => self.streams.take_back(request.key, mapping, now),
            Choice::Backup(placed_on) => self.streams.take_back_backup(request.key, placed_on),
            Choice::Replaces => return,
        }
        self.with_replica(|state, replica| {
            if let Some(key) = replica.streams.get_key_value(request.key).map(|(key, _)| key.clone()) {
                state.follow_stream(replica, &key, now);
            }
        });
    }

    /// Without the shelf: as every balancer that sees the same origins would, without talking.
    fn place_alone(&mut self, request: &PlaceRequest<'_>, now: Duration) -> Result<Placement, PlaceError> {
        self.placer.set_alone(true);
        let result = self.place(request, now);
        self.placer.set_alone(false);
        self.dirty([stream_key(request.key)]);
        if let Some(replica) = self.shared.as_mut().filter(|_| result.is_ok()) {
            // What an operator has ended was the one before.
            replica.ended.remove(request.key);
        }
        result.map(|placement| match placement.reason {
            Reason::PlacedRendezvous => Placement { reason: Reason::PlacedAlone, ..placement },
            _ => placement,
        })
    }
}
