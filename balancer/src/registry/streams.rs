//! Which stream is on which origin, and how many flows carry it. Pure; time is an argument.
//!
//! A stream has at most one origin of its own, where it is published; others may carry it too. Its index stays while any
//! flow or lease is left, also when its origin dies and it is placed anew: flows and maps refer to it. Flows are counted by
//! where they were placed, so that those of a dead origin, or viewers that a publisher has left behind, are told from
//! those that serve.

mod carriers;
mod claims;
mod flows;
mod group;
mod names;
mod shared;
mod stream;
mod succession;

pub use carriers::{BARRED, Backup, CARRIERS_MAX, Publisher, SILENT, SILENT_SAME, Serving, Unfed};
pub use claims::{CLAIMS_PER_ORIGIN_MAX, ClaimError, Claimed};
pub use shared::{AlsoOn, Elsewhere, PublisherElsewhere};
pub use stream::Stream;

use crate::flow::{Protocol, Role};
use crate::placement::Rate;
use crate::recognize::StreamKey;
use balancer_common::abi::{Reason, capacity};
use names::Names;
use shared::Touched;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Index 0 is "no stream".
pub const STREAMS_MAX: usize = capacity::STREAMS as usize - 1;
/// How long a viewer of a stream that nobody publishes keeps it where it is.
pub const VIEWER_LEASE: Duration = Duration::from_secs(10);
/// How long a stream that was published stays after its last flow: an encoder that reconnects finds its viewers, and
/// those of HLS, who hold no connection, find the rest of the playlist.
pub const LINGER: Duration = Duration::from_secs(30);

/// A used index may still stand in a flow that is being reset: this many others are taken first.
const INDEXES_RESTING: usize = 1024;

/// What the store has to know of a flow, when it opens and when it closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowTicket {
    pub stream: u32,
    pub origin: u16,
    pub generation: u16,
    pub role: Role,
    pub protocol: Protocol,
}

/// Flows to be reset: those of `stream` that were placed on this origin, which is not the stream's any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reset {
    pub stream: u32,
    pub origin: u16,
    pub generation: u16,
    /// Only its publishers whose flows began before that: another one comes. `None`: all.
    pub publishers_before: Option<Duration>,
}

impl Reset {
    pub fn all(stream: u32, (origin, generation): (u16, u16)) -> Self {
        Self { stream, origin, generation, publishers_before: None }
    }
}

/// What `STREAMS` and `STREAM_NAMES` should say of one index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamChange {
    pub index: u32,
    pub key: Arc<StreamKey>,
    /// Origin index and generation; `None`: remove the entries.
    pub placed_on: Option<(u16, u16)>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{STREAMS_MAX} streams are known already")]
pub struct StreamsFull;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub origin: u16,
    pub generation: u16,
    /// Chosen for a publisher. Else for a viewer, until a publisher says otherwise.
    pub confirmed: bool,
}

impl Mapping {
    pub fn placed_on(&self) -> (u16, u16) {
        (self.origin, self.generation)
    }
}

#[derive(Debug, Default)]
pub struct Streams {
    by_key: HashMap<Arc<StreamKey>, u32>,
    by_name: Names,
    slots: Vec<Option<Stream>>,
    /// Oldest first, so that an index rests as long as it can before another stream gets it.
    free: VecDeque<u32>,
    /// By origin index: streams that are mapped there, or carried there too.
    per_origin: HashMap<u16, u32>,
    /// The same for those that are claimed.
    claims_per_origin: HashMap<u16, u32>,
    changes: BTreeSet<u32>,
    /// The keys of streams that are gone but not yet reported.
    gone: HashMap<u32, Arc<StreamKey>>,
    resets: BTreeSet<Reset>,
    touched: Touched,
    tally: Vec<Reason>,
    /// Until then, nobody takes over from a publisher that has only not been heard of.
    successions_from: Duration,
}

impl Streams {
    pub fn get(&self, key: &StreamKey) -> Option<&Stream> {
        self.by_index(*self.by_key.get(key)?)
    }

    /// The stream of that name in a vhost, whatever its app, if there is exactly one.
    pub fn only_one_named(&self, vhost: &str, name: &str) -> Option<&Stream> {
        self.by_index(self.by_name.only_one(vhost, name)?)
    }

    pub fn by_index(&self, index: u32) -> Option<&Stream> {
        self.slots.get(index as usize)?.as_ref()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.slots.iter().flatten()
    }

    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Streams that are on an origin, or carried there too.
    pub fn on(&self, origin: u16) -> u32 {
        self.per_origin.get(&origin).copied().unwrap_or(0)
    }

    /// Puts a stream on an origin, or moves it there. Viewers elsewhere are reset once a publisher is connected.
    pub fn assign(&mut self, key: &Arc<StreamKey>, mapping: Mapping, now: Duration) -> Result<u32, StreamsFull> {
        let index = match self.by_key.get(key.as_ref()) {
            Some(index) => *index,
            None => self.insert(key)?,
        };
        self.map(index, Some(mapping));
        self.renew(index, now);
        Ok(index)
    }

