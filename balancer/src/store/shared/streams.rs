//! Streams as records and back: what this balancer says of them, and what it takes from the others.
//!
//! Where two say different things of one stream, a living publisher decides, of two the earlier one; without any, what
//! lies in the shelf. Whoever gives way resets its flows of the stream, whose clients come back and find the right origin.

use super::super::State;
use super::carriers::{is_published_here, publisher_elsewhere};
use super::replica::{Replica, Seen};
use crate::cluster::record::{FORMAT, RecordError, StreamRecord, Unknown};
use crate::cluster::{Entry, Key, Kind, Version};
use crate::recognize::StreamKey;
use crate::registry::{Elsewhere, LINGER, Mapping, SILENT, Stream};
use balancer_common::abi::Reason;
use std::sync::Arc;
use std::time::Duration;

/// A lease that is this much longer is worth a write.
const RENEWED_BY_MIN: Duration = Duration::from_secs(10);

pub fn stream_key(key: &StreamKey) -> Key {
    Key::new(Kind::Stream, key.to_string())
}

/// Where an origin's run is named.
type Run = (Arc<str>, u64);

impl State {
    /// What the shelf should say of a stream: `Some(None)`: nothing. `None`: leave it as it is.
    pub(super) fn wanted_stream(
        &self,
        replica: &Replica,
        key: &StreamKey,
        now: Duration,
    ) -> Option<Option<StreamRecord>> {
        let seen = replica.streams.get(key).map(|seen| &seen.record);
        if replica.ended.contains(key) {
            return seen.map(|_| None);
        }
        let stream = self.streams.get(key);
        let here = stream.and_then(|stream| self.run_of(stream.mapping?));
        let mut record = match (seen, stream, &here) {
            (Some(record), ..) => record.clone(),
            (None, Some(stream), Some((origin, epoch)))
                if self.streams.is_carried(key) || stream.lease_until() > now =>
            {
                new_record(key, (origin, *epoch), replica.ms(stream.lease_until()))
            }
            (None, ..) => return None,
        };
        if let (Some(stream), Some((origin, epoch))) = (stream, here) {
            let is_there = *record.origin == *origin && record.epoch == epoch;
            if !is_there && self.prevails(replica, stream, &record, now) {
                (record.origin, record.epoch) = (origin.to_string(), epoch);
                record.confirmed = stream.mapping.is_some_and(|m| m.confirmed);
                // It was one of where the stream was.
                record.publisher = None;
            }
            if is_there {
                record.confirmed |= stream.mapping.is_some_and(|m| m.confirmed);
            }
        }
        self.say_who(replica, stream, &mut record, now);
        self.say_also_on(replica, stream, &mut record);
        let is_free = record.carriers.is_empty() && record.publisher.is_none();
        Some((!is_free || replica.at(record.until_ms) > now).then_some(record))
    }

    /// The same, unless it says so already.
    pub(super) fn differing_stream(
        &self,
        replica: &Replica,
        key: &StreamKey,
        now: Duration,
    ) -> Option<Option<StreamRecord>> {
        let wanted = self.wanted_stream(replica, key, now)?;
        (replica.streams.get(key).map(|seen| &seen.record) != wanted.as_ref()).then_some(wanted)
    }

    /// Who carries the stream, and who its publisher.
    fn say_who(&self, replica: &Replica, stream: Option<&Stream>, record: &mut StreamRecord, now: Duration) {
        let was_carried = !record.carriers.is_empty() || record.publisher.is_some();
        let own = &*replica.id;
        let carries = stream.is_some_and(|stream| self.streams.is_carried(&stream.key));
        record.carriers.retain(|id| if *id == *own { carries } else { replica.may_live(id) });
        if carries && !record.carriers.iter().any(|id| *id == *own) {
            record.carriers.push(own.into());
        }
        self.say_publisher(replica, stream, record, now);
        let is_carried = !record.carriers.is_empty() || record.publisher.is_some();
        let kept_until = match stream {
            _ if was_carried && !is_carried => replica.ms(now + LINGER),
            Some(stream) if !is_carried => replica.ms(stream.lease_until()),
            _ => 0,
        };
        if kept_until > record.until_ms + RENEWED_BY_MIN.as_millis() as u64 || (was_carried && !is_carried) {
            record.until_ms = record.until_ms.max(kept_until);
        }
    }

