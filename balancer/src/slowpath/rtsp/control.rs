//! The control connection: both ends' messages through the dialogue, up to PLAY or RECORD.

use super::super::connection::Connection;
use super::super::dialect::{Dialect, Joint, Refusal, Wish};
use super::super::origin_leg::{ConnectError, OriginLeg, broken};
use super::super::relay::{interest, ready};
use super::super::socket;
use super::super::wire::Wire;
use super::{Rtsp, tracks};
use crate::flow::Protocol;
use crate::flow::life::Input;
use crate::goodbye::say_goodbye;
use crate::recognize::rtsp::{Event, RtspError};
use balancer_common::abi::Reason;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{debug, info};

/// How long an origin that has been asked may say nothing at all, whatever the client says meanwhile.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Bytes that wait for one end before the other is not read any more.
const BACKLOG_BYTES_MAX: usize = 256 * 1024;
/// How long what is left may take on its way out, and the other end to close.
const LINGER_MAX: Duration = Duration::from_secs(1);
const CHUNK: usize = 4096;

/// Why the dialogue stops.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    #[error("the client has gone")]
    Client,
    #[error("the origin has gone: {0}")]
    Origin(io::Error),
    #[error("the client's part: {0}")]
    ClientError(RtspError),
    #[error("the origin's part: {0}")]
    OriginError(RtspError),
    #[error("nobody says anything")]
    Silent,
    #[error("the flow was ordered to end")]
    Reset,
}

pub fn of(c: &mut Connection) -> Result<&mut Rtsp, Stop> {
    match &mut c.dialect {
        Dialect::Rtsp(rtsp) => Ok(rtsp),
        _ => Err(Stop::Client),
    }
}

/// Answers the client until a request names a stream.
pub async fn recognize(c: &mut Connection) -> io::Result<Input> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if c.client.wire.read_some(&mut bytes).await? == 0 {
            return Ok(Input::Ended);
        }
        let Ok(rtsp) = of(c) else { return Ok(Input::Ended) };
        let fed = rtsp.dialog.client(&bytes);
        let event = rtsp.dialog.poll();
        let out = rtsp.dialog.take_to_client();
        if let Err(error) = fed {
            rtsp.error = Some(error);
            rtsp.to_client = out;
            if matches!(error, RtspError::HeadTooLarge { .. } | RtspError::BodyTooLarge | RtspError::Headers) {
                c.ctx.counters.count(Reason::LimitPreambleBytes);
            }
            info!(client = %c.visitor.client(), %error, "not a stream");
            c.refusal = Refusal::Refused;
            return Ok(Input::Unrecognizable);
        }
        if out.is_empty() {
            socket::quick_ack(&c.client)?;
        } else {
            c.client.wire.write_all(&out).await?;
        }
        if let Some(Event::Recognized(wanted)) = event {
            let (key, role, url, query) = (Arc::new(wanted.key), wanted.role, wanted.url, wanted.query);
            c.wish = Some(Wish { key, role, protocol: Protocol::Rtsp, url, query, mute: false });
            return Ok(Input::Recognized);
        }
    }
}

/// Carries the dialogue until both legs can be joined, or until the first track has its ports.
pub async fn converse(c: &mut Connection, origin: &mut OriginLeg) -> Result<Joint, ConnectError> {
    match talk(c, origin).await {
        Ok(joint) => Ok(joint),
        Err(stop) => Err(stopped(c, origin, stop).await),
    }
}

async fn talk(c: &mut Connection, origin: &mut OriginLeg) -> Result<Joint, Stop> {
    // What the client has said behind its first request is judged here, too.
    of(c)?.dialog.connected(origin.placement.endpoint.ip()).map_err(Stop::ClientError)?;
    let until = Instant::now() + ANSWER_MAX;
    loop {
        match happen(c, origin)? {
            Some(Happened::Bound) => return Ok(Joint::Relayed),
            Some(Happened::Ready(trigger)) => {
                flush_all(c, origin).await?;
                c.trigger = trigger;
                return Ok(Joint::Verbatim);
            }
            None => {}
        }
        let first = of(c)?.dialog.is_replaceable();
        if !first {
            // The origin has spoken: this is no handshake any more, and takes as long as it takes.
            c.admitted = None;
        }
        let left = until.saturating_duration_since(Instant::now());
        if first && left.is_zero() {
            return Err(Stop::Silent);
        }
        let limit = if first { left } else { c.ctx.settings.idle_timeout };
        turn(c, origin, limit).await?;
    }
}

