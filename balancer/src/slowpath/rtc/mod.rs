//! WebRTC media in user space: STUN requests for which the kernel could make no flow. What they name, and what that may
//! cost, is said by [`crate::rtc`]; what becomes of a flow is `udp`'s business.

#[cfg(test)]
mod tests;

use super::Context;
use super::udp::{Flow, Leg, Listener, Spec, dial};
use crate::flow::Protocol;
use crate::rtc::{Asked, Member, Refused};
use balancer_common::abi::{FlowKey, Reason};
use balancer_common::packet::stun::{StunError, user_name};
use std::net::SocketAddr;
use std::str::from_utf8;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tracing::debug;

/// A datagram that belongs to no flow.
pub fn heard(ctx: &Arc<Context>, listener: &Arc<Listener>, from: SocketAddr, datagram: &[u8]) {
    let names = match names(datagram) {
        Ok(names) => names,
        Err(reason) => return stray(ctx, listener, from, reason),
    };
    let place = match ctx.udp.admit(from.ip()) {
        Ok(place) => place,
        Err(reason) => return refuse(ctx, from, reason),
    };
    let admitted = match ctx.rtc.admit(names) {
        Ok(admitted) => admitted,
        Err(Refused::Elsewhere) => return elsewhere(ctx, listener, from, (names, datagram)),
        Err(Refused::Unknown) => return stray(ctx, listener, from, Reason::LimitRtcUnknown),
        // Counted where it is known whose it is.
        Err(Refused::Exhausted) => return,
    };
    let Some(key) = FlowKey::udp(from, listener.address) else { return };
    let media = admitted.media;
    // The kernel needs no socket for a port that it is granted: somebody else on this host may have one.
    let granted = admitted.port.and_then(|port| Leg::on(port, media).ok());
    let leg = match granted.map_or_else(|| dial(ctx, media), Ok) {
        Ok(leg) => leg,
        Err(error) => return debug!(client = %from, %error, "no flow for a client of WebRTC"),
    };
    let spec = Spec {
        client: from,
        key: admitted.key,
        role: admitted.role,
        protocol: Protocol::Webrtc,
        placement: admitted.placement,
        // In the kernel it is known by them whose flow it is.
        tags: (admitted.session, admitted.session),
        // DTLS has a last word, but encrypted.
        is_last: |_, _| false,
        idle_timeout: ctx.settings.rtc_idle_timeout,
        place,
    };
    let flow = Flow::open(ctx, listener, spec, leg);
    flow.pass_to_origin(datagram);
    ctx.rtc.opened(admitted.session, Member { id: flow.id(), key });
    if admitted.is_late {
        let ctx = ctx.clone();
        tokio::spawn(async move { ctx.rtc.enter_late(admitted.session).await });
    }
}

/// A client of another balancer's session, which may have a flow there.
fn elsewhere(ctx: &Arc<Context>, listener: &Arc<Listener>, from: SocketAddr, (names, datagram): ([&str; 2], &[u8])) {
    let Some(key) = FlowKey::udp(from, listener.address) else { return };
    let (ctx, listener, datagram) = (ctx.clone(), listener.clone(), datagram.to_vec());
    let names = names.map(ToOwned::to_owned);
    tokio::spawn(async move {
        if ctx.rtc.summon(names.each_ref().map(String::as_str), key).await == Asked::NotHere {
            return ctx.counters.count(Reason::LimitRtcUnknown);
        }
        // It may have asked again meanwhile.
        match ctx.udp.flow(from, listener.address) {
            Some(flow) => drop(flow.pass_to_origin(&datagram)),
            None if ctx.live.carries(key) => {}
            None => heard(&ctx, &listener, from, &datagram),
        }
    });
}

/// The kernel has made a flow. User space may have made one as well, when two requests came at once: then it goes.
pub fn made(ctx: &Context, client: FlowKey) {
    if ctx.live.carries(client) {
        // A late report: the flow that the client has is in the kernel.
        return;
    }
    let (from, vip) = client.addresses();
    if let Some(flow) = ctx.udp.flow(from, vip) {
        flow.end();
    }
    ctx.rtc.made(client);
}

/// Both halves of a request's user name.
fn names(datagram: &[u8]) -> Result<[&str; 2], Reason> {
    let (a, b) = user_name(datagram).map_err(|error| match error {
        StunError::Malformed | StunError::Crowded => Reason::StunMalformed,
        StunError::NotStun | StunError::NotRequest | StunError::Nameless => Reason::LimitRtcStray,
    })?;
    match (from_utf8(a), from_utf8(b)) {
        (Ok(a), Ok(b)) => Ok([a, b]),
        _ => Err(Reason::StunMalformed),
    }
}

/// Refused; but it may belong to another balancer's flow.
fn stray(ctx: &Context, listener: &Listener, from: SocketAddr, reason: Reason) {
    if let Some(key) = FlowKey::udp(from, listener.address) {
        ctx.live.stray(key);
    }
    refuse(ctx, from, reason);
}

/// Dropped and counted; said once a second, whoever asks for however many.
fn refuse(ctx: &Context, from: SocketAddr, reason: Reason) {
    static SAID_AT_S: AtomicU64 = AtomicU64::new(u64::MAX);
    ctx.counters.count(reason);
    let now_s = ctx.now().as_secs();
    if SAID_AT_S.swap(now_s, Relaxed) != now_s {
        debug!(client = %from, reason = reason.label(), number = reason as u32, help = reason.help(), "dropped");
    }
}
