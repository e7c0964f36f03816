//! One client's conversation with one origin, carried by user space until the kernel has it, or for good.

use super::super::Context;
use super::super::admission::Admitted;
use super::super::ports::PortLease;
use super::tries::Tries;
use super::{Leg, Listener, farewell};
use crate::flow::{Counter, FlowId, FlowRecord, FlowState, Path, Protocol, Role};
use crate::live::ResetOrder;
use crate::offload::{Datagrams, SpliceError, Way};
use crate::placement::Placement;
use crate::recognize::StreamKey;
use balancer_common::abi::{FlowFlags, FlowKey, Reason, Track};
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tracing::{debug, info};

/// How often counts are shown, silence is looked for and the kernel is tried.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Datagrams that were on their way to the socket when the kernel took over come within this time.
const LEAVE_AFTER: Duration = Duration::from_millis(500);
/// After the last word: it may be said twice.
const LAST_WORD_LINGER: Duration = Duration::from_secs(1);
const BATCH_MAX: usize = 64;
const DATAGRAM_BYTES_MAX: usize = 65_535;

thread_local! {
    /// One for all flows of a thread: none keeps it between two batches.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; DATAGRAM_BYTES_MAX]);
}

/// Whose flow it is, and what its protocol knows.
pub struct Spec {
    pub client: SocketAddr,
    pub key: Arc<StreamKey>,
    pub role: Role,
    pub protocol: Protocol,
    pub placement: Placement,
    /// See [`Datagrams::tags`].
    pub tags: (u32, u32),
    /// After such a datagram the conversation is over; with the tag of who is to receive it.
    pub is_last: fn(&[u8], u32) -> bool,
    pub idle_timeout: Duration,
    /// See [`super::Udp::admit`].
    pub place: Admitted,
}

pub struct Flow {
    pub(super) ctx: Arc<Context>,
    listener: Arc<Listener>,
    spec: Spec,
    socket: UdpSocket,
    source: SocketAddr,
    pub(super) origin: SocketAddr,
    /// Goes to the table of live flows once the kernel has the flow.
    port: Mutex<Option<PortLease>>,
    id: FlowId,
    reset: Arc<ResetOrder>,
    /// Datagrams and bytes of each direction that the record does not show yet.
    to_origin: Moved,
    to_client: Moved,
    /// The last word has been said.
    pub(super) over: AtomicBool,
    began: Instant,
}

#[derive(Default)]
struct Moved {
    datagrams: AtomicU64,
    bytes: AtomicU64,
    /// When the latest one went, in milliseconds after the flow began.
    active_ms: AtomicU64,
}

impl Moved {
    fn add(&self, bytes: usize) {
        self.datagrams.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    fn take(&self) -> (u64, u64) {
        (self.datagrams.swap(0, Relaxed), self.bytes.swap(0, Relaxed))
    }
}

impl Flow {
    /// Relays from now on. An earlier flow of the same client ends.
    pub fn open(ctx: &Arc<Context>, listener: &Arc<Listener>, spec: Spec, leg: Leg) -> Arc<Self> {
        let reset = Arc::new(ResetOrder::default());
        for key in [FlowKey::udp(spec.client, listener.address), FlowKey::udp(leg.origin, leg.port.source())] {
            key.into_iter().for_each(|key| ctx.live.forget_leg(key));
        }
        let record = record(ctx, listener, &spec, (leg.port.source(), leg.origin));
        let id = ctx.live.open(record, reset.clone());
        let flow = Arc::new(Self {
            ctx: ctx.clone(),
            listener: listener.clone(),
            spec,
            socket: leg.socket,
            source: leg.port.source(),
            origin: leg.origin,
            port: Mutex::new(Some(leg.port)),
            id,
            reset,
            to_origin: Moved::default(),
            to_client: Moved::default(),
            over: AtomicBool::new(false),
            began: Instant::now(),
        });
        if let Some(earlier) = ctx.udp.insert(flow.clone()) {
            earlier.reset.give();
        }
        tokio::spawn(live(flow.clone()));
        flow
    }

