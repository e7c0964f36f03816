//! What differs between IPv4 and IPv6.

mod v4;
mod v6;

pub use v4::V4;
pub use v6::V6;

use super::{HalfFlow, Tables, TrackSlot};
use crate::{
    abi::{Addr6, Event, EventKind, FlowKey6, PortKey, Reason, ServiceKey, Splice},
    packet::{
        Frame,
        checksum::{Difference, Sum},
        cookie::Caller,
        parse::{Ip, Quoted},
    },
};

pub trait Family {
    type Addr: Copy;
    type Key: Copy + Caller;
    type Half<'t>: HalfFlow<Addr = Self::Addr>;
    /// 4 or 6.
    const NUMBER: u32;
    /// The protocol number of its ICMP.
    const ICMP: u8;
    /// Type and code of the error about a packet that does not fit the next link.
    const TOO_BIG: (u8, u8);
    /// The largest MTU that such an error can tell.
    const MTU_MAX: u32;
    /// Length of the IP header.
    const IP_LEN: usize;
    /// UDP always has a checksum.
    const UDP_CHECKSUM: bool;

    fn parse(frame: &Frame, l3: usize) -> Result<Ip<Self::Addr>, Reason>;
    fn key(src: Self::Addr, dst: Self::Addr, ports: u32, proto: u8) -> Self::Key;
    fn reversed(key: &Self::Key) -> Self::Key;
    /// The service that a packet with this key is for.
    fn service(key: &Self::Key) -> ServiceKey;
    fn event(kind: EventKind, key: &Self::Key) -> Event;
    /// The key in the shape of `ARRIVALS`.
    fn wide(key: &Self::Key) -> FlowKey6;
    fn flow<'t, T: Tables>(tables: &'t T, key: &Self::Key) -> Option<Self::Half<'t>>;
    fn track<'t, T: Tables>(tables: &'t T, key: &Self::Key) -> Option<TrackSlot<'t>>;

    /// See [`Tables::has_socket4`].
    fn has_socket<T: Tables>(tables: &T, key: &Self::Key) -> bool;

    /// What the words of a session say.
    fn addr(words: &Addr6) -> Self::Addr;
    fn take_port<T: Tables>(tables: &T, key: &PortKey) -> Option<u16>;
    /// A half-flow that was not there before, to where the packets under `partner` come from.
    fn insert<T: Tables>(tables: &T, key: &Self::Key, partner: &Self::Key, splice: Splice, seen: u32) -> bool;
    fn remove<T: Tables>(tables: &T, key: &Self::Key);
    /// What one 5-tuple instead of the other changes in a checksum.
    fn difference(old: &Self::Key, new: &Self::Key) -> Difference;

    /// New addresses, and one hop less to live. Touches nothing when the packet has none left.
    fn readdress(frame: &Frame, l3: usize, src: Self::Addr, dst: Self::Addr) -> Result<(), Reason>;
    /// Says in the IP header that `len` bytes follow it.
    fn set_payload_len(frame: &Frame, l3: usize, len: u32);
    /// The sender allows routers to send a packet on in pieces.
    fn may_be_cut(frame: &Frame, l3: usize) -> bool;
    /// A fresh header at `to`, with `len` bytes of `proto` behind it, back to where the packet with the header at `from`
    /// came from. Both may be the same.
    fn turn_round(frame: &Frame, from: usize, to: usize, proto: u8, len: u32);
    /// The pseudo-header's part of the checksum of `len` bytes of `proto`.
    fn pseudo_header(frame: &Frame, l3: usize, proto: u8, len: u32) -> Sum;
    /// The same where it is ICMP.
    fn icmp_sum(frame: &Frame, l3: usize, len: u32) -> Sum;

    /// ICMP errors that quote the packet they are about.
    fn is_icmp_error(kind: u8) -> bool;
    fn quoted(frame: &Frame, at: usize) -> Option<Quoted<Self::Addr>>;
    /// New addresses in a quoted header; what that changes in the ICMP checksum.
    fn readdress_quoted(frame: &Frame, at: usize, src: Self::Addr, dst: Self::Addr) -> Difference;
    /// What new addresses of the packet itself change in the ICMP checksum.
    fn icmp_pseudo_header(frame: &Frame, l3: usize, src: Self::Addr, dst: Self::Addr) -> Difference;
}

const HOPS: u8 = 64;

/// A 16-bit number of the packet as a word for [`Sum`].
#[inline(always)]
const fn be(number: u16) -> u32 {
    number.to_be() as u32
}

/// The second 16-bit word of `ports`, as it lies in the packet.
#[inline(always)]
const fn destination_port(ports: u32) -> u32 {
    if cfg!(target_endian = "little") { ports >> 16 } else { ports & 0xffff }
}
