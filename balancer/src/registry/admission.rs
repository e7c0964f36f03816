//! Which addresses an origin may have. A registration that passes makes the balancer open connections, so that anyone
//! who may register could otherwise aim it at any host, or at itself.

use super::endpoint::{Endpoints, Transport, kind_label};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// Networks that origins may be in.
    pub networks: Vec<IpNet>,
    /// Where the balancer itself listens, every VIP spelt out.
    pub own: Vec<(Transport, SocketAddr)>,
}

/// Why, and which endpoint.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{field}: {address} is not an address of one host")]
    NotAHost { field: &'static str, address: SocketAddr },
    #[error("{field}: {address} is outside origin_networks")]
    OutsideNetworks { field: &'static str, address: SocketAddr },
    #[error("{field}: {address} is the balancer itself: streams would go round in a loop")]
    Loop { field: &'static str, address: SocketAddr },
    #[error("{field}: {address} is another balancer: streams would go round in a loop")]
    PeersLoop { field: &'static str, address: SocketAddr },
}

impl Admission {
    pub fn check(&self, endpoints: &Endpoints) -> Result<(), Refusal> {
        self.check_configured(endpoints)?;
        match endpoints.iter().find(|(_, address)| !self.networks.iter().any(|n| n.contains(&address.ip()))) {
            Some((kind, address)) => Err(Refusal::OutsideNetworks { field: kind_label(kind), address }),
            None => Ok(()),
        }
    }

    /// For what the settings say themselves: any network, but no loop.
    pub fn check_configured(&self, endpoints: &Endpoints) -> Result<(), Refusal> {
        for (kind, address) in endpoints.iter() {
            let field = kind_label(kind);
            let ip = address.ip();
            if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
                return Err(Refusal::NotAHost { field, address });
            }
            if self.own.iter().any(|(t, own)| *t == Transport::of(kind) && reaches(address, *own)) {
                return Err(Refusal::Loop { field, address });
            }
        }
        Ok(())
    }
}

/// No origin may be where another balancer listens.
pub(super) fn check_peers(peers: &[(Transport, SocketAddr)], endpoints: &Endpoints) -> Result<(), Refusal> {
    match endpoints.iter().find(|(kind, address)| peers.contains(&(Transport::of(*kind), *address))) {
        Some((kind, address)) => Err(Refusal::PeersLoop { field: kind_label(kind), address }),
        None => Ok(()),
    }
}

/// A wildcard listener is reached by loopback at least; the host's other addresses are for the caller to spell out.
fn reaches(address: SocketAddr, own: SocketAddr) -> bool {
    address.port() == own.port()
        && (address.ip() == own.ip() || (own.ip().is_unspecified() && address.ip().is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use balancer_common::abi::ServiceKind::{self, Rtmp, Srt};

    fn one(kind: ServiceKind, address: &str) -> Endpoints {
        let mut endpoints = Endpoints::default();
        endpoints.add(kind, address.parse().unwrap()).unwrap();
        endpoints
    }

    #[test]
    fn only_hosts_inside_the_networks_that_are_not_the_balancer() {
        let rules = Admission {
            networks: vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            own: vec![
                (Transport::Tcp, "10.0.0.1:1935".parse().unwrap()),
                (Transport::Tcp, "0.0.0.0:12025".parse().unwrap()),
            ],
        };
        for good in ["10.0.0.2:1935", "10.0.0.1:19350", "127.0.0.1:1935", "[fd00::2]:1935"] {
            assert_eq!(rules.check(&one(Rtmp, good)), Ok(()), "{good}");
        }
        assert_eq!(rules.check(&one(Srt, "10.0.0.1:1935")), Ok(()), "another transport is another listener");
        for (bad, says) in [
            ("192.0.2.1:1935", "outside origin_networks"),
            ("[2001:db8::1]:1935", "outside origin_networks"),
            ("10.0.0.1:1935", "loop"),
            ("127.0.0.1:12025", "loop"),
            ("224.0.0.1:1935", "one host"),
            ("255.255.255.255:1935", "one host"),
        ] {
            let refusal = rules.check(&one(Rtmp, bad)).unwrap_err().to_string();
            assert!(refusal.starts_with("rtmp: ") && refusal.contains(says), "{bad}: {refusal}");
        }
    }
}
