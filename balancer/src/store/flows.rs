//! What the records of other balancers' flows say of origins and streams, in this balancer's own numbers, and back.

use super::{State, Store};
use crate::cluster::record::PeerRecord;
use crate::recognize::StreamKey;
use crate::registry::Mapping;
use balancer_common::abi::ServiceKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

impl Store {
    /// Which run of an origin a flow belongs to. `None`: of an earlier one than the present, or of one that nobody else
    /// has heard of.
    pub fn epoch(&self, placed_on: (u16, u16)) -> Option<u64> {
        let state = self.lock();
        Some(state.registry.epoch(placed_on.0)).filter(|epoch| *epoch != 0 && state.registry.is_current(placed_on))
    }

    /// As if another balancer had told of its run: for tests without any.
    pub fn set_epoch(&self, id: &str, epoch: u64) {
        let mut state = self.lock();
        if let Some(index) = state.registry.index_of(id) {
            state.registry.set_epoch(index, epoch);
        }
    }

    /// The other balancers by what they say of themselves, and whether they live. `None`: there is no shelf to say it.
    pub fn peer_records(&self) -> Option<Vec<(PeerRecord, bool)>> {
        let state = self.lock();
        let peers = state.shared.as_ref()?.peers.values();
        // Of one that nobody has asked for yet, nothing is taken.
        Some(peers.map(|peer| (peer.seen.record.clone(), peer.lives != Some(false))).collect())
    }

    /// Whether an origin of that name may have its media there: where it has registered, or where any may be.
    pub fn admits_media(&self, origin: &str, address: SocketAddr) -> bool {
        let state = self.lock();
        let known = state.registry.index_of(origin).and_then(|index| state.registry.get(index));
        let is_registered = known.is_some_and(|o| o.endpoints.get(ServiceKind::WebRtc).contains(&address));
        address.port() != 0 && (is_registered || state.registry.admits(ServiceKind::WebRtc, address))
    }

    /// The origin of that name, if it is in that run.
    pub fn current_origin(&self, id: &str, epoch: u64) -> Option<(u16, u16)> {
        self.lock().registry.current(id, epoch).filter(|_| epoch != 0)
    }

    /// The index of a stream that a flow on this origin carries. One that is not known here is from now on, as the flow
    /// says it.
    pub fn carry_stream(
        &self,
        key: &Arc<StreamKey>,
        (origin, generation): (u16, u16),
        is_published: bool,
        now: Duration,
    ) -> Option<u32> {
        self.change(|State { streams, .. }| {
            if let Some(stream) = streams.get(key).filter(|stream| stream.mapping.is_some()) {
                return Some(stream.index);
            }
            streams.assign(key, Mapping { origin, generation, confirmed: is_published }, now).ok()
        })
    }
}
