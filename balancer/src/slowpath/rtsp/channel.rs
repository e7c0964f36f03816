//! One channel of a track, RTP or RTCP: the kernel carries its datagrams where it can, and a task whatever comes to the
//! sockets: all of it without a fast path, and fragments, early ones and those from unexpected ports with one.
//!
//! The client's port may differ from the one that it announced: a NAT in between gives it another. The first datagram
//! from the client's own address says which, once, unless the announced port was heard first (RFC 4961 asks of clients
//! to send from the port that they receive on). A datagram from any other address goes nowhere.

use super::super::Context;
use super::tracks::Reserved;
use crate::flow::FlowId;
use crate::offload::{Datagrams, SpliceError};
use balancer_common::abi::{FlowKey, Reason};
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;
use tracing::{debug, warn};

/// Datagrams in a row before other tasks get their turn.
const BATCH_MAX: usize = 64;
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Our two sockets.
pub struct Ends {
    pub at_vip: Reserved,
    pub at_own: Reserved,
}

/// A channel in use; ends when dropped.
pub struct Channel {
    way: Arc<Way>,
    task: AbortHandle,
}

struct Way {
    ctx: Arc<Context>,
    flow: FlowId,
    ends: Ends,
    state: Mutex<State>,
}

struct State {
    datagrams: Datagrams,
    /// In the kernel.
    installed: Option<FlowKey>,
    /// The client's port is known from a datagram.
    client_heard: bool,
    /// Datagrams of the client's that came to our socket.
    relayed: u64,
    active: Instant,
}

#[derive(Default)]
struct Moved {
    datagrams: u64,
    bytes: u64,
}

impl Channel {
    pub fn open(ctx: Arc<Context>, flow: FlowId, ends: Ends, datagrams: Datagrams) -> Self {
        let state = State { datagrams, installed: None, client_heard: false, relayed: 0, active: Instant::now() };
        let way = Arc::new(Way { ctx, flow, ends, state: Mutex::new(state) });
        way.install(&mut way.state());
        let task = tokio::spawn(carry(way.clone())).abort_handle();
        Self { way, task }
    }

    pub fn is_in_kernel(&self) -> bool {
        self.way.state().installed.is_some()
    }

    /// Datagrams of the client's. Only changes count: it starts anew when the client's port turns out to be another.
    pub fn heard(&self) -> u64 {
        let state = self.way.state();
        state.relayed + self.way.forwarded(&state)
    }

    pub fn silent_for(&self) -> Duration {
        self.way.state().active.elapsed()
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.task.abort();
        self.way.uninstall(&mut self.way.state());
    }
}

impl Way {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is whole between statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn install(&self, state: &mut State) {
        if state.datagrams.origin_address.port() == 0 {
            return;
        }
        match self.ctx.live.carry(self.flow, &state.datagrams) {
            Ok(key) => state.installed = Some(key),
            Err(SpliceError::Off) => self.ctx.counters.count(Reason::SpliceOff),
            Err(error) => {
                self.ctx.counters.count(Reason::SpliceMap);
                warn!(%error, client = %state.datagrams.client, "the fast path takes no datagrams: they are relayed");
            }
        }
    }

    fn uninstall(&self, state: &mut State) {
        if let Some(key) = state.installed.take() {
            self.ctx.live.drop_channel(self.flow, key);
        }
    }

    /// Where a datagram of the client's goes; `None` when it is not the client's.
    fn beyond_client(&self, from: SocketAddr) -> Option<SocketAddr> {
        let mut state = self.state();
        if from.ip().to_canonical() != state.datagrams.client.ip().to_canonical() {
            return None;
        }
        if from.port() != state.datagrams.client.port() {
            if state.client_heard || self.forwarded(&state) > 0 {
                return None;
            }
            debug!(announced = %state.datagrams.client, %from, "the client's datagrams come from another port");
            self.uninstall(&mut state);
            state.datagrams.client = from;
            self.install(&mut state);
        }
        state.client_heard = true;
        state.relayed += 1;
        state.active = Instant::now();
        Some(state.datagrams.origin_address).filter(|origin| origin.port() != 0)
    }

    /// Where a datagram of the origin's goes; `None` when it is not the origin's.
    fn beyond_origin(&self, from: SocketAddr) -> Option<SocketAddr> {
        let mut state = self.state();
        let origin = state.datagrams.origin_address;
        if from.ip().to_canonical() != origin.ip().to_canonical() {
            return None;
        }
        if origin.port() == 0 {
            state.datagrams.origin_address = from;
            self.install(&mut state);
        } else if from.port() != origin.port() {
            return None;
        }
        state.active = Instant::now();
        Some(state.datagrams.client)
    }

    /// Datagrams that the kernel has forwarded from the port that the client announced.
    fn forwarded(&self, state: &State) -> u64 {
        let (Some(offload), Some(key)) = (&self.ctx.offload, state.installed) else { return 0 };
        offload.flow(key).map_or(0, |half| half.packets.into())
    }

    fn count(&self, to_origin: &Moved, to_client: &Moved) {
        let (forth, back) = ((to_origin.datagrams, to_origin.bytes), (to_client.datagrams, to_client.bytes));
        self.ctx.live.relayed(forth, back);
        let now = self.ctx.now();
        self.ctx.live.update(self.flow, |record| {
            record.to_origin.packets += forth.0;
            record.to_origin.bytes += forth.1;
            record.to_client.packets += back.0;
            record.to_client.bytes += back.1;
            record.active_at = now;
        });
    }
}

thread_local! {
    /// One for all channels of a thread: most have nothing to carry, and none keeps it between two batches.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; DATAGRAM_BYTES_MAX]);
}

async fn carry(way: Arc<Way>) {
    let (vip, own) = (&way.ends.at_vip.socket, &way.ends.at_own.socket);
    loop {
        let woken = tokio::select! {
            woken = vip.readable() => woken,
            woken = own.readable() => woken,
        };
        if let Err(error) = woken {
            warn!(%error, "a socket for RTP is of no use any more");
            return;
        }
        let (forth, back) = BUFFER.with_borrow_mut(|buffer| {
            let forth = pass(vip, own, buffer, |from| way.beyond_client(from));
            (forth, pass(own, vip, buffer, |from| way.beyond_origin(from)))
        });
        if forth.datagrams + back.datagrams > 0 {
            way.count(&forth, &back);
        }
        tokio::task::yield_now().await;
    }
}

/// Passes on what has come. What cannot be sent is lost, as datagrams are.
fn pass(
    from: &UdpSocket,
    to: &UdpSocket,
    buffer: &mut [u8],
    whereto: impl Fn(SocketAddr) -> Option<SocketAddr>,
) -> Moved {
    let mut moved = Moved::default();
    for _ in 0..BATCH_MAX {
        match from.try_recv_from(buffer) {
            Ok((len, sender)) => {
                if let Some(target) = whereto(sender)
                    && to.try_send_to(&buffer[..len], target).is_ok()
                {
                    moved.datagrams += 1;
                    moved.bytes += len as u64;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            // The word of an ICMP error about an earlier datagram.
            Err(_) => {}
        }
    }
    moved
}
