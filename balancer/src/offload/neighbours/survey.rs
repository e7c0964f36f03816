//! The ways to very many hosts at once, with few questions: what a take-over needs.
//!
//! Every table and every rule decides by prefixes of the destination. Two hosts for which the longest of all these
//! prefixes is the same are therefore in the same ones all, and leave by the same way: one of them is asked about. Only
//! hosts that are on the link itself are neighbours of their own.

use super::netlink::{Netlink, Route};
use super::roster::{Address, Mac};
use super::ways::{ASK_PAUSE, ASK_TRIES, Way};
use balancer_common::abi::Track;
use ipnet::IpNet;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use tracing::debug;

/// What is known so far, for hosts that are asked about later.
#[derive(Default)]
pub struct Survey {
    prefixes: Prefixes,
    /// By the longest prefix: interface, and gateway if there is one.
    routes: HashMap<IpNet, Option<(u32, Option<IpAddr>)>>,
    own_macs: HashMap<u32, Mac>,
    macs: HashMap<Address, Mac>,
    /// Nobody answered for them.
    silent: HashSet<Address>,
}

impl Survey {
    /// The ways to those of `hosts` that there is one to.
    pub async fn of(&mut self, hosts: &BTreeSet<IpAddr>) -> anyhow::Result<HashMap<IpAddr, Way>> {
        let netlink = Netlink::open()?;
        if self.prefixes.is_empty() {
            self.prefixes = Prefixes::new(netlink.prefixes().await?);
        }
        let mut nexts = HashMap::new();
        for host in hosts {
            if let Some(next) = self.next(&netlink, *host).await {
                nexts.insert(*host, next);
            }
        }
        self.find_macs(&netlink, nexts.values().copied().collect()).await?;
        let way = |(host, next): (IpAddr, Address)| {
            let own_mac = *self.own_macs.get(&next.ifindex)?;
            // Zeros: the loopback has no neighbours.
            let peer_mac = if own_mac == [0; 6] { own_mac } else { *self.macs.get(&next)? };
            let track = Track { ifindex: next.ifindex, peer_mac, own_mac, seen: Track::SEEN_L2, ..Track::default() };
            Some((host, Way { track }))
        };
        Ok(nexts.into_iter().filter_map(way).collect())
    }

    /// Whom a packet to `host` is handed to.
    async fn next(&mut self, netlink: &Netlink, host: IpAddr) -> Option<Address> {
        let prefix = self.prefixes.longest(host);
        let route = match self.routes.get(&prefix) {
            Some(route) => *route,
            None => {
                let asked = netlink.route(host).await.inspect_err(|error| debug!(%host, "no way: {error:#}")).ok();
                let route = asked.map(|Route { ifindex, gateway }| (ifindex, Some(gateway).filter(|g| *g != host)));
                if let Some((ifindex, _)) = route {
                    let own_mac = netlink.own_mac(ifindex).await.unwrap_or_default();
                    self.own_macs.insert(ifindex, own_mac);
                }
                self.routes.insert(prefix, route);
                route
            }
        };
        route.map(|(ifindex, gateway)| Address { ifindex, ip: gateway.unwrap_or(host) })
    }

    /// A neighbour that nobody talked to lately has to be asked for: all of them at once.
    async fn find_macs(&mut self, netlink: &Netlink, mut wanted: HashSet<Address>) -> anyhow::Result<()> {
        wanted.retain(|next| {
            let is_known = self.macs.contains_key(next) || self.silent.contains(next);
            !is_known && self.own_macs.get(&next.ifindex) != Some(&[0; 6])
        });
        for turn in 0..ASK_TRIES {
            if wanted.is_empty() {
                return Ok(());
            }
            for entry in netlink.neighbours().await? {
                if let Some(mac) = entry.mac.filter(|_| !entry.failed && wanted.remove(&entry.address)) {
                    self.macs.insert(entry.address, mac);
                }
            }
            if wanted.is_empty() {
                return Ok(());
            }
            for next in wanted.iter().filter(|_| turn == 0) {
                if let Err(error) = netlink.manage(*next).await {
                    debug!(neighbour = %next.ip, "cannot be asked for: {error:#}");
                }
            }
            tokio::time::sleep(ASK_PAUSE).await;
        }
        self.silent.extend(wanted);
        Ok(())
    }
}

#[derive(Default)]
struct Prefixes {
    all: HashSet<IpNet>,
    /// Of either family, the longest first.
    lengths: [Vec<u8>; 2],
}

impl Prefixes {
    fn new(all: HashSet<IpNet>) -> Self {
        let lengths = [true, false].map(|is_v4| {
            let lengths: BTreeSet<u8> =
                all.iter().filter(|n| n.addr().is_ipv4() == is_v4).map(IpNet::prefix_len).collect();
            lengths.into_iter().rev().collect()
        });
        Self { all, lengths }
    }

    fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The longest prefix that the host is in; the default route's if there is no other.
    fn longest(&self, host: IpAddr) -> IpNet {
        let prefix = |len: &u8| IpNet::new(host, *len).ok().map(|net| net.trunc());
        let found =
            self.lengths[usize::from(host.is_ipv6())].iter().filter_map(prefix).find(|net| self.all.contains(net));
        found.or_else(|| prefix(&0)).unwrap_or_else(|| host.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_in_the_same_prefixes_are_asked_about_once() {
        let all = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "2001:db8::/32"].map(|n| n.parse().unwrap());
        let prefixes = Prefixes::new(all.into_iter().collect());
        let longest = |host: &str| prefixes.longest(host.parse().unwrap()).to_string();
        assert_eq!(longest("10.1.2.3"), "10.1.2.0/24");
        assert_eq!(longest("10.1.3.3"), "10.1.0.0/16");
        assert_eq!(longest("10.9.0.1"), "10.0.0.0/8");
        assert_eq!(longest("192.0.2.1"), "0.0.0.0/0");
        assert_eq!((longest("2001:db8::1"), longest("2001:db9::1")), ("2001:db8::/32".into(), "::/0".into()));
    }
}
