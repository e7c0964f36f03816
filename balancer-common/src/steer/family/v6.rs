//! IPv6.

use super::{Family, HOPS, be, destination_port};
use crate::{
    abi::{Addr6, Event, EventKind, Flow6, FlowKey6, PortKey, Reason, ServiceKey, Splice, swap_ports},
    packet::{
        Frame,
        checksum::{Difference, Sum},
        header::{icmp, ip6, proto},
        parse::{self, Ip, Quoted},
    },
    steer::{Half, Tables, TrackSlot, values::coarse},
};

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
    fn has_socket<T: Tables>(tables: &T, key: &FlowKey6) -> bool {
        tables.has_socket6(key)
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