    /// By whom it is found.
    pub fn key(&self) -> (SocketAddr, SocketAddr) {
        (self.spec.client, self.listener.address)
    }

    pub fn id(&self) -> FlowId {
        self.id
    }

    /// Ends it at once.
    pub fn end(&self) {
        self.reset.give();
    }

    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Passes a datagram of the client's on; `false` when the conversation is over and it must be somebody else's.
    pub fn pass_to_origin(&self, datagram: &[u8]) -> bool {
        if self.over.load(Relaxed) && !(self.spec.is_last)(datagram, self.spec.tags.0) {
            return false;
        }
        // What cannot be sent is lost, as datagrams are. Past the runtime, which takes a new socket for one that is not
        // ready: the first datagram would be lost always.
        match socket2::SockRef::from(&self.socket).send(datagram) {
            Ok(_) => self.moved(&self.to_origin, datagram, self.spec.tags.0),
            Err(error) => self.lost(&error),
        }
        true
    }

    fn pass_to_client(&self, datagram: &[u8]) {
        match self.listener.socket.try_send_to(datagram, self.spec.client) {
            Ok(_) => self.moved(&self.to_client, datagram, self.spec.tags.1),
            Err(error) => self.lost(&error),
        }
    }

    fn lost(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS) {
            self.ctx.counters.count(Reason::UdpBufferFull);
        }
    }

    fn moved(&self, direction: &Moved, datagram: &[u8], receiver: u32) {
        direction.add(datagram.len());
        direction.active_ms.store(self.began.elapsed().as_millis() as u64, Relaxed);
        if (self.spec.is_last)(datagram, receiver) {
            self.over.store(true, Relaxed);
        }
    }

    /// The longest silence first. Both ends of SRT and of WebRTC always speak: one of which nothing is heard is gone,
    /// whatever the other one goes on saying.
    fn silences(&self) -> (Duration, Duration) {
        let since = |direction: &Moved| Duration::from_millis(direction.active_ms.load(Relaxed));
        let (a, b) = (since(&self.to_origin), since(&self.to_client));
        let elapsed = self.began.elapsed();
        (elapsed.saturating_sub(a.min(b)), elapsed.saturating_sub(a.max(b)))
    }

    /// Passes on what has come from the origin.
    fn drain(&self) {
        BUFFER.with_borrow_mut(|buffer| self.drain_by(buffer));
    }

