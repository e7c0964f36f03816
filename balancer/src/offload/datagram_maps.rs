//! The maps that UDP alone needs: sessions of WebRTC and their ports, by which way clients came, secrets of cookies.

use super::maps::{Maps, SpliceError};
use super::{Interface, devices};
use balancer_common::abi::{Arrival, FlowKey, IceKey, IceSession, NextHop, PortKey, Secret, Track, map};
use std::collections::BTreeMap;

impl Maps {
    /// The slot in `NEXT_HOPS` for the way that `way_out` shows, written if it is a new one.
    pub fn next_hop(&mut self, way_out: &Track) -> Result<u16, SpliceError> {
        let device = *self.slots.get(&way_out.ifindex).ok_or(SpliceError::Interface(way_out.ifindex))?;
        let mtu = self.mtus.get(&way_out.ifindex).copied().unwrap_or_default();
        let (slot, fresh) = self.hops.slot(way_out, device).ok_or(SpliceError::NextHops)?;
        if let Some(hop) = fresh {
            let set = self.next_hops.set(u32::from(slot), NextHop { mtu, ..hop }, 0);
            set.map_err(|source| SpliceError::Map { map: map::NEXT_HOPS, source })?;
            let Track { ifindex, peer_mac, own_mac, .. } = *way_out;
            self.know_neighbour(Arrival { ifindex, peer_mac, own_mac }, slot);
        }
        Ok(slot)
    }

    /// Next hops say what their interfaces carry now: it may have been changed.
    pub fn follow_mtus(&mut self, interfaces: &[Interface]) {
        let mtu = |i: &Interface| Some((i.ifindex, devices::mtu(&i.name).ok()?));
        let mtus: BTreeMap<u32, u32> = interfaces.iter().filter_map(mtu).collect();
        if mtus == self.mtus {
            return;
        }
        self.mtus = mtus;
        for slot in self.hops.all() {
            if let Ok(hop) = self.next_hops.get(&u32::from(slot), 0)
                && let Some(mtu) = self.mtus.get(&hop.ifindex)
            {
                // The kernel only reads this map.
                let _ = self.next_hops.set(u32::from(slot), NextHop { mtu: *mtu, ..hop }, 0);
            }
        }
    }

    /// Frames that come so are answered by that slot.
    pub fn know_neighbour(&mut self, arrival: Arrival, slot: u16) {
        if let Err(error) = self.neighbours.insert(arrival, u32::from(slot), 0) {
            tracing::error!(%error, "NEIGHBOURS refused an entry: user space makes the flows of clients behind it");
        }
    }

    pub fn forget_neighbour(&mut self, arrival: Arrival) {
        // One that is gone already is what we want.
        let _ = self.neighbours.remove(&arrival);
    }

    pub fn set_ice(&mut self, key: IceKey, session: &IceSession) -> Result<(), SpliceError> {
        self.ice.insert(key, session, 0).map_err(|source| SpliceError::Map { map: map::ICE, source })?;
        self.ice_keys.insert(key);
        Ok(())
    }

    pub fn remove_ice(&mut self, key: IceKey) {
        let _ = self.ice.remove(&key);
        self.ice_keys.remove(&key);
    }

    pub fn ice(&self) -> Vec<(IceKey, IceSession)> {
        self.ice.iter().flatten().collect()
    }

    /// One more port for a session's next flow.
    pub fn grant(&mut self, family: u32, key: PortKey, port: u16) -> Result<(), SpliceError> {
        let port = u32::from(u16::from_ne_bytes(port.to_be_bytes()));
        let (map, name) = if family == 6 { (&mut self.ports6, map::PORTS6) } else { (&mut self.ports4, map::PORTS4) };
        map.insert(key, port, 0).map_err(|source| SpliceError::Map { map: name, source })
    }

    /// The port that stands there, if the kernel has not taken it.
    pub fn granted(&self, family: u32, key: PortKey) -> Option<u16> {
        let map = if family == 6 { &self.ports6 } else { &self.ports4 };
        map.get(&key, 0).ok().map(|port| u16::from_be_bytes((port as u16).to_ne_bytes()))
    }

    /// Takes a grant back; `false` when the kernel was faster.
    pub fn revoke(&mut self, family: u32, key: PortKey) -> bool {
        let map = if family == 6 { &mut self.ports6 } else { &mut self.ports4 };
        map.remove(&key).is_ok()
    }

    pub fn arrival(&self, client: FlowKey) -> Option<Arrival> {
        self.arrivals.get(&client.arrival(), 0).ok()
    }

    pub fn set_secret(&mut self, slot: u32, secret: Secret) -> Result<(), SpliceError> {
        self.secrets.set(slot, secret, 0).map_err(|source| SpliceError::Map { map: map::SECRETS, source })
    }

    pub fn secret(&self, slot: u32) -> Secret {
        self.secrets.get(&slot, 0).unwrap_or_default()
    }

    /// The kernel has made a flow.
    pub fn count_made(&mut self, client: FlowKey) {
        self.flow_count[super::words::family(client)] += 2;
    }
}
