//! [`Tables`] outside the kernel, for tests: over what a packet case describes.

use core::cell::{Cell, RefCell};
use std::{collections::BTreeMap, vec::Vec};

pub use super::world::{Flow, Tuple, World};
use crate::{
    abi::{Control, Event, Flow4, Flow6, FlowKey4, FlowKey6, NextHop, ServiceKey, Track},
    packet::Frame,
    steer::{Half, Outcome, Tables, TrackSlot, steer},
    testing::cases::LO,
};

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
