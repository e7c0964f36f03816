//! The kernel half, seen from user space: loads and pins the program, owns every map, adopts what an earlier process
//! left. Alone speaks aya. Never sees a stream key but as opaque bytes to be kept beside the flows.

mod cluster;
mod datagram_maps;
mod datagrams;
mod devices;
mod events;
mod load;
mod maps;
pub mod neighbours;
mod next_hops;
pub mod object;
mod pins;
mod tracks;
mod walk;
mod words;

pub use datagrams::Datagrams;
pub use devices::mtu;
pub use events::EventSource;
pub use load::{Interface, LoadError, boot_seconds, coarse_now, kernel_now};
pub use maps::{Half, MapUsage, SpliceError, SplicedFlow, StreamEntry};
pub use neighbours::{Survey, Way, Ways, survey};
pub use pins::{Unloaded, links, unload};
pub use tracks::{TrackError, TrackHandle};

use balancer_common::abi::{self, FlowKey, Origin, Reason, ReasonCount};
use maps::{Insert, Maps};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// The loaded fast path.
pub struct Offload {
    maps: Mutex<Maps>,
    walk: walk::Walk,
    interfaces: Vec<Interface>,
    /// Held for the life of the process: one control plane per pin path.
    _lock: std::fs::File,
}

/// One half-flow as it is to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewHalf {
    /// What comes in: the key.
    pub ingress: FlowKey,
    /// What goes out: the new 5-tuple.
    pub egress: FlowKey,
    pub translation: crate::flow::splice::Translation,
    /// [`abi::FlowFlags`] that say whom the flow belongs to, and [`abi::FlowFlags::mute`].
    pub flags: u32,
    pub origin: u16,
    pub origin_generation: u16,
    pub stream: u32,
    /// Whose track shows the way out: the peer that `egress` goes to.
    pub way_out: abi::Track,
}

impl Offload {
    pub(crate) fn new(maps: Maps, walk: walk::Walk, interfaces: Vec<Interface>, lock: std::fs::File) -> Self {
        Self { maps: Mutex::new(maps), walk, interfaces, _lock: lock }
    }

    fn maps(&self) -> MutexGuard<'_, Maps> {
        // A poisoned lock means that a map call panicked; the maps themselves live in the kernel and are intact.
        self.maps.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Starts to record what comes in by `key`. The entry goes when the handle does.
    pub fn track(self: &Arc<Self>, key: FlowKey) -> Result<TrackHandle, TrackError> {
        let control = self.maps().track(key)?;
        Ok(TrackHandle::new(self.clone(), key, control))
    }

    /// Puts both halves into the flow table, the origin's first: its answer must find its way.
    ///
    /// `armed` keeps both tracks up to date for as long as they exist.
    pub fn splice(&self, client: &NewHalf, origin: &NewHalf, armed: bool) -> Result<(), SpliceError> {
        self.insert(client, origin, armed, Insert::Any)
    }

    /// The same for a flow of UDP, unless either half is there: the kernel makes flows by itself.
    pub fn splice_new(&self, client: &NewHalf, origin: &NewHalf) -> Result<(), SpliceError> {
        self.insert(client, origin, false, Insert::New)
    }

    fn insert(&self, client: &NewHalf, origin: &NewHalf, armed: bool, insert: Insert) -> Result<(), SpliceError> {
        let mut maps = self.maps();
        let to_client = maps.half(origin, armed)?;
        let to_origin = maps.half(client, armed)?;
        maps.insert_flow(origin.ingress, &to_client, insert)?;
        let inserted = maps.insert_flow(client.ingress, &to_origin, insert);
        inserted.inspect_err(|_| maps.remove_flow(origin.ingress))
    }

    /// Takes both halves out again. Missing ones are fine.
    pub fn remove(&self, client: FlowKey, origin: FlowKey) {
        let mut maps = self.maps();
        maps.remove_flow(client);
        maps.remove_flow(origin);
    }

    pub fn flow(&self, ingress: FlowKey) -> Option<Half> {
        self.maps().flow(ingress)
    }

