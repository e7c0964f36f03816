//! What differs between IPv4 and IPv6.

use super::{Half, HalfFlow, Tables, TrackSlot, values::coarse};
use crate::{
    abi::{
        Addr4, Addr6, Event, EventKind, Flow4, Flow6, FlowKey4, FlowKey6, PortKey, Reason, ServiceKey, Splice,
        swap_ports,
    },
    packet::{
        Frame,
        checksum::{Difference, Sum},
        cookie::Caller,
        frame::unmerged,
        header::{icmp, ip4, ip6, proto},
        parse::{self, Ip, Quoted},
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

pub struct V4;

impl Family for V4 {
    type Addr = Addr4;
    type Key = FlowKey4;
    type Half<'t> = Half<'t, Flow4>;
    const NUMBER: u32 = 4;
    const ICMP: u8 = proto::ICMP;
    const TOO_BIG: (u8, u8) = (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED);
    const MTU_MAX: u32 = 0xffff;
    const IP_LEN: usize = ip4::LEN;
    const UDP_CHECKSUM: bool = false;

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
    fn service(key: &FlowKey4) -> ServiceKey {
        ServiceKey {
            addr: [key.dst, unmerged(0), unmerged(0), unmerged(0)],
            port: destination_port(key.ports),
            proto: key.proto,
        }
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
    fn wide(key: &FlowKey4) -> FlowKey6 {
        FlowKey6 {
            src: [key.src, unmerged(0), unmerged(0), unmerged(0)],
            dst: [key.dst, unmerged(0), unmerged(0), unmerged(0)],
            ports: key.ports,
            proto: key.proto,
        }
    }

    #[inline(always)]
    fn flow<'t, T: Tables>(tables: &'t T, key: &FlowKey4) -> Option<Half<'t, Flow4>> {
        tables.flow4(key)
    }

    #[inline(always)]
    fn track<'t, T: Tables>(tables: &'t T, key: &FlowKey4) -> Option<TrackSlot<'t>> {
        tables.track4(key)
    }

    #[inline(always)]
    fn addr(words: &Addr6) -> Addr4 {
        words[0]
    }

    #[inline(always)]
    fn take_port<T: Tables>(tables: &T, key: &PortKey) -> Option<u16> {
        tables.take_port4(key)
    }

    #[inline(always)]
    fn insert<T: Tables>(tables: &T, key: &FlowKey4, partner: &FlowKey4, splice: Splice, seen: u32) -> bool {
        let (src, dst, ports) = (partner.dst, partner.src, swap_ports(partner.ports));
        let last_seen = coarse(tables.now_ns());
        let flow = Flow4 { splice, src, dst, ports, seen, packets: 0, last_seen, bytes: 0 };
        tables.insert4(key, &flow)
    }

    #[inline(always)]
    fn remove<T: Tables>(tables: &T, key: &FlowKey4) {
        tables.remove4(key);
    }

    #[inline(always)]
    fn difference(old: &FlowKey4, new: &FlowKey4) -> Difference {
        Difference::NONE.word32(old.src, new.src).word32(old.dst, new.dst).word32(old.ports, new.ports)
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
    fn may_be_cut(frame: &Frame, l3: usize) -> bool {
        frame.view::<{ ip4::LEN }>(l3).is_some_and(|ip| ip.u16::<{ ip4::FRAGMENT }>() & ip4::DONT_FRAGMENT == 0)
    }

    #[inline(always)]
    fn turn_round(frame: &Frame, from: usize, to: usize, proto: u8, len: u32) {
        let (Some(old), Some(ip)) = (frame.view::<{ ip4::LEN }>(from), frame.view::<{ ip4::LEN }>(to)) else { return };
        let (src, dst) = (old.u32::<{ ip4::DST }>(), old.u32::<{ ip4::SRC }>());
        let first = (0x4500_0000 | (ip4::LEN as u32 + len)).to_be();
        let hops = ((HOPS as u32) << 24 | (proto as u32) << 16).to_be();
        let sum = Sum::default().word(first).word(ip4::ATOMIC).word(hops).word(src).word(dst);
        ip.set_u32::<{ ip4::VERSION_IHL }>(first);
        ip.set_u32::<{ ip4::ID }>(ip4::ATOMIC);
        ip.set_u32::<{ ip4::TTL }>(hops);
        ip.set_u16::<{ ip4::CHECKSUM }>(sum.finish());
        ip.set_u32::<{ ip4::SRC }>(src);
        ip.set_u32::<{ ip4::DST }>(dst);
    }

    #[inline(always)]
    fn pseudo_header(frame: &Frame, l3: usize, proto: u8, len: u32) -> Sum {
        let sum = Sum::default().word(be(proto as u16)).word(be(len as u16));
        match frame.view::<{ ip4::LEN }>(l3) {
            Some(ip) => sum.word(ip.u32::<{ ip4::SRC }>()).word(ip.u32::<{ ip4::DST }>()),
            None => sum,
        }
    }

    #[inline(always)]
    fn icmp_sum(_: &Frame, _: usize, _: u32) -> Sum {
        Sum::default()
    }

    #[inline(always)]
    fn is_icmp_error(kind: u8) -> bool {
        icmp::is_error(kind)
    }

    #[inline(always)]
    fn quoted(frame: &Frame, at: usize) -> Option<Quoted<Addr4>> {
        parse::quoted_ipv4(frame, at)
    }

    #[inline(always)]
    fn readdress_quoted(frame: &Frame, at: usize, src: Addr4, dst: Addr4) -> Difference {
        let Some(ip) = frame.view::<{ ip4::LEN }>(at) else { return Difference::NONE };
        let change = Difference::NONE.word32(ip.u32::<{ ip4::SRC }>(), src).word32(ip.u32::<{ ip4::DST }>(), dst);
        let old = ip.u16::<{ ip4::CHECKSUM }>();
        let new = change.update(old);
        ip.set_u32::<{ ip4::SRC }>(src);
        ip.set_u32::<{ ip4::DST }>(dst);
        ip.set_u16::<{ ip4::CHECKSUM }>(new);
        change.word16(old, new)
    }

    #[inline(always)]
    fn icmp_pseudo_header(_: &Frame, _: usize, _: Addr4, _: Addr4) -> Difference {
        Difference::NONE
    }
}

