//! The pinned maps as typed tables. Owns their descriptors; knows no policy.

use super::cluster::ClusterMaps;
use super::devices;
use super::next_hops::NextHops;
use super::tracks::TrackError;
use super::walk;
use super::words::{event_key, family, half4, half6, l4_diff, service_key};
use super::{Interface, NewHalf};
use aya::maps::{Array, DevMap, HashMap, MapData, MapError, PerCpuArray, RingBuf};
use balancer_common::abi::{
    self, Arrival, Control, Event, EventKind, Flow4, Flow6, FlowKey, FlowKey4, FlowKey6, IceKey, IceSession, NextHop,
    Origin, PortKey, REASONS, Reason, ReasonCount, Secret, Seen, Service, ServiceKey, ServiceKind, Splice, StreamName,
    StreamPlacement, Track, capacity, map,
};
use std::collections::{BTreeMap, BTreeSet, HashMap as HashMapOf};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

#[derive(Debug, thiserror::Error)]
pub enum SpliceError {
    #[error("the fast path is off")]
    Off,
    #[error("interface {0} carries no program: add it with --interface")]
    Interface(u32),
    #[error("NEXT_HOPS is full")]
    NextHops,
    #[error("the two legs differ in address family")]
    Family,
    #[error("nothing has come in from {0} yet: does it come by an interface without the program?")]
    Unseen(SocketAddr),
    #[error("one of its two halves is in the kernel already")]
    Taken,
    #[error("map {map}: {source}")]
    Map { map: &'static str, source: MapError },
}

/// What becomes of a half that is there already: the flags of the system call.
#[derive(Clone, Copy, Debug)]
pub enum Insert {
    /// It is replaced.
    Any = 0,
    /// It stays (`BPF_NOEXIST`).
    New = 1,
}

/// One half-flow of either family.
#[derive(Clone, Copy, Debug)]
pub struct Half {
    pub splice: Splice,
    pub egress: FlowKey,
    pub seen: u32,
    pub packets: u32,
    pub last_seen: u32,
    pub bytes: u64,
}

/// Both halves of a flow in the kernel.
#[derive(Clone, Copy, Debug)]
pub struct SplicedFlow {
    pub client: FlowKey,
    pub origin: FlowKey,
    pub to_origin: Half,
    pub to_client: Half,
}

/// A stream kept beside its flows.
#[derive(Clone, Debug)]
pub struct StreamEntry {
    pub hash: u64,
    pub placement: StreamPlacement,
    pub name: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
pub struct MapUsage {
    pub map: &'static str,
    pub entries: u64,
    pub capacity: u64,
}

pub struct Maps {
    pub(super) flows4: HashMap<MapData, FlowKey4, Flow4>,
    pub(super) flows6: HashMap<MapData, FlowKey6, Flow6>,
    pub(super) tracks4: HashMap<MapData, FlowKey4, Track>,
    pub(super) tracks6: HashMap<MapData, FlowKey6, Track>,
    pub(super) controls: Array<MapData, Control>,
    pub(super) next_hops: Array<MapData, NextHop>,
    pub(super) origins: Array<MapData, Origin>,
    pub(super) services: HashMap<MapData, ServiceKey, Service>,
    pub(super) streams: HashMap<MapData, u64, StreamPlacement>,
    pub(super) stream_names: HashMap<MapData, u32, StreamName>,
    pub(super) ice: HashMap<MapData, IceKey, IceSession>,
    pub(super) ports4: HashMap<MapData, PortKey, u32>,
    pub(super) ports6: HashMap<MapData, PortKey, u32>,
    pub(super) neighbours: HashMap<MapData, Arrival, u32>,
    pub(super) arrivals: HashMap<MapData, FlowKey6, Arrival>,
    pub(super) secrets: Array<MapData, Secret>,
    pub(super) cluster: ClusterMaps,
    pub(super) devices: DevMap<MapData>,
    pub(super) reasons: PerCpuArray<MapData, ReasonCount>,
    pub(super) events: RingBuf<MapData>,
    pub(super) hops: NextHops,
    /// ifindex -> slot in `DEVICES`.
    pub(super) slots: BTreeMap<u32, u32>,
    /// ifindex -> bytes of IP that the interface sends at most.
    pub(super) mtus: BTreeMap<u32, u32>,
    /// What stands in `ICE`.
    pub(super) ice_keys: BTreeSet<IceKey>,
    /// Control slots that no track uses.
    pub(super) free_controls: Vec<u32>,
    /// Half-flows of IPv4 and IPv6.
    pub(super) flow_count: [u64; 2],
    /// Tracks, likewise.
    pub(super) track_count: [u64; 2],
}

impl Maps {
    pub fn track(&mut self, key: FlowKey) -> Result<u32, TrackError> {
        let control = self.free_controls.pop().ok_or(TrackError::Full(capacity::CONTROLS))?;
        self.set_control(control, Control::TRACK);
        let track = Track { control, ..Track::default() };
        let inserted = match key {
            FlowKey::V4(k) => self.tracks4.insert(k, track, 0).map_err(|e| (map::TRACKS4, e)),
            FlowKey::V6(k) => self.tracks6.insert(k, track, 0).map_err(|e| (map::TRACKS6, e)),
        };
        inserted
            .map(|()| {
                self.track_count[family(key)] += 1;
                control
            })
            .map_err(|(map, source)| {
                self.free_controls.push(control);
                TrackError::Map { map, source }
            })
    }

