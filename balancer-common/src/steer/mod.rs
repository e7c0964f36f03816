//! The fast path, whole: parse, look up the 5-tuple, rewrite, emit.
//!
//! Generic over its [`Tables`], so that one source runs in the kernel, under the kernel's test-run and natively in unit
//! tests. It decides; the caller carries the [`Outcome`] out and counts its reason. Any doubt is a pass to the host's
//! stack or a drop with a reason of its own, never a guess.

mod emit;
mod family;
mod hold;
mod icmp;
mod miss;
mod mute;
mod reset;
mod tcp;
mod udp;
mod values;

pub use values::{Half, HalfFlow, TrackSlot};

use crate::{
    abi::{Control, Event, Flow4, Flow6, FlowKey4, FlowKey6, NextHop, Reason, ServiceKey},
    packet::{Frame, header, parse},
};
use family::{Family, V4, V6};

/// What becomes of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To the host's own stack.
    Pass,
    Drop,
    /// Out of the interface it came in on.
    Tx,
    /// Out of this slot of `DEVICES`.
    Redirect(u32),
}

/// A verdict and the one reason that is counted for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub verdict: Verdict,
    pub reason: Reason,
}

impl Outcome {
    #[inline(always)]
    const fn pass(reason: Reason) -> Self {
        Self { verdict: Verdict::Pass, reason }
    }

    #[inline(always)]
    const fn drop(reason: Reason) -> Self {
        Self { verdict: Verdict::Drop, reason }
    }
}

/// Everything outside the frame that the fast path asks.
pub trait Tables {
    fn flow4(&self, key: &FlowKey4) -> Option<Half<'_, Flow4>>;
    fn flow6(&self, key: &FlowKey6) -> Option<Half<'_, Flow6>>;
    fn track4(&self, key: &FlowKey4) -> Option<TrackSlot<'_>>;
    fn track6(&self, key: &FlowKey6) -> Option<TrackSlot<'_>>;
    fn control(&self, index: u32) -> Control;
    /// State and generation of a slot of `ORIGINS`.
    fn origin(&self, index: u16) -> Option<(u32, u32)>;
    fn next_hop(&self, index: u16) -> Option<&NextHop>;
    fn is_service(&self, key: &ServiceKey) -> bool;
    /// May lose the event when nobody reads them.
    fn event(&self, event: Event);
    /// `CLOCK_MONOTONIC` as the coarse clock shows it.
    fn now_ns(&self) -> u64;
    /// Cuts the frame off behind `len` bytes; `None` when that is refused, and then the frame is lost.
    fn shrink<'f>(&self, frame: Frame<'f>, len: usize) -> Option<Frame<'f>>;
}

/// Decides about one frame that came in on interface `ingress`, and rewrites it when it is to be forwarded.
#[inline(always)]
pub fn steer<T: Tables>(tables: &T, frame: Frame, ingress: u32) -> Outcome {
    let link = match parse::link(&frame) {
        Ok(link) => link,
        Err(reason) => return Outcome::pass(reason),
    };
    let arrival = Arrival { frame, l3: link.l3, ingress };
    match link.ether_type {
        header::eth::IPV4 => steer_ipv4(tables, arrival),
        header::eth::IPV6 => steer_ipv6(tables, arrival),
        _ => Outcome::pass(Reason::NotIp),
    }
}

/// A frame whose link layer has been read. One value, since a BPF function takes five arguments at most.
struct Arrival<'f> {
    frame: Frame<'f>,
    l3: usize,
    ingress: u32,
}

// Functions of their own: both families together exceed the 512 bytes of stack that a chain of BPF calls has.

#[inline(never)]
fn steer_ipv4<T: Tables>(tables: &T, arrival: Arrival) -> Outcome {
    steer_ip::<V4, T>(tables, arrival)
}

#[inline(never)]
fn steer_ipv6<T: Tables>(tables: &T, arrival: Arrival) -> Outcome {
    steer_ip::<V6, T>(tables, arrival)
}

#[inline(always)]
fn steer_ip<F: Family, T: Tables>(tables: &T, arrival: Arrival) -> Outcome {
    let Arrival { frame, l3, ingress } = arrival;
    let ip = match F::parse(&frame, l3) {
        Ok(ip) => ip,
        Err(reason) => return Outcome::pass(reason),
    };
    match ip.proto {
        header::proto::TCP => tcp::steer::<F, T>(tables, frame, &ip, ingress),
        header::proto::UDP => udp::steer::<F, T>(tables, frame, &ip, ingress),
        proto if proto == F::ICMP => icmp::steer::<F, T>(tables, frame, &ip, ingress),
        _ => Outcome::pass(Reason::OtherProtocol),
    }
}
