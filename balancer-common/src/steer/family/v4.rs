//! IPv4.

use super::{Family, HOPS, be, destination_port};
use crate::{
    abi::{Addr4, Addr6, Event, EventKind, Flow4, FlowKey4, FlowKey6, PortKey, Reason, ServiceKey, Splice, swap_ports},
    packet::{
        Frame,
        checksum::{Difference, Sum},
        frame::unmerged,
        header::{icmp, ip4, proto},
        parse::{self, Ip, Quoted},
    },
    steer::{Half, Tables, TrackSlot, values::coarse},
};

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
    fn has_socket<T: Tables>(tables: &T, key: &FlowKey4) -> bool {
        tables.has_socket4(key)
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
