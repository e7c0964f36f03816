//! The leg towards the origin: bound to a port of our own, connected, and brought to the point where the client stands.

use super::connection::Connection;
use super::dialect::{self, Joint, Refusal};
use super::legs::TcpLeg;
use super::ports::PortLease;
use super::wire::Wire;
use super::{Context, socket};
use crate::flow::life::Input;
use crate::flow::{Counter, FlowId, FlowRecord, FlowState, Path};
use crate::live::ResetOrder;
use crate::placement::Placement;
use crate::registry::ConnectFailure;
use balancer_common::abi::{FlowKey, Reason};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tracing::warn;

/// Where the client was placed and, once connected, the leg there.
pub struct OriginLeg {
    pub placement: Placement,
    pub leg: Option<TcpLeg>,
    pub port: Option<PortLease>,
    pub flow: Option<FlowId>,
    pub reset: Arc<ResetOrder>,
}

impl OriginLeg {
    pub fn placed(placement: Placement) -> Self {
        Self { placement, leg: None, port: None, flow: None, reset: Arc::default() }
    }

    /// The flow ended in user space: its record goes.
    pub fn finish(&self, ctx: &Context) {
        if let Some(id) = self.flow {
            ctx.live.close(id);
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
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
    #[error("{0} answered what the protocol does not allow: {1}")]
    Protocol(SocketAddr, String),
    #[error("towards {0}: {1}")]
    Io(SocketAddr, io::Error),
    #[error("this host, not {0}: {1}")]
    Local(SocketAddr, io::Error),
    #[error("{0} began to answer and did not finish")]
    Slow(SocketAddr),
    #[error("the flow was ordered to end")]
    Reset,
    #[error("the client has gone")]
    ClientGone,
}

/// Windows from here on are what every stack announces at first: there is nothing to clamp.
const ORDINARY_WINDOW: u32 = 60_000;

/// Connects to the origin that the client was placed on and brings it to the trigger.
pub async fn connect(c: &mut Connection) -> Input {
    let Some(mut origin) = c.origin.take() else { return Input::Ended };
    let joint = match dial(c, &mut origin).await {
        Ok(()) => dialect::converse(c, &mut origin).await,
        Err(error) => Err(error),
    };
    match joint {
        Ok(joint) => {
            c.ctx.store.connect_succeeded(&origin.placement);
            // An origin that was dead until now, or registered just now, must be up in the kernel before it gets flows.
            c.ctx.reconciler.run();
            c.origin = Some(origin);
            c.admitted = None;
            match joint {
                Joint::Verbatim => Input::Agreed,
                Joint::Answered => Input::Answered,
                Joint::Relayed => Input::Disagreed,
            }
        }
        Err(ConnectError::ClientGone) => {
            c.origin = Some(origin);
            Input::Ended
        }
        Err(error) => {
            warn!(origin = %origin.placement.origin_id, %error, client = %c.client.peer, "origin failed");
            report(c, &origin, &error);
            c.refusal = Refusal::OriginFailed;
            c.excluded.push(origin.placement.origin);
            origin.finish(&c.ctx);
            Input::OriginFailed
        }
    }
}

/// What the failure says about the origin.
fn report(c: &Connection, origin: &OriginLeg, error: &ConnectError) {
    let failure = match error {
        ConnectError::Refused(_) => ConnectFailure::Refused,
        ConnectError::TimedOut(_) | ConnectError::Silent(_) | ConnectError::Io(..) => ConnectFailure::TimedOut,
        // It lives, and did not like this client: that must not cost the others their origin.
        ConnectError::Closed(_) | ConnectError::Protocol(..) | ConnectError::Slow(_) => {
            c.ctx.store.connect_succeeded(&origin.placement);
            c.ctx.store.copy_failed(&origin.placement, c.ctx.now());
            return;
        }
        ConnectError::NoPort(_) => return c.ctx.counters.count(Reason::LimitSourcePorts),
        ConnectError::Local(..) | ConnectError::Reset | ConnectError::ClientGone => return,
    };
    c.ctx.store.connect_failed(&origin.placement, failure, c.ctx.now());
}

/// Opens the connection within the time limit.
async fn dial(c: &Connection, origin: &mut OriginLeg) -> Result<(), ConnectError> {
    let endpoint = origin.placement.endpoint;
    let opened = tokio::time::timeout(c.ctx.settings.connect_timeout, open(c, origin)).await;
    origin.leg = Some(opened.map_err(|_| ConnectError::TimedOut(endpoint))??);
    Ok(())
}

/// An error of an established connection: a reset is the origin's word about this client, not about itself.
pub fn broken(endpoint: SocketAddr, e: io::Error) -> ConnectError {
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
    let own = c.ctx.sources.towards(endpoint).map_err(io)?;
    let port = c.ctx.ports.take(own, endpoint, Instant::now()).ok_or(ConnectError::NoPort(endpoint))?;
    let source = port.source();
    let raw = socket::bound(source).map_err(io)?;
    if c.client.wire.is_plain() {
        like_the_client(c, &raw).map_err(io)?;
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
    let mut wire = Wire::Tcp(stream);
    if let Some(version) = origin.placement.proxy_protocol {
        let header = version.write(c.visitor.client(), c.visitor.dialled);
        wire.write_all(&header).await.map_err(|e| broken(endpoint, e))?;
    }
    origin.flow = record(c, origin, source).map(|record| c.ctx.live.open(record, origin.reset.clone()));
    Ok(TcpLeg::new(wire, endpoint, source, track))
}

/// The origin must not send larger segments than the client takes, nor more than it has room for, before the client's
/// own ACKs reach it.
fn like_the_client(c: &Connection, raw: &socket2::Socket) -> io::Result<()> {
    let mss = socket::peer_segment(&c.client)?;
    if mss <= socket::SEGMENT_MAX {
        socket::limit_segment(raw, mss)?;
    }
    let window = socket::info(&c.client)?.peer_window;
    if window < ORDINARY_WINDOW {
        socket::clamp_window(raw, window)?;
    }
    Ok(())
}

fn record(c: &Connection, origin: &OriginLeg, source: SocketAddr) -> Option<FlowRecord> {
    let wish = c.wish.as_ref()?;
    let now = c.ctx.now();
    Some(FlowRecord {
        client: c.client.peer,
        announced: c.visitor.announced.map(Box::new),
        vip: c.client.own,
        origin: origin.placement.origin,
        origin_generation: origin.placement.generation,
        origin_id: origin.placement.origin_id.clone(),
        origin_address: origin.placement.endpoint,
        source,
        protocol: wish.protocol,
        role: wish.role,
        stream: wish.key.clone(),
        stream_index: origin.placement.stream,
        path: Path::Relay,
        state: FlowState::Connecting,
        to_origin: Counter::default(),
        to_client: Counter::default(),
        made_at: now,
        active_at: now,
    })
}
