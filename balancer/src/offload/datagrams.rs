//! A UDP conversation as two half-flows: other addresses and ports, the same datagrams. Knows nothing of what they carry.

use super::words::family;
use super::{NewHalf, SpliceError};
use crate::flow::splice::Translation;
use balancer_common::abi::{FlowFlags, FlowKey, Track};
use std::net::SocketAddr;

/// What a client and an origin send each other by UDP, through one port of ours on either side.
#[derive(Clone, Copy, Debug)]
pub struct Datagrams {
    pub client: SocketAddr,
    /// Ours, towards the client.
    pub vip: SocketAddr,
    /// Ours, towards the origin.
    pub source: SocketAddr,
    pub origin_address: SocketAddr,
    /// [`FlowFlags`] that say whom the flow belongs to.
    pub flags: u32,
    pub origin: u16,
    pub origin_generation: u16,
    pub stream: u32,
    /// What the protocol has to remember of the origin and of the client: SRT's socket ids, else 0.
    pub tags: (u32, u32),
    /// What a track of the same host would say: UDP leaves by the way that its other packets came.
    pub client_track: Track,
    pub origin_track: Track,
}

impl Datagrams {
    /// The half to the origin and the half to the client.
    pub fn halves(&self) -> Result<(NewHalf, NewHalf), SpliceError> {
        let client = FlowKey::udp(self.client, self.vip).ok_or(SpliceError::Family)?;
        let origin = FlowKey::udp(self.origin_address, self.source).ok_or(SpliceError::Family)?;
        if family(client) != family(origin) {
            return Err(SpliceError::Family);
        }
        let half = |ingress, egress: FlowKey, direction, tag, way_out: Track| {
            if way_out.seen & Track::SEEN_L2 == 0 {
                return Err(SpliceError::Unseen(egress.addresses().1));
            }
            Ok(NewHalf {
                ingress,
                egress,
                translation: Translation { seq_delta: tag, ..Translation::default() },
                flags: self.flags | direction,
                origin: self.origin,
                origin_generation: self.origin_generation,
                stream: self.stream,
                way_out,
            })
        };
        let to_origin = half(client, origin.reversed(), 0, self.tags.0, self.origin_track)?;
        let to_client = half(origin, client.reversed(), FlowFlags::TO_CLIENT, self.tags.1, self.client_track)?;
        Ok((to_origin, to_client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagrams() -> Datagrams {
        let seen = Track { seen: Track::SEEN_L2, ..Track::default() };
        Datagrams {
            client: "10.0.0.7:5000".parse().unwrap(),
            vip: "10.0.0.1:30000".parse().unwrap(),
            source: "10.1.0.1:20000".parse().unwrap(),
            origin_address: "10.1.0.9:6970".parse().unwrap(),
            flags: 0,
            origin: 1,
            origin_generation: 1,
            stream: 1,
            tags: (7, 8),
            client_track: Track { ifindex: 2, ..seen },
            origin_track: Track { ifindex: 3, ..seen },
        }
    }

    #[test]
    fn each_half_names_the_other_and_leaves_towards_its_receiver() {
        let (to_origin, to_client) = datagrams().halves().unwrap();
        assert_eq!(to_origin.egress.reversed(), to_client.ingress);
        assert_eq!(to_client.egress.reversed(), to_origin.ingress);
        assert_eq!((to_origin.way_out.ifindex, to_client.way_out.ifindex), (3, 2));
        assert_eq!((to_origin.flags, to_client.flags), (0, FlowFlags::TO_CLIENT));
        assert_eq!((to_origin.translation.seq_delta, to_client.translation.seq_delta), (7, 8));
    }

    #[test]
    fn families_that_differ_and_hosts_never_heard_of_are_refused() {
        let mixed = Datagrams { source: "[2001:db8::1]:20000".parse().unwrap(), ..datagrams() };
        assert!(matches!(mixed.halves(), Err(SpliceError::Family)));
        let both = Datagrams { origin_address: "[2001:db8::9]:6970".parse().unwrap(), ..mixed };
        assert!(matches!(both.halves(), Err(SpliceError::Family)));
        let unseen = Datagrams { origin_track: Track::default(), ..datagrams() };
        assert!(matches!(unseen.halves(), Err(SpliceError::Unseen(host)) if host == unseen.origin_address));
    }
}
