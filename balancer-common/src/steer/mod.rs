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
mod srt;
mod stun;
mod tcp;
mod too_big;
mod udp;
mod values;

pub use values::{Half, HalfFlow, TrackSlot};

use crate::{
    abi::{
        self, Control, Event, Flow4, Flow6, FlowKey4, FlowKey6, IceKey, IceSession, Miss, NextHop, PortKey, Reason,
        Secret, ServiceKey, SourcePorts,
    },
    packet::{Frame, View, frame::unmerged, header, parse},
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
    /// [`ServiceKind`] as a number.
    fn service(&self, key: &ServiceKey) -> Option<u32>;

    fn ice(&self, key: &IceKey) -> Option<&IceSession>;
    /// Takes a granted port, network byte order as loaded. Whoever gets it has it alone.
    fn take_port4(&self, key: &PortKey) -> Option<u16>;
    fn take_port6(&self, key: &PortKey) -> Option<u16>;
    /// The slot of `NEXT_HOPS` that leads back to where a frame came from.
    fn neighbour(&self, arrival: &abi::Arrival) -> Option<u16>;
    /// Tells user space by which way the sender of a datagram came, before the datagram itself.
    fn set_arrival(&self, key: &FlowKey6, arrival: &abi::Arrival);
    /// False where there is such a flow already, or no room.
    fn insert4(&self, key: &FlowKey4, flow: &Flow4) -> bool;
    fn insert6(&self, key: &FlowKey6, flow: &Flow6) -> bool;
    fn remove4(&self, key: &FlowKey4);
    fn remove6(&self, key: &FlowKey6);
    fn secret(&self, slot: u32) -> Option<Secret>;

    /// User space is asked about packets of unknown flows.
    fn asks(&self) -> bool;
    /// The ports that connections to origins leave from, under the key of a service at port 0.
    fn source(&self, key: &ServiceKey) -> Option<SourcePorts>;
    /// A socket of this host's is to have packets with this key. One that listens for TCP does not count.
    fn has_socket4(&self, key: &FlowKey4) -> bool;
    fn has_socket6(&self, key: &FlowKey6) -> bool;
    fn miss(&self, key: &FlowKey6) -> Option<Miss>;
    fn set_miss(&self, key: &FlowKey6, miss: Miss);
    /// Sends the event, unless room has to be left for those of flows.
    fn ask(&self, event: Event) -> bool;
    /// How far the clock that the balancers share is ahead of [`Self::now_ns`], modulo 2^64.
    fn clock_ahead_ns(&self) -> u64;

    /// May lose the event when nobody reads them.
    fn event(&self, event: Event);
    /// `CLOCK_MONOTONIC` as the coarse clock shows it.
    fn now_ns(&self) -> u64;
    /// `CLOCK_BOOTTIME` in seconds, modulo 2^32.
    fn boot_s(&self) -> u32;
    /// The same frame: where it may have been resized on another way through the program, the verifier wants its
    /// pointers read anew.
    fn renew<'f>(&self, frame: Frame<'f>) -> Frame<'f>;
    /// Cuts the frame off behind `len` bytes; `None` when that is refused, and then the frame is lost.
    fn shrink<'f>(&self, frame: Frame<'f>, len: usize) -> Option<Frame<'f>>;
    /// Room for `len` bytes in front of the frame; `None` as for [`Self::shrink`].
    fn grow<'f>(&self, frame: Frame<'f>, len: usize) -> Option<Frame<'f>>;
    /// The one's complement sum of the bytes, a multiple of four, folded to 32 bits. A loop of our own over so many would
    /// be walked step by step by the verifier.
    fn sum<const N: usize>(&self, bytes: View<'_, N>) -> u32;
}

/// Decides about one frame that came in on interface `ingress`, and rewrites it when it is to be forwarded.
#[inline(always)]
pub fn steer<T: Tables>(tables: &T, frame: Frame, ingress: u32) -> Outcome {
    let link = match parse::link(&frame) {
        Ok(link) => link,
        Err(reason) => return Outcome::pass(reason),
    };
    let l3 = link.l3;
    let step = match link.ether_type {
        header::eth::IPV4 => match steer_ipv4(tables, Received { frame: frame.reborrow(), l3, ingress }) {
            Step::SRT => srt::ipv4(tables, Received { frame: tables.renew(frame), l3, ingress }),
            Step::WEB_RTC => stun::ipv4(tables, Received { frame: tables.renew(frame), l3, ingress }),
            Step::MISSED => miss::ipv4(tables, Received { frame: tables.renew(frame), l3, ingress }),
            Step { reason: Reason::TooBig, how: mtu } => {
                too_big::ipv4(tables, Received { frame: tables.renew(frame), l3, ingress }, mtu)
            }
            step => step,
        },
        header::eth::IPV6 => match steer_ipv6(tables, Received { frame: frame.reborrow(), l3, ingress }) {
            Step::SRT => srt::ipv6(tables, Received { frame: tables.renew(frame), l3, ingress }),
            Step::WEB_RTC => stun::ipv6(tables, Received { frame: tables.renew(frame), l3, ingress }),
            Step::MISSED => miss::ipv6(tables, Received { frame: tables.renew(frame), l3, ingress }),
            Step { reason: Reason::TooBig, how: mtu } => {
                too_big::ipv6(tables, Received { frame: tables.renew(frame), l3, ingress }, mtu)
            }
            step => step,
        },
        _ => Step::from(Outcome::pass(Reason::NotIp)),
    };
    step.outcome()
}

