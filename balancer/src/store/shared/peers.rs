//! The other balancers: which of them live, what they carry, and what is to be done when one does not.

use super::super::{State, Store};
use super::carriers::CARRIED_ON_WITHIN;
use super::replica::Replica;
use super::streams::stream_key;
use super::sync::LIVES_FOR;
use crate::cluster::record::{PeerRecord, StreamRecord};
use crate::cluster::{Key, Kind};
use crate::placement::{Load, Rate};
use crate::recognize::StreamKey;
use balancer_common::abi::Reason;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, info, warn};

/// What balancers say to each other about what they see.
#[derive(Serialize, Deserialize)]
struct Loads {
    /// Who says it.
    loads: String,
    origins: ByOrigin,
}

/// By the origin's id: bits per second to it and from it, flows.
type ByOrigin = BTreeMap<String, (u64, u64, u32)>;

/// What a balancer that is silent has said last holds no longer.
const LOADS_HOLD: Duration = Duration::from_secs(10);
/// Longer than what we say ourselves with all origins: something else.
const TOLD_BYTES_MAX: usize = 256 * 1024;

/// What other balancers carry, by who says so.
#[derive(Default)]
pub struct OthersLoads(HashMap<String, (Duration, ByOrigin)>);

impl Store {
    /// The others that are known.
    pub fn peers(&self) -> Vec<(Arc<str>, Option<bool>)> {
        let peers = self.change(|state| {
            let replica = state.shared.as_ref()?;
            Some(replica.peers.iter().map(|(id, peer)| (id.clone(), peer.lives)).collect())
        });
        peers.unwrap_or_default()
    }

    /// Who lives, as the shelf says.
    pub fn hear_living(&self, living: &[Arc<str>], now: Duration) {
        let mut lost = Vec::new();
        let mut collisions = Vec::new();
        self.change(|state| {
            state.with_replica(|state, replica| {
                for (id, peer) in &mut replica.peers {
                    let lives = living.contains(id);
                    // It is new, or the store was away or emptied: who lives is about to say so.
                    let asked_since = *peer.asked_since.get_or_insert(now);
                    if !lives && now < asked_since + LIVES_FOR {
                        continue;
                    }
                    peer.dead_since = if lives { None } else { peer.dead_since.or(Some(now)) };
                    let before = peer.lives.replace(lives);
                    if lives && before != Some(true) {
                        info!(peer = %id, "another balancer works with this one");
                        collisions.extend(collision(&replica.own.record, &peer.seen.record));
                    }
                    if !lives && before != Some(false) {
                        lost.push(id.clone());
                    }
                }
                if !lost.is_empty() {
                    state.streams.hold_successions(now + CARRIED_ON_WITHIN);
                }
            })
        });
        if !lost.is_empty() {
            self.in_steps(|state, replica, keys| state.purge(replica, &lost, keys, now));
        }
        for what in collisions {
            self.counters.count(Reason::PeerCollision);
            error!(reason = Reason::PeerCollision.label(), "{what}");
        }
        let Some(share) = self.share.as_ref().filter(|_| !lost.is_empty()) else { return };
        for id in lost {
            self.counters.count(Reason::PeerLost);
            warn!(reason = Reason::PeerLost.label(), peer = %id, "another balancer is not heard any more");
            if let Some(listener) = share.listener() {
                listener.peer_lost(&id);
            }
        }
        share.wake();
    }

    /// The shelf does not say who lives.
    pub(super) fn hear_of_nobody(&self) {
        self.change(|state| {
            let peers = state.shared.iter_mut().flat_map(|replica| replica.peers.values_mut());
            peers.for_each(|peer| peer.asked_since = None);
        });
    }

    /// Records that nobody carries and whose time is over, and what names balancers that are no more: those that are this
    /// balancer's business. Answers which balancers have been dead for so long that all of theirs is to go.
    pub(super) fn sweep_records(&self, now: Duration) -> Vec<Arc<str>> {
        self.in_steps(|_, replica, keys| replica.sweep_streams(keys, now));
        self.with_shared(|_, replica| replica.sweep(now)).unwrap_or_default()
    }

    /// What this balancer carries, for the others.
    pub(super) fn loads_text(&self) -> Option<String> {
        self.change(|state| {
            let replica = state.shared.as_ref()?;
            let origins = state.registry.live().filter_map(|(index, origin)| {
                let rate = origin.load.rate;
                let flows = state.registry.flows(index);
                let is_idle = flows == 0 && rate == Rate::default();
                let load = (rate.bits_per_second_in, rate.bits_per_second_out, flows);
                (!is_idle).then(|| (origin.id.to_string(), load))
            });
            serde_json::to_string(&Loads { loads: replica.id.to_string(), origins: origins.collect() }).ok()
        })
    }

