//! What the fast path does about flows that it does not know, where several balancers work together, and the clock that
//! they share: see [`balancer_common::abi::Cluster`]. Asks nobody itself.

use super::{Offload, SpliceError, kernel_now, words};
use aya::maps::{Array, HashMap, MapData};
use balancer_common::abi::{Cluster, FlowKey, FlowKey6, Miss, ServiceKey, SourcePorts, map};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// `CLUSTER`, `SOURCES` and `MISSES`.
pub struct ClusterMaps {
    pub(super) words: Array<MapData, u64>,
    pub(super) sources: HashMap<MapData, ServiceKey, SourcePorts>,
    pub(super) misses: HashMap<MapData, FlowKey6, Miss>,
}

impl Offload {
    /// Whether [`balancer_common::abi::EventKind::Missed`] is reported for packets of unknown flows, and the packets are
    /// dropped until there is an answer: a flow, or [`Self::nobodys`]. What an earlier process has set stays until then.
    pub fn ask_on_miss(&self, ask: bool) -> Result<(), SpliceError> {
        self.maps().cluster.set_word(Cluster::FLAGS, if ask { Cluster::ASK } else { 0 })
    }

    /// The addresses and ports that connections to origins leave from: packets to them are asked about, too. Replaces what
    /// was set before. Of one address there is one range, which encloses all that are named.
    pub fn set_sources(&self, sources: &[(IpAddr, RangeInclusive<u16>)]) -> Result<(), SpliceError> {
        self.maps().cluster.set_sources(sources)
    }

    /// The flow is no balancer's: its packets are passed to the stack for so long.
    pub fn nobodys(&self, key: FlowKey, lasting: Duration) -> Result<(), SpliceError> {
        let until = kernel_now() + lasting;
        self.maps().cluster.answer(key, Miss::nobodys(until.as_nanos() as u64))
    }

    /// The flow is here now, or is to be asked about anew.
    pub fn forget_miss(&self, key: FlowKey) {
        // One that was never asked about, or evicted, is what we want.
        let _ = self.maps().cluster.misses.remove(&key.arrival());
    }

    /// How far the common clock is ahead of the kernel's, in ns, modulo 2^64. 0 where there is none.
    pub fn clock_ahead_ns(&self) -> u64 {
        self.maps().cluster.words.get(&Cluster::CLOCK_AHEAD_NS, 0).unwrap_or_default()
    }

    pub fn set_clock_ahead_ns(&self, ahead: u64) -> Result<(), SpliceError> {
        self.maps().cluster.set_word(Cluster::CLOCK_AHEAD_NS, ahead)
    }
}

impl ClusterMaps {
    fn set_word(&mut self, slot: u32, word: u64) -> Result<(), SpliceError> {
        self.words.set(slot, word, 0).map_err(|source| SpliceError::Map { map: map::CLUSTER, source })
    }

    fn set_sources(&mut self, sources: &[(IpAddr, RangeInclusive<u16>)]) -> Result<(), SpliceError> {
        let refused = |source| SpliceError::Map { map: map::SOURCES, source };
        let new = source_entries(sources);
        // First what is no longer ours, so that there is room.
        for key in self.sources.keys().flatten().filter(|key| !new.contains_key(key)).collect::<Vec<_>>() {
            self.sources.remove(&key).map_err(refused)?;
        }
        new.into_iter().try_for_each(|(key, ports)| self.sources.insert(key, ports, 0).map_err(refused))
    }

    fn answer(&mut self, key: FlowKey, miss: Miss) -> Result<(), SpliceError> {
        let inserted = self.misses.insert(key.arrival(), miss, 0);
        inserted.map_err(|source| SpliceError::Map { map: map::MISSES, source })
    }
}

/// Each address for TCP and for UDP.
fn source_entries(sources: &[(IpAddr, RangeInclusive<u16>)]) -> BTreeMap<ServiceKey, SourcePorts> {
    let mut entries = BTreeMap::new();
    for (address, ports) in sources.iter().filter(|(_, ports)| !ports.is_empty()) {
        let (first, last) = (u32::from(*ports.start()), u32::from(*ports.end()));
        for key in words::source_keys(*address) {
            let entry = entries.entry(key).or_insert(SourcePorts { first, last });
            *entry = SourcePorts { first: entry.first.min(first), last: entry.last.max(last) };
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use balancer_common::abi::{PROTO_TCP, PROTO_UDP};

    #[test]
    fn an_address_has_one_range_for_each_protocol() {
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        #[expect(clippy::reversed_empty_ranges)]
        let entries = source_entries(&[(v4, 100..=200), (v6, 5..=5), (v4, 150..=300), (v6, 9..=8)]);
        let found: Vec<_> = entries.iter().map(|(key, ports)| (key.proto, key.port, ports.first, ports.last)).collect();
        let v6_bit = ServiceKey::IPV6;
        for expected in [
            (PROTO_TCP, 0, 100, 300),
            (PROTO_UDP, 0, 100, 300),
            (PROTO_TCP | v6_bit, 0, 5, 5),
            (PROTO_UDP | v6_bit, 0, 5, 5),
        ] {
            assert!(found.contains(&expected), "{expected:?} in {found:?}");
        }
        assert_eq!(found.len(), 4);
    }
}
