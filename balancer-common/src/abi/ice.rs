//! `ICE`, `PORTS4` and `PORTS6`: the sessions of WebRTC whose media the kernel joins by itself.
//!
//! User space alone writes them. A session is found by a user name fragment that a STUN binding request carries
//! (RFC 8445 section 7.2.2); its ports are granted beforehand, and the kernel takes one by deleting its entry: whoever
//! succeeds has it. What an address of the client's costs is thereby bounded by what user space grants.

use super::Addr6;

/// Fragments are 4 to 256 characters (RFC 8839 section 5.4). Longer ones than this are left to user space.
pub const UFRAG_LEN_MAX: usize = 32;

/// Key of `ICE`: the fragment as it stands in the packet, padded with zeros.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct IceKey {
    pub ufrag: [u32; UFRAG_LEN_MAX / 4],
}

/// Value of `ICE`: everything that a flow of the session needs but its client.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct IceSession {
    /// [`super::FlowFlags`] of its flows.
    pub flags: u32,
    /// Names its ports in `PORTS4` or `PORTS6`.
    pub session: u32,
    /// Index into `ORIGINS`.
    pub origin: u16,
    pub origin_generation: u16,
    /// Index into `STREAM_NAMES`.
    pub stream: u32,
    /// 4 or 6: clients of the other family are left to user space.
    pub family: u32,
    /// Network byte order as loaded.
    pub origin_port: u16,
    /// Towards the origin: index into `NEXT_HOPS`.
    pub next_hop: u16,
    /// An IPv4 address stands in the first word.
    pub origin_addr: Addr6,
    /// The balancer's own towards the origin.
    pub source: Addr6,
    /// `CLOCK_MONOTONIC` as the coarse clock shows it: from then on nobody knows the session.
    pub expires_ns: u64,
}

/// Ports that one session is granted at once.
pub const PORT_SLOTS: u32 = 4;

/// Key of `PORTS4` and `PORTS6`; the value is a source port, network byte order as loaded, zero-extended.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PortKey {
    pub session: u32,
    /// Below [`PORT_SLOTS`].
    pub slot: u32,
}

#[cfg(feature = "user")]
mod user {
    use super::*;

    impl IceKey {
        /// `None` for what the map does not hold.
        pub fn new(ufrag: &str) -> Option<Self> {
            let mut bytes = [0; UFRAG_LEN_MAX];
            bytes.get_mut(..ufrag.len()).filter(|bytes| !bytes.is_empty())?.copy_from_slice(ufrag.as_bytes());
            let word = |i: usize| u32::from_ne_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
            Some(Self { ufrag: core::array::from_fn(|i| word(4 * i)) })
        }

        /// The fragment's bytes.
        pub fn bytes(&self) -> impl Iterator<Item = u8> {
            self.ufrag.into_iter().flat_map(u32::to_ne_bytes).take_while(|byte| *byte != 0)
        }
    }

    // SAFETY: repr(C), only u32 words, no padding.
    unsafe impl aya::Pod for IceKey {}
    // SAFETY: repr(C), integers only, no padding (asserted below).
    unsafe impl aya::Pod for IceSession {}
    // SAFETY: as above.
    unsafe impl aya::Pod for PortKey {}
}

const _: () = {
    assert!(size_of::<IceKey>() == 32);
    assert!(size_of::<IceSession>() == 64);
    assert!(core::mem::offset_of!(IceSession, origin_addr) == 24);
    assert!(core::mem::offset_of!(IceSession, expires_ns) == 56);
    assert!(size_of::<PortKey>() == 8);
};
