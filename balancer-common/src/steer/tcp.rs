//! TCP packets of spliced flows: two connections with numbers of their own, joined by translation.

use super::{
    HalfFlow, Outcome, Step, Tables, emit,
    family::Family,
    hold, miss,
    mute::{self, Said},
    reset,
};
use crate::{
    abi::{EventKind, FlowFlags, OriginState, Reason, Seen, Splice},
    packet::{
        Frame,
        checksum::Difference,
        header::{proto, tcp},
        options,
        parse::{Ip, Tcp},
    },
};

#[inline(always)]
pub fn steer<F: Family, T: Tables>(tables: &T, frame: Frame, ip: &Ip<F::Addr>, ingress: u32) -> Step {
    let segment = match Tcp::parse(&frame, ip.l4, ip.payload_len) {
        Ok(segment) => segment,
        Err(reason) => return Outcome::pass(reason).into(),
    };
    let key = F::key(ip.src, ip.dst, segment.ports, proto::TCP);
    match F::flow(tables, &key) {
        Some(half) => hit::<F, T>(tables, frame, ip, &segment, &key, &half, ingress).into(),
        None => miss::tcp::<F, T>(tables, frame, ip, &segment, &key, ingress),
    }
}

#[inline(always)]
fn hit<F: Family, T: Tables>(
    tables: &T,
    frame: Frame,
    ip: &Ip<F::Addr>,
    segment: &Tcp,
    key: &F::Key,
    half: &F::Half<'_>,
    ingress: u32,
) -> Outcome {
    let seen = half.seen();
    if seen & Seen::CLOSED != 0 {
        return Outcome::pass(Reason::Closed);
    }
    if !segment.is_sound() {
        return Outcome::drop(Reason::BadTcpHeader);
    }
    let lives = origin_lives(tables, &half.splice());
    if segment.has(tcp::SYN) && !segment.has(tcp::ACKED) {
        return syn::<F, T>(tables, key, half, seen, lives);
    }
    let is_armed = lives && seen & Seen::ARMED != 0 && record::<F, T>(tables, &frame, segment, key, half, ingress);
    let said = mute::said(half.splice().flags, segment);
    let ends =
        if lives { mute::ends::<F, T>(tables, segment, key, half, seen, said) } else { Some(Reason::OriginDown) };
    if let Some(reason) = ends {
        return reset::answer::<F, T>(tables, frame, ip, segment, reason);
    }
    if is_armed && said == Said::Before {
        return mute::before_base(segment);
    }
    if segment.has(tcp::FIN | tcp::RST) {
        mark_end::<F, T>(tables, segment, key, half, seen);
    }
    let hop = match emit::next_hop(tables, half.splice().next_hop) {
        Ok(hop) => hop,
        Err(reason) => return Outcome::drop(reason),
    };
    if let Err(reason) = F::readdress(&frame, ip.l3, half.src(), half.dst()) {
        return Outcome::drop(reason);
    }
    if let Err(reason) = rewrite(&frame, segment, &half.splice(), half.ports()) {
        return Outcome::drop(reason);
    }
    half.count(segment.data_len(), tables.now_ns());
    let to_client = half.splice().flags & FlowFlags::TO_CLIENT != 0;
    emit::forward(&frame, hop, ingress, if to_client { Reason::ToClient } else { Reason::ToOrigin })
}

/// An origin that is down, or another one that has taken its slot over, takes all flows of the old one with it.
#[inline(always)]
pub fn origin_lives<T: Tables>(tables: &T, splice: &Splice) -> bool {
    origin_is(tables, splice.origin, splice.origin_generation)
}

/// The origin in this slot is up, and still the one of this generation.
#[inline(always)]
pub fn origin_is<T: Tables>(tables: &T, index: u16, placed_in: u16) -> bool {
    match tables.origin(index) {
        Some((state, generation)) => state == OriginState::Up as u32 && generation & 0xffff == placed_in as u32,
        None => false,
    }
}

