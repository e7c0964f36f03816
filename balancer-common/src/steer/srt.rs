//! SRT callers without a flow, or who begin another one: who they are is settled here, so that a flood of handshakes stays in the kernel.
//!
//! An induction is answered with a cookie, and nothing is remembered of it. A conclusion comes to user space only from
//! who shows a cookie. Whatever is no handshake of a caller's is user space's.

use super::{
    HalfFlow, Outcome, Received, Step, Tables, emit,
    family::{Family, V4, V6},
    udp::Datagram,
};
use crate::{
    abi::{EventKind, MINUTE_NS, Reason, Seen, secret_slot, swap_ports},
    packet::{
        Frame, View,
        cookie::{self, Checked},
        header::{proto, udp},
        parse::Ip,
        srt::{HANDSHAKE_LEN, HEADER_LEN, Handshake, Header, kind, reject},
    },
};

// Functions of their own, for the stack they need.

#[inline(never)]
pub fn ipv4<T: Tables>(tables: &T, received: Received) -> Step {
    heard::<V4, T>(tables, received).into()
}

#[inline(never)]
pub fn ipv6<T: Tables>(tables: &T, received: Received) -> Step {
    heard::<V6, T>(tables, received).into()
}

/// The client of a flow begins another one, or has not heard yet that it has this one. Its origin must not hear that: it
/// would serve whatever stream the client names, which nobody has asked the hook about.
#[inline(always)]
pub fn begins<A>(frame: &Frame, ip: &Ip<A>) -> bool {
    let header = frame.view::<HEADER_LEN>(ip.l4 + udp::LEN).map(Header::of);
    ip.payload_len >= (udp::LEN + HEADER_LEN) as u32
        && header.is_some_and(|header| header.is_handshake() && header.destination() == 0)
}

/// User space hears of the first SHUTDOWN of each half. Of one that names another socket it does not: the receiver will
/// not follow it either.
#[inline(always)]
pub fn mark_end<F: Family, T: Tables>(tables: &T, frame: &Frame, ip: &Ip<F::Addr>, key: &F::Key, half: &F::Half<'_>) {
    if ip.payload_len < (udp::LEN + HEADER_LEN) as u32 {
        return;
    }
    let Some(header) = frame.view::<HEADER_LEN>(ip.l4 + udp::LEN).map(Header::of) else { return };
    if !header.is_shutdown() || half.seen() & Seen::FIN != 0 {
        return;
    }
    let receiver = half.splice().seq_delta;
    if receiver == 0 || receiver == header.destination() {
        half.set_seen(Seen::FIN);
        tables.event(F::event(EventKind::Fin, key));
    }
}

/// What is done about a handshake.
enum Treatment {
    Answer(u32),
    Refuse,
    PassUp(Reason),
    Drop(Reason),
}

#[inline(always)]
fn heard<F: Family, T: Tables>(tables: &T, received: Received) -> Outcome {
    let datagram = match Datagram::<F>::read(&received) {
        Ok(datagram) => datagram,
        Err(reason) => return Outcome::pass(reason),
    };
    let treatment = match handshake::<F>(&received, &datagram) {
        Ok(Some(handshake)) => treat::<F, T>(tables, &datagram.key, handshake),
        Ok(None) => Treatment::PassUp(Reason::NoFlow),
        Err(outcome) => return outcome,
    };
    match treatment {
        Treatment::Answer(cookie) => {
            answer::<F, T>(tables, received, &datagram, Reason::SrtAnswered, |said| said.answer_induction(cookie))
        }
        Treatment::Refuse => {
            answer::<F, T>(tables, received, &datagram, Reason::SrtRendezvous, |said| said.reject(reject::PEER))
        }
        Treatment::PassUp(reason) => received.pass_up::<F, T>(tables, &datagram.key, reason),
        Treatment::Drop(reason) => Outcome::drop(reason),
    }
}

/// What of a handshake decides.
struct Said {
    kind: u32,
    cookie: u32,
}

