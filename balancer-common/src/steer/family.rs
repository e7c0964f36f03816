//! What differs between IPv4 and IPv6.

use super::{Half, Tables, TrackSlot};
use crate::{
    abi::{Addr4, Addr6, Event, EventKind, FlowKey4, FlowKey6, Reason, ServiceKey},
    packet::{
        Frame,
        checksum::{Difference, Sum},
        frame::unmerged,
        header::{ip4, ip6, proto},
        parse::{self, Ip},
    },
};

pub trait Family {
    type Addr: Copy;
    type Key: Copy;

    fn parse(frame: &Frame, l3: usize) -> Result<Ip<Self::Addr>, Reason>;
    fn key(src: Self::Addr, dst: Self::Addr, ports: u32, proto: u8) -> Self::Key;
    fn reversed(key: &Self::Key) -> Self::Key;
    fn service(dst: Self::Addr, port: u32, proto: u8) -> ServiceKey;
    fn event(kind: EventKind, key: &Self::Key) -> Event;
    fn flow<'t, T: Tables>(tables: &'t T, key: &Self::Key) -> Option<Half<'t, Self::Addr>>;
    fn track<'t, T: Tables>(tables: &'t T, key: &Self::Key) -> Option<TrackSlot<'t>>;

    /// New addresses, and one hop less to live. Touches nothing when the packet has none left.
    fn readdress(frame: &Frame, l3: usize, src: Self::Addr, dst: Self::Addr) -> Result<(), Reason>;
    /// Says in the IP header that `len` bytes follow it.
    fn set_payload_len(frame: &Frame, l3: usize, len: u32);
    /// Writes a fresh header for `len` bytes of TCP.
    fn write_header(frame: &Frame, l3: usize, src: Self::Addr, dst: Self::Addr, len: u32);
    /// The pseudo-header's part of a TCP checksum.
    fn pseudo_header(src: Self::Addr, dst: Self::Addr, len: u32) -> Sum;
}

const HOPS: u8 = 64;

/// A 16-bit number of the packet as a word for [`Sum`].
#[inline(always)]
const fn be(number: u16) -> u32 {
    number.to_be() as u32
}

pub struct V4;

impl Family for V4 {
    type Addr = Addr4;
    type Key = FlowKey4;

    #[inline(always)]
    fn parse(frame: &Frame, l3: usize) -> Result<Ip<Addr4>, Reason> {
        parse::ipv4(frame, l3)
    }

    #[inline(always)]
    fn key(src: Addr4, dst: Addr4, ports: u32, proto: u8) -> FlowKey4 {
        FlowKey4 { src, dst, ports, proto: proto as u32 }
    }

    #[inline(always)]
    fn reversed(key: &FlowKey4) -> FlowKey4 {
        key.reversed()
    }

    #[inline(always)]
    fn service(dst: Addr4, port: u32, proto: u8) -> ServiceKey {
        ServiceKey { addr: [dst, unmerged(0), unmerged(0), unmerged(0)], port, proto: proto as u32 }
    }

    #[inline(always)]
    fn event(kind: EventKind, key: &FlowKey4) -> Event {
        Event {
            kind: kind as u32,
            family: 4,
            src: [key.src, 0, 0, 0],
            dst: [key.dst, 0, 0, 0],
            ports: key.ports,
            proto: key.proto,
        }
    }

    #[inline(always)]
    fn flow<'t, T: Tables>(tables: &'t T, key: &FlowKey4) -> Option<Half<'t, Addr4>> {
        tables.flow4(key)
    }

    #[inline(always)]
    fn track<'t, T: Tables>(tables: &'t T, key: &FlowKey4) -> Option<TrackSlot<'t>> {
        tables.track4(key)
    }

    #[inline(always)]
    fn readdress(frame: &Frame, l3: usize, src: Addr4, dst: Addr4) -> Result<(), Reason> {
        let ip = frame.view::<{ ip4::LEN }>(l3).ok_or(Reason::Truncated)?;
        // TTL and protocol share a word of the checksum.
        let [ttl, proto] = ip.u16::<{ ip4::TTL }>().to_ne_bytes();
        if ttl <= 1 {
            return Err(Reason::TtlExpired);
        }
        let hop = u16::from_ne_bytes([ttl - 1, proto]);
        let change = Difference::NONE
            .word16(u16::from_ne_bytes([ttl, proto]), hop)
            .word32(ip.u32::<{ ip4::SRC }>(), src)
            .word32(ip.u32::<{ ip4::DST }>(), dst);
        ip.set_u16::<{ ip4::TTL }>(hop);
        ip.set_u16::<{ ip4::CHECKSUM }>(change.update(ip.u16::<{ ip4::CHECKSUM }>()));
        ip.set_u32::<{ ip4::SRC }>(src);
        ip.set_u32::<{ ip4::DST }>(dst);
        Ok(())
    }

    #[inline(always)]
    fn set_payload_len(frame: &Frame, l3: usize, len: u32) {
        let Some(ip) = frame.view::<{ ip4::LEN }>(l3) else { return };
        let total = ((ip4::LEN as u32 + len) as u16).to_be();
        let change = Difference::NONE.word16(ip.u16::<{ ip4::TOTAL_LEN }>(), total);
        ip.set_u16::<{ ip4::TOTAL_LEN }>(total);
        ip.set_u16::<{ ip4::CHECKSUM }>(change.update(ip.u16::<{ ip4::CHECKSUM }>()));
    }

    #[inline(always)]
    fn write_header(frame: &Frame, l3: usize, src: Addr4, dst: Addr4, len: u32) {
        let Some(ip) = frame.view::<{ ip4::LEN }>(l3) else { return };
        let first = (0x4500_0000 | (ip4::LEN as u32 + len)).to_be();
        let hops = ((HOPS as u32) << 24 | (proto::TCP as u32) << 16).to_be();
        let sum = Sum::default().word(first).word(ip4::ATOMIC).word(hops).word(src).word(dst);
        ip.set_u32::<{ ip4::VERSION_IHL }>(first);
        ip.set_u32::<{ ip4::ID }>(ip4::ATOMIC);
        ip.set_u32::<{ ip4::TTL }>(hops);
        ip.set_u16::<{ ip4::CHECKSUM }>(sum.finish());
        ip.set_u32::<{ ip4::SRC }>(src);
        ip.set_u32::<{ ip4::DST }>(dst);
    }

    #[inline(always)]
    fn pseudo_header(src: Addr4, dst: Addr4, len: u32) -> Sum {
        Sum::default().word(src).word(dst).word(be(proto::TCP as u16)).word(be(len as u16))
    }
}