    pub fn untrack(&mut self, key: FlowKey, control: u32) {
        // An entry that is gone already is what we want.
        let _ = match key {
            FlowKey::V4(k) => self.tracks4.remove(&k),
            FlowKey::V6(k) => self.tracks6.remove(&k),
        };
        self.free_controls.push(control);
        self.track_count[family(key)] -= 1;
    }

    pub fn read_track(&self, key: FlowKey) -> Option<Track> {
        match key {
            FlowKey::V4(k) => self.tracks4.get(&k, 0).ok(),
            FlowKey::V6(k) => self.tracks6.get(&k, 0).ok(),
        }
    }

    pub fn set_control(&mut self, slot: u32, control: Control) {
        if let Err(error) = self.controls.set(slot, control, 0) {
            tracing::error!(slot, %error, "CONTROLS refused an update");
        }
    }

    /// The value for `new`, with its next hop in place.
    pub fn half(&mut self, new: &NewHalf, armed: bool) -> Result<Half, SpliceError> {
        let next_hop = self.next_hop(&new.way_out)?;
        let t = &new.translation;
        let splice = Splice {
            flags: t.flags | new.flags,
            l4_diff: l4_diff(new.ingress, new.egress).ok_or(SpliceError::Family)?,
            next_hop,
            seq_delta: t.seq_delta,
            ack_delta: t.ack_delta,
            tsval_delta: t.tsval_delta,
            tsecr_delta: t.tsecr_delta,
            origin: new.origin,
            origin_generation: new.origin_generation,
            stream: new.stream,
        };
        let made_at = crate::offload::load::boot_seconds() << Seen::MADE_AT_SHIFT;
        let seen = made_at | if armed { Seen::ARMED } else { 0 };
        let last_seen = super::load::coarse_now();
        Ok(Half { splice, egress: new.egress, seen, packets: 0, last_seen, bytes: 0 })
    }

    pub fn insert_flow(&mut self, ingress: FlowKey, half: &Half, insert: Insert) -> Result<(), SpliceError> {
        let Half { splice, egress, seen, packets, last_seen, bytes } = *half;
        match (ingress, egress) {
            (FlowKey::V4(key), FlowKey::V4(e)) => {
                let (src, dst, ports) = (e.src, e.dst, e.ports);
                let value = Flow4 { splice, src, dst, ports, seen, packets, last_seen, bytes };
                let inserted = self.flows4.insert(key, value, insert as u64);
                inserted.map_err(|source| refused(map::FLOWS4, source))?;
            }
            (FlowKey::V6(key), FlowKey::V6(e)) => {
                let (src, dst, ports) = (e.src, e.dst, e.ports);
                let value = Flow6 { splice, src, dst, ports, seen, packets, last_seen, bytes };
                let inserted = self.flows6.insert(key, value, insert as u64);
                inserted.map_err(|source| refused(map::FLOWS6, source))?;
            }
            _ => return Err(SpliceError::Family),
        }
        self.flow_count[family(ingress)] += 1;
        Ok(())
    }

