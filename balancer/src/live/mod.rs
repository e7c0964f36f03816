//! The flows that are alive: their records, what the kernel has counted for those that it carries, and their ends.
//!
//! A flow that user space relays is owned by its task, and so is one whose session user space keeps; one that is spliced
//! is owned by nobody but this table, which looks at it once a second and when the kernel reports a FIN or a RST.

pub mod adopt;
mod farewell;
mod journal;
mod patience;
mod reset;
mod session;
mod several;
mod spliced;
mod taken;

use crate::flow::{FlowId, FlowRecord, FlowState, FlowTable, Path, Protocol, Role};
use crate::offload::Offload;
use crate::placement::Sampler;
use crate::registry::FlowTicket;
use crate::slowpath::PortLease;
use crate::store::{Clock, Store};
use balancer_common::abi::FlowKey;
pub use farewell::{Farewell, Farewells};
pub use journal::{Carried, Journal};
pub use reset::ResetOrder;
use spliced::Spliced;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
pub use taken::{
    Claim, HEARD_FIN_TO_CLIENT, HEARD_FIN_TO_ORIGIN, HEARD_RST, HEARD_TO_CLIENT, HEARD_TO_ORIGIN, Heard, Standing,
};

pub struct Live {
    state: Mutex<State>,
    /// One look at a time: an older snapshot must not be counted after a newer one.
    scanning: Mutex<()>,
    offload: Option<Arc<Offload>>,
    store: Arc<Store>,
    clock: Clock,
    relayed: Relayed,
    farewells: OnceLock<Arc<dyn Farewells>>,
    journal: OnceLock<Arc<dyn Journal>>,
}

#[derive(Default)]
struct State {
    table: FlowTable,
    /// Flows in the kernel, by the client's ingress key.
    spliced: HashMap<FlowKey, Box<Spliced>>,
    /// How to tell a relaying task that its flow is to be reset.
    tasks: HashMap<FlowId, Arc<ResetOrder>>,
    /// Client's ingress keys of the channels that the kernel carries for a task.
    sessions: HashMap<FlowId, Vec<FlowKey>>,
    /// Flows of the kernel's own making that nobody knew at the last look.
    strange: HashSet<FlowKey>,
    sampler: Sampler,
}

/// What user space has copied since it started.
#[derive(Default)]
pub struct Relayed {
    pub reads_to_origin: AtomicU64,
    pub bytes_to_origin: AtomicU64,
    pub reads_to_client: AtomicU64,
    pub bytes_to_client: AtomicU64,
}

impl Live {
    pub fn new(store: Arc<Store>, offload: Option<Arc<Offload>>, clock: Clock) -> Arc<Self> {
        let (state, scanning, relayed, farewells, journal) = Default::default();
        Arc::new(Self { state, scanning, offload, store, clock, relayed, farewells, journal })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The table is consistent between statements; a panic elsewhere must not stop the accounting.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.clock.now()
    }

    /// A flow begins; `reset` is given when it is to end.
    pub fn open(&self, record: FlowRecord, reset: Arc<ResetOrder>) -> FlowId {
        self.store.flow_opened(ticket(&record));
        let mut state = self.state();
        let id = state.table.insert(record);
        state.tasks.insert(id, reset);
        id
    }

    pub fn update(&self, id: FlowId, change: impl FnOnce(&mut FlowRecord)) {
        if let Some(record) = self.state().table.get_mut(id) {
            change(record);
        }
    }

    /// A flow that a task owned ended.
    pub fn close(&self, id: FlowId) {
        self.drop_channels(id);
        let mut state = self.state();
        state.tasks.remove(&id);
        let record = state.table.remove(id);
        // No half may outlive its record and its port.
        let halves = record.as_ref().and_then(|record| take_datagrams(&mut state, id, record));
        drop(state);
        if let (Some(offload), Some((client, origin))) = (&self.offload, halves) {
            offload.remove(client, origin);
        }
        if let Some((client, origin)) = halves {
            self.touch(client, origin);
        }
        self.closed(record);
    }

    fn closed(&self, record: Option<FlowRecord>) {
        if let Some(record) = record {
            if record.role == Role::Play && record.to_client.bytes < MEDIA_BYTES_MIN {
                self.store.left_unfed(ticket(&record), self.now());
            }
            self.store.flow_closed(ticket(&record), self.now());
        }
    }

