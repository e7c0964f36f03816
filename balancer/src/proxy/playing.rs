//! What a client plays by requests, shown as a flow: one for each connection and stream, as long as it is being played.

use super::Client;
use super::body::Witness;
use super::intake::Traffic;
use crate::flow::{Counter, FlowId, FlowRecord, FlowState, Path, Protocol, Role};
use crate::live::{Live, ResetOrder};
use crate::placement::Placement;
use crate::recognize::StreamKey;
use crate::store::Clock;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub struct Playing {
    live: Arc<Live>,
    clock: Clock,
    client: Client,
    traffic: Arc<Traffic>,
    /// Ends the connection.
    pub reset: Arc<ResetOrder>,
    /// When the record was last brought up to date, in milliseconds of the clock.
    shown_ms: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    flow: Option<Flow>,
    /// How much of the traffic is accounted for.
    counted: Counts,
}

struct Flow {
    id: FlowId,
    stream: u32,
    placed_on: (u16, u16),
    protocol: Protocol,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    to_origin: Counter,
    to_client: Counter,
}

const SHOW_EVERY_MS: u64 = 250;
/// A connection that is used for other things meanwhile does not play any more.
const PLAYED_FOR: Duration = Duration::from_secs(30);

impl Playing {
    pub fn new(live: Arc<Live>, clock: Clock, client: Client, traffic: Arc<Traffic>) -> Arc<Self> {
        let (reset, shown_ms, state) = Default::default();
        Arc::new(Self { live, clock, client, traffic, reset, shown_ms, state })
    }

    /// The client was answered with something of this stream. Where the answer does not tell the protocol, it is what it
    /// was.
    pub fn plays(&self, stream: &Arc<StreamKey>, placement: &Placement, protocol: Option<Protocol>, own: SocketAddr) {
        let placed_on = (placement.origin, placement.generation);
        let mut state = self.state();
        if let Some(flow) = &state.flow
            && (flow.stream, flow.placed_on) == (placement.stream, placed_on)
            && protocol.is_none_or(|protocol| flow.protocol == protocol)
        {
            return;
        }
        let protocol = protocol.unwrap_or(Protocol::Hls);
        self.close(&mut state);
        let now = self.clock.now();
        let record = FlowRecord {
            client: self.client.peer,
            announced: (self.client.via.client != self.client.peer).then(|| Box::new(self.client.via.client)),
            vip: self.client.own,
            origin: placement.origin,
            origin_generation: placement.generation,
            origin_id: placement.origin_id.clone(),
            origin_address: placement.endpoint,
            source: own,
            protocol,
            role: Role::Play,
            stream: stream.clone(),
            stream_index: placement.stream,
            path: Path::Relay,
            state: FlowState::Relaying,
            to_origin: Counter::default(),
            to_client: Counter::default(),
            made_at: now,
            active_at: now,
        };
        let id = self.live.open(record, self.reset.clone());
        state.flow = Some(Flow { id, stream: placement.stream, placed_on, protocol });
        drop(state);
        self.show(false);
    }

    /// The client asked for something else.
    pub fn plays_nothing(&self) {
        let mut state = self.state();
        let Some(flow) = &state.flow else { return };
        let mut active_at = Duration::ZERO;
        self.live.update(flow.id, |record| active_at = record.active_at);
        if self.clock.now().saturating_sub(active_at) > PLAYED_FOR {
            self.close(&mut state);
        }
    }

    /// Accounts for what has passed since the last time.
    pub fn show(&self, always: bool) {
        let now_ms = self.clock.now().as_millis() as u64;
        let shown_ms = self.shown_ms.load(Relaxed);
        let due = always || now_ms.saturating_sub(shown_ms) >= SHOW_EVERY_MS;
        // Of several that find it due, one does it.
        if due && self.shown_ms.compare_exchange(shown_ms, now_ms, Relaxed, Relaxed).is_ok() {
            self.account(&mut self.state());
        }
    }

    fn account(&self, state: &mut State) {
        let total = Counts {
            to_origin: counter(&self.traffic.reads, &self.traffic.bytes_read),
            to_client: counter(&self.traffic.writes, &self.traffic.bytes_written),
        };
        let counted = std::mem::replace(&mut state.counted, total);
        let forth = less(total.to_origin, counted.to_origin);
        let back = less(total.to_client, counted.to_client);
        if forth.packets == 0 && back.packets == 0 {
            return;
        }
        self.live.relayed((forth.packets, forth.bytes), (back.packets, back.bytes));
        let Some(flow) = &state.flow else { return };
        let now = self.clock.now();
        self.live.update(flow.id, |record| {
            record.to_origin.packets += forth.packets;
            record.to_origin.bytes += forth.bytes;
            record.to_client.packets += back.packets;
            record.to_client.bytes += back.bytes;
            record.active_at = now;
        });
    }

    fn close(&self, state: &mut State) {
        self.account(state);
        if let Some(flow) = state.flow.take() {
            self.live.close(flow.id);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Witness for Playing {
    fn passed(&self) {
        self.show(false);
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        let mut state = std::mem::take(self.state.get_mut().unwrap_or_else(PoisonError::into_inner));
        self.close(&mut state);
    }
}

fn counter(packets: &AtomicU64, bytes: &AtomicU64) -> Counter {
    Counter { packets: packets.load(Relaxed), bytes: bytes.load(Relaxed) }
}

fn less(total: Counter, counted: Counter) -> Counter {
    Counter { packets: total.packets - counted.packets, bytes: total.bytes - counted.bytes }
}
