//! RTMP on the slow path: answers the client up to its trigger, plays its own bytes to the origin, makes the legs agree.

use super::connection::Connection;
use super::dialect::{Dialect, Joint, Refusal, Wish};
use super::origin_leg::{ConnectError, OriginLeg, broken};
use super::relay::Relay;
use super::{Context, legs::TcpLeg, socket};
use crate::flow::Protocol;
use crate::flow::life::Input;
use crate::recognize::rtmp::{
    self, Agreement, OriginProgress, OriginSide, Progress, Request, RtmpError, ServerConfig, ServerSide, set_chunk_size,
};
use balancer_common::abi::Reason;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tracing::{debug, info};

pub struct Rtmp {
    server: ServerSide,
    /// Chunk size that the client was told.
    told_chunk_size: u32,
    request: Option<Box<Request>>,
}

/// How long a connected origin may take for its part of the handshake and the answers to the client's commands.
const ANSWER_MAX: Duration = Duration::from_secs(5);

impl Rtmp {
    pub fn new(ctx: &Context) -> Self {
        let chunk_size = ctx.usual_chunk_size.load(Relaxed);
        let config = ServerConfig { chunk_size, preamble_bytes_max: ctx.settings.preamble_bytes_max };
        Self { server: ServerSide::new(config), told_chunk_size: chunk_size, request: None }
    }

    pub fn last_words(&mut self, why: Refusal) -> Vec<u8> {
        self.server.refuse(match why {
            Refusal::NoOrigin | Refusal::OriginFailed => rtmp::Refusal::NoOrigin,
            Refusal::Overload => rtmp::Refusal::Overload,
            Refusal::BadName => rtmp::Refusal::BadName,
            Refusal::Taken => rtmp::Refusal::Taken,
            Refusal::Limit => rtmp::Refusal::Limit,
            Refusal::Denied | Refusal::Refused => rtmp::Refusal::Refused,
        });
        self.server.take_output()
    }
}

fn of(c: &mut Connection) -> io::Result<&mut Rtmp> {
    match &mut c.dialect {
        Dialect::Rtmp(rtmp) => Ok(rtmp),
        Dialect::Http(_) | Dialect::Rtsp(_) => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Answers the client until it publishes or plays.
pub async fn recognize(c: &mut Connection) -> io::Result<Input> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if c.client.wire.read_some(&mut bytes).await? == 0 {
            return Ok(Input::Ended);
        }
        let rtmp = of(c)?;
        let progress = rtmp.server.feed(&bytes);
        let out = rtmp.server.take_output();
        if !out.is_empty() {
            c.client.wire.write_all(&out).await?;
        } else {
            // Nothing to piggyback the ACK on: a client that waits for it (Nagle) must not wait for 40 ms.
            socket::quick_ack(&c.client)?;
        }
        match progress {
            Ok(Progress::Wait) => {}
            Ok(Progress::Recognized(mut request)) => {
                let (key, role) = (Arc::new(request.key.clone()), request.role);
                c.trigger = std::mem::take(&mut request.trigger);
                let (url, query) = (std::mem::take(&mut request.url), std::mem::take(&mut request.query));
                c.wish = Some(Wish { key, role, protocol: Protocol::Rtmp, url, query, mute: false });
                of(c)?.request = Some(request);
                return Ok(Input::Recognized);
            }
            Err(error) => {
                if matches!(error, RtmpError::Preamble { .. }) {
                    c.ctx.counters.count(Reason::LimitPreambleBytes);
                }
                info!(client = %c.visitor.client(), %error, "not a stream");
                c.refusal = refusal_for(error);
                return Ok(Input::Unrecognizable);
            }
        }
    }
}

fn refusal_for(error: RtmpError) -> Refusal {
    match error {
        RtmpError::Key(_) | RtmpError::NotUtf8 => Refusal::BadName,
        RtmpError::Preamble { .. } | RtmpError::Streams | RtmpError::ChunkStreams => Refusal::Limit,
        _ => Refusal::Refused,
    }
}

