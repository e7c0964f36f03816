//! Between the words of the maps and what the rest of the program works with. Pure.

use super::maps::Half;
use balancer_common::abi::{
    Event, Flow4, Flow6, FlowKey, FlowKey4, FlowKey6, PROTO_TCP, PROTO_UDP, ServiceKey, ServiceKind, addr4, addr6,
};
use std::net::{IpAddr, SocketAddr};

/// 0 for IPv4, 1 for IPv6.
pub fn family(key: FlowKey) -> usize {
    usize::from(matches!(key, FlowKey::V6(_)))
}

pub fn half4(key: FlowKey4, f: Flow4) -> Half {
    let egress = FlowKey::V4(FlowKey4 { src: f.src, dst: f.dst, ports: f.ports, proto: key.proto });
    Half { splice: f.splice, egress, seen: f.seen, packets: f.packets, last_seen: f.last_seen, bytes: f.bytes }
}

pub fn half6(key: FlowKey6, f: Flow6) -> Half {
    let egress = FlowKey::V6(FlowKey6 { src: f.src, dst: f.dst, ports: f.ports, proto: key.proto });
    Half { splice: f.splice, egress, seen: f.seen, packets: f.packets, last_seen: f.last_seen, bytes: f.bytes }
}

pub fn event_key(e: &Event) -> FlowKey {
    if e.family == 6 {
        FlowKey::V6(FlowKey6 { src: e.src, dst: e.dst, ports: e.ports, proto: e.proto })
    } else {
        FlowKey::V4(FlowKey4 { src: e.src[0], dst: e.dst[0], ports: e.ports, proto: e.proto })
    }
}

pub fn service_key(address: SocketAddr, kind: ServiceKind) -> ServiceKey {
    let proto = match kind {
        ServiceKind::Srt | ServiceKind::WebRtc => PROTO_UDP,
        _ => PROTO_TCP,
    };
    let port = u32::from(u16::from_ne_bytes(address.port().to_be_bytes()));
    port_key(address.ip(), port, proto)
}

/// The keys of `SOURCES` for an address.
pub fn source_keys(address: IpAddr) -> [ServiceKey; 2] {
    [PROTO_TCP, PROTO_UDP].map(|proto| port_key(address, 0, proto))
}

fn port_key(address: IpAddr, port: u32, proto: u32) -> ServiceKey {
    match address.to_canonical() {
        IpAddr::V4(a) => ServiceKey { addr: [addr4(a), 0, 0, 0], port, proto },
        IpAddr::V6(a) => ServiceKey { addr: addr6(a), port, proto: proto | ServiceKey::IPV6 },
    }
}

/// The folded difference that replacing one 5-tuple by the other makes in the L4 checksum (RFC 1624).
pub fn l4_diff(old: FlowKey, new: FlowKey) -> Option<u16> {
    let mut sum = 0u64;
    let mut add = |old: u32, new: u32| sum += u64::from(!old) + u64::from(new);
    match (old, new) {
        (FlowKey::V4(o), FlowKey::V4(n)) => {
            add(o.src, n.src);
            add(o.dst, n.dst);
            add(o.ports, n.ports);
        }
        (FlowKey::V6(o), FlowKey::V6(n)) => {
            for i in 0..4 {
                add(o.src[i], n.src[i]);
                add(o.dst[i], n.dst[i]);
            }
            add(o.ports, n.ports);
        }
        _ => return None,
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    Some(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use balancer_common::abi::ports_word;

    #[test]
    fn ports_stand_as_on_the_wire() {
        let key = FlowKey::tcp("10.0.0.1:258".parse().unwrap(), "10.0.0.2:1935".parse().unwrap()).unwrap();
        let FlowKey::V4(k) = key else { panic!("v4") };
        assert_eq!(k.ports.to_ne_bytes(), [1, 2, 7, 143]);
        assert_eq!(k.ports, ports_word(258, 1935));
        assert_eq!(service_key("10.0.0.2:258".parse().unwrap(), ServiceKind::Srt).port.to_ne_bytes(), [1, 2, 0, 0]);
    }

    #[test]
    fn the_checksum_difference_is_that_of_the_changed_words() {
        let old = FlowKey::tcp("10.0.0.1:1000".parse().unwrap(), "10.0.0.2:1935".parse().unwrap()).unwrap();
        let new = FlowKey::tcp("10.1.0.1:20000".parse().unwrap(), "10.2.0.9:1935".parse().unwrap()).unwrap();
        let fold = |mut s: u64| {
            while s >> 16 != 0 {
                s = (s & 0xffff) + (s >> 16);
            }
            s as u16
        };
        let words = |k: FlowKey| match k {
            FlowKey::V4(k) => [k.src, k.dst, k.ports].iter().map(|w| u64::from(*w)).sum::<u64>(),
            FlowKey::V6(_) => unreachable!(),
        };
        let diff = l4_diff(old, new).unwrap();
        assert_eq!(fold(words(old) + u64::from(diff)), fold(words(new)));
        assert_eq!(l4_diff(old, old).map(|d| d % 0xffff), Some(0));
    }
}