    fn drain_by(&self, buffer: &mut [u8]) {
        for _ in 0..BATCH_MAX {
            match self.socket.try_recv(buffer) {
                Ok(len) => self.pass_to_client(&buffer[..len]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // The word of an ICMP error about an earlier datagram.
                Err(_) => {}
            }
        }
    }

    /// Writes both halves. From then on the kernel forwards, and this is only for what was on its way.
    pub(super) fn install(&self, way: &Way) -> Result<(), SpliceError> {
        let Some(offload) = &self.ctx.offload else { return Err(SpliceError::Off) };
        let (client, vip) = self.key();
        let key = FlowKey::udp(client, vip).ok_or(SpliceError::Family)?;
        let arrival = offload.arrival(key).ok_or(SpliceError::Unseen(client))?;
        let publishes = if self.spec.role == Role::Publish { FlowFlags::PUBLISH } else { 0 };
        let datagrams = Datagrams {
            client,
            vip,
            source: self.source,
            origin_address: self.origin,
            flags: (self.spec.protocol.number() << FlowFlags::SERVICE_SHIFT) | publishes,
            origin: self.spec.placement.origin,
            origin_generation: self.spec.placement.generation,
            stream: self.spec.placement.stream,
            tags: self.spec.tags,
            client_track: Track::from(arrival),
            origin_track: way.track,
        };
        let (to_origin, to_client) = datagrams.halves()?;
        // The table first: what the kernel reports of the flow must find it there.
        if !self.ctx.live.enters(self.id, key, to_client.ingress) {
            return Err(SpliceError::Taken);
        }
        if let Err(error) = offload.splice_new(&to_origin, &to_client) {
            self.ctx.live.stays_out(self.id, key);
            return Err(error);
        }
        if !self.ctx.live.entered(self.id, key) {
            offload.remove(key, to_client.ingress);
            return Err(SpliceError::Taken);
        }
        self.ctx.counters.count(Reason::SplicedArmed);
        info!(%client, origin = %self.spec.placement.origin_id, "in the kernel");
        Ok(())
    }

    /// For ends of which the two need not have heard.
    fn say_farewell(&self) {
        let record = record(&self.ctx, &self.listener, &self.spec, (self.source, self.origin));
        farewell::say_by(&self.socket, &self.ctx, &record, self.spec.tags);
    }

    /// Carries what was moved into the record.
    fn show(&self) {
        let (forth, back) = (self.to_origin.take(), self.to_client.take());
        if forth.0 + back.0 == 0 {
            return;
        }
        self.ctx.live.relayed(forth, back);
        let now = self.ctx.now();
        self.ctx.live.update(self.id, |record| {
            record.to_origin.packets += forth.0;
            record.to_origin.bytes += forth.1;
            record.to_client.packets += back.0;
            record.to_client.bytes += back.1;
            record.active_at = now;
        });
    }
}

fn record(ctx: &Context, listener: &Listener, spec: &Spec, (source, origin): (SocketAddr, SocketAddr)) -> FlowRecord {
    let now = ctx.now();
    FlowRecord {
        client: spec.client,
        announced: None,
        vip: listener.address,
        origin: spec.placement.origin,
        origin_generation: spec.placement.generation,
        origin_id: spec.placement.origin_id.clone(),
        origin_address: origin,
        source,
        protocol: spec.protocol,
        role: spec.role,
        stream: spec.key.clone(),
        stream_index: spec.placement.stream,
        path: Path::Relay,
        state: FlowState::Relaying,
        to_origin: Counter::default(),
        to_client: Counter::default(),
        made_at: now,
        active_at: now,
    }
}

/// Why user space lets a flow go.
enum Left {
    ToKernel,
    Over,
    Idle,
    Reset,
}

async fn live(flow: Arc<Flow>) {
    let left = tokio::select! {
        left = carry(&flow) => left,
        () = flow.reset.given() => Left::Reset,
    };
    flow.show();
    flow.ctx.udp.remove(&flow);
    let client = flow.spec.client;
    match left {
        Left::ToKernel => {
            let port = flow.port.lock().unwrap_or_else(PoisonError::into_inner).take();
            return flow.ctx.live.left(flow.id, FlowKey::udp(client, flow.listener.address), port);
        }
        Left::Over => debug!(%client, "flow over"),
        Left::Idle => {
            info!(%client, "idle");
            flow.say_farewell();
        }
        Left::Reset => flow.say_farewell(),
    }
    flow.ctx.live.close(flow.id);
}

async fn carry(flow: &Flow) -> Left {
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut tries = Tries::default();
    loop {
        tokio::select! {
            readable = flow.socket.readable() => {
                if readable.is_err() {
                    return Left::Over;
                }
                flow.drain();
                tokio::task::yield_now().await;
            }
            _ = look.tick() => {
                flow.show();
                if let Some(left) = ended(flow) {
                    return left;
                }
                if tries.again(flow) {
                    return leave(flow).await;
                }
            }
            // Asking may take a second, and the flow goes on.
            way = tries.answer() => {
                if tries.heard(flow, way) {
                    return leave(flow).await;
                }
            }
        }
    }
}

fn ended(flow: &Flow) -> Option<Left> {
    let (longest, shortest) = flow.silences();
    if flow.over.load(Relaxed) && shortest >= LAST_WORD_LINGER {
        return Some(Left::Over);
    }
    (longest >= flow.spec.idle_timeout).then_some(Left::Idle)
}

/// What was on its way still goes by the socket.
async fn leave(flow: &Flow) -> Left {
    let until = tokio::time::Instant::now() + LEAVE_AFTER;
    while let Ok(Ok(())) = tokio::time::timeout_at(until, flow.socket.readable()).await {
        flow.drain();
        tokio::task::yield_now().await;
    }
    Left::ToKernel
}
