//! `CLUSTER`, `SOURCES` and `MISSES`: what the fast path does where several balancers work together.
//!
//! A flow that is not known here may be another balancer's, whose addresses have come to this host or whose packets the
//! routers send here now. Before the stack may answer them with a RST, user space is asked, which asks the store.

/// Slots of `CLUSTER`: words that user space writes, 0 on a balancer that works alone.
pub struct Cluster;

impl Cluster {
    /// Bits: [`Self::ASK`].
    pub const FLAGS: u32 = 0;
    /// How far the clock that all balancers share is ahead of the kernel's coarse monotonic one, in ns, modulo 2^64. The
    /// minutes of SRT's cookies are counted by the shared clock.
    pub const CLOCK_AHEAD_NS: u32 = 1;
    pub const LEN: u32 = 2;

    /// User space is asked about packets of unknown flows.
    pub const ASK: u64 = 1;
}

/// Value of `SOURCES`: the ports that connections to origins leave from. The key is that of a service at port 0: one of
/// our addresses, and the protocol.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SourcePorts {
    pub first: u32,
    pub last: u32,
}

/// Value of `MISSES`, by the packet's 5-tuple in the shape of `ARRIVALS`: what becomes of packets of a flow that is not
/// here. In ns of the coarse monotonic clock until when that holds; the lowest bit says which of the two it is.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Miss(pub u64);

impl Miss {
    /// For so long the fast path waits for an answer before it asks again. Written by the kernel.
    pub const ASKED_NS: u64 = 250_000_000;

    /// User space has been asked: dropped, the sender sends it again.
    #[inline(always)]
    pub const fn asked(until_ns: u64) -> Self {
        Self(until_ns & !1)
    }

    /// It is no balancer's: passed to the stack. Written by user space.
    #[inline(always)]
    pub const fn nobodys(until_ns: u64) -> Self {
        Self(until_ns | 1)
    }

    #[inline(always)]
    pub const fn is_nobodys(self) -> bool {
        self.0 & 1 != 0
    }

    #[inline(always)]
    pub const fn holds(self, now_ns: u64) -> bool {
        now_ns < self.0
    }
}

#[cfg(feature = "user")]
// SAFETY: repr(C), two u32.
unsafe impl aya::Pod for SourcePorts {}
#[cfg(feature = "user")]
// SAFETY: repr(transparent), a u64.
unsafe impl aya::Pod for Miss {}

const _: () = {
    assert!(size_of::<SourcePorts>() == 8);
    assert!(size_of::<Miss>() == 8);
};