    pub fn remove_flow(&mut self, ingress: FlowKey) {
        let removed = match ingress {
            FlowKey::V4(k) => self.flows4.remove(&k),
            FlowKey::V6(k) => self.flows6.remove(&k),
        };
        if removed.is_ok() {
            let count = &mut self.flow_count[family(ingress)];
            *count = count.saturating_sub(1);
        }
    }

    pub fn flow(&self, ingress: FlowKey) -> Option<Half> {
        match ingress {
            FlowKey::V4(k) => self.flows4.get(&k, 0).ok().map(|f| half4(k, f)),
            FlowKey::V6(k) => self.flows6.get(&k, 0).ok().map(|f| half6(k, f)),
        }
    }

    pub fn set_origin(&mut self, index: u16, origin: &Origin) {
        if let Err(error) = self.origins.set(u32::from(index), *origin, 0) {
            tracing::error!(index, %error, "ORIGINS refused an update");
        }
    }

    pub fn origins(&self) -> Vec<(u16, Origin)> {
        (0..self.origins.len())
            .filter_map(|i| Some((u16::try_from(i).ok()?, self.origins.get(&i, 0).ok()?)))
            .filter(|(_, o)| o.state != abi::OriginState::Empty as u32)
            .collect()
    }

    pub fn set_stream(&mut self, entry: &StreamEntry) {
        let mut name = StreamName { len: 0, name: [0; abi::STREAM_NAME_LEN_MAX] };
        let len = entry.name.len().min(abi::STREAM_NAME_LEN_MAX);
        name.len = len as u32;
        name.name[..len].copy_from_slice(&entry.name[..len]);
        let stream = entry.placement.stream;
        let result = self.stream_names.insert(stream, name, 0);
        if let Err(error) = result.and_then(|()| self.streams.insert(entry.hash, entry.placement, 0)) {
            tracing::error!(stream, %error, "STREAMS refused an entry: a restart will not know this stream's name");
        }
    }

    pub fn remove_stream(&mut self, hash: u64, stream: u32) {
        // Entries that are gone already are what we want.
        let _ = self.streams.remove(&hash);
        let _ = self.stream_names.remove(&stream);
    }

    pub fn streams(&self) -> Vec<StreamEntry> {
        let entry = |(hash, placement): (u64, StreamPlacement)| {
            let name = self.stream_names.get(&placement.stream, 0).ok()?;
            let len = (name.len as usize).min(abi::STREAM_NAME_LEN_MAX);
            Some(StreamEntry { hash, placement, name: name.name[..len].to_vec() })
        };
        self.streams.iter().flatten().filter_map(entry).collect()
    }

    pub fn set_services(&mut self, services: &[(SocketAddr, ServiceKind)]) {
        let old: Vec<_> = self.services.keys().flatten().collect();
        let new: Vec<_> = services.iter().map(|(a, kind)| (service_key(*a, *kind), *kind)).collect();
        for (key, kind) in &new {
            let service = Service { kind: *kind as u32, reserved: 0 };
            if let Err(error) = self.services.insert(key, service, 0) {
                tracing::error!(%error, "SERVICES refused an entry");
            }
        }
        for key in old.iter().filter(|old| !new.iter().any(|(k, _)| k == *old)) {
            let _ = self.services.remove(key);
        }
    }

    pub fn reasons(&self) -> BTreeMap<Reason, ReasonCount> {
        let sum = |reason: &Reason| {
            let values = self.reasons.get(&(*reason as u32), 0).ok()?;
            let total = values.iter().fold(ReasonCount::default(), |a, v| ReasonCount {
                packets: a.packets + v.packets,
                bytes: a.bytes + v.bytes,
            });
            Some((*reason, total))
        };
        debug_assert!(self.reasons.len() == REASONS);
        Reason::ALL.iter().filter_map(sum).collect()
    }

    pub fn usage(&self) -> Vec<MapUsage> {
        let row = |map, entries, capacity: u32| MapUsage { map, entries, capacity: u64::from(capacity) };
        vec![
            row(map::FLOWS4, self.flow_count[0], capacity::FLOWS4),
            row(map::FLOWS6, self.flow_count[1], capacity::FLOWS6),
            row(map::TRACKS4, self.track_count[0], capacity::TRACKS),
            row(map::TRACKS6, self.track_count[1], capacity::TRACKS),
            row(map::NEXT_HOPS, self.hops.len() as u64, capacity::NEXT_HOPS),
            row(map::ICE, self.ice_keys.len() as u64, capacity::ICE),
        ]
    }

