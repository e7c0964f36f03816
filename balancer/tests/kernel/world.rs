//! A packet case's world in the kernel's maps, and back.

use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf, xdp::DevMap},
};
use balancer_common::{
    abi::{
        Arrival, Cluster, Control, Event, Flow4, Flow6, FlowKey4, FlowKey6, IceKey, IceSession, Miss, NextHop, Origin,
        PortKey, Reason, ReasonCount, Secret, Service, ServiceKey, SourcePorts, Track, map,
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

fn ports(ebpf: &mut Ebpf, is_v6: bool) -> Table<'_, PortKey, u32> {
    table(ebpf, if is_v6 { map::PORTS6 } else { map::PORTS4 })
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
    for (key, session) in &world.ice {
        table::<IceKey, IceSession>(ebpf, map::ICE).insert(key, session, 0).unwrap();
    }
    for ((is_v6, key), port) in &world.ports {
        ports(ebpf, *is_v6).insert(key, u32::from(*port), 0).unwrap();
    }
    for (arrival, hop) in &world.neighbours {
        table::<Arrival, u32>(ebpf, map::NEIGHBOURS).insert(arrival, u32::from(*hop), 0).unwrap();
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
    set_up_cluster(ebpf, world);
}

/// What several balancers have in common. Sockets are not made here.
fn set_up_cluster(ebpf: &mut Ebpf, world: &World) {
    let mut words = array::<u64>(ebpf, map::CLUSTER);
    words.set(Cluster::FLAGS, if world.asks { Cluster::ASK } else { 0 }, 0).unwrap();
    words.set(Cluster::CLOCK_AHEAD_NS, world.clock_ahead_ns, 0).unwrap();
    for (tuple, ports) in &world.sources {
        table::<ServiceKey, SourcePorts>(ebpf, map::SOURCES).insert(tuple.source(), ports, 0).unwrap();
    }
    for (tuple, miss) in &world.misses {
        table::<FlowKey6, Miss>(ebpf, map::MISSES).insert(tuple.wide().unwrap(), miss, 0).unwrap();
    }
}

fn clear_cluster(ebpf: &mut Ebpf, world: &World) {
    set_up_cluster(ebpf, &World::default());
    for (tuple, _) in &world.sources {
        table::<ServiceKey, SourcePorts>(ebpf, map::SOURCES).remove(&tuple.source()).unwrap();
    }
    let mut misses = table::<FlowKey6, Miss>(ebpf, map::MISSES);
    let keys: Vec<_> = misses.keys().map(|key| key.unwrap()).collect();
    keys.iter().for_each(|key| misses.remove(key).unwrap());
}

/// What the program made of the world: the flows that were there or are in `expected`, tracks, ports, arrivals and misses.
pub fn read(ebpf: &mut Ebpf, before: &World, expected: &World) -> World {
    let mut world = before.clone();
    let tuples = before.flows.keys().chain(expected.flows.keys());
    world.flows = tuples.filter_map(|tuple| Some((*tuple, read_flow(ebpf, tuple)?))).collect();
    for (tuple, track) in &mut world.tracks {
        *track = match (tuple.key4(), tuple.key6()) {
            (Some(key), _) => table::<FlowKey4, Track>(ebpf, map::TRACKS4).get(&key, 0).unwrap(),
            (_, Some(key)) => table::<FlowKey6, Track>(ebpf, map::TRACKS6).get(&key, 0).unwrap(),
            (None, None) => unreachable!(),
        };
    }
    world.ports.retain(|(is_v6, key), _| ports(ebpf, *is_v6).get(key, 0).is_ok());
    let arrivals = table::<FlowKey6, Arrival>(ebpf, map::ARRIVALS);
    world.arrivals = arrivals.iter().map(Result::unwrap).map(|(key, value)| (Tuple::of_wide(&key), value)).collect();
    let misses = table::<FlowKey6, Miss>(ebpf, map::MISSES);
    world.misses = misses.iter().map(Result::unwrap).map(|(key, value)| (Tuple::of_wide(&key), value)).collect();
    world
}

fn read_flow(ebpf: &mut Ebpf, tuple: &Tuple) -> Option<Flow> {
    match (tuple.key4(), tuple.key6()) {
        (Some(key), _) => {
            let value = table::<FlowKey4, Flow4>(ebpf, map::FLOWS4).get(&key, 0).ok()?;
            Some(Flow::of4(&value, tuple.proto))
        }
        (_, Some(key)) => {
            let value = table::<FlowKey6, Flow6>(ebpf, map::FLOWS6).get(&key, 0).ok()?;
            Some(Flow::of6(&value, tuple.proto))
        }
        (None, None) => unreachable!(),
    }
}

/// Takes a world, as [`read`] found it, out of the maps again.
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
    for key in world.ice.keys() {
        table::<IceKey, IceSession>(ebpf, map::ICE).remove(key).unwrap();
    }
    for (is_v6, key) in world.ports.keys() {
        ports(ebpf, *is_v6).remove(key).unwrap();
    }
    for arrival in world.neighbours.keys() {
        table::<Arrival, u32>(ebpf, map::NEIGHBOURS).remove(arrival).unwrap();
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
    clear_cluster(ebpf, world);
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
