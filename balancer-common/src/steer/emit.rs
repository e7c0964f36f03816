//! The last stage: where a rewritten frame leaves.

use super::{Outcome, Tables, Verdict};
use crate::{
    abi::{NextHop, Reason},
    packet::{Frame, header::eth},
};

/// The next hop of a flow; an empty slot is none.
#[inline(always)]
pub fn next_hop<T: Tables>(tables: &T, index: u16) -> Result<&NextHop, Reason> {
    match tables.next_hop(index) {
        Some(hop) if hop.ifindex != 0 => Ok(hop),
        _ => Err(Reason::NoNextHop),
    }
}

/// Sends the frame to `hop`, with whatever VLAN tags it came with.
#[inline(always)]
pub fn forward(frame: &Frame, hop: &NextHop, ingress: u32, reason: Reason) -> Outcome {
    let Some(header) = frame.view::<{ eth::LEN }>(0) else {
        return Outcome::pass(Reason::Truncated);
    };
    header.set_mac::<{ eth::DST }>(&hop.dst_mac);
    header.set_mac::<{ eth::SRC }>(&hop.src_mac);
    let verdict = if hop.ifindex == ingress { Verdict::Tx } else { Verdict::Redirect(hop.device) };
    Outcome { verdict, reason }
}

/// Sends the frame back to where it came from.
#[inline(always)]
pub fn reflect(frame: &Frame, reason: Reason) -> Outcome {
    let Some(header) = frame.view::<{ eth::LEN }>(0) else {
        return Outcome::pass(Reason::Truncated);
    };
    let (dst, src) = (header.mac::<{ eth::DST }>(), header.mac::<{ eth::SRC }>());
    header.set_mac::<{ eth::DST }>(&src);
    header.set_mac::<{ eth::SRC }>(&dst);
    Outcome { verdict: Verdict::Tx, reason }
}
