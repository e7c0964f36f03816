//! Who the neighbours are and when a next hop has to follow one. Fed with what the kernel says, returns what to do;
//! asks nobody, and holds no socket.
//!
//! A slot of `NEXT_HOPS` is shared by MAC, a neighbour is known by address, and one MAC may answer for many addresses.
//! So one address that moved does not yet say that the slot must:
//!
//! - Nobody else is behind the MAC, or everybody else moved too or no longer answers: the slot moves. (A replaced host;
//!   the last address of a VRRP group; a router that died.)
//! - A gateway of the routing table moved, and no other gateway is still there: the slot moves at once. What shares a
//!   slot on a router's MAC goes through its gateway addresses, while the router's own address, which it keeps when it
//!   gives up a virtual one, is in the table merely because it once asked for ours.
//! - Otherwise the slot stays, since it is right for those who are still there; and they are probed at once, so that a
//!   dead one holds it back for three seconds (three unanswered probes) and not for a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub type Mac = [u8; 6];

/// Addresses kept in mind. The kernel's own table ends at 1024 for each family unless somebody raised `gc_thresh3`.
pub const ADDRESSES_MAX: usize = 65_536;

/// Addresses behind one next hop that the kernel is asked to probe. A router has a few; what answers for hundreds
/// (proxy ARP) is known well enough by sixteen of them.
pub const MANAGED_PER_HOP_MAX: usize = 16;

/// A next hop as the fast path knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    pub ifindex: u32,
    pub mac: Mac,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    pub ifindex: u32,
    pub ip: IpAddr,
}

/// Who sees to it that an entry of the kernel's table stays true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// There is no entry.
    Absent,
    /// Nobody, without traffic.
    Nobody,
    /// The kernel: the entry is managed.
    Kernel,
    /// An administrator or a routing daemon: permanent, noarp or externally learned.
    Somebody,
}

/// The kernel's word about one address.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub address: Address,
    /// `None` while it is being asked for, and when nobody answered.
    pub mac: Option<Mac>,
    /// Nobody answered.
    pub failed: bool,
    pub upkeep: Upkeep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    // First, because actions are carried out in this order.
    /// Rewrite the slots of `hop`, because `by` moved.
    Move { hop: Hop, new: Mac, by: Address },
    /// Let the kernel keep probing this address; it makes the entry if there is none.
    Manage(Address),
    /// Ask this address now whether it is still there.
    Probe(Address),
    /// `moved` is elsewhere, but the slots stay as they are for the sake of `stays`.
    Keep { hop: Hop, moved: Address, stays: Address },
    /// Call [`Roster::decide`] again, with the gateways.
    AskGateways,
    /// No address has the MAC of this next hop: should it change, nobody would know. Said once.
    Unwatched(Hop),
    /// More than [`MANAGED_PER_HOP_MAX`] addresses are behind this next hop. Said once.
    Crowded(Hop),
    /// More than [`ADDRESSES_MAX`] addresses: the rest is not looked at. Said once.
    Full,
}

#[derive(Debug)]
struct Known {
    /// The MAC for which the slots are right, as far as this address is concerned.
    settled: Option<Mac>,
    now: Option<Mac>,
    /// Stays set while the kernel tries again, until somebody answers.
    failed: bool,
    upkeep: Upkeep,
}

/// The addresses behind one next hop, or that were when its slot was last right. Those that fell silent are in neither
/// list: they no longer hold the slot back, and say nothing about where it should go.
#[derive(Debug, Default, PartialEq, Eq)]
struct Group {
    moved: BTreeMap<Address, Mac>,
    holding: BTreeSet<Address>,
}

enum Verdict {
    Right,
    Move(Address, Mac),
    Keep(Address, Address),
    AskGateways,
}

#[derive(Default)]
pub struct Roster {
    known: BTreeMap<Address, Known>,
    /// Groups whose slot was kept, as they were then: asked again only when they change.
    kept: BTreeMap<Hop, Group>,
    said: BTreeSet<Action>,
    overlooked: u64,
}

impl Roster {
    /// All that the kernel has.
    pub fn dumped(&mut self, entries: &[Entry]) {
        let present: BTreeSet<Address> = entries.iter().map(|e| e.address).collect();
        for (_, known) in self.known.iter_mut().filter(|(address, _)| !present.contains(address)) {
            known.now = None;
            known.upkeep = Upkeep::Absent;
        }
        for entry in entries {
            self.notified(entry);
        }
    }

    /// One entry changed. True if [`Roster::decide`] should be asked.
    pub fn notified(&mut self, entry: &Entry) -> bool {
        if let Some(known) = self.known.get_mut(&entry.address) {
            let failed = entry.mac.is_none() && (known.failed || entry.failed);
            let changed = known.now != entry.mac || known.failed != failed;
            *known = Known { settled: known.settled.or(entry.mac), now: entry.mac, failed, upkeep: entry.upkeep };
            return changed;
        }
        if entry.upkeep == Upkeep::Absent {
            return false;
        }
        if self.known.len() >= ADDRESSES_MAX {
            self.overlooked += 1;
            return false;
        }
        let Entry { address, mac, failed, upkeep } = *entry;
        self.known.insert(address, Known { settled: mac, now: mac, failed, upkeep });
        // It never was elsewhere.
        false
    }

    /// The kernel refused to look after an address: it counts as silent. True if that is news.
    pub fn refused(&mut self, address: Address) -> bool {
        let Some(known) = self.known.get_mut(&address) else { return false };
        known.now.is_none() && !std::mem::replace(&mut known.failed, true)
    }

    /// How often an address was not looked at because there were too many.
    pub fn overlooked(&self) -> u64 {
        self.overlooked
    }