pub enum Happened {
    Bound,
    /// With the bytes that both legs are joined for.
    Ready(Vec<u8>),
}

/// Does what the dialogue asks for.
pub fn happen(c: &mut Connection, origin: &OriginLeg) -> Result<Option<Happened>, Stop> {
    while let Some(event) = of(c)?.dialog.poll() {
        match event {
            Event::NeedPorts { track } => {
                let ports = tracks::reserve(c, origin, track);
                of(c)?.dialog.ports(track, ports).map_err(Stop::ClientError)?;
            }
            Event::Bound { track, udp } => {
                tracks::bind(c, origin, track, &udp);
                return Ok(Some(Happened::Bound));
            }
            Event::Unbound { track } => of(c)?.tracks.remove(track),
            Event::Ready { trigger } => return Ok(Some(Happened::Ready(trigger))),
            Event::Started => info!(client = %c.visitor.client(), origin = %origin.placement.origin_id, "started"),
            Event::Recognized(_) | Event::TornDown => {}
        }
    }
    Ok(None)
}

/// Waits until one of the sockets can take or give something, and moves it. `limit` is how long both may be silent.
pub async fn turn(c: &mut Connection, origin: &mut OriginLeg, limit: Duration) -> Result<(), Stop> {
    let Connection { dialect: Dialect::Rtsp(rtsp), client, .. } = c else { return Err(Stop::Client) };
    let Some(leg) = &mut origin.leg else { return Err(Stop::Origin(io::ErrorKind::NotConnected.into())) };
    rtsp.take_output();
    write_some(&mut client.wire, &mut rtsp.to_client).map_err(|_| Stop::Client)?;
    write_some(&mut leg.wire, &mut rtsp.to_origin).map_err(Stop::Origin)?;
    let ask = rtsp.dialog.wants_client() && rtsp.to_origin.len() < BACKLOG_BYTES_MAX;
    let hear = rtsp.to_client.len() < BACKLOG_BYTES_MAX;
    tokio::select! {
        () = ready(&client.wire, interest(ask, !rtsp.to_client.is_empty())) => {}
        () = ready(&leg.wire, interest(hear, !rtsp.to_origin.is_empty())) => {}
        () = origin.reset.given() => return Err(Stop::Reset),
        () = tokio::time::sleep(limit) => return Err(Stop::Silent),
    }
    let mut chunk = [0; CHUNK];
    if hear && let Some(len) = read_some(&mut leg.wire, &mut chunk).map_err(Stop::Origin)? {
        if len == 0 {
            return Err(Stop::Origin(io::ErrorKind::UnexpectedEof.into()));
        }
        rtsp.dialog.origin(&chunk[..len]).map_err(|error| match error {
            // A request of the client's that had waited for this answer.
            RtspError::Setups => Stop::ClientError(error),
            _ => Stop::OriginError(error),
        })?;
    }
    if ask && let Some(len) = read_some(&mut client.wire, &mut chunk).map_err(|_| Stop::Client)? {
        if len == 0 {
            return Err(Stop::Client);
        }
        rtsp.said += 1;
        rtsp.dialog.client(&chunk[..len]).map_err(Stop::ClientError)?;
    }
    Ok(())
}

