//! The leg towards the origin: bound to a port of our own, connected, and brought to the point where the client stands.

use super::connection::Connection;
use super::legs::TcpLeg;
use super::ports::PortLease;
use super::{Context, socket};
use crate::flow::life::Input;
use crate::flow::{Counter, FlowId, FlowRecord, FlowState, Path, Protocol};
use crate::live::ResetOrder;
use crate::placement::Placement;
use crate::recognize::rtmp::{Agreement, OriginProgress, OriginSide, Request, set_chunk_size};
use crate::registry::ConnectFailure;
use balancer_common::abi::{FlowKey, Reason};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tracing::{debug, warn};

/// Where the client was placed and, once connected, the leg there.
pub struct OriginLeg {
    pub placement: Placement,
    pub leg: Option<TcpLeg>,
    pub port: Option<PortLease>,
    pub flow: Option<FlowId>,
    pub agreement: Option<Box<Agreement>>,
    pub reset: Arc<ResetOrder>,
}

impl OriginLeg {
    pub fn placed(placement: Placement) -> Self {
        Self { placement, leg: None, port: None, flow: None, agreement: None, reset: Arc::default() }
    }

    /// The flow ended in user space: its record goes.
    pub fn finish(&self, ctx: &Context) {
        if let Some(id) = self.flow {
            ctx.live.close(id);
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("{0} refused the connection")]
    Refused(SocketAddr),
    #[error("{0} did not answer in time")]
    TimedOut(SocketAddr),
    #[error("{0} accepted the connection and then stayed silent")]
    Silent(SocketAddr),
    #[error("{0} closed the connection before it answered")]
    Closed(SocketAddr),
    #[error("every source port towards {0} is in use")]
    NoPort(SocketAddr),
    #[error("{0} answered what RTMP does not allow: {1}")]
    Protocol(SocketAddr, String),
    #[error("towards {0}: {1}")]
    Io(SocketAddr, io::Error),
    #[error("this host, not {0}: {1}")]
    Local(SocketAddr, io::Error),
    #[error("{0} began to answer and did not finish")]
    Slow(SocketAddr),
    #[error("the flow was ordered to end")]
    Reset,
}

/// How long a connected origin may take for its part of the handshake and the answers to the client's commands.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Windows from here on are what every stack announces at first: there is nothing to clamp.
const ORDINARY_WINDOW: u32 = 60_000;

/// Connects to the origin that the client was placed on and replays the client's commands to it.
pub async fn connect(c: &mut Connection) -> Input {
    let Some(mut origin) = c.origin.take() else { return Input::Ended };
    match dial(c, &mut origin).await {
        Ok(agreement) => {
            c.ctx.store.connect_succeeded(&origin.placement);
            // An origin that was dead until now, or registered just now, must be up in the kernel before it gets flows.
            c.ctx.reconciler.run();
            c.ctx.usual_chunk_size.store(agreement.chunk_size, Relaxed);
            let input = agree(c, &mut origin, agreement).await;
            c.origin = Some(origin);
            c.admitted = None;
            input
        }
        Err(error) => {
            warn!(origin = %origin.placement.origin_id, %error, client = %c.client.peer, "origin failed");
            let failure = match error {
                ConnectError::Refused(_) => Some(ConnectFailure::Refused),
                ConnectError::TimedOut(_) | ConnectError::Silent(_) | ConnectError::Io(..) => {
                    Some(ConnectFailure::TimedOut)
                }
                // It lives, and did not like this client: that must not cost the others their origin.
                ConnectError::Closed(_) | ConnectError::Protocol(..) | ConnectError::Slow(_) => {
                    c.ctx.store.connect_succeeded(&origin.placement);
                    None
                }
                ConnectError::Local(..) | ConnectError::Reset => None,
                ConnectError::NoPort(_) => {
                    c.ctx.counters.count(Reason::LimitSourcePorts);
                    None
                }
            };
            if let Some(failure) = failure {
                c.ctx.store.connect_failed(&origin.placement, failure, c.ctx.now());
            }
            c.excluded.push(origin.placement.origin);
            origin.finish(&c.ctx);
            Input::OriginFailed
        }
    }
}

/// The client gets the origin's chunk size before anything else of the origin's.
async fn agree(c: &mut Connection, origin: &mut OriginLeg, agreement: Box<Agreement>) -> Input {
    let Some(request) = &c.request else { return Input::Ended };
    let joinable = agreement.verbatim(request);
    if joinable {
        let mut first = Vec::new();
        if agreement.chunk_size != c.told_chunk_size {
            first = set_chunk_size(agreement.chunk_size);
            c.told_chunk_size = agreement.chunk_size;
        }
        first.extend_from_slice(&agreement.leftover);
        if !first.is_empty() && c.client.stream.write_all(&first).await.is_err() {
            return Input::Ended;
        }
    }
    if !joinable {
        c.ctx.counters.count(Reason::SpliceDisagree);
        debug!(origin = %origin.placement.origin_id, ?agreement, "the legs cannot be joined byte for byte");
    }
    origin.agreement = Some(agreement);
    if joinable { Input::Agreed } else { Input::Disagreed }
}

async fn dial(c: &Connection, origin: &mut OriginLeg) -> Result<Box<Agreement>, ConnectError> {
    let endpoint = origin.placement.endpoint;
    let request = c.request.as_ref().ok_or(ConnectError::Closed(endpoint))?;
    let limit = c.ctx.settings.connect_timeout;
    let opened = tokio::time::timeout(limit, open(c, origin)).await;
    let leg = origin.leg.insert(opened.map_err(|_| ConnectError::TimedOut(endpoint))??);
    let mut heard = false;
    let reset = origin.reset.clone();
    tokio::select! {
        answered = tokio::time::timeout(ANSWER_MAX, talk(leg, request, endpoint, &mut heard)) => match answered {
            Ok(answered) => answered,
            // One that speaks is there: it may be this client's words that it has no answer to.
            Err(_) if heard => Err(ConnectError::Slow(endpoint)),
            Err(_) => Err(ConnectError::Silent(endpoint)),
        },
        () = reset.given() => Err(ConnectError::Reset),
    }
}

/// Replays the client's commands and swallows the answers.
async fn talk(
    leg: &mut TcpLeg,
    request: &Request,
    endpoint: SocketAddr,
    heard: &mut bool,
) -> Result<Box<Agreement>, ConnectError> {
    let mut dialog = OriginSide::new(request);
    let mut bytes = Vec::new();
    loop {
        let out = dialog.take_output();
        if !out.is_empty() {
            leg.stream.write_all(&out).await.map_err(|e| broken(endpoint, e))?;
        }
        leg.stream.readable().await.map_err(|e| broken(endpoint, e))?;
        bytes.clear();
        match leg.stream.try_read_buf(&mut bytes) {
            Ok(0) => return Err(ConnectError::Closed(endpoint)),
            Ok(_) => *heard = true,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            Err(e) => return Err(broken(endpoint, e)),
        }
        socket::quick_ack(leg).map_err(|e| broken(endpoint, e))?;
        match dialog.feed(&bytes) {
            Ok(OriginProgress::Wait) => {}
            Ok(OriginProgress::Ready(agreement)) => return Ok(agreement),
            Ok(OriginProgress::Refused(why)) => return Err(ConnectError::Protocol(endpoint, why)),
            Err(e) => return Err(ConnectError::Protocol(endpoint, e.to_string())),
        }
    }
}

/// An error of an established connection: a reset is the origin's word about this client, not about itself.
fn broken(endpoint: SocketAddr, e: io::Error) -> ConnectError {
    match e.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ConnectError::Closed(endpoint),
        _ => ConnectError::Io(endpoint, e),
    }
}