    /// Every flow whose two halves are both there.
    pub fn flows(&self) -> std::io::Result<Vec<SplicedFlow>> {
        Ok(walk::pair(&self.walk.halves()?).0)
    }

    pub fn set_origin(&self, index: u16, origin: &Origin) {
        self.maps().set_origin(index, origin);
    }

    pub fn origins(&self) -> Vec<(u16, Origin)> {
        self.maps().origins()
    }

    /// Keeps a stream's name and place beside the flows that carry it.
    pub fn set_stream(&self, entry: &StreamEntry) {
        self.maps().set_stream(entry);
    }

    pub fn remove_stream(&self, hash: u64, stream: u32) {
        self.maps().remove_stream(hash, stream);
    }

    pub fn streams(&self) -> Vec<StreamEntry> {
        self.maps().streams()
    }

    pub fn set_services(&self, services: &[(std::net::SocketAddr, abi::ServiceKind)]) {
        self.maps().set_services(services);
    }

    /// Packets and bytes by reason, summed over the CPUs.
    pub fn reasons(&self) -> BTreeMap<Reason, ReasonCount> {
        self.maps().reasons()
    }

    pub fn usage(&self) -> Vec<MapUsage> {
        self.maps().usage()
    }

    /// By which way a client's latest datagram came that the kernel passed up.
    pub fn arrival(&self, client: FlowKey) -> Option<abi::Arrival> {
        self.maps().arrival(client)
    }

    /// The slot in `NEXT_HOPS` of a way out, for a session of WebRTC.
    pub fn next_hop(&self, way_out: &abi::Track) -> Result<u16, SpliceError> {
        self.maps().next_hop(way_out)
    }

    /// From now on the kernel makes the flows of who names it in a STUN request.
    pub fn set_ice(&self, key: abi::IceKey, session: &abi::IceSession) -> Result<(), SpliceError> {
        self.maps().set_ice(key, session)
    }

    pub fn remove_ice(&self, key: abi::IceKey) {
        self.maps().remove_ice(key);
    }

    pub fn ice(&self) -> Vec<(abi::IceKey, abi::IceSession)> {
        self.maps().ice()
    }

    /// A source port for a flow that the kernel may make. `family` is 4 or 6, as in [`abi::IceSession`].
    pub fn grant(&self, family: u32, key: abi::PortKey, port: u16) -> Result<(), SpliceError> {
        self.maps().grant(family, key, port)
    }

    /// The port that was granted and is not taken yet.
    pub fn granted(&self, family: u32, key: abi::PortKey) -> Option<u16> {
        self.maps().granted(family, key)
    }

    /// Takes a grant back; `false` when the kernel was faster.
    pub fn revoke(&self, family: u32, key: abi::PortKey) -> bool {
        self.maps().revoke(family, key)
    }

    pub fn set_secret(&self, slot: u32, secret: abi::Secret) -> Result<(), SpliceError> {
        self.maps().set_secret(slot, secret)
    }

    pub fn secret(&self, slot: u32) -> abi::Secret {
        self.maps().secret(slot)
    }

    /// The kernel has made a flow, which counts from now on.
    pub fn count_made(&self, client: FlowKey) {
        self.maps().count_made(client);
    }

    fn events(&self) -> Vec<(abi::EventKind, FlowKey)> {
        self.maps().events()
    }

    /// A neighbour's MAC changed: every next hop on `ifindex` with the old one gets the new one.
    pub fn neighbour_moved(&self, ifindex: u32, old: [u8; 6], new: [u8; 6]) -> usize {
        self.maps().neighbour_moved(ifindex, old, new)
    }

    /// Looks what the interfaces carry by now.
    pub fn follow_mtus(&self) {
        self.maps().follow_mtus(&self.interfaces);
    }

    /// Interface and MAC of every next hop in use.
    pub fn neighbours(&self) -> Vec<(u32, [u8; 6])> {
        self.maps().neighbours()
    }
}
