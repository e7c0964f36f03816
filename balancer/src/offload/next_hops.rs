//! `NEXT_HOPS`: one slot per neighbour, shared by all flows behind it.
//!
//! A flow learns its neighbour from the frames that came in from it. Slots are never given back while the process runs:
//! there are 65 536 of them, and a network has fewer neighbours.

use balancer_common::abi::{NextHop, Track, capacity};
use std::collections::HashMap;

#[derive(Default)]
pub struct NextHops {
    /// (interface, neighbour's MAC, own MAC) -> slots: more than one once a neighbour moved to the MAC of another.
    slots: HashMap<(u32, [u8; 6], [u8; 6]), Vec<u16>>,
    /// The next slot that was never used.
    next: u32,
}

impl NextHops {
    /// Takes over the slots that live flows refer to.
    pub fn adopt(entries: impl Iterator<Item = (u16, NextHop)>) -> Self {
        let mut slots: HashMap<_, Vec<u16>> = HashMap::new();
        for (slot, hop) in entries {
            slots.entry((hop.ifindex, hop.dst_mac, hop.src_mac)).or_default().push(slot);
        }
        let next = slots.values().flatten().max().map_or(0, |last| u32::from(*last) + 1);
        Self { slots, next }
    }

    /// The slot for the neighbour that `track` was heard from, and what to write there if it is a new one. `None` when
    /// all are used up.
    pub fn slot(&mut self, track: &Track, device: u32) -> Option<(u16, Option<NextHop>)> {
        let key = (track.ifindex, track.peer_mac, track.own_mac);
        if let Some(slot) = self.slots.get(&key).and_then(|slots| slots.first()) {
            return Some((*slot, None));
        }
        let slot = u16::try_from(self.next).ok().filter(|_| self.next < capacity::NEXT_HOPS)?;
        self.next += 1;
        self.slots.insert(key, vec![slot]);
        let hop = NextHop { ifindex: track.ifindex, device, dst_mac: track.peer_mac, src_mac: track.own_mac, mtu: 0 };
        Some((slot, Some(hop)))
    }

    /// The slots that a change of a neighbour's MAC concerns, moved to the new one.
    pub fn moved(&mut self, ifindex: u32, old: [u8; 6], new: [u8; 6]) -> Vec<u16> {
        let keys: Vec<_> = self.slots.keys().filter(|k| k.0 == ifindex && k.1 == old).copied().collect();
        let mut moved = Vec::new();
        for key in keys {
            let slots = self.slots.remove(&key).unwrap_or_default();
            moved.extend_from_slice(&slots);
            self.slots.entry((ifindex, new, key.2)).or_default().extend(slots);
        }
        moved
    }

    pub fn neighbours(&self) -> Vec<(u32, [u8; 6])> {
        self.slots.keys().map(|k| (k.0, k.1)).collect()
    }

    /// Every slot that is taken.
    pub fn all(&self) -> Vec<u16> {
        self.slots.values().flatten().copied().collect()
    }

    /// Slots that are taken.
    pub fn len(&self) -> usize {
        self.slots.values().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_behind_one_neighbour_share_a_slot_that_moves_with_it() {
        let mut hops = NextHops::default();
        let track = Track { ifindex: 2, peer_mac: [1; 6], own_mac: [9; 6], ..Track::default() };
        let (slot, new) = hops.slot(&track, 0).unwrap();
        assert!(new.is_some());
        assert_eq!(hops.slot(&track, 0), Some((slot, None)));
        assert_eq!(hops.moved(2, [1; 6], [3; 6]), [slot]);
        assert_eq!(hops.slot(&Track { peer_mac: [3; 6], ..track }, 0), Some((slot, None)));
    }

    #[test]
    fn neighbours_that_became_one_move_on_together() {
        let mut hops = NextHops::default();
        let track = Track { ifindex: 2, peer_mac: [1; 6], own_mac: [9; 6], ..Track::default() };
        let (one, _) = hops.slot(&track, 0).unwrap();
        let (other, _) = hops.slot(&Track { peer_mac: [3; 6], ..track }, 0).unwrap();
        assert_eq!(hops.moved(2, [1; 6], [3; 6]), [one]);
        let mut both = hops.moved(2, [3; 6], [5; 6]);
        both.sort_unstable();
        assert_eq!(both, [one, other]);
        assert_eq!((hops.len(), hops.neighbours()), (2, vec![(2, [5; 6])]));
    }
}
