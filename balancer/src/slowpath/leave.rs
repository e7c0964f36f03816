//! After the splice: the sockets stay until neither peer needs them, then they are forgotten without a FIN or a RST.

use super::arm::pause;
use super::connection::Connection;
use super::dialect::Refusal;
use super::legs::TcpLeg;
use super::pipe::AnotherRequest;
use super::socket;
use crate::flow::life::Input;
use crate::flow::splice::before;
use crate::registry::ConnectFailure;
use balancer_common::abi::{FlowKey, Track};
use std::io;
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// A packet that the fast path passed just before the splice is in its socket by then.
const SETTLE: Duration = Duration::from_millis(1);
/// An origin that has not answered the trigger by then, nor any of its four repetitions, gets no second chance; the client does.
const SILENCE_MAX: Duration = Duration::from_millis(3500);

/// How one look at both legs ended.
enum Looked {
    Waiting,
    Settled,
}

pub async fn leave(c: &mut Connection) -> Input {
    let since = Instant::now();
    let mut settled_since = None;
    let mut slip = Vec::new();
    loop {
        if c.origin.as_ref().is_some_and(|o| o.reset.is_given()) {
            return abort(c);
        }
        match look(c, &mut slip) {
            Err(error) => {
                // Both ends hear of it: the flow cannot go on without what the socket still had.
                warn!(client = %c.client.peer, %error, "a leg failed right after the splice");
                return abort(c);
            }
            Ok(Looked::Waiting) => settled_since = None,
            Ok(Looked::Settled) => {
                if settled_since.get_or_insert_with(Instant::now).elapsed() >= SETTLE {
                    break;
                }
            }
        }
        if since.elapsed() > SILENCE_MAX {
            return if answered(c) || !c.dialect.is_replaceable() { abort(c) } else { replace(c) };
        }
        pause(since).await;
    }
    forget(c);
    Input::Left
}

/// Are both peers done with our sockets? What slipped into one is passed on through the other.
fn look(c: &mut Connection, slip: &mut Vec<u8>) -> io::Result<Looked> {
    let Some(leg) = c.origin.as_mut().and_then(|o| o.leg.as_mut()) else { return Ok(Looked::Settled) };
    let mut moved = if c.wish.as_ref().is_some_and(|wish| wish.mute) {
        expect_nothing(&c.client, slip)?
    } else {
        let moved = pass_on(&c.client, leg, slip)?;
        // Another origin would have to hear it too.
        c.trigger.extend_from_slice(slip);
        moved
    };
    moved |= pass_on(leg, &mut c.client, slip)?;
    let settled = !moved && acknowledged(&c.client)? && acknowledged(leg)?;
    Ok(if settled { Looked::Settled } else { Looked::Waiting })
}

/// A client that may say nothing more did so before its half-flow was there: not this origin's business.
fn expect_nothing(from: &TcpLeg, slip: &mut Vec<u8>) -> io::Result<bool> {
    match from.read_now(slip) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => Err(io::Error::other(AnotherRequest)),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(e) => Err(e),
    }
}

/// Bytes that came to a socket before its half-flow was there: their place is the next one of our stream.
fn pass_on(from: &TcpLeg, to: &mut TcpLeg, slip: &mut Vec<u8>) -> io::Result<bool> {
    slip.clear();
    match from.read_now(slip) {
        // The FIN of a peer that the kernel did not forward is passed on by the reset that follows.
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => {
            let sent = socket2::SockRef::from(&*to).send(slip)?;
            to.sent_to = to.sent_to.wrapping_add(sent as u32);
            if sent < slip.len() { Err(io::ErrorKind::WriteZero.into()) } else { Ok(true) }
        }
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(e) => Err(e),
    }
}

/// The peer has all that our socket sent. The socket itself may never hear of it: the ACK can come on data that the
/// fast path forwards, so the track's word counts as well.
fn acknowledged(leg: &TcpLeg) -> io::Result<bool> {
    if socket::unacked(leg)? == 0 {
        return Ok(true);
    }
    let track = leg.track_seen();
    Ok(track.seen & Track::SEEN_ACK != 0 && !before(track.max_ack, leg.sent_to))
}

/// Has the origin sent anything since the splice?
fn answered(c: &Connection) -> bool {
    let (Some(offload), Some(leg)) = (&c.ctx.offload, c.origin.as_ref().and_then(|o| o.leg.as_ref())) else {
        return true;
    };
    FlowKey::tcp(leg.peer, leg.own).and_then(|key| offload.flow(key)).is_none_or(|half| half.packets > 0)
}

/// The kernel alone carries the flow from here on.
fn forget(c: &mut Connection) {
    let Some(mut origin) = c.origin.take() else { return };
    let Some(leg) = origin.leg.take() else { return };
    if let Some(id) = origin.flow {
        c.ctx.live.left(id, FlowKey::tcp(c.client.peer, c.client.own), origin.port.take());
    }
    for socket in [&c.client, &leg] {
        if let Err(error) = socket::forget(socket) {
            // It will say FIN when it closes, which the peer takes for an old packet of another connection.
            warn!(peer = %socket.peer, %error, "TCP_REPAIR was refused");
        }
    }
    c.client.track = None;
    info!(client = %c.client.peer, origin = %origin.placement.origin_id, "in the kernel");
}

/// The origin took the trigger and never answered: nothing of the client's is lost, another one gets it.
fn replace(c: &mut Connection) -> Input {
    let Some(origin) = c.origin.take() else { return Input::Ended };
    warn!(origin = %origin.placement.origin_id, client = %c.client.peer, "origin stays silent");
    unsplice(c, origin.leg.as_ref());
    if let Some(leg) = &origin.leg {
        leg.reset_on_close();
    }
    if let Some(track) = &c.client.track {
        track.release();
    }
    c.ctx.store.connect_failed(&origin.placement, ConnectFailure::TimedOut, c.ctx.now());
    c.excluded.push(origin.placement.origin);
    c.refusal = Refusal::OriginFailed;
    c.relay.trigger_sent = false;
    origin.finish(&c.ctx);
    Input::OriginFailed
}

fn abort(c: &mut Connection) -> Input {
    let leg = c.origin.as_ref().and_then(|o| o.leg.as_ref());
    unsplice(c, leg);
    c.client.reset_on_close();
    if let Some(leg) = leg {
        leg.reset_on_close();
    }
    debug!(client = %c.client.peer, "flow reset");
    Input::Ended
}

fn unsplice(c: &Connection, leg: Option<&TcpLeg>) {
    let (Some(offload), Some(leg)) = (&c.ctx.offload, leg) else { return };
    if let (Some(client), Some(origin)) = (FlowKey::tcp(c.client.peer, c.client.own), FlowKey::tcp(leg.peer, leg.own)) {
        c.ctx.live.unspliced(client);
        offload.remove(client, origin);
    }
}
