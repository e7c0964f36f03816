//! Flows in the kernel: what was counted since the last look, and when one is over.

use super::patience::{Patience, over_for};
use super::taken::{Claim, GUEST_SILENCE_MAX, Guest, Told};
use super::{Live, State};
use crate::config::IdleTimes;
use crate::flow::{Counter, FlowId, FlowRecord, FlowState, Path, Protocol};
use crate::offload::{Half, SplicedFlow};
use crate::recognize::StreamKey;
use crate::slowpath::{PortLease, provoke};
use balancer_common::abi::{EventKind, FlowKey, PROTO_TCP, Seen};
use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;
use std::time::Duration;
use tracing::{debug, info, warn};

pub struct Spliced {
    pub id: FlowId,
    pub origin: FlowKey,
    pub port: Option<PortLease>,
    /// No socket is left: the table owns the flow.
    pub alone: bool,
    /// Part of a flow that its task goes on to own.
    pub(super) is_channel: bool,
    /// Against another balancer's.
    pub(super) claim: Claim,
    /// Another balancer's flow, forwarded here too.
    pub(super) guest: Option<Box<Guest>>,
    /// What others have heard of it.
    pub(super) told: Option<Box<Told>>,
    /// When it came into the table: an older look at the kernel does not show it.
    made_at: Duration,
    /// Packets and bytes of both halves at the last look.
    last: [(u32, u64); 2],
    /// Remove it then.
    ends_at: Option<Duration>,
    patience: Patience,
}

/// After an origin's death: the client's next packet is answered by the fast path until then, by the host afterwards.
const DEAD_LINGER: Duration = Duration::from_secs(10);

/// Ends of which the peers need not have heard: they are made to ask.
const IDLE: &str = "idle";
const REFUSED: &str = "another request";
/// Both have said so, or one has reset it.
const ENDED: &str = "ended";

impl Spliced {
    pub fn new(id: FlowId, origin: FlowKey, made_at: Duration) -> Self {
        let (port, claim, guest, told, ends_at, patience) = Default::default();
        let (alone, is_channel, last) = (false, false, [(0, 0); 2]);
        Self { id, origin, port, alone, is_channel, claim, guest, told, made_at, last, ends_at, patience }
    }

    pub fn alone(id: FlowId, origin: FlowKey, made_at: Duration, port: Option<PortLease>) -> Self {
        Self { alone: true, port, ..Self::new(id, origin, made_at) }
    }

    pub fn channel(id: FlowId, origin: FlowKey, made_at: Duration) -> Self {
        Self { is_channel: true, ..Self::new(id, origin, made_at) }
    }

    /// For a flow whose counts so far are in its record already.
    pub fn adopted(id: FlowId, flow: &SplicedFlow, port: PortLease) -> Self {
        let last = [(flow.to_origin.packets, flow.to_origin.bytes), (flow.to_client.packets, flow.to_client.bytes)];
        let claim = Claim::Adopted;
        Self { port: Some(port), alone: true, claim, last, ..Self::new(id, flow.origin, Duration::ZERO) }
    }

    fn ends(&mut self, at: Duration) {
        self.ends_at = Some(self.ends_at.map_or(at, |old| old.min(at)));
    }
}