pub struct V6;

impl Family for V6 {
    type Addr = Addr6;
    type Key = FlowKey6;

    #[inline(always)]
    fn parse(frame: &Frame, l3: usize) -> Result<Ip<Addr6>, Reason> {
        parse::ipv6(frame, l3)
    }

    #[inline(always)]
    fn key(src: Addr6, dst: Addr6, ports: u32, proto: u8) -> FlowKey6 {
        FlowKey6 { src, dst, ports, proto: proto as u32 }
    }

    #[inline(always)]
    fn reversed(key: &FlowKey6) -> FlowKey6 {
        key.reversed()
    }

    #[inline(always)]
    fn service(dst: Addr6, port: u32, proto: u8) -> ServiceKey {
        ServiceKey { addr: dst, port, proto: proto as u32 | ServiceKey::IPV6 }
    }

    #[inline(always)]
    fn event(kind: EventKind, key: &FlowKey6) -> Event {
        Event { kind: kind as u32, family: 6, src: key.src, dst: key.dst, ports: key.ports, proto: key.proto }
    }

    #[inline(always)]
    fn flow<'t, T: Tables>(tables: &'t T, key: &FlowKey6) -> Option<Half<'t, Addr6>> {
        tables.flow6(key)
    }

    #[inline(always)]
    fn track<'t, T: Tables>(tables: &'t T, key: &FlowKey6) -> Option<TrackSlot<'t>> {
        tables.track6(key)
    }

    #[inline(always)]
    fn readdress(frame: &Frame, l3: usize, src: Addr6, dst: Addr6) -> Result<(), Reason> {
        let ip = frame.view::<{ ip6::LEN }>(l3).ok_or(Reason::Truncated)?;
        let hops = ip.u8::<{ ip6::HOP_LIMIT }>();
        if hops <= 1 {
            return Err(Reason::TtlExpired);
        }
        ip.set_u8::<{ ip6::HOP_LIMIT }>(hops - 1);
        ip.set_addr6::<{ ip6::SRC }>(src);
        ip.set_addr6::<{ ip6::DST }>(dst);
        Ok(())
    }

    #[inline(always)]
    fn set_payload_len(frame: &Frame, l3: usize, len: u32) {
        let Some(ip) = frame.view::<{ ip6::LEN }>(l3) else { return };
        ip.set_u16::<{ ip6::PAYLOAD_LEN }>((len as u16).to_be());
    }

    #[inline(always)]
    fn write_header(frame: &Frame, l3: usize, src: Addr6, dst: Addr6, len: u32) {
        let Some(ip) = frame.view::<{ ip6::LEN }>(l3) else { return };
        ip.set_u32::<{ ip6::VERSION }>((6u32 << 28).to_be());
        ip.set_u16::<{ ip6::PAYLOAD_LEN }>((len as u16).to_be());
        ip.set_u8::<{ ip6::NEXT_HEADER }>(proto::TCP);
        ip.set_u8::<{ ip6::HOP_LIMIT }>(HOPS);
        ip.set_addr6::<{ ip6::SRC }>(src);
        ip.set_addr6::<{ ip6::DST }>(dst);
    }

    #[inline(always)]
    fn pseudo_header(src: Addr6, dst: Addr6, len: u32) -> Sum {
        Sum::default().addr6(src).addr6(dst).word(be(proto::TCP as u16)).word(be(len as u16))
    }
}
