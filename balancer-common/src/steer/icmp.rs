//! ICMP errors about forwarded packets: told to the end that sent the packet, in its own terms.
//!
//! A router on the far side quotes a packet that the balancer emitted. Without translation the sender would never
//! learn that its path's MTU is smaller than it thinks, and its stream would hang.

use super::{HalfFlow, Outcome, Tables, emit, family::Family, tcp};
use crate::{
    abi::{Reason, Seen, swap_ports},
    packet::{
        Frame,
        checksum::Difference,
        header::{self, icmp, proto},
        parse::{Ip, Quoted},
    },
};

/// Ports and sequence number: the least that an error quotes (RFC 792).
const QUOTED_L4: usize = 8;
const ACK_LEN: usize = 4;

#[inline(always)]
pub fn steer<F: Family, T: Tables>(tables: &T, frame: Frame, ip: &Ip<F::Addr>, ingress: u32) -> Outcome {
    let Some(quoted) = quoted::<F>(&frame, ip) else {
        return Outcome::pass(Reason::IcmpOther);
    };
    let Some(ports) = frame.view::<QUOTED_L4>(quoted.l4).map(|l4| l4.u32::<{ header::tcp::PORTS }>()) else {
        return Outcome::pass(Reason::IcmpOther);
    };
    // What the peer of the quoted packet sends comes in under this key, and goes on to the end that must hear of it.
    let key = F::reversed(&F::key(quoted.src, quoted.dst, ports, quoted.proto));
    let half = match F::flow(tables, &key) {
        Some(half) if half.seen() & Seen::CLOSED == 0 && tcp::origin_lives(tables, &half.splice()) => half,
        _ => return Outcome::pass(Reason::IcmpOther),
    };
    let hop = match emit::next_hop(tables, half.splice().next_hop) {
        Ok(hop) => hop,
        Err(reason) => return Outcome::drop(reason),
    };
    let change = rewrite_quoted::<F>(&frame, ip, &quoted, &half);
    if let Err(reason) = F::readdress(&frame, ip.l3, half.src(), half.dst()) {
        return Outcome::drop(reason);
    }
    let Some(header) = frame.view::<{ icmp::LEN }>(ip.l4) else {
        return Outcome::pass(Reason::Truncated);
    };
    header.set_u16::<{ icmp::CHECKSUM }>(change.update(header.u16::<{ icmp::CHECKSUM }>()));
    emit::forward(&frame, hop, ingress, Reason::Icmp)
}

/// The quoted packet, if this is an error about TCP or UDP that quotes enough.
#[inline(always)]
fn quoted<F: Family>(frame: &Frame, ip: &Ip<F::Addr>) -> Option<Quoted<F::Addr>> {
    let kind = frame.view::<{ icmp::LEN }>(ip.l4)?.u8::<{ icmp::TYPE }>();
    if !F::is_icmp_error(kind) {
        return None;
    }
    let quoted = F::quoted(frame, ip.l4 + icmp::LEN)?;
    let is_whole = ip.payload_len as usize >= quoted.l4 - ip.l4 + QUOTED_L4;
    let is_ours = quoted.proto == proto::TCP || quoted.proto == proto::UDP;
    if is_whole && is_ours { Some(quoted) } else { None }
}

/// Undoes what the balancer did to the packet. The quoted L4 checksum is left alone: the packet is cut off, so nobody
/// can check it.
#[inline(always)]
fn rewrite_quoted<F: Family>(
    frame: &Frame,
    ip: &Ip<F::Addr>,
    quoted: &Quoted<F::Addr>,
    half: &F::Half<'_>,
) -> Difference {
    let mut change = F::icmp_pseudo_header(frame, ip.l3, half.src(), half.dst())
        .plus(F::readdress_quoted(frame, ip.l4 + icmp::LEN, half.dst(), half.src()), false);
    let Some(l4) = frame.view::<QUOTED_L4>(quoted.l4) else { return change };
    let ports = swap_ports(half.ports());
    change = change.word32(l4.u32::<{ header::tcp::PORTS }>(), ports);
    l4.set_u32::<{ header::tcp::PORTS }>(ports);
    if quoted.proto != proto::TCP {
        return change;
    }
    let seq = l4.u32::<{ header::tcp::SEQ }>();
    let new = u32::from_be(seq).wrapping_add(half.splice().ack_delta).to_be();
    change = change.word32(seq, new);
    l4.set_u32::<{ header::tcp::SEQ }>(new);
    if (ip.payload_len as usize) < quoted.l4 - ip.l4 + QUOTED_L4 + ACK_LEN {
        return change;
    }
    let Some(rest) = frame.view::<ACK_LEN>(quoted.l4 + QUOTED_L4) else { return change };
    let ack = rest.u32::<0>();
    let new = u32::from_be(ack).wrapping_add(half.splice().seq_delta).to_be();
    change = change.word32(ack, new);
    rest.set_u32::<0>(new);
    change
}