/// An error of `connect()`.
fn failed(endpoint: SocketAddr, e: io::Error) -> ConnectError {
    match e.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => ConnectError::Refused(endpoint),
        io::ErrorKind::TimedOut => ConnectError::TimedOut(endpoint),
        _ => ConnectError::Io(endpoint, e),
    }
}

/// Opens the TCP connection, with everything set that must be set before the SYN.
async fn open(c: &Connection, origin: &mut OriginLeg) -> Result<TcpLeg, ConnectError> {
    let endpoint = origin.placement.endpoint;
    let io = |e| ConnectError::Local(endpoint, e);
    let own = own_address(endpoint).map_err(io)?;
    let port = c.ctx.ports.take(own, endpoint, Instant::now()).ok_or(ConnectError::NoPort(endpoint))?;
    let source = port.source();
    let raw = socket::bound(source).map_err(io)?;
    // The origin must not send larger segments than the client takes, nor more than it has room for, before the
    // client's own ACKs reach it.
    let mss = socket::peer_segment(&c.client).map_err(io)?;
    if mss <= socket::SEGMENT_MAX {
        socket::limit_segment(&raw, mss).map_err(io)?;
    }
    let window = socket::info(&c.client).map_err(io)?.peer_window;
    if window < ORDINARY_WINDOW {
        socket::clamp_window(&raw, window).map_err(io)?;
    }
    let track = match (&c.ctx.offload, &c.client.track, FlowKey::tcp(endpoint, source)) {
        (Some(offload), Some(_), Some(key)) => {
            c.ctx.live.forget_leg(key);
            offload.track(key).inspect_err(|error| warn!(%error, "no track")).ok()
        }
        _ => None,
    };
    origin.port = Some(port);
    let stream = tokio::net::TcpSocket::from_std_stream(raw.into());
    let stream = stream.connect(endpoint).await.map_err(|e| failed(endpoint, e))?;
    origin.flow = Some(c.ctx.live.open(record(c, origin, source), origin.reset.clone()));
    Ok(TcpLeg::new(stream, endpoint, source, track))
}

fn record(c: &Connection, origin: &OriginLeg, source: SocketAddr) -> FlowRecord {
    let request = c.request.as_ref();
    let now = c.ctx.now();
    FlowRecord {
        client: c.client.peer,
        vip: c.client.own,
        origin: origin.placement.origin,
        origin_generation: origin.placement.generation,
        origin_id: origin.placement.origin_id.clone(),
        origin_address: origin.placement.endpoint,
        source,
        protocol: Protocol::Rtmp,
        role: request.map_or(crate::flow::Role::Play, |r| r.role),
        stream: c.stream.clone().expect("connected only after a stream was recognized"),
        stream_index: origin.placement.stream,
        path: Path::Relay,
        state: FlowState::Connecting,
        to_origin: Counter::default(),
        to_client: Counter::default(),
        made_at: now,
        active_at: now,
    }
}

/// The address that the host uses towards `target`: a UDP connect asks the routing table and sends nothing.
fn own_address(target: SocketAddr) -> io::Result<IpAddr> {
    let any: SocketAddr = if target.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let probe = UdpSocket::bind(any)?;
    probe.connect(target)?;
    Ok(probe.local_addr()?.ip())
}
