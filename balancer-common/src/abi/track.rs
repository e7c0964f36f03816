//! Values of `TRACKS4`/`TRACKS6` and `CONTROLS`: a connection that user space still holds.
//!
//! The two halves of the hand-over's memory have one writer each. User space inserts a [`Track`] once (zeroed but for
//! `control`) and afterwards only reads and deletes it; the kernel keeps its words. What user space wants the kernel to
//! do stands in the [`Control`] slot that the track names, one 64-bit word, written whole.

/// Value of `TRACKS4` and `TRACKS6`, by ingress 5-tuple: what the kernel saw of one peer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Track {
    /// Index into `CONTROLS`; written by user space at the insertion.
    pub control: u32,
    /// Bits below.
    pub seen: u32,
    /// Highest sequence number behind the data, SYN or FIN of any packet that was let through (not while held).
    pub max_end: u32,
    pub max_ack: u32,
    pub last_tsval: u32,
    /// Interface on which the last frame came in.
    pub ifindex: u32,
    /// Packets whose payload HOLD kept back.
    pub held: u32,
    /// Source MAC of the last frame: the next hop towards this peer.
    pub peer_mac: [u8; 6],
    /// Destination MAC of the last frame: our own on that interface.
    pub own_mac: [u8; 6],
}

impl Track {
    /// `max_end` is valid.
    pub const SEEN_END: u32 = 1 << 0;
    /// `max_ack` is valid.
    pub const SEEN_ACK: u32 = 1 << 1;
    /// `last_tsval` is valid.
    pub const SEEN_TIMESTAMP: u32 = 1 << 2;
    pub const SEEN_FIN: u32 = 1 << 3;
    pub const SEEN_RST: u32 = 1 << 4;
    pub const SEEN_SYN: u32 = 1 << 5;
    /// `ifindex` and both MACs are valid.
    pub const SEEN_L2: u32 = 1 << 6;
    /// A HOLD ran into its deadline and the kernel let data through again. Says nothing about a later one.
    pub const SEEN_HOLD_EXPIRED: u32 = 1 << 7;
}

/// Value of `CONTROLS`: mode in the two top bits, the deadline of a HOLD (`CLOCK_MONOTONIC` nanoseconds, as the coarse
/// clock of the kernel shows it) below.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Control(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlMode {
    /// Pass everything, record it.
    Track,
    /// Pass pure ACKs, trim data to bare ACKs, until the deadline; then as [`ControlMode::Track`].
    Hold,
}

impl Control {
    pub const TRACK: Self = Self(0);
    const HOLD: u64 = 1 << 62;
    const DEADLINE: u64 = Self::HOLD - 1;

    #[inline(always)]
    pub const fn hold_until(deadline_ns: u64) -> Self {
        Self(Self::HOLD | (deadline_ns & Self::DEADLINE))
    }

    #[inline(always)]
    pub const fn mode(self) -> ControlMode {
        if self.0 & Self::HOLD != 0 { ControlMode::Hold } else { ControlMode::Track }
    }

    #[inline(always)]
    pub const fn deadline_ns(self) -> u64 {
        self.0 & Self::DEADLINE
    }
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: repr(C), integers only, no padding (asserted below).
    unsafe impl aya::Pod for super::Track {}
    // SAFETY: one u64.
    unsafe impl aya::Pod for super::Control {}
}

const _: () = {
    assert!(size_of::<Track>() == 40);
    assert!(core::mem::offset_of!(Track, peer_mac) == 28);
    assert!(size_of::<Control>() == 8);
};
