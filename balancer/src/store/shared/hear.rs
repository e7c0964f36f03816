//! What the shelf tells, and what it does to the state.

use super::super::{State, Store};
use super::replica::{Peer, Replica, Seen, listen_of};
use super::streams::stream_key;
use super::{AT_ONCE_MAX, other_keys, read};
use crate::cluster::record::{PeerRecord, RecordError};
use crate::cluster::{Entry, Key, Kind, News, ShelfError, Version};
use crate::recognize::StreamKey;
use balancer_common::abi::Reason;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::yield_now;
use tracing::{error, info, warn};

/// A peer's addresses towards origins, and those where it listens: more than anybody sets.
const SOURCES_MAX: usize = 16;
const LISTENS_MAX: usize = 1024;

impl Store {
    /// One piece of news. In the order in which they come: the next one when this one is heard.
    pub async fn hear(&self, news: &News, now: Duration) {
        match news {
            News::Changed(entry) => _ = self.hear_entry(entry, now),
            News::Up => info!("the store is reached"),
            News::Whole(entries) => self.hear_whole(entries, now).await,
            News::Down(error) => self.hear_down(error),
            News::Told(what) => self.hear_told(what, now),
        }
    }

    pub(super) fn hear_entry(&self, entry: &Entry, now: Duration) -> Result<(), RecordError> {
        let result = self.change(|state| state.with_replica(|state, replica| state.hear(replica, entry, now)));
        self.count_conflicts();
        let result = result.unwrap_or(Ok(()));
        if let Err(error) = &result {
            self.count_record_error(&entry.key, error);
        }
        if let Some(listener) = self.share.as_ref().and_then(|share| share.listener()) {
            listener.changed(entry);
        }
        result
    }

    /// Everything that lies there. What does not and should is written (again). It may be so much that others have to get
    /// on in between: who does not show for too long that it lives is taken for dead.
    async fn hear_whole(&self, entries: &[Entry], now: Duration) {
        let there: HashSet<&Key> = entries.iter().map(|entry| &entry.key).collect();
        let is_gone = |key: &Arc<StreamKey>| !there.contains(&stream_key(key));
        let gone: Vec<_> = self.known_streams().into_iter().filter(is_gone).collect();
        self.with_shared(|state, replica| state.forget_absent(replica, &there, &gone));
        // Streams are on origins, whose runs have their dates before a stream is told of. Each part is true by itself: what
        // is not read yet is only not known yet, and who writes it loses and reads it.
        let mut wrong = self.hear_kind(Kind::Peer, entries, now).await;
        wrong.extend(self.hear_kind(Kind::Origin, entries, now).await);
        self.with_shared(|state, replica| {
            state.date_early(replica, now);
            if !std::mem::replace(&mut replica.is_up, true) {
                replica.up_since = Some(now);
            }
            replica.trouble = None;
        });
        wrong.extend(self.hear_kind(Kind::Stream, entries, now).await);
        self.count_conflicts();
        for (key, error) in &wrong {
            self.count_record_error(key, error);
        }
        self.look_at_all(now).await;
        let Some(share) = &self.share else { return };
        if let Some(listener) = share.listener() {
            listener.whole(entries);
        }
        share.wake.notify_one();
    }

    /// All of a kind. Answers what was wrong.
    async fn hear_kind(&self, kind: Kind, entries: &[Entry], now: Duration) -> Vec<(Key, RecordError)> {
        let of_kind: Vec<&Entry> = entries.iter().filter(|entry| entry.key.kind == kind).collect();
        let mut wrong = Vec::new();
        for part in of_kind.chunks(AT_ONCE_MAX) {
            self.with_shared(|state, replica| {
                let hear = |entry: &&Entry| Some((entry.key.clone(), state.hear(replica, entry, now).err()?));
                wrong.extend(part.iter().filter_map(hear));
            });
            yield_now().await;
        }
        wrong
    }

    /// What of ours is not there as it should be.
    async fn look_at_all(&self, now: Duration) {
        let streams = self.with_shared(|state, replica| {
            let keys = state.streams.iter().map(|stream| stream.key.clone()).collect::<Vec<_>>();
            replica.dirty.extend(other_keys(replica, state));
            keys
        });
        for part in streams.unwrap_or_default().chunks(AT_ONCE_MAX) {
            self.with_shared(|state, replica| {
                let differing: Vec<_> =
                    part.iter().filter(|key| state.differing_stream(replica, key, now).is_some()).collect();
                replica.dirty.extend(differing.into_iter().map(|key| stream_key(key)));
            });
            yield_now().await;
        }
    }

    /// Looks at all streams that lie there, a few at a time.
    pub(super) fn in_steps(&self, mut look: impl FnMut(&mut State, &mut Replica, &[Arc<StreamKey>])) {
        let keys = self.known_streams();
        for part in keys.chunks(AT_ONCE_MAX) {
            self.with_shared(|state, replica| look(state, replica, part));
        }
    }

    fn known_streams(&self) -> Vec<Arc<StreamKey>> {
        let keys = |_: &mut State, replica: &mut Replica| replica.streams.iter().map(|(key, _)| key.clone()).collect();
        self.with_shared(keys).unwrap_or_default()
    }

    pub(super) fn with_shared<T>(&self, work: impl FnOnce(&mut State, &mut Replica) -> T) -> Option<T> {
        self.change(|state| state.with_replica(work))
    }

    fn hear_down(&self, error: &ShelfError) {
        let was_up = self.change(|state| {
            let replica = state.shared.as_mut()?;
            Some(std::mem::replace(&mut replica.is_up, false))
        });
        self.count_put_error(error);
        if was_up == Some(true) {
            warn!(reason = Reason::StoreDown.label(), %error, "the store is lost: what runs goes on, new streams are placed alone");
        }
    }