pub struct V6;

impl Family for V6 {
    type Addr = Addr6;
    type Key = FlowKey6;
    type Half<'t> = Half<'t, Flow6>;
    const NUMBER: u32 = 6;
    const ICMP: u8 = proto::ICMP6;
    const TOO_BIG: (u8, u8) = (icmp::TOO_BIG6, 0);
    const MTU_MAX: u32 = u32::MAX;
    const IP_LEN: usize = ip6::LEN;
    // RFC 8200, 8.1.
    const UDP_CHECKSUM: bool = true;

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
    fn service(key: &FlowKey6) -> ServiceKey {
        ServiceKey { addr: key.dst, port: destination_port(key.ports), proto: key.proto | ServiceKey::IPV6 }
    }

    #[inline(always)]
    fn event(kind: EventKind, key: &FlowKey6) -> Event {
        Event { kind: kind as u32, family: 6, src: key.src, dst: key.dst, ports: key.ports, proto: key.proto }
    }

    #[inline(always)]
    fn wide(key: &FlowKey6) -> FlowKey6 {
        *key
    }

    #[inline(always)]
    fn flow<'t, T: Tables>(tables: &'t T, key: &FlowKey6) -> Option<Half<'t, Flow6>> {
        tables.flow6(key)
    }

    #[inline(always)]
    fn track<'t, T: Tables>(tables: &'t T, key: &FlowKey6) -> Option<TrackSlot<'t>> {
        tables.track6(key)
    }

    #[inline(always)]
    fn addr(words: &Addr6) -> Addr6 {
        *words
    }

    #[inline(always)]
    fn take_port<T: Tables>(tables: &T, key: &PortKey) -> Option<u16> {
        tables.take_port6(key)
    }

    #[inline(always)]
    fn insert<T: Tables>(tables: &T, key: &FlowKey6, partner: &FlowKey6, splice: Splice, seen: u32) -> bool {
        let (src, dst, ports) = (partner.dst, partner.src, swap_ports(partner.ports));
        let last_seen = coarse(tables.now_ns());
        let flow = Flow6 { splice, src, dst, ports, seen, packets: 0, last_seen, bytes: 0 };
        tables.insert6(key, &flow)
    }

    #[inline(always)]
    fn remove<T: Tables>(tables: &T, key: &FlowKey6) {
        tables.remove6(key);
    }

    #[inline(always)]
    fn difference(old: &FlowKey6, new: &FlowKey6) -> Difference {
        Difference::NONE.addr6(old.src, new.src).addr6(old.dst, new.dst).word32(old.ports, new.ports)
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
    fn may_be_cut(_: &Frame, _: usize) -> bool {
        false
    }

    #[inline(always)]
    fn turn_round(frame: &Frame, from: usize, to: usize, proto: u8, len: u32) {
        let (Some(old), Some(ip)) = (frame.view::<{ ip6::LEN }>(from), frame.view::<{ ip6::LEN }>(to)) else { return };
        let (src, dst) = (old.addr6::<{ ip6::DST }>(), old.addr6::<{ ip6::SRC }>());
        ip.set_u32::<{ ip6::VERSION }>((6u32 << 28).to_be());
        ip.set_u16::<{ ip6::PAYLOAD_LEN }>((len as u16).to_be());
        ip.set_u8::<{ ip6::NEXT_HEADER }>(proto);
        ip.set_u8::<{ ip6::HOP_LIMIT }>(HOPS);
        ip.set_addr6::<{ ip6::SRC }>(src);
        ip.set_addr6::<{ ip6::DST }>(dst);
    }

    #[inline(always)]
    fn pseudo_header(frame: &Frame, l3: usize, proto: u8, len: u32) -> Sum {
        let sum = Sum::default().word(be(proto as u16)).word(be(len as u16));
        match frame.view::<{ ip6::LEN }>(l3) {
            Some(ip) => sum.addr6(ip.addr6::<{ ip6::SRC }>()).addr6(ip.addr6::<{ ip6::DST }>()),
            None => sum,
        }
    }

    #[inline(always)]
    fn icmp_sum(frame: &Frame, l3: usize, len: u32) -> Sum {
        Self::pseudo_header(frame, l3, proto::ICMP6, len)
    }

    #[inline(always)]
    fn is_icmp_error(kind: u8) -> bool {
        icmp::is_error6(kind)
    }

    #[inline(always)]
    fn quoted(frame: &Frame, at: usize) -> Option<Quoted<Addr6>> {
        parse::quoted_ipv6(frame, at)
    }

    #[inline(always)]
    fn readdress_quoted(frame: &Frame, at: usize, src: Addr6, dst: Addr6) -> Difference {
        let Some(ip) = frame.view::<{ ip6::LEN }>(at) else { return Difference::NONE };
        let change = Difference::NONE.addr6(ip.addr6::<{ ip6::SRC }>(), src).addr6(ip.addr6::<{ ip6::DST }>(), dst);
        ip.set_addr6::<{ ip6::SRC }>(src);
        ip.set_addr6::<{ ip6::DST }>(dst);
        change
    }

    #[inline(always)]
    fn icmp_pseudo_header(frame: &Frame, l3: usize, src: Addr6, dst: Addr6) -> Difference {
        match frame.view::<{ ip6::LEN }>(l3) {
            Some(ip) => Difference::NONE.addr6(ip.addr6::<{ ip6::SRC }>(), src).addr6(ip.addr6::<{ ip6::DST }>(), dst),
            None => Difference::NONE,
        }
    }
}