    /// Which next hops have to follow their neighbours. The gateways are only wanted when this asks for them.
    pub fn decide(&mut self, in_use: &BTreeSet<Hop>, gateways: Option<&BTreeSet<Address>>) -> Vec<Action> {
        let mut in_use = in_use.clone();
        let mut actions = BTreeSet::new();
        self.kept.retain(|hop, _| in_use.contains(hop));
        for (hop, group) in self.groups(&in_use) {
            if self.kept.get(&hop) == Some(&group) {
                continue;
            }
            self.kept.remove(&hop);
            match group.verdict(gateways) {
                Verdict::Right => {}
                Verdict::AskGateways => _ = actions.insert(Action::AskGateways),
                Verdict::Move(by, new) => {
                    self.settle(hop, &group);
                    in_use.remove(&hop);
                    in_use.insert(Hop { mac: new, ..hop });
                    actions.insert(Action::Move { hop, new, by });
                }
                Verdict::Keep(moved, stays) => {
                    actions.insert(Action::Keep { hop, moved, stays });
                    actions.extend(self.to_probe(&group).map(Action::Probe));
                    self.kept.insert(hop, group);
                }
            }
        }
        self.forget(&in_use);
        actions.into_iter().collect()
    }

    /// What keeps the kernel watching every next hop. To be called after a dump: a notification must not answer itself.
    pub fn upkeep(&mut self, in_use: &BTreeSet<Hop>) -> Vec<Action> {
        let mut members: BTreeMap<Hop, Vec<Address>> = in_use.iter().map(|hop| (*hop, Vec::new())).collect();
        for (address, known) in &self.known {
            if let Some(list) = known.hop(address).and_then(|hop| members.get_mut(&hop)) {
                list.push(*address);
            }
        }
        let mut actions = Vec::new();
        let mut said = BTreeSet::new();
        for (hop, mut addresses) in members {
            if addresses.is_empty() {
                said.insert(Action::Unwatched(hop));
            }
            // An entry that went away is made again, unless others tell us enough about this MAC.
            if addresses.iter().any(|a| self.known[a].now == Some(hop.mac)) {
                addresses.retain(|a| self.known[a].upkeep != Upkeep::Absent || self.known.remove(a).is_none());
            }
            if addresses.len() > MANAGED_PER_HOP_MAX {
                said.insert(Action::Crowded(hop));
            }
            let unkept = |a: &Address| matches!(self.known[a].upkeep, Upkeep::Absent | Upkeep::Nobody);
            addresses.truncate(MANAGED_PER_HOP_MAX);
            actions.extend(addresses.into_iter().filter(unkept).map(Action::Manage));
        }
        if self.overlooked > 0 {
            said.insert(Action::Full);
        }
        actions.extend(said.difference(&self.said));
        self.said = said;
        actions
    }

    fn groups(&self, in_use: &BTreeSet<Hop>) -> BTreeMap<Hop, Group> {
        let mut groups: BTreeMap<Hop, Group> = BTreeMap::new();
        for (address, known) in &self.known {
            let Some(hop) = known.hop(address).filter(|hop| in_use.contains(hop)) else { continue };
            let group = groups.entry(hop).or_default();
            match known.now {
                Some(mac) if mac != hop.mac => _ = group.moved.insert(*address, mac),
                None if known.failed => {}
                // Still being asked for: it has not said yet where it is.
                Some(_) | None => _ = group.holding.insert(*address),
            }
        }
        groups
    }

    /// Those who can be asked: not who has no MAC (the kernel asks already), nor whose entry is somebody's.
    fn to_probe(&self, group: &Group) -> impl Iterator<Item = Address> {
        let asked = |a: &&Address| {
            let known = &self.known[*a];
            known.now.is_some() && known.upkeep != Upkeep::Somebody
        };
        group.holding.iter().filter(asked).copied()
    }

    /// The slots of `hop` went where it was decided: nobody but those who hold on has to do with its MAC any more.
    fn settle(&mut self, hop: Hop, group: &Group) {
        for (address, known) in &mut self.known {
            if known.hop(address) == Some(hop) && !group.holding.contains(address) {
                known.settled = known.now;
            }
        }
    }

    /// Where an address is matters from the moment that a next hop is there too; until then it is only remembered, lest
    /// a MAC that changes between a flow's start and the next dump goes unnoticed.
    fn forget(&mut self, in_use: &BTreeSet<Hop>) {
        self.known.retain(|address, known| {
            let used = known.hop(address).is_some_and(|hop| in_use.contains(&hop));
            if !used {
                known.settled = known.now.or(known.settled);
            }
            used || known.upkeep != Upkeep::Absent
        });
    }
}

impl Known {
    fn hop(&self, address: &Address) -> Option<Hop> {
        self.settled.map(|mac| Hop { ifindex: address.ifindex, mac })
    }
}

impl Group {
    fn verdict(&self, gateways: Option<&BTreeSet<Address>>) -> Verdict {
        let Some((first, new)) = self.moved.first_key_value() else { return Verdict::Right };
        // Addresses that left for several places: the slot can only go one way, and a gateway's is the likeliest.
        let apart = self.moved.values().any(|mac| mac != new);
        let stays = self.holding.first();
        if stays.is_none() && !apart {
            return Verdict::Move(*first, *new);
        }
        let Some(gateways) = gateways else { return Verdict::AskGateways };
        let gateway = self.moved.iter().find(|(address, _)| gateways.contains(address));
        match (stays, gateway) {
            (None, found) => {
                let (by, new) = found.unwrap_or((first, new));
                Verdict::Move(*by, *new)
            }
            (Some(_), Some((by, new))) if self.holding.is_disjoint(gateways) => Verdict::Move(*by, *new),
            (Some(stays), _) => Verdict::Keep(*first, *stays),
        }
    }
}

#[cfg(test)]
mod tests;