/// Replays the client's commands and sees whether the legs can be joined byte for byte.
pub async fn converse(c: &mut Connection, origin: &mut OriginLeg) -> Result<Joint, ConnectError> {
    let endpoint = origin.placement.endpoint;
    let reset = origin.reset.clone();
    let gone = || ConnectError::Closed(endpoint);
    let leg = origin.leg.as_mut().ok_or_else(gone)?;
    let request = of(c).ok().and_then(|rtmp| rtmp.request.take()).ok_or_else(gone)?;
    let mut heard = false;
    let answered = tokio::select! {
        answered = tokio::time::timeout(ANSWER_MAX, talk(leg, &request, endpoint, &mut heard)) => match answered {
            Ok(answered) => answered,
            // One that speaks is there: it may be this client's words that it has no answer to.
            Err(_) if heard => Err(ConnectError::Slow(endpoint)),
            Err(_) => Err(ConnectError::Silent(endpoint)),
        },
        () = reset.given() => Err(ConnectError::Reset),
    };
    let joint = match &answered {
        Ok(agreement) => {
            c.ctx.usual_chunk_size.store(agreement.chunk_size, Relaxed);
            agree(c, origin, &request, agreement).await
        }
        Err(_) => Ok(Joint::Relayed),
    };
    if let Ok(rtmp) = of(c) {
        // Another origin would have to hear it too.
        rtmp.request = Some(request);
    }
    answered.and(joint)
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
            leg.wire.write_all(&out).await.map_err(|e| broken(endpoint, e))?;
        }
        bytes.clear();
        if leg.wire.read_some(&mut bytes).await.map_err(|e| broken(endpoint, e))? == 0 {
            return Err(ConnectError::Closed(endpoint));
        }
        *heard = true;
        socket::quick_ack(leg).map_err(|e| broken(endpoint, e))?;
        match dialog.feed(&bytes) {
            Ok(OriginProgress::Wait) => {}
            Ok(OriginProgress::Ready(agreement)) => return Ok(agreement),
            Ok(OriginProgress::Refused(why)) => return Err(ConnectError::Protocol(endpoint, why)),
            Err(e) => return Err(ConnectError::Protocol(endpoint, e.to_string())),
        }
    }
}

/// The client gets the origin's chunk size before anything else of the origin's. Legs that disagree are translated.
async fn agree(
    c: &mut Connection,
    origin: &OriginLeg,
    request: &Request,
    agreement: &Agreement,
) -> Result<Joint, ConnectError> {
    let told = of(c).map(|rtmp| rtmp.told_chunk_size).unwrap_or_default();
    if !agreement.verbatim(request) {
        c.ctx.counters.count(Reason::SpliceDisagree);
        debug!(origin = %origin.placement.origin_id, ?agreement, "the legs cannot be joined byte for byte");
        let wrong = |e: &dyn std::fmt::Display| ConnectError::Protocol(origin.placement.endpoint, e.to_string());
        translate(&mut c.relay, agreement, request, told).map_err(|e| wrong(&e))?;
        return Ok(Joint::Relayed);
    }
    let mut first = Vec::new();
    if agreement.chunk_size != told {
        first = set_chunk_size(agreement.chunk_size);
    }
    first.extend_from_slice(&agreement.leftover);
    c.client.wire.write_all(&first).await.map_err(|_| ConnectError::ClientGone)?;
    if let Ok(rtmp) = of(c) {
        rtmp.told_chunk_size = agreement.chunk_size;
    }
    Ok(Joint::Verbatim)
}

fn translate(relay: &mut Relay, agreement: &Agreement, request: &Request, told: u32) -> io::Result<()> {
    let invalid = |e: RtmpError| io::Error::new(io::ErrorKind::InvalidData, e);
    relay.to_origin.translate(agreement.to_origin(request).map_err(invalid)?);
    relay.to_client.translate(agreement.to_client(told));
    relay.to_client.push(&agreement.leftover)
}
