//! What stands in the maps, as people write it: what a packet case describes.

use core::ops::RangeInclusive;
use std::{collections::BTreeMap, net::IpAddr, net::SocketAddr, vec::Vec};

use crate::abi::{
    Addr4, Addr6, Arrival, Control, Event, EventKind, Flow4, Flow6, FlowKey4, FlowKey6, IceKey, IceSession, Miss,
    NextHop, PortKey, Seen, ServiceKey, ServiceKind, SourcePorts, Splice, Track,
};

/// A 5-tuple as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tuple {
    pub src: SocketAddr,
    pub dst: SocketAddr,
    pub proto: u8,
}

impl Tuple {
    pub fn reversed(&self) -> Self {
        Self { src: self.dst, dst: self.src, proto: self.proto }
    }

    pub fn ports(&self) -> u32 {
        let (src, dst) = (self.src.port().to_be_bytes(), self.dst.port().to_be_bytes());
        u32::from_ne_bytes([src[0], src[1], dst[0], dst[1]])
    }

    pub fn key4(&self) -> Option<FlowKey4> {
        Some(FlowKey4 { src: addr4(self.src)?, dst: addr4(self.dst)?, ports: self.ports(), proto: self.proto.into() })
    }

    pub fn key6(&self) -> Option<FlowKey6> {
        Some(FlowKey6 { src: addr6(self.src)?, dst: addr6(self.dst)?, ports: self.ports(), proto: self.proto.into() })
    }

    pub fn of4(key: &FlowKey4) -> Self {
        let ip = |addr: Addr4| IpAddr::from(addr.to_ne_bytes());
        Self::of(ip(key.src), ip(key.dst), key.ports, key.proto)
    }

    pub fn of6(key: &FlowKey6) -> Self {
        let ip = |addr: Addr6| {
            let mut octets = [0; 16];
            octets.chunks_mut(4).zip(addr).for_each(|(to, word)| to.copy_from_slice(&word.to_ne_bytes()));
            IpAddr::from(octets)
        };
        Self::of(ip(key.src), ip(key.dst), key.ports, key.proto)
    }

    /// From a key in `ARRIVALS`.
    pub fn of_wide(key: &FlowKey6) -> Self {
        let narrow = FlowKey4 { src: key.src[0], dst: key.dst[0], ports: key.ports, proto: key.proto };
        if [key.src, key.dst].iter().all(|[_, rest @ ..]| *rest == [0; 3]) {
            Self::of4(&narrow)
        } else {
            Self::of6(key)
        }
    }

    fn of(src: IpAddr, dst: IpAddr, ports: u32, proto: u32) -> Self {
        let [a, b, c, d] = ports.to_ne_bytes();
        let addr = |ip, port| SocketAddr::new(ip, u16::from_be_bytes(port));
        Self { src: addr(src, [a, b]), dst: addr(dst, [c, d]), proto: proto as u8 }
    }

    /// The key in `ARRIVALS`.
    pub fn wide(&self) -> Option<FlowKey6> {
        let narrow = |key: FlowKey4| FlowKey6 {
            src: [key.src, 0, 0, 0],
            dst: [key.dst, 0, 0, 0],
            ports: key.ports,
            proto: key.proto,
        };
        self.key6().or_else(|| self.key4().map(narrow))
    }

    /// The key in `SOURCES` of the address `dst`.
    pub fn source(&self) -> ServiceKey {
        ServiceKey { port: 0, ..self.service() }
    }

    /// The key of the service that `dst` is.
    pub fn service(&self) -> ServiceKey {
        let port = u16::from_ne_bytes(self.dst.port().to_be_bytes()).into();
        match (addr4(self.dst), addr6(self.dst)) {
            (Some(addr), _) => ServiceKey { addr: [addr, 0, 0, 0], port, proto: self.proto.into() },
            (_, Some(addr)) => ServiceKey { addr, port, proto: u32::from(self.proto) | ServiceKey::IPV6 },
            (None, None) => ServiceKey::default(),
        }
    }

    pub fn event(&self, kind: EventKind) -> Event {
        let (kind, ports, proto) = (kind as u32, self.ports(), self.proto.into());
        match (self.key4(), self.key6()) {
            (Some(key), _) => Event { kind, family: 4, src: [key.src, 0, 0, 0], dst: [key.dst, 0, 0, 0], ports, proto },
            (_, Some(key)) => Event { kind, family: 6, src: key.src, dst: key.dst, ports, proto },
            (None, None) => Event { kind, ports, proto, ..Event::default() },
        }
    }
}

fn addr4(addr: SocketAddr) -> Option<Addr4> {
    match addr.ip() {
        IpAddr::V4(ip) => Some(u32::from_ne_bytes(ip.octets())),
        IpAddr::V6(_) => None,
    }
}

