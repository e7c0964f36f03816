//! The store's part in a cluster: what this balancer decides is written to the shelf, what others write is followed.
//!
//! The state behind the store's lock stays what every question is answered from. A placement that is new is written
//! before it is used, by compare-and-set, so that two balancers never disagree; everything else (who carries a stream,
//! leases) is written behind, in batches. Without the shelf, new streams are placed by rendezvous hashing, which comes out
//! alike everywhere, and written once it is back.

mod carriers;
mod hear;
mod known;
mod origins;
mod peers;
mod placing;
mod replica;
mod streams;
mod sync;
#[cfg(test)]
mod tests;
mod view;

pub use origins::origin_key;
pub use peers::OthersLoads;
pub use replica::{Replica, listen_text};
pub use streams::stream_key;
pub use sync::run;
pub use view::{PeerView, ShelfView};

use super::{State, Store};
use crate::cluster::record::{PeerRecord, Record, RecordError};
use crate::cluster::{Entry, Key, Kind, Put, Shelf, ShelfError, Version};
use crate::registry::{RegisterError, Registered, Registry};
use balancer_common::abi::Reason;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;

/// What a store has that is one of several.
pub struct Share {
    pub id: Arc<str>,
    pub shelf: Arc<dyn Shelf>,
    /// Something may have to be written.
    wake: Notify,
    listeners: OnceLock<Box<dyn Listener>>,
}

/// Who else has to do with what lies in the shelf. Called outside the store's lock, from one task.
pub trait Listener: Send + Sync {
    /// A record of another kind than the store's.
    fn changed(&self, entry: &Entry);
    /// The shelf is there (again), and these are all its records: what of one's own is not among them has to be written.
    fn whole(&self, entries: &[Entry]);
    /// Another balancer has said something.
    fn told(&self, what: &str);
    /// A balancer is dead: what it carried is free to be taken.
    fn peer_lost(&self, id: &str);
}

/// A write that is wanted.
struct Wanted {
    key: Key,
    value: Option<String>,
    seen: Version,
}

/// In one batch.
const WRITES_MAX: usize = 64;
/// Records that are looked at while nobody else can use the store: less than a millisecond.
const AT_ONCE_MAX: usize = 256;
/// How often a lost race is run again before it is left to the task that writes behind.
const ATTEMPTS: usize = 4;

impl Store {
    /// From now on the store is one of several. Before anything is placed or registered; [`run`] is its task.
    pub fn share(&mut self, shelf: Arc<dyn Shelf>, own: PeerRecord, now: Duration) {
        let state = self.state.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let replica = Replica::new(own, now);
        let id = replica.id.clone();
        state.streams.share();
        state.shared = Some(Box::new(replica));
        self.share = Some(Arc::new(Share { id, shelf, wake: Notify::new(), listeners: OnceLock::new() }));
    }

    /// Whether this balancer is to run empty, for the others to know.
    pub fn set_draining(&self, is_draining: bool) {
        let Some(share) = &self.share else { return };
        let is_new = self.change(|state| {
            let replica = state.shared.as_mut()?;
            replica.dirty.insert(Key::new(Kind::Peer, replica.id.clone()));
            Some(std::mem::replace(&mut replica.own.record.draining, is_draining) != is_draining)
        });
        if is_new == Some(true) {
            share.wake();
        }
    }

    pub fn share_of(&self) -> Option<&Arc<Share>> {
        self.share.as_ref()
    }

    pub(super) fn count_put_error(&self, error: &ShelfError) {
        if let Some(replica) = &mut self.lock().shared {
            replica.trouble = Some(error.clone());
        }
        self.counters.count(match error {
            ShelfError::Down(_) => Reason::StoreDown,
            ShelfError::Late => Reason::StoreLate,
            ShelfError::Refused(_) => Reason::StoreRefused,
        });
    }

