//! `NEIGHBOURS` and `ARRIVALS`: by which way a client came.
//!
//! A forwarded answer leaves by the way that the question came. The kernel that makes a flow finds the slot in
//! `NEXT_HOPS` by the frame's own link layer (`NEIGHBOURS`, written by user space); user space that makes one finds the
//! link layer by the client's 5-tuple (`ARRIVALS`, written by the kernel before it passes the datagram up). An entry of
//! `ARRIVALS` may be evicted by later ones: then the flow is relayed until its client is heard again.

/// The link layer of a frame that came in. Key of `NEIGHBOURS`, value of `ARRIVALS`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Arrival {
    pub ifindex: u32,
    /// Source MAC of the frame: the neighbour's.
    pub peer_mac: [u8; 6],
    /// Destination MAC: our own on that interface.
    pub own_mac: [u8; 6],
}

#[cfg(feature = "user")]
mod user {
    use super::Arrival;
    use crate::abi::{FlowKey, FlowKey6, Track};

    // SAFETY: repr(C), integers only, no padding (asserted below).
    unsafe impl aya::Pod for Arrival {}

    impl From<Arrival> for Track {
        /// What the track of a connection with the same host would say of its link layer.
        fn from(arrival: Arrival) -> Self {
            let Arrival { ifindex, peer_mac, own_mac } = arrival;
            Self { ifindex, peer_mac, own_mac, seen: Track::SEEN_L2, ..Self::default() }
        }
    }

    impl FlowKey {
        /// The key in `ARRIVALS`: both families in the shape of IPv6, an IPv4 address in the first word.
        pub fn arrival(&self) -> FlowKey6 {
            match *self {
                Self::V4(k) => {
                    FlowKey6 { src: [k.src, 0, 0, 0], dst: [k.dst, 0, 0, 0], ports: k.ports, proto: k.proto }
                }
                Self::V6(k) => k,
            }
        }
    }
}

const _: () = assert!(size_of::<Arrival>() == 16);