/// The handshake of a caller, which does not know anybody's socket id yet; `None` if this is anything else.
#[inline(always)]
fn handshake<F: Family>(received: &Received, datagram: &Datagram<F>) -> Result<Option<Said>, Outcome> {
    let frame = &received.frame;
    let Some(outer) = frame.view::<{ udp::LEN }>(datagram.ip.l4) else {
        return Err(Outcome::pass(Reason::Truncated));
    };
    let len = u16::from_be(outer.u16::<{ udp::LENGTH }>()) as u32;
    if len < udp::LEN as u32 || len > datagram.ip.payload_len {
        return Err(Outcome::pass(Reason::Truncated));
    }
    if F::UDP_CHECKSUM && outer.u16::<{ udp::CHECKSUM }>() == 0 {
        return Err(Outcome::drop(Reason::UdpNoChecksum));
    }
    let len = len - udp::LEN as u32;
    let Some(header) = frame.view::<HEADER_LEN>(datagram.at).map(Header::of) else { return Ok(None) };
    if len < HEADER_LEN as u32 || !header.is_handshake() || header.destination() != 0 {
        return Ok(None);
    }
    match frame.view::<HANDSHAKE_LEN>(datagram.at).and_then(Handshake::of) {
        // To a socket id of 0 an answer could be taken for a question, by a listener like this one, without end.
        Some(said) if len >= HANDSHAKE_LEN as u32 && said.socket_id() != 0 => {
            Ok(Some(Said { kind: said.kind(), cookie: said.cookie() }))
        }
        _ => Err(Outcome::drop(Reason::SrtMalformed)),
    }
}

#[inline(always)]
fn treat<F: Family, T: Tables>(tables: &T, caller: &F::Key, said: Said) -> Treatment {
    let minute = tables.now_ns().wrapping_add(tables.clock_ahead_ns()) / MINUTE_NS;
    let secret = match tables.secret(secret_slot(minute)) {
        Some(secret) if cookie::is_set(&secret) => secret,
        // Not written yet: user space answers for itself.
        _ => return Treatment::PassUp(Reason::NoFlow),
    };
    match said.kind {
        kind::INDUCTION => Treatment::Answer(cookie::make(&secret, caller, minute)),
        kind::CONCLUSION => match cookie::check(said.cookie, caller, minute, |slot| tables.secret(slot)) {
            Checked::Valid => Treatment::PassUp(Reason::SrtConclusion),
            Checked::Stale => Treatment::Drop(Reason::SrtStaleCookie),
            Checked::Bad => Treatment::Drop(Reason::SrtBadCookie),
        },
        kind::WAVEAHAND => Treatment::Refuse,
        _ => Treatment::Drop(Reason::SrtMalformed),
    }
}

const ANSWER_LEN: usize = udp::LEN + HANDSHAKE_LEN;

/// Sends the handshake back, changed by `change` and without what stood behind it: no answer is longer than its question.
#[inline(always)]
fn answer<F: Family, T: Tables>(
    tables: &T,
    received: Received,
    datagram: &Datagram<F>,
    reason: Reason,
    change: impl Fn(&mut Handshake<View<'_, HANDSHAKE_LEN>>),
) -> Outcome {
    let Received { frame, .. } = received;
    let Datagram { ip, at, .. } = datagram;
    let Some(mut said) = frame.view::<HANDSHAKE_LEN>(*at).and_then(Handshake::of) else {
        return Outcome::drop(Reason::SrtMalformed);
    };
    change(&mut said);
    F::turn_round(&frame, ip.l3, ip.l3, proto::UDP, ANSWER_LEN as u32);
    write_udp::<F>(&frame, ip.l3, ip.l4);
    match tables.shrink(frame, at + HANDSHAKE_LEN) {
        Some(frame) => emit::reflect(&frame, reason),
        None => Outcome::drop(Reason::ResizeFailed),
    }
}

#[inline(always)]
fn write_udp<F: Family>(frame: &Frame, l3: usize, l4: usize) {
    let Some(packet) = frame.view::<ANSWER_LEN>(l4) else { return };
    packet.set_u32::<{ udp::PORTS }>(swap_ports(packet.u32::<{ udp::PORTS }>()));
    packet.set_u32::<{ udp::LENGTH }>(((ANSWER_LEN as u32) << 16).to_be());
    let sum = F::pseudo_header(frame, l3, proto::UDP, ANSWER_LEN as u32)
        .addr6(packet.addr6::<0>())
        .addr6(packet.addr6::<16>())
        .addr6(packet.addr6::<32>())
        .addr6(packet.addr6::<48>())
        .word(packet.u32::<64>())
        .word(packet.u32::<68>())
        .finish();
    // One that comes out as 0 would say that there is none (RFC 768).
    packet.set_u16::<{ udp::CHECKSUM }>(if sum == 0 { 0xffff } else { sum });
}
