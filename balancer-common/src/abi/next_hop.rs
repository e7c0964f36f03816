//! Value of `NEXT_HOPS`: a neighbour change rewrites one slot, not every flow behind it.

/// Where a forwarded frame leaves and the MACs it carries. A zeroed slot is no next hop: packets for it are dropped.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NextHop {
    /// Interface to leave by; 0 means the slot is empty. When it is the one the packet came in on, it is sent back
    /// (`XDP_TX`), otherwise it is redirected through `device`.
    pub ifindex: u32,
    /// Index into `DEVICES`.
    pub device: u32,
    pub dst_mac: [u8; 6],
    pub src_mac: [u8; 6],
    /// Largest IP packet that the interface sends, in bytes; 0 says that nobody looked.
    pub mtu: u32,
}

#[cfg(feature = "user")]
// SAFETY: repr(C), integers only, no padding (asserted below).
unsafe impl aya::Pod for NextHop {}

const _: () = assert!(size_of::<NextHop>() == 24);
