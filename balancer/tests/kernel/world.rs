//! A packet case's world in the kernel's maps, and back.

use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf, xdp::DevMap},
};
use balancer_common::{
    abi::{
        Arrival, Control, Event, Flow4, Flow6, FlowKey4, FlowKey6, NextHop, Origin, Reason, ReasonCount, Secret,
        Service, ServiceKey, Track, map,
    },
    testing::{
        cases::LO,
        simulated::{Flow, Tuple, World},
    },
};

type Table<'a, K, V> = HashMap<&'a mut MapData, K, V>;

pub fn table<'a, K: Pod, V: Pod>(ebpf: &'a mut Ebpf, name: &str) -> Table<'a, K, V> {
    ebpf.map_mut(name).unwrap().try_into().unwrap()
}

pub fn array<'a, V: Pod>(ebpf: &'a mut Ebpf, name: &str) -> Array<&'a mut MapData, V> {
    ebpf.map_mut(name).unwrap().try_into().unwrap()
}

/// Puts the world into the maps.
pub fn set_up(ebpf: &mut Ebpf, world: &World) {
    for (tuple, flow) in &world.flows {
        match (tuple.key4(), tuple.key6()) {
            (Some(key), _) => {
                table::<FlowKey4, Flow4>(ebpf, map::FLOWS4).insert(key, flow.value4().unwrap(), 0).unwrap()
            }
            (_, Some(key)) => {
                table::<FlowKey6, Flow6>(ebpf, map::FLOWS6).insert(key, flow.value6().unwrap(), 0).unwrap()
            }
            (None, None) => unreachable!(),
        }
    }
    for (tuple, track) in &world.tracks {
        match (tuple.key4(), tuple.key6()) {
            (Some(key), _) => table::<FlowKey4, Track>(ebpf, map::TRACKS4).insert(key, track, 0).unwrap(),
            (_, Some(key)) => table::<FlowKey6, Track>(ebpf, map::TRACKS6).insert(key, track, 0).unwrap(),
            (None, None) => unreachable!(),
        }
    }
    for (slot, control) in &world.controls {
        array::<Control>(ebpf, map::CONTROLS).set(*slot, control, 0).unwrap();
    }
    for (index, (state, generation)) in &world.origins {
        let origin = Origin { state: *state, generation: *generation, ..Origin::EMPTY };
        array::<Origin>(ebpf, map::ORIGINS).set((*index).into(), origin, 0).unwrap();
    }
    for (index, hop) in &world.next_hops {
        array::<NextHop>(ebpf, map::NEXT_HOPS).set((*index).into(), hop, 0).unwrap();
    }
    for slot in &world.devices {
        // A redirect is only decided in a test-run, never done: any interface will do.
        let mut devices: DevMap<_> = ebpf.map_mut(map::DEVICES).unwrap().try_into().unwrap();
        devices.set(*slot, LO, None, 0).unwrap();
    }
    for (tuple, kind) in &world.services {
        let service = Service { kind: *kind as u32, reserved: 0 };
        table::<ServiceKey, Service>(ebpf, map::SERVICES).insert(tuple.service(), service, 0).unwrap();
    }
    for (slot, (k0, k1)) in &world.secrets {
        array::<Secret>(ebpf, map::SECRETS).set(*slot, Secret { k0: *k0, k1: *k1 }, 0).unwrap();
    }
    for (tuple, arrival) in &world.arrivals {
        table::<FlowKey6, Arrival>(ebpf, map::ARRIVALS).insert(tuple.wide().unwrap(), arrival, 0).unwrap();
    }
}

/// The world as the program left it: the kernel's words of the flows and tracks that were there.
pub fn read(ebpf: &mut Ebpf, world: &World) -> World {
    let mut world = world.clone();
    for (tuple, flow) in &mut world.flows {
        read_flow(ebpf, tuple, flow);
    }
    for (tuple, track) in &mut world.tracks {
        *track = match (tuple.key4(), tuple.key6()) {
            (Some(key), _) => table::<FlowKey4, Track>(ebpf, map::TRACKS4).get(&key, 0).unwrap(),
            (_, Some(key)) => table::<FlowKey6, Track>(ebpf, map::TRACKS6).get(&key, 0).unwrap(),
            (None, None) => unreachable!(),
        };
    }
    let arrivals = table::<FlowKey6, Arrival>(ebpf, map::ARRIVALS);
    world.arrivals = arrivals.iter().map(|entry| entry.unwrap()).map(|(key, value)| (narrow(&key), value)).collect();
    world
}