    /// What is told of records that cannot be believed, without what is secret in them.
    fn count_record_error(&self, key: &Key, error: &RecordError) {
        let reason = match error {
            RecordError::Format(_) => Reason::RecordFormat,
            RecordError::TooLong | RecordError::Malformed(_) | RecordError::Nonsense(_) => Reason::RecordForeign,
        };
        self.counters.count(reason);
        // What serde says quotes the text.
        let why = match error {
            RecordError::Malformed(_) => "it is not what we write".to_owned(),
            error => error.to_string(),
        };
        tracing::warn!(reason = reason.label(), ?key, why, "a record in the store is ignored");
    }

    /// Writes one record now, for a caller who waits. Whether it lies there as it is wanted.
    pub(super) async fn write_now(&self, key: Key, now: Duration) -> bool {
        let Some(share) = &self.share else { return true };
        for _ in 0..ATTEMPTS {
            let Some(wanted) = self.change(|state| state.wanted(&key, now)) else { return true };
            match share.shelf.put(&wanted.key, wanted.value.as_deref(), &wanted.seen).await {
                Ok(Put::Done(version)) => {
                    self.written(wanted, version, now);
                    return true;
                }
                Ok(Put::Lost(entry)) => self.lost(&entry, now),
                Err(error) => {
                    self.count_put_error(&error);
                    break;
                }
            }
        }
        self.change(|state| state.shared.as_mut().map(|replica| replica.dirty.insert(key)));
        share.wake.notify_one();
        false
    }

    /// Something else lies there than what was seen last: it is followed, or if it is no record at all, written over.
    fn lost(&self, entry: &Entry, now: Duration) {
        self.counters.count(Reason::RecordRaced);
        let Err(error) = self.hear_entry(entry, now) else { return };
        if let Some(replica) = &mut self.lock().shared {
            match error {
                RecordError::Format(_) => _ = replica.newer.insert(entry.key.clone()),
                _ => _ = replica.foreign.insert(entry.key.clone(), entry.version.clone()),
            }
        }
    }

    /// A write is done: what lies there now is known without reading it.
    fn written(&self, wanted: Wanted, version: Version, now: Duration) {
        if let Some(replica) = &mut self.lock().shared {
            replica.trouble = None;
            replica.said(&wanted.key);
            replica.is_introduced |= wanted.key.kind == Kind::Peer && wanted.key.name == replica.id;
        }
        let value = wanted.value.map(Arc::from);
        _ = self.hear_entry(&Entry { key: wanted.key, version, value }, now);
    }
}

impl Store {
    /// A registration: known here at once, and to the others before it is answered.
    pub(super) async fn registered(
        &self,
        is_said: bool,
        now: Duration,
        register: impl Fn(&mut Registry) -> Result<Registered, RegisterError>,
    ) -> Result<Registered, RegisterError> {
        let (registered, gone) = self.change(|state| {
            let before = if state.shared.is_some() { origins::ids(state) } else { Vec::new() };
            let registered = state.after(now, &register)?;
            state.with_replica(|state, replica| state.date_origin(replica, &registered, now));
            if is_said {
                state.say_origin(&registered.id);
            }
            let gone = before.into_iter().filter(|id| state.registry.index_of(id).is_none());
            Ok::<_, RegisterError>((registered, gone.collect::<Vec<_>>()))
        })?;
        if self.share.is_some() {
            for id in gone {
                self.change(|state| state.bury_origin(&id, 0, now));
                self.write_now(origin_key(&id), now).await;
            }
            self.write_now(origin_key(&registered.id), now).await;
        }
        Ok(registered)
    }
}

impl Share {
    pub fn listen(&self, listener: Box<dyn Listener>) {
        // Set once, at the start.
        let _ = self.listeners.set(listener);
    }

    fn listener(&self) -> Option<&dyn Listener> {
        self.listeners.get().map(|listener| &**listener)
    }

    /// Another part of this process has a record to be written behind.
    pub fn wake(&self) {
        self.wake.notify_one();
    }
}