impl Live {
    /// One look at every flow in the kernel. The clients' keys of those that the kernel made itself, and that were not
    /// known at the last look either.
    pub fn scan(&self, times: IdleTimes) -> Vec<FlowKey> {
        let _one = self.scanning.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(offload) = &self.offload else {
            self.sample(self.now());
            return Vec::new();
        };
        let looked_at = self.now();
        let flows: HashMap<FlowKey, SplicedFlow> = match offload.flows() {
            Ok(flows) => flows.into_iter().map(|f| (f.client, f)).collect(),
            Err(error) => {
                warn!(%error, "the flow tables cannot be read: no counts, no ends until they can");
                return Vec::new();
            }
        };
        let now = self.now();
        let coarse = crate::offload::coarse_now();
        let is_deaf = self.store.is_deaf(now);
        let (mut over, mut guests_ends) = (Vec::new(), Vec::new());
        let mut state = self.state();
        let State { table, spliced, .. } = &mut *state;
        for (client, entry) in spliced.iter_mut() {
            let Some(flow) = flows.get(client) else {
                // Somebody removed it: `balancer unload`, or a new connection on the same ports.
                if entry.alone && entry.made_at < looked_at {
                    over.push((*client, entry.id, "removed"));
                }
                continue;
            };
            let (mut idle_timeout, mut both_speak) = (times.others, false);
            if let Some(record) = table.get_mut(entry.id) {
                let ends = count(record, entry, flow, now);
                if ends != 0 {
                    guests_ends.push(((*client, entry.origin), ends));
                }
                idle_timeout = idle_time(times, record.protocol);
                both_speak = do_both_speak(record.protocol);
            }
            if entry.is_channel {
                continue;
            }
            if is_deaf {
                // Half of it may go by another balancer, of which nothing is heard now.
                (idle_timeout, both_speak) = (idle_timeout.max(times.others), false);
            }
            let silences = entry.silences(flow, coarse, now);
            let (shortest, longest) = (silences[0].min(silences[1]), silences[0].max(silences[1]));
            if entry.guest.is_some() {
                (idle_timeout, both_speak) = (idle_timeout.min(GUEST_SILENCE_MAX), false);
            }
            let linger = over_for(entry.seen(flow), client.proto());
            if let Some(linger) = linger.map(|linger| entry.patience.after(shortest, linger)) {
                if let Some(record) = table.get_mut(entry.id) {
                    record.state = FlowState::Closing;
                }
                // Not for a RST that the peers ignored because it was none of theirs: such a flow goes on.
                if entry.alone && shortest >= linger {
                    over.push((*client, entry.id, if refused(flow) { REFUSED } else { ENDED }));
                    continue;
                }
            } else if (if both_speak { longest } else { shortest }) >= idle_timeout {
                over.push((*client, entry.id, IDLE));
                continue;
            }
            if entry.alone && entry.ends_at.is_some_and(|at| at <= now) {
                over.push((*client, entry.id, "origin down"));
            }
        }
        state.end_idle_sessions(times.others, now);
        let strangers = state.strangers(&flows);
        drop(state);
        self.sample(now);
        guests_ends.into_iter().for_each(|(flow, bits)| self.guest_end(flow, bits));
        for (client, id, why) in over {
            // By now the key may belong to a new flow.
            if self.state().spliced.get(&client).is_some_and(|entry| entry.id == id) {
                // Nor is it known whether its address is somebody else's by now, who goes on with it.
                let is_ours = client.proto() == PROTO_TCP || !is_deaf;
                self.end(client, why, is_ours && matches!(why, IDLE | REFUSED));
            }
        }
        strangers
    }

    /// Hands the origins' and streams' rates to placement.
    fn sample(&self, now: Duration) {
        let mut state = self.state();
        let State { table, sampler, .. } = &mut *state;
        let loads = sampler.sample(table.iter(), now);
        drop(state);
        self.store.set_loads(&loads);
    }

    /// The kernel reports a FIN, a RST or a port in use again.
    pub fn event(&self, kind: EventKind, key: FlowKey) {
        let client = self.client_key(key);
        match kind {
            EventKind::Reused => {
                // A late report must not end the flow that came after.
                let half = self.offload.as_ref().and_then(|offload| offload.flow(client));
                if half.is_some_and(|half| half.seen & Seen::CLOSED != 0) {
                    self.end(client, "reused", false);
                }
            }
            // The session that it belongs to has to be looked up first: see `joined`. A flow that was missed is none yet.
            EventKind::Made | EventKind::Missed => {}
            EventKind::Fin | EventKind::Rst => {
                let mut state = self.state();
                let State { table, spliced, .. } = &mut *state;
                if let Some(record) = spliced.get(&client).and_then(|s| table.get_mut(s.id)) {
                    record.state = FlowState::Closing;
                }
            }
        }
    }

    /// The client's key of the flow that either of its halves belongs to: the halves name each other.
    fn client_key(&self, key: FlowKey) -> FlowKey {
        if self.state().spliced.contains_key(&key) {
            return key;
        }
        let half = self.offload.as_ref().and_then(|offload| offload.flow(key));
        half.map_or(key, |half| half.egress.reversed())
    }

    /// A new connection uses `key`: whatever the kernel still has there is from an earlier one.
    pub fn forget_leg(&self, key: FlowKey) {
        let Some(offload) = &self.offload else { return };
        let Some(half) = offload.flow(key) else { return };
        self.end(self.client_key(key), "replaced", false);
        offload.remove(key, half.egress.reversed());
    }

    /// Ends a flow in the kernel. With `tell`, both peers are made to ask, and the host's stack resets them.
    pub(super) fn end(&self, client: FlowKey, why: &str, tell: bool) {
        let mut state = self.state();
        let Some(entry) = state.spliced.remove(&client) else { return };
        let record = if entry.is_channel { None } else { state.table.remove(entry.id) };
        drop(state);
        let tell = tell && entry.guest.is_none();
        let tags = self.tags(client, entry.origin);
        if let Some(offload) = &self.offload {
            self.take_out(offload, (client, entry.origin), tell);
        }
        if let Some(record) = &record {
            debug!(client = %record.client, origin = %record.origin_id, why, "flow over");
            if tell && client.proto() == PROTO_TCP {
                tell_both(record);
            } else if tell {
                self.say_farewell(record, tags);
            }
        }
        if let Some(guest) = &entry.guest {
            // Once more: all may have been told in vain the first time.
            if matches!(why, ENDED | REFUSED) {
                self.guest_end((client, entry.origin), guest.ends);
            }
            return;
        }
        if !entry.is_channel {
            self.touch(client, entry.origin);
        }
        if let Some(journal) = self.journal.get().filter(|_| !entry.is_channel) {
            journal.ended(client, entry.told.is_some());
        }
        self.closed(record);
    }