    pub fn len(&self) -> usize {
        self.state().table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Flows that end with this process.
    pub fn in_user_space(&self) -> usize {
        let state = self.state();
        state.table.iter().filter(|(id, f)| f.path == Path::Relay || state.sessions.contains_key(id)).count()
    }

    pub fn flows(&self) -> Vec<FlowRecord> {
        self.state().table.iter().map(|(_, f)| f.clone()).collect()
    }

    pub fn relayed_totals(&self) -> &Relayed {
        &self.relayed
    }

    /// (reads, bytes) in each direction.
    pub fn relayed(&self, to_origin: (u64, u64), to_client: (u64, u64)) {
        self.relayed.reads_to_origin.fetch_add(to_origin.0, Relaxed);
        self.relayed.bytes_to_origin.fetch_add(to_origin.1, Relaxed);
        self.relayed.reads_to_client.fetch_add(to_client.0, Relaxed);
        self.relayed.bytes_to_client.fetch_add(to_client.1, Relaxed);
    }

    /// Both halves are in the kernel; the sockets are still there.
    pub fn spliced(&self, id: FlowId, client: FlowKey, origin: FlowKey) {
        let now = self.now();
        let mut state = self.state();
        state.spliced.insert(client, Box::new(Spliced::new(id, origin, now)));
    }

    /// Both halves of a flow of UDP are about to be written. `false`: the client has another flow already.
    pub fn enters(&self, id: FlowId, client: FlowKey, origin: FlowKey) -> bool {
        let now = self.now();
        let mut state = self.state();
        if state.spliced.contains_key(&client) || state.table.get_mut(id).is_none() {
            return false;
        }
        state.spliced.insert(client, Box::new(Spliced::new(id, origin, now)));
        true
    }

    /// They are written, unless this says `false`: the flow was ended meanwhile. Then they are not wanted.
    pub fn entered(&self, id: FlowId, client: FlowKey) -> bool {
        let mut state = self.state();
        let State { table, spliced, .. } = &mut *state;
        let is_ours = spliced.get(&client).is_some_and(|entry| entry.id == id);
        let Some(record) = table.get_mut(id).filter(|_| is_ours) else { return false };
        record.path = Path::Kernel;
        record.state = FlowState::Spliced;
        let origin = spliced.get(&client).map(|entry| entry.origin);
        drop(state);
        if let Some(origin) = origin {
            self.touch(client, origin);
        }
        true
    }

    /// They could not be written.
    pub fn stays_out(&self, id: FlowId, client: FlowKey) {
        let mut state = self.state();
        if state.spliced.get(&client).is_some_and(|entry| entry.id == id) {
            state.spliced.remove(&client);
        }
    }

    /// A flow of UDP that is the kernel's alone from now on, whoever made it. Its record is new.
    pub fn joined(&self, record: FlowRecord, client: FlowKey, origin: FlowKey, port: Option<PortLease>) -> FlowId {
        self.store.flow_opened(ticket(&record));
        let now = self.now();
        let mut state = self.state();
        let id = state.table.insert(record);
        state.spliced.insert(client, Box::new(Spliced::alone(id, origin, now, port)));
        drop(state);
        self.touch(client, origin);
        id
    }

    /// The splice was taken back.
    pub fn unspliced(&self, client: FlowKey) {
        let mut state = self.state();
        if let Some(spliced) = state.spliced.remove(&client)
            && let Some(record) = state.table.get_mut(spliced.id)
        {
            record.path = Path::Relay;
        }
    }

    /// The sockets are gone: the flow is ours, with its port.
    pub fn left(&self, id: FlowId, client: Option<FlowKey>, port: Option<PortLease>) {
        let mut state = self.state();
        state.tasks.remove(&id);
        // By now the key may belong to another flow: then the port rests.
        let entry = client.and_then(|client| Some((client, state.spliced.get_mut(&client)?)));
        if let Some((client, spliced)) = entry.filter(|(_, entry)| entry.id == id) {
            spliced.alone = true;
            spliced.port = port;
            let origin = spliced.origin;
            drop(state);
            self.touch(client, origin);
        }
    }
}

/// Who got less than this has seen no picture: it is the protocol's own words.
const MEDIA_BYTES_MIN: u64 = 4096;

/// The keys of a flow of UDP that entered the kernel by itself, not as a channel of a session.
fn take_datagrams(state: &mut State, id: FlowId, record: &FlowRecord) -> Option<(FlowKey, FlowKey)> {
    if !matches!(record.protocol, Protocol::Srt | Protocol::Webrtc) {
        return None;
    }
    let client = FlowKey::udp(record.client, record.vip)?;
    state.spliced.get(&client).filter(|entry| entry.id == id)?;
    state.spliced.remove(&client).map(|entry| (client, entry.origin))
}

/// What the store counts the flow by.
fn ticket(record: &FlowRecord) -> FlowTicket {
    FlowTicket {
        stream: record.stream_index,
        origin: record.origin,
        generation: record.origin_generation,
        role: record.role,
        protocol: record.protocol,
    }
}
