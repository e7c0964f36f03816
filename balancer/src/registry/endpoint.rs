//! Where an origin listens: the forms in which a registration may say it, and the addresses they come to.
//! Knows nothing of who may register what; that is [`super::Admission`].

use balancer_common::abi::ServiceKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Every service an origin can offer, in the order of their numbers.
pub const KINDS: [ServiceKind; 6] =
    [ServiceKind::Rtmp, ServiceKind::Http, ServiceKind::Api, ServiceKind::Srt, ServiceKind::WebRtc, ServiceKind::Rtsp];

/// The field of a registration and of the system API's JSON.
pub const fn kind_label(kind: ServiceKind) -> &'static str {
    match kind {
        ServiceKind::Rtmp => "rtmp",
        ServiceKind::Http => "http",
        ServiceKind::Api => "api",
        ServiceKind::Srt => "srt",
        ServiceKind::WebRtc => "rtc",
        ServiceKind::Rtsp => "rtsp",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    pub const fn of(kind: ServiceKind) -> Self {
        match kind {
            ServiceKind::Rtmp | ServiceKind::Http | ServiceKind::Api | ServiceKind::Rtsp => Self::Tcp,
            ServiceKind::Srt | ServiceKind::WebRtc => Self::Udp,
        }
    }
}

pub(super) const fn slot(kind: ServiceKind) -> usize {
    kind as usize - 1
}

/// A listening port as a registration names it, with an address only when it names a specific one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub ip: Option<IpAddr>,
    pub port: u16,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an endpoint: say 1935, 192.0.2.1:1935, [2001:db8::1]:1935 or tcp://0.0.0.0:1935 (or udp://)")]
pub struct EndpointError(String);

/// `1935`, `:1935`, `ip:1935`, `[ip]:1935`, each also behind `tcp://` or `udp://`. The scheme is decoration: the
/// protocol of the list that the endpoint stands in says which transport it is.
impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let error = || EndpointError(text.chars().take(64).collect());
        let rest = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("udp://")).unwrap_or(text);
        let (host, port) = rest.rsplit_once(':').unwrap_or(("", rest));
        if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        let port = port.parse().ok().filter(|p| *p != 0).ok_or_else(error)?;
        let ip = match host.strip_prefix('[') {
            _ if host.is_empty() => None,
            Some(v6) => {
                Some(IpAddr::V6(v6.strip_suffix(']').and_then(|h| h.parse::<Ipv6Addr>().ok()).ok_or_else(error)?))
            }
            // Without brackets it has to be IPv4: "::1:1935" could be read in two ways.
            None => Some(IpAddr::V4(host.parse().map_err(|_| error())?)),
        };
        Ok(Self { ip: ip.map(|ip| ip.to_canonical()).filter(|ip| !ip.is_unspecified()), port })
    }
}

impl Endpoint {
    /// The address to connect to, given the one that the origin registered for itself.
    pub fn at(self, registered: IpAddr) -> SocketAddr {
        SocketAddr::new(self.ip.unwrap_or(registered).to_canonical(), self.port)
    }
}

/// The addresses of an origin, by service. No duplicates, at most [`Endpoints::PER_KIND_MAX`] each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints([Vec<SocketAddr>; KINDS.len()]);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {} endpoints", Endpoints::PER_KIND_MAX)]
pub struct TooManyEndpoints;

impl Endpoints {
    /// Far more listeners than any media server has for one protocol.
    pub const PER_KIND_MAX: usize = 16;

    pub fn add(&mut self, kind: ServiceKind, address: SocketAddr) -> Result<(), TooManyEndpoints> {
        let list = &mut self.0[slot(kind)];
        if list.contains(&address) {
            return Ok(());
        }
        if list.len() == Self::PER_KIND_MAX {
            return Err(TooManyEndpoints);
        }
        list.push(address);
        Ok(())
    }

    pub fn get(&self, kind: ServiceKind) -> &[SocketAddr] {
        &self.0[slot(kind)]
    }

    pub fn iter(&self) -> impl Iterator<Item = (ServiceKind, SocketAddr)> + '_ {
        KINDS.into_iter().flat_map(|kind| self.get(kind).iter().map(move |a| (kind, *a)))
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Vec::is_empty)
    }

    /// Whether both can only be one process: they share an RTMP listener or, where one has none, everything. A shared
    /// HTTP address alone says nothing: it may be a cache in front of several origins.
    pub fn same_place(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.get(ServiceKind::Rtmp), other.get(ServiceKind::Rtmp));
        ours.iter().any(|a| theirs.contains(a)) || (ours.is_empty() && !self.is_empty() && self == other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_that_a_media_server_sends_is_understood() {
        let registered: IpAddr = "10.0.0.9".parse().unwrap();
        for (text, expected) in [
            ("1935", "10.0.0.9:1935"),
            (":1935", "10.0.0.9:1935"),
            ("tcp://:1935", "10.0.0.9:1935"),
            ("tcp://1935", "10.0.0.9:1935"),
            ("tcp://0.0.0.0:1935", "10.0.0.9:1935"),
            ("tcp://192.168.3.10:1935", "192.168.3.10:1935"),
            ("udp://0.0.0.0:8001", "10.0.0.9:8001"),
            ("udp://:8001", "10.0.0.9:8001"),
            ("192.168.3.10:1935", "192.168.3.10:1935"),
            ("[2001:db8::1]:1935", "[2001:db8::1]:1935"),
            ("tcp://[2001:db8::1]:1935", "[2001:db8::1]:1935"),
            ("tcp://[::]:1935", "10.0.0.9:1935"),
            ("[::ffff:192.168.3.10]:1935", "192.168.3.10:1935"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().at(registered), expected.parse().unwrap(), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_endpoint_is_refused() {
        for text in [
            "",
            ":",
            "0",
            "tcp://",
            "65536",
            "-1",
            "+1935",
            " 1935",
            "1935 ",
            "rtmp",
            "http://:80",
            "tcp://host:1935",
            "::1:1935",
            "[::1]",
            "[::1:1935",
            "::1]:1935",
            "10.0.0.1:",
            "10.0.0.1:0",
            "10.0.0:1935",
            "tcp://tcp://:1935",
            "1935/live",
            "[10.0.0.1]:1935",
            "10.0.0.1:19:35",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_parsed_is_an_address(text in "(tcp://|udp://)?[0-9a-f:.\\[\\]]{0,24}") {
            if let Ok(endpoint) = text.parse::<Endpoint>() {
                let address = endpoint.at(IpAddr::from([10, 0, 0, 1]));
                prop_assert!(address.port() != 0 && !address.ip().is_unspecified());
                prop_assert_eq!(address.to_string().parse::<Endpoint>().unwrap().at(IpAddr::from([10, 0, 0, 2])), address);
            }
        }
    }

    #[test]
    fn endpoints_hold_no_duplicate_and_have_a_limit() {
        let mut endpoints = Endpoints::default();
        for port in (1..=Endpoints::PER_KIND_MAX as u16).chain([1]) {
            endpoints.add(ServiceKind::Srt, SocketAddr::from(([10, 0, 0, 1], port))).unwrap();
        }
        assert_eq!(endpoints.get(ServiceKind::Srt).len(), Endpoints::PER_KIND_MAX);
        let one_more = SocketAddr::from(([10, 0, 0, 1], 99));
        assert_eq!(endpoints.add(ServiceKind::Srt, one_more), Err(TooManyEndpoints));
    }
}