/// Whose key in `ARRIVALS` this is.
fn narrow(key: &FlowKey6) -> Tuple {
    let [src, dst] = [key.src, key.dst];
    if src[1..] == [0; 3] && dst[1..] == [0; 3] {
        Tuple::of4(&FlowKey4 { src: src[0], dst: dst[0], ports: key.ports, proto: key.proto })
    } else {
        Tuple::of6(key)
    }
}

fn read_flow(ebpf: &mut Ebpf, tuple: &Tuple, flow: &mut Flow) {
    match (tuple.key4(), tuple.key6()) {
        (Some(key), _) => {
            let value = table::<FlowKey4, Flow4>(ebpf, map::FLOWS4).get(&key, 0).unwrap();
            (flow.seen, flow.packets, flow.bytes, flow.last_seen) =
                (value.seen, value.packets, value.bytes, value.last_seen);
            assert_eq!(value, flow.value4().unwrap(), "the kernel changed user space's words");
        }
        (_, Some(key)) => {
            let value = table::<FlowKey6, Flow6>(ebpf, map::FLOWS6).get(&key, 0).unwrap();
            (flow.seen, flow.packets, flow.bytes, flow.last_seen) =
                (value.seen, value.packets, value.bytes, value.last_seen);
            assert_eq!(value, flow.value6().unwrap(), "the kernel changed user space's words");
        }
        (None, None) => unreachable!(),
    }
}

/// Takes the world out of the maps again.
pub fn clear(ebpf: &mut Ebpf, world: &World) {
    for tuple in world.flows.keys() {
        if let Some(key) = tuple.key4() {
            table::<FlowKey4, Flow4>(ebpf, map::FLOWS4).remove(&key).unwrap();
        }
        if let Some(key) = tuple.key6() {
            table::<FlowKey6, Flow6>(ebpf, map::FLOWS6).remove(&key).unwrap();
        }
    }
    for tuple in world.tracks.keys() {
        if let Some(key) = tuple.key4() {
            table::<FlowKey4, Track>(ebpf, map::TRACKS4).remove(&key).unwrap();
        }
        if let Some(key) = tuple.key6() {
            table::<FlowKey6, Track>(ebpf, map::TRACKS6).remove(&key).unwrap();
        }
    }
    for slot in world.controls.keys() {
        array::<Control>(ebpf, map::CONTROLS).set(*slot, Control::TRACK, 0).unwrap();
    }
    for index in world.origins.keys() {
        array::<Origin>(ebpf, map::ORIGINS).set((*index).into(), Origin::EMPTY, 0).unwrap();
    }
    for index in world.next_hops.keys() {
        array::<NextHop>(ebpf, map::NEXT_HOPS).set((*index).into(), NextHop::default(), 0).unwrap();
    }
    for (tuple, _) in &world.services {
        table::<ServiceKey, Service>(ebpf, map::SERVICES).remove(&tuple.service()).unwrap();
    }
    for slot in world.secrets.keys() {
        array::<Secret>(ebpf, map::SECRETS).set(*slot, Secret::default(), 0).unwrap();
    }
    let mut arrivals = table::<FlowKey6, Arrival>(ebpf, map::ARRIVALS);
    let keys: Vec<_> = arrivals.keys().map(|key| key.unwrap()).collect();
    keys.iter().for_each(|key| arrivals.remove(key).unwrap());
}

/// Packets and bytes of every reason that was counted, over all CPUs.
pub fn reasons(ebpf: &Ebpf) -> Vec<(Reason, ReasonCount)> {
    let counts: PerCpuArray<_, ReasonCount> = ebpf.map(map::REASONS).unwrap().try_into().unwrap();
    let mut counted = vec![];
    for reason in Reason::ALL {
        let cpus = counts.get(&(*reason as u32), 0).unwrap();
        let packets = cpus.iter().map(|count| count.packets).sum();
        let bytes = cpus.iter().map(|count| count.bytes).sum();
        if packets != 0 {
            counted.push((*reason, ReasonCount { packets, bytes }));
        }
    }
    counted
}

pub struct Events(RingBuf<MapData>);

impl Events {
    pub fn take(ebpf: &mut Ebpf) -> Self {
        let map: Map = ebpf.take_map(map::EVENTS).unwrap();
        Self(map.try_into().unwrap())
    }

    pub fn drain(&mut self) -> Vec<Event> {
        let mut events = vec![];
        while let Some(item) = self.0.next() {
            assert_eq!(item.len(), size_of::<Event>());
            // SAFETY: `Event` is plain old data of exactly this length.
            events.push(unsafe { item.as_ptr().cast::<Event>().read_unaligned() });
        }
        events
    }
}