    /// Whether what this balancer knows of a stream's place holds against a record that says another.
    fn prevails(&self, replica: &Replica, stream: &Stream, record: &StreamRecord, now: Duration) -> bool {
        let since = self.published_since(replica, stream);
        // One that is silent for so long is as good as gone.
        let is_silent = |since: u64| now.saturating_sub(replica.at(since)) >= SILENT;
        let theirs = record.publisher.as_ref().filter(|p| p.at != *replica.id && replica.may_live(&p.at));
        let theirs = theirs.filter(|p| !p.quiet_since_ms.is_some_and(is_silent));
        match (since, theirs) {
            (Some(since), Some(theirs)) => (since, &*replica.id) < (theirs.since_ms, theirs.at.as_str()),
            (None, Some(_)) => false,
            (Some(_), None) => true,
            // Nobody publishes it: a place that is no more must not hold anybody, nor one that a write has left there which
            // was given up as late, while others are carried already.
            (None, None) => {
                let is_carried_there = record.carriers.iter().any(|id| *id != *replica.id && replica.may_live(id));
                self.registry.current(&record.origin, record.epoch).is_none()
                    || (!record.confirmed && !is_carried_there && self.streams.is_carried(&stream.key))
            }
        }
    }

    /// Since when this balancer carries the stream's publisher, as far as the others were told.
    fn published_since(&self, replica: &Replica, stream: &Stream) -> Option<u64> {
        if !is_published_here(stream) {
            return None;
        }
        let told = replica.streams.get(&stream.key).and_then(|seen| seen.record.publisher.as_ref());
        Some(told.filter(|p| p.at == *replica.id).map_or(u64::MAX - 1, |p| p.since_ms))
    }

    /// An operator has ended it.
    pub(in super::super) fn bury_stream(&mut self, key: &StreamKey) {
        if let Some(replica) = &mut self.shared
            && let Some((key, _)) = replica.streams.get_key_value(key)
        {
            replica.ended.insert(key.clone());
        }
    }

    /// Another balancer has told of a stream, or the shelf of what lies there.
    pub(super) fn hear_stream(
        &mut self,
        replica: &mut Replica,
        entry: &Entry,
        now: Duration,
    ) -> Result<(), RecordError> {
        let key: StreamKey = entry.key.name.parse().map_err(|_| RecordError::Nonsense("its name is no stream key"))?;
        let Some(value) = &entry.value else {
            self.stream_gone(replica, &key, now);
            return Ok(());
        };
        let record: StreamRecord = super::read(value)?;
        if record.key != *entry.key.name {
            return Err(RecordError::Nonsense("its key is not its name"));
        }
        let key = match self.streams.get(&key) {
            Some(stream) => stream.key.clone(),
            None => Arc::new(key),
        };
        let is_named = record.carriers.iter().any(|id| **id == *replica.id);
        if !is_named && self.streams.is_carried(&key) {
            // Somebody took us for dead.
            replica.dirty.insert(entry.key.clone());
        }
        let replaced_ms = record.replaced_ms;
        let before = replica.streams.insert(&key, Seen { version: entry.version.clone(), record });
        if replaced_ms > before.and_then(|seen| seen.record.replaced_ms) {
            self.give_way(&key, replica.at(replaced_ms.unwrap_or(0)));
        }
        self.follow_stream(replica, &key, now);
        Ok(())
    }