impl State {
    /// Works on the state and on the replica, where there is one.
    pub(super) fn with_replica<T>(&mut self, work: impl FnOnce(&mut Self, &mut Replica) -> T) -> Option<T> {
        let mut replica = self.shared.take()?;
        let result = work(self, &mut replica);
        self.shared = Some(replica);
        Some(result)
    }

    /// How one record differs from what it should be.
    fn wanted(&mut self, key: &Key, now: Duration) -> Option<Wanted> {
        self.with_replica(|state, replica| state.wanted_or_said(replica, key, now)).flatten()
    }

    fn wanted_or_said(&self, replica: &mut Replica, key: &Key, now: Duration) -> Option<Wanted> {
        let wanted = self.wanted_of(replica, key, now);
        if wanted.is_none() {
            replica.said(key);
        }
        wanted
    }

    fn wanted_of(&self, replica: &Replica, key: &Key, now: Duration) -> Option<Wanted> {
        if replica.newer.contains(key) {
            return None;
        }
        let (value, seen) = match key.kind {
            Kind::Origin => {
                let wanted = self.wanted_origin(replica, &key.name, now)?;
                let seen = replica.origins.get(&key.name);
                if seen.map(|s| &s.record) == wanted.as_ref() {
                    return None;
                }
                (wanted.map(|record| record.text()), origins::seen_version(replica, &key.name))
            }
            Kind::Stream => {
                let stream = key.name.parse().ok()?;
                let wanted = self.differing_stream(replica, &stream, now)?;
                (wanted.map(|record| record.text()), streams::seen_version(replica, &stream))
            }
            Kind::Peer if *key.name == *replica.id => (Some(replica.own.record.text()), replica.own.version.clone()),
            Kind::Peer if replica.is_over(&key.name, now) => (None, replica.version_of(key)?.clone()),
            Kind::Peer | Kind::Session | Kind::Common => return None,
        };
        let seen = replica.foreign.get(key).cloned().unwrap_or(seen);
        Some(Wanted { key: key.clone(), value, seen })
    }

    /// What is to be written, a batch of it, and whether there may be more.
    fn take_wanted(&mut self, now: Duration) -> (Vec<Wanted>, bool) {
        let touched = self.streams.take_touched();
        let taken = self.with_replica(|state, replica| {
            replica.dirty.extend(touched.iter().map(|key| streams::stream_key(key)));
            if replica.dirty.is_empty() {
                std::mem::swap(&mut replica.dirty, &mut replica.later);
            }
            let mut wanted = Vec::new();
            for _ in 0..AT_ONCE_MAX {
                let Some(key) = replica.dirty.pop_first() else { break };
                if replica.proposed.contains(&key) {
                    continue;
                }
                wanted.extend(state.wanted_or_said(replica, &key, now));
                if wanted.len() >= WRITES_MAX {
                    break;
                }
            }
            (wanted, !replica.dirty.is_empty())
        });
        taken.unwrap_or_default()
    }

    fn dirty(&mut self, keys: impl IntoIterator<Item = Key>) {
        if let Some(replica) = &mut self.shared {
            replica.dirty.extend(keys);
        }
    }

    /// An operator has drained an origin, or the opposite.
    pub(super) fn drained(&mut self, drain: impl FnOnce(&mut Registry) -> Option<u16>) -> Option<u16> {
        let index = drain(&mut self.registry)?;
        let id = self.registry.get(index)?.id.clone();
        self.say_origin(&id);
        Some(index)
    }

    /// What the registry says of an origin is an operator's word: it holds until the others know it.
    pub(super) fn say_origin(&mut self, id: &Arc<str>) {
        if let Some(replica) = &mut self.shared {
            replica.unsaid.insert(id.clone());
        }
    }
}

/// Reads a record.
fn read<R: Record>(text: &str) -> Result<R, RecordError> {
    R::read(text)
}

/// Everything that this balancer could have to write, but streams.
fn other_keys(replica: &Replica, state: &State) -> Vec<Key> {
    let origins = origins::ids(state).into_iter().map(|id| origins::origin_key(&id));
    origins.chain([Key::new(Kind::Peer, replica.id.clone())]).collect()
}
