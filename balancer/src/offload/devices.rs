//! `DEVICES`: which slot of the devmap is which interface. Slots stay what they are while flows live: a new process
//! finds an interface where the old one put it.

use balancer_common::abi::capacity;
use std::collections::BTreeMap;

/// Assigns slots to the interfaces in use, keeping those that they have already.
pub fn assign(present: &BTreeMap<u32, u32>, wanted: &[u32]) -> BTreeMap<u32, u32> {
    let mut slots = BTreeMap::new();
    for ifindex in wanted {
        if let Some(slot) = present.iter().find_map(|(slot, i)| (i == ifindex).then_some(*slot)) {
            slots.insert(*ifindex, slot);
        }
    }
    for ifindex in wanted {
        if slots.contains_key(ifindex) {
            continue;
        }
        // A slot that an interface had before may still stand in the next hops of flows that were adopted.
        let unused = |s: &u32| !slots.values().any(|v| v == s);
        let never = (0..capacity::DEVICES).find(|s| unused(s) && !present.contains_key(s));
        if let Some(free) = never.or_else(|| (0..capacity::DEVICES).find(unused)) {
            slots.insert(*ifindex, free);
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_keeps_its_slot_over_a_restart() {
        let present = BTreeMap::from([(0, 7), (1, 9)]);
        let slots = assign(&present, &[9, 12]);
        assert_eq!(slots[&9], 1);
        assert_eq!(slots[&12], 2, "slot 0 may still be in use by flows through the removed interface");
    }
}
