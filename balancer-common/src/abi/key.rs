//! Keys of the flow tables: the ingress 5-tuple exactly as the words lie in the packet.
//!
//! Every word is in network byte order as loaded (never swapped), the protocol stands last, and a last word of 0 means
//! an empty slot, so that the same key can later live in a table of our own. What the fast path builds on its stack is
//! aligned to 8 bytes, because the compiler merges stores there and the verifier refuses misaligned ones.

pub const PROTO_TCP: u32 = 6;
pub const PROTO_UDP: u32 = 17;

/// An IPv4 address, network byte order as loaded from the wire.
pub type Addr4 = u32;
/// An IPv6 address, four words in network byte order as loaded from the wire.
pub type Addr6 = [u32; 4];

#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct FlowKey4 {
    pub src: Addr4,
    pub dst: Addr4,
    /// The first four bytes of the TCP or UDP header: source port, destination port.
    pub ports: u32,
    /// [`PROTO_TCP`] or [`PROTO_UDP`].
    pub proto: u32,
}

#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct FlowKey6 {
    pub src: Addr6,
    pub dst: Addr6,
    pub ports: u32,
    pub proto: u32,
}

/// Swaps source and destination port of a `ports` word.
#[inline(always)]
pub const fn swap_ports(ports: u32) -> u32 {
    ports.rotate_left(16)
}

impl FlowKey4 {
    /// The key of a packet that travels the other way.
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self { src: self.dst, dst: self.src, ports: swap_ports(self.ports), proto: self.proto }
    }
}

impl FlowKey6 {
    /// The key of a packet that travels the other way.
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self { src: self.dst, dst: self.src, ports: swap_ports(self.ports), proto: self.proto }
    }
}

#[cfg(feature = "user")]
mod user {
    use super::*;
    use core::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

    // SAFETY: repr(C), only u32 words, no padding.
    unsafe impl aya::Pod for FlowKey4 {}
    // SAFETY: as above.
    unsafe impl aya::Pod for FlowKey6 {}

    /// Source and destination port as one word, as they lie in the packet.
    pub fn ports_word(src: u16, dst: u16) -> u32 {
        let (s, d) = (src.to_be_bytes(), dst.to_be_bytes());
        u32::from_ne_bytes([s[0], s[1], d[0], d[1]])
    }

    /// Source and destination port of a `ports` word.
    pub fn ports_of(word: u32) -> (u16, u16) {
        let b = word.to_ne_bytes();
        (u16::from_be_bytes([b[0], b[1]]), u16::from_be_bytes([b[2], b[3]]))
    }

    pub fn addr4(a: core::net::Ipv4Addr) -> Addr4 {
        u32::from_ne_bytes(a.octets())
    }

    pub fn addr6(a: core::net::Ipv6Addr) -> Addr6 {
        let o = a.octets();
        core::array::from_fn(|i| u32::from_ne_bytes([o[4 * i], o[4 * i + 1], o[4 * i + 2], o[4 * i + 3]]))
    }

    pub fn ip6(a: Addr6) -> core::net::Ipv6Addr {
        let mut o = [0u8; 16];
        for (i, w) in a.iter().enumerate() {
            o[4 * i..4 * i + 4].copy_from_slice(&w.to_ne_bytes());
        }
        o.into()
    }

    /// The key of either family.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum FlowKey {
        V4(FlowKey4),
        V6(FlowKey6),
    }

    impl FlowKey {
        /// The 5-tuple of a TCP packet from `src` to `dst`; `None` when the families differ.
        pub fn tcp(src: SocketAddr, dst: SocketAddr) -> Option<Self> {
            Self::new(src, dst, PROTO_TCP)
        }

        /// The same of a UDP packet.
        pub fn udp(src: SocketAddr, dst: SocketAddr) -> Option<Self> {
            Self::new(src, dst, PROTO_UDP)
        }

        fn new(src: SocketAddr, dst: SocketAddr, proto: u32) -> Option<Self> {
            let ports = ports_word(src.port(), dst.port());
            match (src.ip().to_canonical(), dst.ip().to_canonical()) {
                (IpAddr::V4(s), IpAddr::V4(d)) => {
                    Some(Self::V4(FlowKey4 { src: addr4(s), dst: addr4(d), ports, proto }))
                }
                (IpAddr::V6(s), IpAddr::V6(d)) => {
                    Some(Self::V6(FlowKey6 { src: addr6(s), dst: addr6(d), ports, proto }))
                }
                _ => None,
            }
        }

        /// [`PROTO_TCP`] or [`PROTO_UDP`].
        pub fn proto(&self) -> u32 {
            match self {
                Self::V4(k) => k.proto,
                Self::V6(k) => k.proto,
            }
        }

        /// Source and destination as socket addresses.
        pub fn addresses(&self) -> (SocketAddr, SocketAddr) {
            match *self {
                Self::V4(k) => {
                    let (s, d) = ports_of(k.ports);
                    (
                        SocketAddrV4::new(k.src.to_ne_bytes().into(), s).into(),
                        SocketAddrV4::new(k.dst.to_ne_bytes().into(), d).into(),
                    )
                }
                Self::V6(k) => {
                    let (s, d) = ports_of(k.ports);
                    (SocketAddrV6::new(ip6(k.src), s, 0, 0).into(), SocketAddrV6::new(ip6(k.dst), d, 0, 0).into())
                }
            }
        }

        pub fn reversed(&self) -> Self {
            match self {
                Self::V4(k) => Self::V4(k.reversed()),
                Self::V6(k) => Self::V6(k.reversed()),
            }
        }
    }
}
#[cfg(feature = "user")]
pub use user::{FlowKey, addr4, addr6, ip6, ports_of, ports_word};

const _: () = {
    assert!(size_of::<FlowKey4>() == 16);
    assert!(size_of::<FlowKey6>() == 40);
};