/// The balancer's sockets are still open: what the packet tells about its sender is recorded. False when they are gone.
#[inline(always)]
fn record<F: Family, T: Tables>(
    tables: &T,
    frame: &Frame,
    segment: &Tcp,
    key: &F::Key,
    half: &F::Half<'_>,
    ingress: u32,
) -> bool {
    match F::track(tables, key) {
        Some(track) => {
            hold::observe(track, frame, &{ *segment }, ingress, false);
            true
        }
        None => {
            half.clear_seen(Seen::ARMED);
            false
        }
    }
}

/// A SYN is never forwarded: the origin's listener would take it. On a flow that is over, the client uses its port
/// again, and the balancer's own listener is to have it.
#[inline(always)]
fn syn<F: Family, T: Tables>(tables: &T, key: &F::Key, half: &F::Half<'_>, seen: u32, lives: bool) -> Outcome {
    let partner = partner::<F, T>(tables, half);
    let other = partner.as_ref().map_or(0, |partner| partner.seen());
    let is_over = !lives || (seen | other) & Seen::RST != 0 || seen & other & Seen::FIN != 0;
    if !is_over {
        return Outcome::drop(Reason::SynOnLiveFlow);
    }
    half.set_seen(Seen::CLOSED);
    if let Some(partner) = partner {
        partner.set_seen(Seen::CLOSED);
    }
    tables.event(F::event(EventKind::Reused, key));
    Outcome::pass(Reason::Reused)
}

/// The flow's other half.
#[inline(always)]
pub fn partner<'t, F: Family, T: Tables>(tables: &'t T, half: &F::Half<'_>) -> Option<F::Half<'t>> {
    F::flow(tables, &F::reversed(&F::key(half.src(), half.dst(), half.ports(), proto::TCP)))
}

/// User space hears of the first FIN and the first RST of each half.
#[inline(always)]
fn mark_end<F: Family, T: Tables>(tables: &T, segment: &Tcp, key: &F::Key, half: &F::Half<'_>, seen: u32) {
    let (bit, kind) = if segment.has(tcp::RST) { (Seen::RST, EventKind::Rst) } else { (Seen::FIN, EventKind::Fin) };
    if seen & bit == 0 {
        half.set_seen(bit);
        tables.event(F::event(kind, key));
    }
}

/// Everything of the TCP header that names the other connection.
#[inline(always)]
fn rewrite(frame: &Frame, segment: &Tcp, splice: &Splice, ports: u32) -> Result<(), Reason> {
    let mut change = options::translate(frame, segment, splice);
    let header = frame.view::<{ tcp::LEN }>(segment.at).ok_or(Reason::Truncated)?;

    let seq = segment.seq.wrapping_add(splice.seq_delta);
    change = change.word32(segment.seq.to_be(), seq.to_be());
    header.set_u32::<{ tcp::SEQ }>(seq.to_be());

    if segment.has(tcp::ACKED) {
        let ack = segment.ack.wrapping_add(splice.ack_delta);
        change = change.word32(segment.ack.to_be(), ack.to_be());
        header.set_u32::<{ tcp::ACK }>(ack.to_be());
    }

    let (left, right) = (FlowFlags::window_left(splice.flags), FlowFlags::window_right(splice.flags));
    // The window of a SYN is not scaled (RFC 7323, 2.2).
    if left != right && !segment.has(tcp::SYN) {
        let old = header.u16::<{ tcp::WINDOW }>();
        let scaled = ((u16::from_be(old) as u32) << left) >> right;
        let new = (if scaled > 0xffff { 0xffff } else { scaled as u16 }).to_be();
        change = change.word16(old, new);
        header.set_u16::<{ tcp::WINDOW }>(new);
    }

    header.set_u32::<{ tcp::PORTS }>(ports);
    let checksum = change.plus(Difference::folded(splice.l4_diff), false);
    header.set_u16::<{ tcp::CHECKSUM }>(checksum.update(header.u16::<{ tcp::CHECKSUM }>()));
    Ok(())
}
