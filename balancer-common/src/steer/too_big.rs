//! Datagrams that do not fit the next link: the ICMP error by which their sender learns how large they may be
//! (RFC 1191, RFC 8201).
//!
//! Built in place: the frame is cut off behind what is quoted, and gets room for new headers in front. There is no rate
//! limit: only datagrams of a flow are answered, each with no more bytes than it has.

use super::{
    Outcome, Received, Step, Tables, emit,
    family::{Family, V4, V6},
};
use crate::{
    abi::Reason,
    packet::{
        Frame,
        header::{eth, icmp},
    },
};

// What is quoted: all that the largest error may hold that goes everywhere, which has 576 bytes (RFC 1812, 4.3.2.3) or
// 1280 (RFC 4443, 2.4); or, of a smaller datagram, what its sender recognizes it by.

#[inline(never)]
pub fn ipv4<T: Tables>(tables: &T, received: Received, mtu: u32) -> Step {
    answer::<V4, T, 544, 64>(tables, received, mtu).into()
}

#[inline(never)]
pub fn ipv6<T: Tables>(tables: &T, received: Received, mtu: u32) -> Step {
    answer::<V6, T, 1232, 48>(tables, received, mtu).into()
}

#[inline(always)]
fn answer<F: Family, T: Tables, const MOST: usize, const LEAST: usize>(
    tables: &T,
    received: Received,
    mtu: u32,
) -> Outcome {
    let Received { frame, l3, .. } = received;
    let len = match F::parse(&frame, l3) {
        Ok(ip) => F::IP_LEN + ip.payload_len as usize,
        Err(reason) => return Outcome::pass(reason),
    };
    if len >= F::IP_LEN + icmp::LEN + MOST {
        quote::<F, T, MOST>(tables, frame, l3, mtu)
    } else if len >= LEAST {
        quote::<F, T, LEAST>(tables, frame, l3, mtu)
    } else {
        // No link is as narrow as that.
        Outcome::pass(Reason::ToFragment)
    }
}

/// Sends an error back that quotes `N` bytes, which the packet has.
#[inline(always)]
fn quote<F: Family, T: Tables, const N: usize>(tables: &T, frame: Frame, l3: usize, mtu: u32) -> Outcome {
    let grown = F::IP_LEN + icmp::LEN;
    let Some(frame) = tables.shrink(frame, l3 + N).and_then(|frame| tables.grow(frame, grown)) else {
        return Outcome::drop(Reason::ResizeFailed);
    };
    move_link(&frame, l3, grown);
    // From the address that the datagram was sent to: the only one of ours that its sender knows.
    F::turn_round(&frame, l3 + grown, l3, F::ICMP, (icmp::LEN + N) as u32);
    write_error::<F, T, N>(tables, &frame, l3, mtu);
    emit::reflect(&frame, Reason::TooBig)
}

/// Ethernet header and tags, from where they were to the new beginning.
#[inline(always)]
fn move_link(frame: &Frame, l3: usize, by: usize) {
    let (Some(from), Some(to)) = (frame.view::<{ eth::LEN }>(by), frame.view::<{ eth::LEN }>(0)) else { return };
    to.set_mac::<{ eth::DST }>(&from.mac::<{ eth::DST }>());
    to.set_mac::<{ eth::SRC }>(&from.mac::<{ eth::SRC }>());
    to.set_u16::<{ eth::TYPE }>(from.u16::<{ eth::TYPE }>());
    move_tag(frame, eth::LEN, l3, by);
    move_tag(frame, eth::LEN + eth::TAG_LEN, l3, by);
}

#[inline(always)]
fn move_tag(frame: &Frame, at: usize, l3: usize, by: usize) {
    if l3 < at + eth::TAG_LEN {
        return;
    }
    let (Some(from), Some(to)) = (frame.view::<{ eth::TAG_LEN }>(at + by), frame.view::<{ eth::TAG_LEN }>(at)) else {
        return;
    };
    to.set_u32::<0>(from.u32::<0>());
}

#[inline(always)]
fn write_error<F: Family, T: Tables, const N: usize>(tables: &T, frame: &Frame, l3: usize, mtu: u32) {
    let at = l3 + F::IP_LEN;
    let (Some(header), Some(quoted)) = (frame.view::<{ icmp::LEN }>(at), frame.view::<N>(at + icmp::LEN)) else {
        return;
    };
    let (kind, code) = F::TOO_BIG;
    let first = ((kind as u32) << 24 | (code as u32) << 16).to_be();
    let mtu = if mtu > F::MTU_MAX { F::MTU_MAX } else { mtu }.to_be();
    header.set_u32::<{ icmp::TYPE }>(first);
    header.set_u32::<{ icmp::REST }>(mtu);
    let sum = F::icmp_sum(frame, l3, (icmp::LEN + N) as u32).word(first).word(mtu);
    header.set_u16::<{ icmp::CHECKSUM }>(sum.word(tables.sum(quoted)).finish());
}