    /// Resets every flow of a stream; how many there were.
    pub fn reset_stream(&self, key: &StreamKey) -> usize {
        self.reset(|record| *record.stream == *key)
    }

    /// Resets the flows that `which` picks.
    pub fn reset(&self, which: impl Fn(&FlowRecord) -> bool) -> usize {
        let state = self.state();
        let picked: HashSet<FlowId> = state.table.iter().filter(|(_, f)| which(f)).map(|(id, _)| id).collect();
        let kernel: Vec<FlowKey> = state
            .spliced
            .iter()
            .filter(|(_, s)| !s.is_channel && picked.contains(&s.id))
            .map(|(key, _)| *key)
            .collect();
        for id in &picked {
            if let Some(task) = state.tasks.get(id) {
                task.give();
            }
        }
        drop(state);
        for client in kernel {
            self.end(client, "reset", true);
        }
        picked.len()
    }

    /// An origin is down: the fast path answers for its flows; the clients that are silent are made to ask.
    pub fn origin_died(&self, index: u16, generation: u16) -> usize {
        let mut state = self.state();
        let now = self.now();
        let mut clients = Vec::new();
        let State { table, spliced, tasks, sessions, .. } = &mut *state;
        let theirs = |f: &FlowRecord| f.origin == index && f.origin_generation == generation;
        for (id, record) in table.iter().filter(|(_, f)| theirs(f)) {
            if (record.path == Path::Relay || sessions.contains_key(&id))
                && let Some(task) = tasks.get(&id)
            {
                task.give();
            }
        }
        let mut farewells = Vec::new();
        for (key, entry) in spliced.iter_mut().filter(|(_, entry)| !entry.is_channel && entry.guest.is_none()) {
            if let Some(record) = table.get_mut(entry.id).filter(|r| theirs(r)) {
                entry.ends(now + DEAD_LINGER);
                record.state = FlowState::Closing;
                if key.proto() == PROTO_TCP {
                    clients.push((record.vip, record.client));
                } else {
                    farewells.push((record.clone(), *key, entry.origin));
                }
            }
        }
        drop(state);
        for (record, client, origin) in &farewells {
            self.say_farewell(record, self.tags(*client, *origin));
        }
        for (vip, client) in &clients {
            if let Err(error) = provoke::provoke(*vip, *client) {
                info!(%error, %client, "cannot probe a client of a dead origin: it is reset with its next packet");
            }
        }
        clients.len() + farewells.len()
    }
}

/// Both peers are told by their own question: an ACK that meets no connection is answered with a RST.
fn tell_both(record: &FlowRecord) {
    for (own, peer) in [(record.vip, record.client), (record.source, record.origin_address)] {
        if let Err(error) = provoke::provoke(own, peer) {
            debug!(%error, %peer, "no probe: the peer is reset with its next packet");
        }
    }
}

/// The fast path answers both peers with a RST, but one that sends nothing has not heard it.
fn refused(flow: &SplicedFlow) -> bool {
    (flow.to_origin.seen | flow.to_client.seen) & Seen::REFUSED != 0
}

pub(super) fn silence(half: &Half, coarse: u32) -> Duration {
    // The clock may have moved on between the kernel's stamp and ours, never by more than an instant.
    let units = coarse.wrapping_sub(half.last_seen) as i32;
    Duration::from_nanos((units.max(0) as u64) << 20)
}

/// Adds what the kernel has counted since the last look. Bits of ends that a guest has not had before.
fn count(record: &mut FlowRecord, entry: &mut Spliced, flow: &SplicedFlow, now: Duration) -> u8 {
    let [forth, back] = &mut entry.last;
    let moved = [add(&mut record.to_origin, &flow.to_origin, forth), add(&mut record.to_client, &flow.to_client, back)];
    if moved[0] || moved[1] {
        record.active_at = now;
    }
    entry.guest.as_mut().map_or(0, |guest| guest.hear(moved, [flow.to_origin.seen, flow.to_client.seen]))
}

/// Then an end of which nothing is heard is gone, whatever the other one goes on saying.
fn do_both_speak(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Srt | Protocol::Webrtc)
}

fn idle_time(times: IdleTimes, protocol: Protocol) -> Duration {
    match protocol {
        Protocol::Srt => times.srt,
        Protocol::Webrtc => times.webrtc,
        _ => times.others,
    }
}

fn add(counter: &mut Counter, half: &Half, last: &mut (u32, u64)) -> bool {
    let packets = half.packets.wrapping_sub(last.0);
    counter.packets += u64::from(packets);
    counter.bytes += half.bytes.saturating_sub(last.1);
    *last = (half.packets, half.bytes);
    packets > 0
}