    /// Makes a stream be where its record says, unless ours prevails.
    pub(super) fn follow_stream(&mut self, replica: &mut Replica, key: &Arc<StreamKey>, now: Duration) {
        let Some(seen) = replica.streams.get(key) else { return };
        let record = seen.record.clone();
        let there = self.registry.current(&record.origin, record.epoch);
        let stream = self.streams.get(key);
        let here = stream.and_then(|s| s.mapping).filter(|m| self.registry.is_current(m.placed_on()));
        let mapping = there.map(|(origin, generation)| {
            let is_ours = here.is_some_and(|here| here.placed_on() == (origin, generation) && here.confirmed);
            Mapping { origin, generation, confirmed: record.confirmed || is_ours }
        });
        let differs = here.is_some_and(|here| mapping.is_none_or(|there| there.placed_on() != here.placed_on()));
        let holds = differs && stream.is_some_and(|stream| self.prevails(replica, stream, &record, now));
        if holds {
            replica.dirty.insert(stream_key(key));
            self.conflicts.push(Reason::ConflictWon);
        } else {
            // Where a backup waited it is no surprise.
            let waited = |stream: &Stream| stream.backup().map(|b| b.placed_on) == mapping.map(|m| m.placed_on());
            if differs && self.streams.is_carried(key) && !stream.is_some_and(waited) {
                self.conflicts.push(Reason::ConflictLost);
            }
            // More than there is room for are not known here: whoever asks for one is placed by its record then.
            let (mapping, until) = (mapping.or(here.filter(|_| there.is_none())), replica.at(record.until_ms));
            if self.streams.move_to(key, mapping, until, now).is_err() {
                self.conflicts.push(Reason::LimitStreams);
                return;
            }
        }
        let publisher = publisher_elsewhere(replica, &record);
        self.streams.set_elsewhere(key, Elsewhere { is_known: true, publisher });
        self.hear_also_on(replica, key, &record, now);
        self.streams.succeed(key, now);
        // One that came second is the only one by now.
        if record.publisher.is_none() && self.streams.get(key).is_some_and(is_published_here) {
            replica.dirty.insert(stream_key(key));
        }
    }

    fn stream_gone(&mut self, replica: &mut Replica, key: &StreamKey, now: Duration) {
        replica.ended.remove(key);
        let Some((key, seen)) = replica.streams.remove(key) else { return };
        self.streams.set_elsewhere(&key, Elsewhere::default());
        // Nobody removes the record of what is carried but an operator.
        if seen.record.carriers.iter().any(|id| **id == *replica.id) && self.streams.is_carried(&key) {
            self.streams.release(&key, now);
        }
    }

    /// An origin has come that records spoke of before.
    pub(super) fn follow_streams_on(&mut self, replica: &mut Replica, origin: &str, now: Duration) {
        let waiting = replica.streams.on(origin).filter(|(key, seen)| {
            let is_nowhere = self.streams.get(key).is_none_or(|stream| stream.mapping.is_none());
            is_nowhere || seen.record.also_on.iter().any(|also| also.origin == origin)
        });
        let waiting: Vec<_> = waiting.map(|(key, _)| key.clone()).collect();
        for key in waiting {
            self.follow_stream(replica, &key, now);
        }
    }

    /// The run of an origin that a mapping is on, as records name it.
    pub(super) fn run_of(&self, mapping: Mapping) -> Option<Run> {
        self.run_at(mapping.placed_on())
    }

    pub(super) fn run_at(&self, placed_on: (u16, u16)) -> Option<Run> {
        let origin = self.registry.get(placed_on.0).filter(|_| self.registry.is_current(placed_on))?;
        Some((origin.id.clone(), origin.epoch))
    }
}

/// Of a stream that nobody has written of.
pub fn new_record(key: &StreamKey, (origin, epoch): (&str, u64), until_ms: u64) -> StreamRecord {
    StreamRecord {
        v: FORMAT,
        key: key.to_string(),
        origin: origin.into(),
        epoch,
        confirmed: false,
        publisher: None,
        replaced_ms: None,
        also_on: Vec::new(),
        carriers: Vec::new(),
        until_ms,
        unknown: Unknown::new(),
    }
}

/// Which write of a stream's record was seen last.
pub fn seen_version(replica: &Replica, key: &StreamKey) -> Version {
    replica.streams.get(key).map_or_else(Version::none, |seen| seen.version.clone())
}