/// The dialogue is over before the legs were joined: what becomes of the client.
async fn stopped(c: &mut Connection, origin: &mut OriginLeg, stop: Stop) -> ConnectError {
    let endpoint = origin.placement.endpoint;
    let Ok(rtsp) = of(c) else { return ConnectError::ClientGone };
    let of_origin = matches!(stop, Stop::Origin(_) | Stop::OriginError(_) | Stop::Silent | Stop::Reset);
    if of_origin && rtsp.dialog.disconnected() {
        // Another one can take its place. Its ports go with it.
        while rtsp.dialog.poll().is_some() {}
        rtsp.tracks.clear();
        rtsp.to_origin.clear();
        return match stop {
            Stop::Origin(e) if e.kind() == io::ErrorKind::UnexpectedEof => ConnectError::Closed(endpoint),
            Stop::Origin(e) => broken(endpoint, e),
            Stop::Reset => ConnectError::Reset,
            Stop::OriginError(e) => ConnectError::Protocol(endpoint, e.to_string()),
            Stop::Silent | Stop::Client | Stop::ClientError(_) => ConnectError::Silent(endpoint),
        };
    }
    end(c, origin, stop).await;
    ConnectError::ClientGone
}

/// Says the last words to both ends.
pub async fn end(c: &mut Connection, origin: &mut OriginLeg, stop: Stop) {
    debug!(client = %c.client.peer, why = %stop, "the dialogue is over");
    if matches!(stop, Stop::ClientError(RtspError::Setups)) {
        c.ctx.counters.count(Reason::LimitSetups);
    }
    let Ok(rtsp) = of(c) else { return };
    rtsp.tracks.clear();
    rtsp.take_output();
    let words = match stop {
        Stop::Reset => {
            c.client.reset_on_close();
            if let Some(leg) = &origin.leg {
                leg.reset_on_close();
            }
            return;
        }
        Stop::Client => None,
        Stop::Origin(_) => Some(std::mem::take(&mut rtsp.to_client)),
        Stop::ClientError(error) => {
            rtsp.error = Some(error);
            Some(rtsp.last_words(Refusal::Refused))
        }
        Stop::OriginError(_) | Stop::Silent => Some(rtsp.last_words(Refusal::OriginFailed)),
    };
    let rest = std::mem::take(&mut rtsp.to_origin);
    if let Some(leg) = &mut origin.leg {
        // It may be a TEARDOWN, which a RST behind it would take away again.
        let farewell = async {
            leg.wire.write_all(&rest).await?;
            leg.wire.shutdown_write()?;
            let mut answer = Vec::new();
            while leg.wire.read_some(&mut answer).await? > 0 {
                answer.clear();
            }
            io::Result::Ok(())
        };
        let _ = tokio::time::timeout(LINGER_MAX, farewell).await;
    }
    if let Some(words) = words {
        say_goodbye(&mut c.client, &words).await;
    }
}

/// Everything that is due to either end goes out before the legs are joined.
pub async fn flush_all(c: &mut Connection, origin: &mut OriginLeg) -> Result<(), Stop> {
    let Connection { dialect: Dialect::Rtsp(rtsp), client, .. } = c else { return Err(Stop::Client) };
    rtsp.take_output();
    let leg = &mut origin.leg;
    let out = async {
        client.wire.write_all(&rtsp.to_client).await.map_err(|_| Stop::Client)?;
        if let Some(leg) = leg {
            leg.wire.write_all(&rtsp.to_origin).await.map_err(Stop::Origin)?;
        }
        Ok(())
    };
    tokio::select! {
        done = tokio::time::timeout(ANSWER_MAX, out) => done.map_err(|_| Stop::Client)??,
        () = origin.reset.given() => return Err(Stop::Reset),
    }
    rtsp.to_client.clear();
    rtsp.to_origin.clear();
    Ok(())
}

fn write_some(wire: &mut Wire, bytes: &mut Vec<u8>) -> io::Result<()> {
    while !bytes.is_empty() {
        match wire.try_write(bytes) {
            Ok(n) => drop(bytes.drain(..n)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn read_some(wire: &mut Wire, into: &mut [u8]) -> io::Result<Option<usize>> {
    match wire.try_read(into) {
        Ok(len) => Ok(Some(len)),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e),
    }
}
