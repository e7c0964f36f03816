//! Connections that user space still holds: recorded, and held back for the moment of a hand-over.

use super::{Outcome, Tables, TrackSlot, family::Family, values::Sighting};
use crate::{
    abi::{ControlMode, Reason, Track},
    packet::{
        Frame,
        header::{eth, proto, tcp},
        options,
        parse::{Ip, Tcp},
    },
};

#[inline(always)]
pub fn tracked<F: Family, T: Tables>(
    tables: &T,
    frame: Frame,
    ip: &Ip<F::Addr>,
    segment: &Tcp,
    track: TrackSlot,
    ingress: u32,
) -> Outcome {
    if !segment.is_sound() {
        return Outcome::pass(Reason::Truncated);
    }
    let control = tables.control(track.control());
    let wants_hold = control.mode() == ControlMode::Hold;
    // A HOLD that its owner forgot would be a black hole.
    let is_held = wants_hold && tables.now_ns() < control.deadline_ns();
    observe(track, &frame.reborrow(), &{ *segment }, ingress, is_held);
    if is_held && !segment.has(tcp::RST) {
        return held::<F, T>(tables, frame, ip, segment, track);
    }
    if wants_hold && !is_held {
        track.set_hold_expired();
        return Outcome::pass(Reason::HoldExpired);
    }
    Outcome::pass(Reason::Tracked)
}

/// Records what a packet tells about its sender. Data that is held back does not count as arrived.
///
/// A function of its own: inlined into the hit path, its branches multiply with those behind it in the verifier.
#[inline(never)]
pub fn observe(track: TrackSlot, frame: &Frame, segment: &Tcp, ingress: u32, is_held: bool) {
    let (own_mac, peer_mac) = match frame.view::<{ eth::LEN }>(0) {
        Some(header) => (header.mac::<{ eth::DST }>(), header.mac::<{ eth::SRC }>()),
        None => ([0; 6], [0; 6]),
    };
    let mut seen = 0;
    if segment.has(tcp::FIN) {
        seen |= Track::SEEN_FIN;
    }
    if segment.has(tcp::RST) {
        seen |= Track::SEEN_RST;
    }
    if segment.has(tcp::SYN) {
        seen |= Track::SEEN_SYN;
    }
    track.record(&Sighting {
        end: if is_held { None } else { Some(segment.end()) },
        ack: if segment.has(tcp::ACKED) { Some(segment.ack) } else { None },
        tsval: if segment.has(tcp::SYN) {
            options::syn_tsval(frame, segment)
        } else {
            options::aligned_tsval(frame, segment)
        },
        seen,
        ifindex: ingress,
        peer_mac,
        own_mac,
    });
}

/// No data gets to the balancer's socket any more, but what the packets acknowledge does: dropping them whole would
/// cost a retransmission time-out instead of milliseconds.
#[inline(always)]
fn held<F: Family, T: Tables>(tables: &T, frame: Frame, ip: &Ip<F::Addr>, segment: &Tcp, track: TrackSlot) -> Outcome {
    let has_data = segment.data_len() > 0;
    if !has_data && !segment.has(tcp::SYN | tcp::FIN) {
        return Outcome::pass(Reason::HoldAck);
    }
    track.count_held();
    if !has_data || !segment.has(tcp::ACKED) || segment.has(tcp::SYN | tcp::FIN | tcp::URG) {
        return Outcome::drop(Reason::Held);
    }
    trim::<F>(&frame, ip, segment);
    match tables.shrink(frame, ip.l4 + segment.header_len as usize) {
        Some(_) => Outcome::pass(Reason::HoldTrimmed),
        None => Outcome::drop(Reason::ResizeFailed),
    }
}

/// Turns a data segment into the bare ACK that it carries. Its checksum covered the data, so it is computed anew.
#[inline(always)]
fn trim<F: Family>(frame: &Frame, ip: &Ip<F::Addr>, segment: &Tcp) {
    F::set_payload_len(frame, ip.l3, segment.header_len);
    let Some(header) = frame.view::<{ tcp::LEN }>(ip.l4) else { return };
    header.set_u8::<{ tcp::FLAGS }>(segment.flags & !tcp::PSH);
    header.set_u16::<{ tcp::CHECKSUM }>(0);
    let mut sum = F::pseudo_header(frame, ip.l3, proto::TCP, segment.header_len)
        .word(header.u32::<0>())
        .word(header.u32::<4>())
        .word(header.u32::<8>())
        .word(header.u32::<12>())
        .word(header.u32::<16>());
    for i in 0..tcp::OPTIONS_LEN_MAX / 4 {
        let at = tcp::LEN + 4 * i;
        if at >= segment.header_len as usize {
            break;
        }
        let Some(word) = frame.view::<4>(ip.l4 + at) else { break };
        sum = sum.word(word.u32::<0>());
    }
    header.set_u16::<{ tcp::CHECKSUM }>(sum.finish());
}