    fn count_conflicts(&self) {
        for reason in self.change(|state| std::mem::take(&mut state.conflicts)) {
            self.counters.count(reason);
        }
    }
}

impl State {
    fn hear(&mut self, replica: &mut Replica, entry: &Entry, now: Duration) -> Result<(), RecordError> {
        if let Some(seen) = replica.version_of(&entry.key) {
            // Our own write comes back.
            let is_known = entry.key.kind == Kind::Stream && entry.version == *seen && !seen.is_none();
            if is_known || entry.version.is_before(seen) {
                return Ok(());
            }
        }
        let result = self.hear_record(replica, entry, now);
        if result.is_ok() {
            replica.foreign.remove(&entry.key);
            replica.newer.remove(&entry.key);
        }
        result
    }

    fn hear_record(&mut self, replica: &mut Replica, entry: &Entry, now: Duration) -> Result<(), RecordError> {
        match entry.key.kind {
            Kind::Origin => {
                self.hear_origin(replica, entry, now)?;
                self.follow_streams_on(replica, &entry.key.name, now);
                Ok(())
            }
            Kind::Stream => self.hear_stream(replica, entry, now),
            Kind::Peer => self.hear_peer(replica, entry),
            Kind::Session | Kind::Common => Ok(()),
        }
    }

    fn hear_peer(&mut self, replica: &mut Replica, entry: &Entry) -> Result<(), RecordError> {
        let id = entry.key.name.clone();
        let Some(value) = &entry.value else {
            if *id == *replica.id {
                replica.own.version = Version::none();
                replica.dirty.insert(entry.key.clone());
            }
            replica.peers.remove(&id);
            self.avoid_peers(replica);
            return Ok(());
        };
        let record: PeerRecord = read(value)?;
        if record.id != *id {
            return Err(RecordError::Nonsense("its id is not its name"));
        }
        let version = entry.version.clone();
        if *id == *replica.id {
            if replica.hear_own(record, version) {
                self.conflicts.push(Reason::PeerCollision);
                error!(reason = Reason::PeerCollision.label(), %id, "another balancer has our balancer_id: give each its own");
            }
            return Ok(());
        }
        let (first, last) = record.source_ports;
        if first == 0 || first > last || record.sources.len() > SOURCES_MAX || record.listens.len() > LISTENS_MAX {
            return Err(RecordError::Nonsense("its addresses or ports are none that a balancer has"));
        }
        // A newer version may listen in ways that we do not know, where none of our origins is.
        let listens = record.listens.iter().filter_map(|text| listen_of(text)).collect();
        let seen = Seen { version, record };
        match replica.peers.get_mut(&id) {
            Some(peer) => (peer.seen, peer.listens) = (seen, listens),
            None => {
                let peer = Peer { seen, listens, lives: None, dead_since: None, asked_since: None };
                replica.peers.insert(id, peer);
            }
        }
        self.avoid_peers(replica);
        Ok(())
    }

    /// No origin may be where another balancer listens.
    fn avoid_peers(&mut self, replica: &Replica) {
        self.registry.set_peers_listen(replica.peers.values().flat_map(|peer| peer.listens.iter().copied()).collect());
    }

    /// What was there and is no more.
    fn forget_absent(&mut self, replica: &mut Replica, there: &HashSet<&Key>, gone: &[Arc<StreamKey>]) {
        let own = Key::new(Kind::Peer, replica.id.clone());
        if !there.contains(&own) {
            replica.own.version = Version::none();
        }
        replica.origins.retain(|id, _| there.contains(&super::origins::origin_key(id)));
        // Who lives writes his own again. Until then he is no less alive.
        let is_there = |id: &Arc<str>| there.contains(&Key::new(Kind::Peer, id.clone()));
        replica.peers.retain(|id, peer| is_there(id) || peer.lives == Some(true));
        replica.peers.values_mut().for_each(|peer| peer.seen.version = Version::none());
        self.avoid_peers(replica);
        replica.ended.retain(|key| there.contains(&stream_key(key)));
        replica.foreign.clear();
        replica.newer.clear();
        for key in gone {
            if replica.streams.remove(key).is_some() {
                self.streams.set_elsewhere(key, crate::registry::Elsewhere::default());
                self.conflicts.push(Reason::RecordRepaired);
            }
        }
        // Versions of another life say nothing any more: what follows is the truth.
        for seen in replica.origins.values_mut() {
            seen.version = Version::none();
        }
        replica.streams.forget_versions();
    }
}

impl Replica {
    pub(super) fn version_of(&self, key: &Key) -> Option<&Version> {
        match key.kind {
            Kind::Origin => self.origins.get(&key.name).map(|seen| &seen.version),
            Kind::Stream => self.streams.get(&key.name.parse::<StreamKey>().ok()?).map(|seen| &seen.version),
            Kind::Peer if *key.name == *self.id => Some(&self.own.version),
            Kind::Peer => self.peers.get(&key.name).map(|peer| &peer.seen.version),
            Kind::Session | Kind::Common => None,
        }
    }

    /// Answers whether somebody else says that he is us.
    fn hear_own(&mut self, record: PeerRecord, version: Version) -> bool {
        self.own.version = version;
        let is_another = record.started_ms != self.own.record.started_ms;
        if !self.is_introduced && record != self.own.record {
            // An earlier run of ours. It is written over, once: two that do so in turn would not end.
            self.own.record.unknown = record.unknown;
            self.dirty.insert(Key::new(Kind::Peer, self.id.clone()));
        }
        self.is_introduced && is_another
    }
}