    pub(super) fn hear_told(&self, what: &str, now: Duration) {
        if what.len() > TOLD_BYTES_MAX {
            return;
        }
        if let Ok(said) = serde_json::from_str::<Loads>(what) {
            self.change(|state| state.hear_loads(said, now));
            return;
        }
        if let Some(listener) = self.share.as_ref().and_then(|share| share.listener()) {
            listener.told(what);
        }
    }
}

impl State {
    /// What dead balancers carried is said to be carried no more, each record by one of the living.
    fn purge(&mut self, replica: &mut Replica, dead: &[Arc<str>], keys: &[Arc<StreamKey>], now: Duration) {
        let is_dead = |id: &str| dead.iter().any(|dead| **dead == *id);
        for key in keys {
            let Some(StreamRecord { carriers, publisher, also_on, .. }) = replica.streams.get(key).map(|s| &s.record)
            else {
                continue;
            };
            let mut named = carriers.iter().chain(publisher.iter().map(|p| &p.at)).chain(also_on.iter().map(|a| &a.at));
            if !named.any(|id| is_dead(id)) {
                continue;
            }
            if replica.is_mine(&key.to_string()) {
                replica.dirty.insert(stream_key(key));
            }
            // Its publisher may be gone with it.
            self.follow_stream(replica, key, now);
        }
    }

    fn hear_loads(&mut self, said: Loads, now: Duration) {
        let Some(replica) = self.shared.as_ref() else { return };
        if said.loads == *replica.id || !replica.peers.contains_key(said.loads.as_str()) {
            return;
        }
        self.others.0.insert(said.loads, (now, said.origins));
        self.add_others_loads(now);
    }

    /// Origins carry what all balancers bring them.
    fn add_others_loads(&mut self, now: Duration) {
        self.others.0.retain(|_, (at, _)| now.saturating_sub(*at) < LOADS_HOLD);
        let mut sums: HashMap<u16, (Load, u32)> = HashMap::new();
        for (id, (bits_in, bits_out, flows)) in self.others.0.values().flat_map(|(_, origins)| origins) {
            let Some(index) = self.registry.index_of(id) else { continue };
            let (load, all_flows) = sums.entry(index).or_default();
            load.rate.bits_per_second_in = load.rate.bits_per_second_in.saturating_add(*bits_in);
            load.rate.bits_per_second_out = load.rate.bits_per_second_out.saturating_add(*bits_out);
            *all_flows = all_flows.saturating_add(*flows);
        }
        self.registry.set_others(&sums);
    }
}

impl Replica {
    fn sweep_streams(&mut self, keys: &[Arc<StreamKey>], now: Duration) {
        let now_ms = self.ms(now);
        let is_over = |key: &&Arc<StreamKey>| {
            let Some(seen) = self.streams.get(key) else { return false };
            let StreamRecord { carriers, publisher, until_ms, .. } = &seen.record;
            let mut named = carriers.iter().chain(publisher.as_ref().map(|publisher| &publisher.at));
            let is_free = carriers.is_empty() && publisher.is_none();
            (is_free && *until_ms <= now_ms) || named.any(|id| !self.may_live(id))
        };
        let over = keys.iter().filter(is_over).map(|key| stream_key(key));
        let ours: Vec<Key> = over.filter(|key| self.is_mine(&key.name)).collect();
        self.dirty.extend(ours);
    }

    fn sweep(&mut self, now: Duration) -> Vec<Arc<str>> {
        let now_ms = self.ms(now);
        let origins = self.origins.iter().filter(|(_, seen)| seen.record.until_ms.is_some_and(|ms| ms <= now_ms));
        let origins = origins.map(|(id, _)| Key::new(Kind::Origin, id.clone()));
        let over: Vec<_> = origins.filter(|key| self.is_mine(&key.name)).collect();
        let dead = self.peers.keys().filter(|id| self.is_over(id, now) && self.is_mine(id)).cloned().collect();
        self.dirty.extend(over);
        dead
    }
}

/// What two living balancers must not have in common.
fn collision(own: &PeerRecord, other: &PeerRecord) -> Option<String> {
    let same = own.sources.iter().find(|source| other.sources.contains(source))?;
    let (first, last) = (own.source_ports.0.max(other.source_ports.0), own.source_ports.1.min(other.source_ports.1));
    (first <= last).then(|| {
        format!(
            "balancer {:?} uses source address {same} and the ports {first}-{last} too: give each balancer `source_ports` \
             of its own, or another `source_address`",
            other.id
        )
    })
}
