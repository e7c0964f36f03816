//! [`Tables`] outside the kernel, for tests: over what a packet case describes.

use core::cell::{Cell, OnceCell, RefCell};
use std::{collections::BTreeMap, vec::Vec};

pub use super::world::{Flow, Socket, Tuple, World};
use crate::{
    abi::{
        Arrival, Control, Event, Flow4, Flow6, FlowKey4, FlowKey6, IceKey, IceSession, Miss, NextHop, PortKey, Secret,
        ServiceKey, SourcePorts, Track,
    },
    packet::{Frame, View},
    steer::{Half, Outcome, Tables, TrackSlot, steer},
    testing::cases::LO,
};

/// [`Tables`] over a [`World`].
#[derive(Default)]
pub struct Simulated {
    flows4: Flows<FlowKey4, Flow4>,
    flows6: Flows<FlowKey6, Flow6>,
    tracks: BTreeMap<Tuple, Cell<Track>>,
    world: World,
    taken: RefCell<Vec<(bool, PortKey)>>,
    arrivals: RefCell<BTreeMap<Tuple, Arrival>>,
    misses: RefCell<BTreeMap<Tuple, Miss>>,
    now_ns: u64,
    pub events: RefCell<Vec<Event>>,
    /// The frame's length, if it was changed.
    len: Cell<Option<usize>>,
    /// By how much in front.
    grown: Cell<usize>,
}

/// One packet makes two half-flows at most.
const MADE_MAX: usize = 2;

/// `FLOWS4` or `FLOWS6`: a value stays where it is while the fast path holds it, though another is inserted or removed.
#[derive(Default)]
struct Flows<Key, Flow> {
    found: Vec<Entry<Key, Flow>>,
    made: [OnceCell<Entry<Key, Flow>>; MADE_MAX],
}

struct Entry<Key, Flow> {
    key: Key,
    value: Cell<Flow>,
    is_removed: Cell<bool>,
}

impl<Key: PartialEq + Copy, Flow: Copy> Flows<Key, Flow> {
    fn entries(&self) -> impl Iterator<Item = &Entry<Key, Flow>> {
        let all = self.found.iter().chain(self.made.iter().filter_map(OnceCell::get));
        all.filter(|entry| !entry.is_removed.get())
    }

    fn get(&self, key: &Key) -> Option<&Cell<Flow>> {
        self.entries().find(|entry| entry.key == *key).map(|entry| &entry.value)
    }

    fn insert(&self, key: &Key, flow: &Flow) -> bool {
        let entry = Entry { key: *key, value: Cell::new(*flow), is_removed: Cell::new(false) };
        match self.made.iter().find(|slot| slot.get().is_none()) {
            Some(slot) if self.get(key).is_none() => slot.set(entry).is_ok(),
            _ => false,
        }
    }

    fn remove(&self, key: &Key) {
        if let Some(entry) = self.entries().find(|entry| entry.key == *key) {
            entry.is_removed.set(true);
        }
    }
}

impl Simulated {
    pub fn new(world: &World, now_ns: u64) -> Self {
        let mut tables = Self { world: world.clone(), now_ns, ..Self::default() };
        for (tuple, flow) in &world.flows {
            if let (Some(key), Some(value)) = (tuple.key4(), flow.value4()) {
                tables.flows4.found.push(Entry { key, value: Cell::new(value), is_removed: Cell::new(false) });
            }
            if let (Some(key), Some(value)) = (tuple.key6(), flow.value6()) {
                tables.flows6.found.push(Entry { key, value: Cell::new(value), is_removed: Cell::new(false) });
            }
        }
        tables.tracks = world.tracks.iter().map(|(tuple, track)| (*tuple, Cell::new(*track))).collect();
        tables.arrivals.replace(world.arrivals.clone());
        tables.misses.replace(world.misses.clone());
        tables
    }

    /// The world as the fast path left it.
    pub fn world(&self) -> World {
        let flows4 = self.flows4.entries().map(|e| (Tuple::of4(&e.key), Flow::of4(&e.value.get(), e.key.proto as u8)));
        let flows6 = self.flows6.entries().map(|e| (Tuple::of6(&e.key), Flow::of6(&e.value.get(), e.key.proto as u8)));
        let mut world = self.world.clone();
        world.flows = flows4.chain(flows6).collect();
        world.tracks = self.tracks.iter().map(|(tuple, track)| (*tuple, track.get())).collect();
        world.arrivals = self.arrivals.borrow().clone();
        world.misses = self.misses.borrow().clone();
        world.ports.retain(|port, _| !self.taken.borrow().contains(port));
        world
    }

    fn has_socket(&self, key: impl Fn(&Tuple) -> bool) -> bool {
        self.world.sockets.iter().any(|(tuple, socket)| key(tuple) && *socket != Socket::Listening)
    }

    fn take(&self, key: (bool, PortKey)) -> Option<u16> {
        let port = self.world.ports.get(&key).filter(|_| !self.taken.borrow().contains(&key))?;
        self.taken.borrow_mut().push(key);
        Some(*port)
    }
}

