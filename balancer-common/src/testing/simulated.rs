//! A world of tables outside the kernel, for tests: what a packet case describes, and [`Tables`] over it.

use core::cell::{Cell, RefCell};
use std::{collections::BTreeMap, net::IpAddr, net::SocketAddr, vec::Vec};

use crate::{
    abi::{
        Addr4, Addr6, Control, Event, EventKind, Flow4, Flow6, FlowKey4, FlowKey6, NextHop, ServiceKey, Splice, Track,
    },
    packet::Frame,
    steer::{Half, Outcome, Tables, TrackSlot, steer},
    testing::cases::LO,
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
    pub services: Vec<Tuple>,
}

/// [`Tables`] over a [`World`].
#[derive(Default)]
pub struct Simulated {
    flows4: BTreeMap<Tuple, (FlowKey4, Cell<Flow4>)>,
    flows6: BTreeMap<Tuple, (FlowKey6, Cell<Flow6>)>,
    tracks: BTreeMap<Tuple, Cell<Track>>,
    world: World,
    now_ns: u64,
    pub events: RefCell<Vec<Event>>,
    /// Where the frame was cut off, if it was.
    pub cut: Cell<Option<usize>>,
}

impl Simulated {
    pub fn new(world: &World, now_ns: u64) -> Self {
        let mut tables = Self { world: world.clone(), now_ns, ..Self::default() };
        for (tuple, flow) in &world.flows {
            if let (Some(key), Some(value)) = (tuple.key4(), flow.value4()) {
                tables.flows4.insert(*tuple, (key, Cell::new(value)));
            }
            if let (Some(key), Some(value)) = (tuple.key6(), flow.value6()) {
                tables.flows6.insert(*tuple, (key, Cell::new(value)));
            }
        }
        tables.tracks = world.tracks.iter().map(|(tuple, track)| (*tuple, Cell::new(*track))).collect();
        tables
    }

    /// The world as the fast path left it.
    pub fn world(&self) -> World {
        let mut world = self.world.clone();
        for (tuple, flow) in &mut world.flows {
            let words = match (self.flows4.get(tuple), self.flows6.get(tuple)) {
                (Some((_, value)), _) => {
                    let value = value.get();
                    (value.seen, value.packets, value.bytes, value.last_seen)
                }
                (_, Some((_, value))) => {
                    let value = value.get();
                    (value.seen, value.packets, value.bytes, value.last_seen)
                }
                (None, None) => continue,
            };
            (flow.seen, flow.packets, flow.bytes, flow.last_seen) = words;
        }
        world.tracks = self.tracks.iter().map(|(tuple, track)| (*tuple, track.get())).collect();
        world
    }
}

/// One frame through the fast path natively: the outcome, the frame it left, the tables it left.
pub fn run(world: &World, bytes: &[u8], now_ns: u64) -> (Outcome, Vec<u8>, Simulated) {
    let mut bytes = bytes.to_vec();
    let tables = Simulated::new(world, now_ns);
    let outcome = steer(&tables, Frame::from_bytes(&mut bytes), LO);
    bytes.truncate(tables.cut.get().unwrap_or(bytes.len()));
    (outcome, bytes, tables)
}

impl Tables for Simulated {
    fn flow4(&self, key: &FlowKey4) -> Option<Half<'_, Flow4>> {
        self.flows4.values().find(|(k, _)| k == key).map(|(_, value)| Half::of(value))
    }

    fn flow6(&self, key: &FlowKey6) -> Option<Half<'_, Flow6>> {
        self.flows6.values().find(|(k, _)| k == key).map(|(_, value)| Half::of(value))
    }

    fn track4(&self, key: &FlowKey4) -> Option<TrackSlot<'_>> {
        self.tracks.iter().find(|(t, _)| t.key4().as_ref() == Some(key)).map(|(_, value)| TrackSlot::of(value))
    }

    fn track6(&self, key: &FlowKey6) -> Option<TrackSlot<'_>> {
        self.tracks.iter().find(|(t, _)| t.key6().as_ref() == Some(key)).map(|(_, value)| TrackSlot::of(value))
    }

    fn control(&self, index: u32) -> Control {
        self.world.controls.get(&index).copied().unwrap_or(Control::TRACK)
    }

    fn origin(&self, index: u16) -> Option<(u32, u32)> {
        self.world.origins.get(&index).copied()
    }

    fn next_hop(&self, index: u16) -> Option<&NextHop> {
        self.world.next_hops.get(&index)
    }

    fn is_service(&self, key: &ServiceKey) -> bool {
        self.world.services.iter().any(|service| service.service() == *key)
    }

    fn event(&self, event: Event) {
        self.events.borrow_mut().push(event);
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn shrink<'f>(&self, frame: Frame<'f>, len: usize) -> Option<Frame<'f>> {
        let frame = frame.cut(len);
        self.cut.set(Some(frame.len()));
        Some(frame)
    }
}
