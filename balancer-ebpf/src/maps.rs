//! The maps, pinned by name. Layouts and capacities are `balancer_common::abi`'s.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, DevMap, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use balancer_common::abi::{
    Arrival, Cluster, Control, Flow4, Flow6, FlowKey4, FlowKey6, IceKey, IceSession, Miss, NextHop, Origin, PortKey,
    REASONS as REASONS_MAX, ReasonCount, SECRETS_LEN, Secret, Service, ServiceKey, SourcePorts, StreamName,
    StreamPlacement, Track, capacity,
};

#[map]
pub static SERVICES: HashMap<ServiceKey, Service> = HashMap::pinned(capacity::SERVICES, 0);
#[map]
pub static FLOWS4: HashMap<FlowKey4, Flow4> = HashMap::pinned(capacity::FLOWS4, BPF_F_NO_PREALLOC);
#[map]
pub static FLOWS6: HashMap<FlowKey6, Flow6> = HashMap::pinned(capacity::FLOWS6, BPF_F_NO_PREALLOC);
#[map]
pub static TRACKS4: HashMap<FlowKey4, Track> = HashMap::pinned(capacity::TRACKS, BPF_F_NO_PREALLOC);
#[map]
pub static TRACKS6: HashMap<FlowKey6, Track> = HashMap::pinned(capacity::TRACKS, BPF_F_NO_PREALLOC);
#[map]
pub static CONTROLS: Array<Control> = Array::pinned(capacity::CONTROLS, 0);
#[map]
pub static NEXT_HOPS: Array<NextHop> = Array::pinned(capacity::NEXT_HOPS, 0);
#[map]
pub static ORIGINS: Array<Origin> = Array::pinned(capacity::ORIGINS, 0);
#[map]
pub static ICE: HashMap<IceKey, IceSession> = HashMap::pinned(capacity::ICE, BPF_F_NO_PREALLOC);
#[map]
pub static PORTS4: HashMap<PortKey, u32> = HashMap::pinned(capacity::PORTS, BPF_F_NO_PREALLOC);
#[map]
pub static PORTS6: HashMap<PortKey, u32> = HashMap::pinned(capacity::PORTS, BPF_F_NO_PREALLOC);
#[map]
pub static NEIGHBOURS: HashMap<Arrival, u32> = HashMap::pinned(capacity::NEIGHBOURS, BPF_F_NO_PREALLOC);
#[map]
pub static ARRIVALS: LruHashMap<FlowKey6, Arrival> = LruHashMap::pinned(capacity::ARRIVALS, 0);
#[map]
pub static SECRETS: Array<Secret> = Array::pinned(SECRETS_LEN, 0);
#[map]
pub static CLUSTER: Array<u64> = Array::pinned(Cluster::LEN, 0);
#[map]
pub static SOURCES: HashMap<ServiceKey, SourcePorts> = HashMap::pinned(capacity::SOURCES, 0);
#[map]
pub static MISSES: LruHashMap<FlowKey6, Miss> = LruHashMap::pinned(capacity::MISSES, 0);
#[map]
pub static DEVICES: DevMap = DevMap::pinned(capacity::DEVICES, 0);
#[map]
pub static REASONS: PerCpuArray<ReasonCount> = PerCpuArray::pinned(REASONS_MAX, 0);
#[map]
pub static EVENTS: RingBuf = RingBuf::pinned(capacity::EVENTS, 0);

// User space only; here so that they are created and pinned with the rest.
#[map]
pub static STREAMS: HashMap<u64, StreamPlacement> = HashMap::pinned(capacity::STREAMS, BPF_F_NO_PREALLOC);
#[map]
pub static STREAM_NAMES: HashMap<u32, StreamName> = HashMap::pinned(capacity::STREAMS, BPF_F_NO_PREALLOC);
#[map]
pub static ABI: Array<u32> = Array::pinned(1, 0);