/// Bytes in front of a frame that a driver leaves for new headers.
const HEADROOM: usize = 64;

/// One frame through the fast path natively: the outcome, the frame it left, the tables it left.
pub fn run(world: &World, bytes: &[u8], now_ns: u64) -> (Outcome, Vec<u8>, Simulated) {
    let mut buffer = [&[0; HEADROOM], bytes].concat();
    let tables = Simulated::new(world, now_ns);
    let outcome = steer(&tables, Frame::from_bytes(&mut buffer).behind(HEADROOM), LO);
    let mut bytes = buffer.split_off(HEADROOM - tables.grown.get());
    bytes.truncate(tables.len.get().unwrap_or(bytes.len()));
    (outcome, bytes, tables)
}

impl Tables for Simulated {
    fn flow4(&self, key: &FlowKey4) -> Option<Half<'_, Flow4>> {
        self.flows4.get(key).map(Half::of)
    }

    fn flow6(&self, key: &FlowKey6) -> Option<Half<'_, Flow6>> {
        self.flows6.get(key).map(Half::of)
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

    fn service(&self, key: &ServiceKey) -> Option<u32> {
        self.world.services.iter().find(|(service, _)| service.service() == *key).map(|(_, kind)| *kind as u32)
    }

    fn ice(&self, key: &IceKey) -> Option<&IceSession> {
        self.world.ice.get(key)
    }

    fn take_port4(&self, key: &PortKey) -> Option<u16> {
        self.take((false, *key))
    }

    fn take_port6(&self, key: &PortKey) -> Option<u16> {
        self.take((true, *key))
    }

    fn neighbour(&self, arrival: &Arrival) -> Option<u16> {
        self.world.neighbours.get(arrival).copied()
    }

    fn set_arrival(&self, key: &FlowKey6, arrival: &Arrival) {
        self.arrivals.borrow_mut().insert(Tuple::of_wide(key), *arrival);
    }

    fn insert4(&self, key: &FlowKey4, flow: &Flow4) -> bool {
        self.flows4.insert(key, flow)
    }

    fn insert6(&self, key: &FlowKey6, flow: &Flow6) -> bool {
        self.flows6.insert(key, flow)
    }

    fn remove4(&self, key: &FlowKey4) {
        self.flows4.remove(key);
    }

    fn remove6(&self, key: &FlowKey6) {
        self.flows6.remove(key);
    }

    fn secret(&self, slot: u32) -> Option<Secret> {
        self.world.secrets.get(&slot).map(|&(k0, k1)| Secret { k0, k1 })
    }

    fn asks(&self) -> bool {
        self.world.asks
    }

    fn source(&self, key: &ServiceKey) -> Option<SourcePorts> {
        self.world.sources.iter().find(|(source, _)| source.source() == *key).map(|(_, ports)| *ports)
    }

    fn has_socket4(&self, key: &FlowKey4) -> bool {
        self.has_socket(|tuple| tuple.key4().as_ref() == Some(key))
    }

    fn has_socket6(&self, key: &FlowKey6) -> bool {
        self.has_socket(|tuple| tuple.key6().as_ref() == Some(key))
    }

    fn miss(&self, key: &FlowKey6) -> Option<Miss> {
        self.misses.borrow().get(&Tuple::of_wide(key)).copied()
    }

    fn set_miss(&self, key: &FlowKey6, miss: Miss) {
        self.misses.borrow_mut().insert(Tuple::of_wide(key), miss);
    }

    fn ask(&self, event: Event) -> bool {
        self.event(event);
        true
    }

    fn clock_ahead_ns(&self) -> u64 {
        self.world.clock_ahead_ns
    }

    fn event(&self, event: Event) {
        self.events.borrow_mut().push(event);
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn boot_s(&self) -> u32 {
        (self.now_ns / 1_000_000_000) as u32
    }

    fn renew<'f>(&self, frame: Frame<'f>) -> Frame<'f> {
        frame
    }

    fn shrink<'f>(&self, frame: Frame<'f>, len: usize) -> Option<Frame<'f>> {
        let frame = frame.cut(len);
        self.len.set(Some(frame.len()));
        Some(frame)
    }

    fn grow<'f>(&self, frame: Frame<'f>, len: usize) -> Option<Frame<'f>> {
        let frame = frame.grown(len)?;
        self.grown.set(self.grown.get() + len);
        self.len.set(Some(frame.len()));
        Some(frame)
    }

    fn sum<const N: usize>(&self, bytes: View<'_, N>) -> u32 {
        let sum =
            bytes.bytes().into_iter().enumerate().map(|(at, byte)| u64::from(byte) << (8 * (at % 4))).sum::<u64>();
        let folded = (sum & 0xffff_ffff) + (sum >> 32);
        u32::from_ne_bytes(((folded + (folded >> 32)) as u32).to_le_bytes())
    }
}