/// An [`Outcome`] in one register: in memory it would take of the stack of caller and callee. Or that the common path
/// comes to no outcome, for a datagram without a flow for a service of SRT or WebRTC, and for whatever user space may have
/// to be asked about: what those do takes more stack than is left below the common path, so it is done beside it, on the
/// frame as it came in. So are datagrams too big for the next link: with the reason `TooBig`, `how` is the link's MTU.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Step {
    how: u32,
    reason: Reason,
}

impl Step {
    const SRT: Self = Self { how: Self::STRANGER, reason: Reason::SrtAnswered };
    const WEB_RTC: Self = Self { how: Self::STRANGER, reason: Reason::IceMade };
    const MISSED: Self = Self { how: Self::STRANGER, reason: Reason::Asked };

    const PASS: u32 = 0;
    const DROP: u32 = 1;
    const TX: u32 = 2;
    const STRANGER: u32 = 3;
    /// And the slot of `DEVICES`, of which there are far fewer.
    const REDIRECT: u32 = 1 << 31;

    #[inline(always)]
    fn outcome(self) -> Outcome {
        let verdict = match self.how {
            Self::PASS => Verdict::Pass,
            Self::TX => Verdict::Tx,
            how if how & Self::REDIRECT != 0 => Verdict::Redirect(how & !Self::REDIRECT),
            _ => Verdict::Drop,
        };
        Outcome { verdict, reason: self.reason }
    }
}

impl From<Outcome> for Step {
    #[inline(always)]
    fn from(outcome: Outcome) -> Self {
        let how = match outcome.verdict {
            Verdict::Pass => Self::PASS,
            Verdict::Drop => Self::DROP,
            Verdict::Tx => Self::TX,
            Verdict::Redirect(device) => Self::REDIRECT | device,
        };
        Self { how, reason: outcome.reason }
    }
}

/// A frame whose link layer has been read. One value, since a BPF function takes five arguments at most.
struct Received<'f> {
    frame: Frame<'f>,
    l3: usize,
    ingress: u32,
}

impl Received<'_> {
    /// By which way the frame came.
    #[inline(always)]
    fn arrival(&self) -> Option<abi::Arrival> {
        use header::eth::{DST, SRC};
        let header = self.frame.view::<{ header::eth::LEN }>(0)?;
        // In words that are aligned where the value is built, on the stack.
        let [a, b, c, d] = unmerged(header.u32::<SRC>()).to_ne_bytes();
        let [e, f] = header.u16::<{ SRC + 4 }>().to_ne_bytes();
        let [g, h] = header.u16::<DST>().to_ne_bytes();
        let [i, j, k, l] = unmerged(header.u32::<{ DST + 2 }>()).to_ne_bytes();
        Some(abi::Arrival { ifindex: self.ingress, peer_mac: [a, b, c, d, e, f], own_mac: [g, h, i, j, k, l] })
    }

    /// Passes the datagram with this key to user space, which is told beforehand by which way it came.
    #[inline(always)]
    fn pass_up<F: Family, T: Tables>(&self, tables: &T, key: &F::Key, reason: Reason) -> Outcome {
        if let Some(arrival) = self.arrival() {
            tables.set_arrival(&F::wide(key), &arrival);
        }
        Outcome::pass(reason)
    }
}

// Functions of their own: both families together exceed the 512 bytes of stack that a chain of BPF calls has.

#[inline(never)]
fn steer_ipv4<T: Tables>(tables: &T, received: Received) -> Step {
    steer_ip::<V4, T>(tables, received)
}

#[inline(never)]
fn steer_ipv6<T: Tables>(tables: &T, received: Received) -> Step {
    steer_ip::<V6, T>(tables, received)
}

#[inline(always)]
fn steer_ip<F: Family, T: Tables>(tables: &T, received: Received) -> Step {
    let Received { frame, l3, ingress } = received;
    let ip = match F::parse(&frame, l3) {
        Ok(ip) => ip,
        Err(reason) => return Outcome::pass(reason).into(),
    };
    let outcome = match ip.proto {
        header::proto::TCP => return tcp::steer::<F, T>(tables, frame, &ip, ingress),
        header::proto::UDP => return udp::steer::<F, T>(tables, frame, &ip, ingress),
        proto if proto == F::ICMP => icmp::steer::<F, T>(tables, frame, &ip, ingress),
        _ => Outcome::pass(Reason::OtherProtocol),
    };
    outcome.into()
}
