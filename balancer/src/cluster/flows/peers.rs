//! The other balancers as far as flows are concerned: who lives, and who has which addresses at the moment. Pure.

use super::Ports;
use crate::placement::hash;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// What is known of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub id: Arc<str>,
    pub is_alive: bool,
    /// What it says that it connects to origins from.
    pub sources: Vec<IpAddr>,
    pub source_ports: RangeInclusive<u16>,
}

#[derive(Default)]
pub struct Peers {
    known: BTreeMap<Arc<str>, Known>,
}

struct Known {
    is_alive: bool,
    sources: Vec<IpAddr>,
    source_ports: RangeInclusive<u16>,
    /// Addresses that it has, by its own word. `None`: it has said nothing.
    holds: Option<BTreeSet<IpAddr>>,
}

/// What has become of those that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    pub new: Vec<Arc<str>>,
    pub lost: Vec<Arc<str>>,
    /// Some were dead.
    pub back: bool,
}

impl Peers {
    /// These are all of them. One that is not named is dead.
    pub fn set(&mut self, peers: &[Peer]) -> Changed {
        let mut changed = Changed::default();
        for peer in peers {
            let known = self.known.entry(peer.id.clone()).or_insert_with(|| {
                changed.new.push(peer.id.clone());
                let source_ports = peer.source_ports.clone();
                Known { is_alive: peer.is_alive, sources: Vec::new(), source_ports, holds: None }
            });
            known.sources.clone_from(&peer.sources);
            known.source_ports = peer.source_ports.clone();
            if peer.is_alive && !known.is_alive {
                changed.back = true;
            }
            if std::mem::replace(&mut known.is_alive, peer.is_alive) && !peer.is_alive {
                changed.lost.push(peer.id.clone());
            }
            if !peer.is_alive {
                known.holds = None;
            }
        }
        for (id, known) in
            self.known.iter_mut().filter(|(id, known)| known.is_alive && !peers.iter().any(|p| p.id == **id))
        {
            known.is_alive = false;
            known.holds = None;
            changed.lost.push(id.clone());
        }
        changed
    }

    /// It has said something. If its beat says otherwise, that is told anew.
    pub fn hear(&mut self, id: &str) {
        if let Some(known) = self.known.get_mut(id) {
            known.is_alive = true;
        }
    }

    /// `true`: it was alive until now.
    pub fn lose(&mut self, id: &str) -> bool {
        let Some(known) = self.known.get_mut(id) else { return false };
        known.holds = None;
        std::mem::take(&mut known.is_alive)
    }

    /// It says which addresses it has. `true`: it has one no more, or never had, of which that was not known.
    pub fn hold(&mut self, id: &str, holds: BTreeSet<IpAddr>) -> bool {
        let Some(known) = self.known.get_mut(id).filter(|known| known.is_alive) else { return false };
        let before = known.holds.replace(holds);
        before.is_none_or(|before| !before.is_subset(known.holds.as_ref().unwrap_or(&before)))
    }

    pub fn ids(&self) -> Vec<Arc<str>> {
        self.known.keys().cloned().collect()
    }

    pub fn dead(&self) -> Vec<Arc<str>> {
        self.known.iter().filter(|(_, known)| !known.is_alive).map(|(id, _)| id.clone()).collect()
    }

    pub fn dead_first(&self) -> Vec<Arc<str>> {
        let mut ids = self.ids();
        ids.sort_by_key(|id| self.is_alive(id));
        ids
    }

    pub fn living(&self) -> Vec<Arc<str>> {
        self.known.iter().filter(|(_, known)| known.is_alive).map(|(id, _)| id.clone()).collect()
    }

    pub fn knows(&self, id: &str) -> bool {
        self.known.contains_key(id)
    }

    pub fn is_alive(&self, id: &str) -> bool {
        self.known.get(id).is_some_and(|known| known.is_alive)
    }

    pub fn is_source(&self, ip: IpAddr) -> bool {
        self.known.values().any(|known| known.sources.contains(&ip))
    }

    /// Addresses and ports that their connections to origins leave from.
    pub fn sources(&self) -> Vec<Ports> {
        let of = |known: &Known| known.sources.iter().map(|ip| (*ip, known.source_ports.clone())).collect::<Vec<_>>();
        self.known.values().flat_map(of).collect()
    }

    /// Alive, and has the address as far as anybody knows.
    pub fn carries(&self, id: &str, vip: IpAddr) -> bool {
        let has = |known: &Known| known.holds.as_ref().is_none_or(|holds| holds.contains(&vip));
        self.known.get(id).is_some_and(|known| known.is_alive && has(known))
    }

    /// Somebody else may have packets to the address.
    pub fn share(&self, vip: IpAddr) -> bool {
        self.known.keys().any(|id| self.carries(id, vip))
    }

    /// Whose a flow becomes that has lost its owner: the same for everybody who is asked. `own` is one of those to whom it
    /// may come.
    pub fn heir(&self, own: &Arc<str>, vip: IpAddr, flow: &str) -> Arc<str> {
        // Who has not said that it has the address is not counted upon.
        let has = |known: &Known| known.is_alive && known.holds.as_ref().is_some_and(|holds| holds.contains(&vip));
        let others = self.known.iter().filter(|(_, known)| has(known)).map(|(id, _)| id);
        let weight = |id: &&Arc<str>| (hash(&[id.as_bytes(), flow.as_bytes()]), (*id).clone());
        others.chain([own]).max_by_key(weight).unwrap_or(own).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: &str, is_alive: bool) -> Peer {
        Peer { id: id.into(), is_alive, sources: vec![], source_ports: 20_000..=29_999 }
    }

    fn vip() -> IpAddr {
        "192.0.2.10".parse().unwrap()
    }

    #[test]
    fn those_that_come_and_those_that_die_are_told_once() {
        let mut peers = Peers::default();
        let new = peers.set(&[peer("b", true), peer("c", true), peer("d", false)]);
        assert_eq!((new.new.len(), new.lost.len()), (3, 0));
        assert_eq!(peers.set(&[peer("b", true), peer("c", false), peer("d", false)]).lost, [Arc::<str>::from("c")]);
        assert!(peers.lose("b") && !peers.lose("b"));
        assert_eq!(peers.set(&[peer("b", false)]), Changed::default());
    }

    #[test]
    fn everybody_names_the_same_heir_and_all_inherit() {
        let all = ["a", "b", "c"];
        let of = |own: &str| {
            let mut peers = Peers::default();
            peers.set(&all.iter().filter(|id| **id != own).map(|id| peer(id, true)).collect::<Vec<_>>());
            for id in all {
                peers.hold(id, [vip()].into());
            }
            peers
        };
        let mut heirs = BTreeSet::new();
        for flow in 0..50 {
            let named = all.map(|own| of(own).heir(&own.into(), vip(), &flow.to_string()));
            assert!(named.iter().all(|heir| *heir == named[0]));
            heirs.insert(named[0].clone());
        }
        assert_eq!(heirs.len(), 3);
    }

    #[test]
    fn who_has_not_got_the_address_inherits_nothing() {
        let mut peers = Peers::default();
        peers.set(&[peer("b", true), peer("c", true)]);
        peers.hold("b", BTreeSet::new());
        assert!((0..50).all(|flow| *peers.heir(&"a".into(), vip(), &flow.to_string()) == *"a"));
        assert!(!peers.carries("b", vip()) && peers.carries("c", vip()), "c has said nothing");
    }
}