fn addr6(addr: SocketAddr) -> Option<Addr6> {
    match addr.ip() {
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => {
            Some(ip.octets().as_chunks::<4>().0.iter().map(|b| u32::from_ne_bytes(*b)).collect::<Vec<_>>())
                .and_then(|words| words.try_into().ok())
        }
    }
}

/// A half-flow of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub splice: Splice,
    /// The new 5-tuple.
    pub new: Tuple,
    pub seen: u32,
    pub packets: u32,
    pub bytes: u64,
    /// Checked apart from the rest, since the kernel's clock moves.
    pub last_seen: u32,
}

impl Flow {
    pub fn of4(value: &Flow4, proto: u8) -> Self {
        let Flow4 { splice, src, dst, ports, seen, packets, last_seen, bytes } = *value;
        let new = Tuple::of4(&FlowKey4 { src, dst, ports, proto: proto.into() });
        Self { splice, new, seen, packets, bytes, last_seen }
    }

    pub fn of6(value: &Flow6, proto: u8) -> Self {
        let Flow6 { splice, src, dst, ports, seen, packets, last_seen, bytes } = *value;
        let new = Tuple::of6(&FlowKey6 { src, dst, ports, proto: proto.into() });
        Self { splice, new, seen, packets, bytes, last_seen }
    }

    pub fn value4(&self) -> Option<Flow4> {
        let key = self.new.key4()?;
        let Self { splice, seen, packets, bytes, last_seen, .. } = *self;
        Some(Flow4 { splice, src: key.src, dst: key.dst, ports: key.ports, seen, packets, last_seen, bytes })
    }

    pub fn value6(&self) -> Option<Flow6> {
        let key = self.new.key6()?;
        let Self { splice, seen, packets, bytes, last_seen, .. } = *self;
        Some(Flow6 { splice, src: key.src, dst: key.dst, ports: key.ports, seen, packets, last_seen, bytes })
    }
}

impl World {
    /// Checks the clocks in what the fast path left of `before`, and sets them back to what a case says: counted and made
    /// flows have `last_seen` in the one range, and made ones the second of their making in the other. Questions that were
    /// asked run out so long after the one range.
    pub fn stop_clocks(&mut self, before: &Self, last_seen: RangeInclusive<u32>, made_s: RangeInclusive<u32>) {
        for (tuple, flow) in &mut self.flows {
            let old = before.flows.get(tuple);
            if old.is_none() {
                let made_at = flow.seen >> Seen::MADE_AT_SHIFT;
                assert!(made_s.contains(&made_at), "{tuple:?} was made at {made_at}");
                flow.seen &= Seen::MASK;
            }
            if old.is_none_or(|old| old.packets != flow.packets) {
                assert!(last_seen.contains(&flow.last_seen), "{tuple:?}: {} in {last_seen:?}", flow.last_seen);
                flow.last_seen = 0;
            }
        }
        for (tuple, miss) in &mut self.misses {
            if before.misses.get(tuple) != Some(miss) {
                let asked = (miss.0.wrapping_sub(Miss::ASKED_NS) >> 20) as u32;
                assert!(!miss.is_nobodys(), "{tuple:?}: {miss:?}");
                assert!(
                    (*last_seen.start() - 1..=*last_seen.end()).contains(&asked),
                    "{tuple:?}: {asked} in {last_seen:?}"
                );
                *miss = Miss::default();
            }
        }
    }
}

/// What stands in the maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    pub flows: BTreeMap<Tuple, Flow>,
    pub tracks: BTreeMap<Tuple, Track>,
    pub controls: BTreeMap<u32, Control>,
    /// State and generation.
    pub origins: BTreeMap<u16, (u32, u32)>,
    pub next_hops: BTreeMap<u16, NextHop>,
    /// Slots of `DEVICES` that hold an interface.
    pub devices: Vec<u32>,
    /// Destination and protocol.
    pub services: Vec<(Tuple, ServiceKind)>,
    pub ice: BTreeMap<IceKey, IceSession>,
    /// `PORTS6` with the key `true`, else `PORTS4`.
    pub ports: BTreeMap<(bool, PortKey), u16>,
    pub neighbours: BTreeMap<Arrival, u16>,
    /// By the sender's 5-tuple.
    pub arrivals: BTreeMap<Tuple, Arrival>,
    /// Both words of each.
    pub secrets: BTreeMap<u32, (u64, u64)>,
    /// The first bit of `CLUSTER`.
    pub asks: bool,
    pub clock_ahead_ns: u64,
    /// Destination without its port, and protocol.
    pub sources: Vec<(Tuple, SourcePorts)>,
    /// By the 5-tuple of what they receive.
    pub sockets: BTreeMap<Tuple, Socket>,
    pub misses: BTreeMap<Tuple, Miss>,
}

/// A socket of the host's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    Listening,
    Established,
    /// It has sent its FIN and has the other's.
    TimeWait,
    Udp,
}