    /// Somebody asked for it.
    pub fn renew(&mut self, index: u32, now: Duration) {
        if let Some(stream) = self.slot_mut(index) {
            let confirmed = stream.mapping.is_some_and(|m| m.confirmed);
            let until = now + if confirmed { LINGER } else { VIEWER_LEASE };
            stream.lease_until = stream.lease_until.max(until);
        }
    }

    /// A stream that an earlier process left in the maps.
    pub fn adopt(&mut self, index: u32, key: &Arc<StreamKey>, mapping: Mapping, now: Duration) -> bool {
        let at = index as usize;
        if at == 0 || at > STREAMS_MAX || self.by_index(index).is_some() || self.by_key.contains_key(key.as_ref()) {
            return false;
        }
        while self.slots.len() <= at {
            // Slot 0 stays unused; what is skipped is free.
            if !self.slots.is_empty() && self.slots.len() != at {
                self.free.push_back(self.slots.len() as u32);
            }
            self.slots.push(None);
        }
        self.free.retain(|i| *i != index);
        self.put(index, key);
        self.map(index, Some(mapping));
        self.renew(index, now);
        true
    }

    /// A measurement; streams that are not in it carry nothing.
    pub fn set_rates(&mut self, rates: &HashMap<u32, Rate>) {
        for stream in self.slots.iter_mut().flatten() {
            stream.rate = rates.get(&stream.index).copied().unwrap_or_default();
        }
    }

    /// Streams whose lease has run out and that no flow carries are gone.
    pub fn tick(&mut self, now: Duration) {
        self.end_stale_claims(now);
        self.tick_carriers(now);
        let unused: Vec<u32> = self.iter().filter(|s| s.is_unused(now)).map(|s| s.index).collect();
        for index in unused {
            self.remove_if_unused(index, now);
        }
    }

    /// What the maps should say of every stream that has changed since the last call.
    pub fn take_changes(&mut self) -> Vec<StreamChange> {
        let changed = std::mem::take(&mut self.changes);
        let gone = std::mem::take(&mut self.gone).into_iter();
        // What is gone first: its name, or its index, may be another's by now.
        let gone = gone.map(|(index, key)| StreamChange { index, key, placed_on: None });
        let there = changed.into_iter().filter_map(|index| self.by_index(index)).map(|stream| StreamChange {
            index: stream.index,
            key: stream.key.clone(),
            placed_on: stream.mapping.map(|m| m.placed_on()),
        });
        gone.chain(there).collect()
    }

    pub fn take_resets(&mut self) -> Vec<Reset> {
        std::mem::take(&mut self.resets).into_iter().collect()
    }

    pub fn has_news(&self) -> bool {
        !self.changes.is_empty() || !self.resets.is_empty()
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Stream> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    fn insert(&mut self, key: &Arc<StreamKey>) -> Result<u32, StreamsFull> {
        if self.slots.is_empty() {
            self.slots.push(None);
        }
        let at_limit = self.slots.len() > STREAMS_MAX;
        let index = if at_limit || self.free.len() > INDEXES_RESTING {
            self.free.pop_front().ok_or(StreamsFull)?
        } else {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        };
        self.put(index, key);
        Ok(index)
    }

    fn put(&mut self, index: u32, key: &Arc<StreamKey>) {
        self.by_key.insert(key.clone(), index);
        self.by_name.insert(key, index);
        self.slots[index as usize] = Some(Stream::new(key, index));
    }

    /// The one place where a mapping changes.
    fn map(&mut self, index: u32, mapping: Option<Mapping>) {
        let Some(stream) = self.slots.get_mut(index as usize).and_then(Option::as_mut) else { return };
        let old = std::mem::replace(&mut stream.mapping, mapping);
        if let Some(old) = old
            && let Some(count) = self.per_origin.get_mut(&old.origin)
        {
            *count = count.saturating_sub(1);
        }
        if let Some(new) = mapping {
            *self.per_origin.entry(new.origin).or_default() += 1;
        }
        if old != mapping {
            self.touched.add(&stream.key);
        }
        if old.map(|m| m.placed_on()) != mapping.map(|m| m.placed_on()) {
            self.end_claim(index);
            self.changes.insert(index);
        }
        if let Some(new) = mapping {
            self.drop_carrier(index, new.placed_on());
        }
    }

    fn remove_if_unused(&mut self, index: u32, now: Duration) {
        let Some(stream) = self.by_index(index).filter(|s| s.is_unused(now)) else { return };
        let key = stream.key.clone();
        self.touched.add(&key);
        self.map(index, None);
        self.drop_carriers_of(index);
        self.by_key.remove(&key);
        self.by_name.remove(&key, index);
        self.slots[index as usize] = None;
        self.free.push_back(index);
        self.changes.insert(index);
        self.gone.entry(index).or_insert(key);
    }
}