    pub fn events(&mut self) -> Vec<(EventKind, FlowKey)> {
        let mut events = Vec::new();
        while let Some(item) = self.events.next() {
            if item.len() < size_of::<Event>() {
                continue;
            }
            // SAFETY: the record is at least as long as an Event, which is plain integers.
            let event = unsafe { item.as_ptr().cast::<Event>().read_unaligned() };
            events.extend(EventKind::from_u32(event.kind).map(|kind| (kind, event_key(&event))));
        }
        events
    }

    /// A descriptor of its own for waiting.
    pub fn events_fd(&self) -> std::io::Result<OwnedFd> {
        // SAFETY: the ring buffer, and with it its descriptor, outlives this statement.
        unsafe { BorrowedFd::borrow_raw(self.events.as_raw_fd()) }.try_clone_to_owned()
    }

    pub fn neighbour_moved(&mut self, ifindex: u32, old: [u8; 6], new: [u8; 6]) -> usize {
        let moved = self.hops.moved(ifindex, old, new);
        for slot in &moved {
            if let Ok(hop) = self.next_hops.get(&u32::from(*slot), 0) {
                // The kernel only reads these maps.
                let _ = self.next_hops.set(u32::from(*slot), NextHop { dst_mac: new, ..hop }, 0);
                self.forget_neighbour(Arrival { ifindex, peer_mac: old, own_mac: hop.src_mac });
                self.know_neighbour(Arrival { ifindex, peer_mac: new, own_mac: hop.src_mac }, *slot);
            }
        }
        moved.len()
    }

    pub fn neighbours(&self) -> Vec<(u32, [u8; 6])> {
        self.hops.neighbours()
    }

    /// Puts the interfaces into `DEVICES`.
    pub fn set_devices(&mut self, interfaces: &[Interface]) -> anyhow::Result<()> {
        let ifindexes: Vec<u32> = interfaces.iter().map(|i| i.ifindex).collect();
        let present = (0..self.devices.len())
            .filter_map(|slot| Some((slot, self.devices.get(slot, 0).ok()?.if_index)))
            .collect::<BTreeMap<_, _>>();
        self.slots = devices::assign(&present, &ifindexes);
        self.follow_mtus(interfaces);
        for (ifindex, slot) in &self.slots {
            self.devices.set(*slot, *ifindex, None, 0)?;
        }
        Ok(())
    }

    /// Drops what a process that is gone had under way, halves without a partner included, and learns what its flows
    /// still refer to.
    pub fn adopt(&mut self, halves: &HashMapOf<FlowKey, Half>) {
        for key in self.tracks4.keys().flatten().collect::<Vec<_>>() {
            let _ = self.tracks4.remove(&key);
        }
        for key in self.tracks6.keys().flatten().collect::<Vec<_>>() {
            let _ = self.tracks6.remove(&key);
        }
        let (flows, alone) = walk::pair(halves);
        for key in alone {
            self.remove_flow(key);
        }
        self.flow_count = [0, 0];
        for flow in &flows {
            self.flow_count[family(flow.client)] += 2;
        }
        let ice = self.ice();
        self.ice_keys = ice.iter().map(|(key, _)| *key).collect();
        let mut used: BTreeSet<u16> =
            flows.iter().flat_map(|f| [f.to_origin.splice.next_hop, f.to_client.splice.next_hop]).collect();
        used.extend(ice.iter().map(|(_, session)| session.next_hop));
        used.extend(self.neighbours.iter().flatten().filter_map(|(_, slot)| u16::try_from(slot).ok()));
        let entries = used.iter().filter_map(|i| Some((*i, self.next_hops.get(&u32::from(*i), 0).ok()?)));
        self.hops = NextHops::adopt(entries);
    }
}

fn refused(map: &'static str, source: MapError) -> SpliceError {
    match &source {
        MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::EEXIST) => SpliceError::Taken,
        _ => SpliceError::Map { map, source },
    }
}
