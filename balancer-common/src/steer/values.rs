//! Map values as the fast path sees them: shared with other CPUs and with user space, so reached word by word.
//!
//! The only place outside `packet::frame` with `unsafe`: a value is behind a raw pointer, and no reference to it is
//! ever made.

use core::{marker::PhantomData, ptr::NonNull};

use crate::abi::{Addr4, Addr6, Flow4, Flow6, Splice, Track};

/// One half-flow. Every call loads anew, so that nothing is kept on the stack, of which there are 512 bytes.
pub struct Half<'t, Flow> {
    flow: *mut Flow,
    table: PhantomData<&'t Flow>,
}

impl<Flow> Half<'_, Flow> {
    /// # Safety
    /// `flow` points to a map value that stays allocated for the lifetime of the result.
    #[inline(always)]
    pub unsafe fn new(flow: NonNull<Flow>) -> Self {
        Self { flow: flow.as_ptr(), table: PhantomData }
    }
}

#[cfg(feature = "testing")]
impl<'t, Flow> Half<'t, Flow> {
    /// A value outside the kernel.
    pub fn of(flow: &'t core::cell::Cell<Flow>) -> Self {
        Self { flow: flow.as_ptr(), table: PhantomData }
    }
}

/// The clock of `last_seen`.
#[inline(always)]
pub const fn coarse(now_ns: u64) -> u32 {
    (now_ns >> 20) as u32
}

/// The words of a value that the kernel keeps.
pub struct Words {
    seen: *mut u32,
    packets: *mut u32,
    last_seen: *mut u32,
    bytes: *mut u64,
}

/// What both families' half-flows have.
pub trait HalfFlow {
    type Addr;

    fn splice(&self) -> Splice;
    fn src(&self) -> Self::Addr;
    fn dst(&self) -> Self::Addr;
    fn ports(&self) -> u32;
    fn words(&self) -> Words;

    /// Bits of [`crate::abi::Seen`] and the time of making.
    #[inline(always)]
    fn seen(&self) -> u32 {
        // SAFETY: see `Half::new`.
        unsafe { self.words().seen.read() }
    }

    #[inline(always)]
    fn set_seen(&self, bits: u32) {
        // SAFETY: see `Half::new`.
        unsafe { fetch_or(self.words().seen, bits) };
    }

    #[inline(always)]
    fn clear_seen(&self, bits: u32) {
        // SAFETY: see `Half::new`.
        unsafe { fetch_and(self.words().seen, !bits) };
    }

    /// Not atomic: the packets of a half-flow come in on one queue. Two queues would lose counts, nothing else.
    #[inline(always)]
    fn count(&self, data_len: u32, now_ns: u64) {
        let Words { packets, last_seen, bytes, .. } = self.words();
        // SAFETY: see `Half::new`.
        unsafe {
            packets.write(packets.read().wrapping_add(1));
            bytes.write(bytes.read().wrapping_add(data_len as u64));
            last_seen.write(coarse(now_ns));
        }
    }
}

macro_rules! half_flow {
    ($flow:ty, $addr:ty) => {
        impl HalfFlow for Half<'_, $flow> {
            type Addr = $addr;

            #[inline(always)]
            fn splice(&self) -> Splice {
                // SAFETY: see `Half::new`; user space wrote it before the value became visible, and never again.
                unsafe { (*self.flow).splice }
            }

            #[inline(always)]
            fn src(&self) -> $addr {
                // SAFETY: as above.
                unsafe { (*self.flow).src }
            }

            #[inline(always)]
            fn dst(&self) -> $addr {
                // SAFETY: as above.
                unsafe { (*self.flow).dst }
            }

            #[inline(always)]
            fn ports(&self) -> u32 {
                // SAFETY: as above.
                unsafe { (*self.flow).ports }
            }

            #[inline(always)]
            fn words(&self) -> Words {
                let flow = self.flow;
                // SAFETY: addresses of fields within the value.
                unsafe {
                    Words {
                        seen: &raw mut (*flow).seen,
                        packets: &raw mut (*flow).packets,
                        last_seen: &raw mut (*flow).last_seen,
                        bytes: &raw mut (*flow).bytes,
                    }
                }
            }
        }
    };
}
half_flow!(Flow4, Addr4);
half_flow!(Flow6, Addr6);

/// An entry of `TRACKS4` or `TRACKS6`.
#[derive(Clone, Copy)]
pub struct TrackSlot<'t> {
    track: *mut Track,
    table: PhantomData<&'t ()>,
}

/// What one packet tells about its sender.
pub struct Sighting {
    /// The sequence number behind it; `None` while data is held back.
    pub end: Option<u32>,
    pub ack: Option<u32>,
    pub tsval: Option<u32>,
    /// [`Track`] bits for SYN, FIN and RST.
    pub seen: u32,
    pub ifindex: u32,
    pub peer_mac: [u8; 6],
    pub own_mac: [u8; 6],
}

impl<'t> TrackSlot<'t> {
    /// # Safety
    /// `track` points to a map value that stays allocated for the lifetime of the result.
    #[inline(always)]
    pub unsafe fn new(track: NonNull<Track>) -> Self {
        Self { track: track.as_ptr(), table: PhantomData }
    }

    /// A value outside the kernel.
    #[cfg(feature = "testing")]
    pub fn of(track: &'t core::cell::Cell<Track>) -> Self {
        Self { track: track.as_ptr(), table: PhantomData }
    }

    #[inline(always)]
    pub fn control(&self) -> u32 {
        // SAFETY: see `new`.
        unsafe { (*self.track).control }
    }

    /// `seen` is written last: a bit says that the word it vouches for is there.
    #[inline(always)]
    pub fn record(&self, sighting: &Sighting) {
        use crate::packet::parse::before;
        let track = self.track;
        // SAFETY: see `new`; plain words of the kernel's own, read by user space one at a time.
        unsafe {
            let mut seen = (*track).seen | sighting.seen | Track::SEEN_L2;
            if let Some(end) = sighting.end {
                if seen & Track::SEEN_END == 0 || before((*track).max_end, end) {
                    (*track).max_end = end;
                }
                seen |= Track::SEEN_END;
            }
            if let Some(ack) = sighting.ack {
                if seen & Track::SEEN_ACK == 0 || before((*track).max_ack, ack) {
                    (*track).max_ack = ack;
                }
                seen |= Track::SEEN_ACK;
            }
            if let Some(tsval) = sighting.tsval {
                (*track).last_tsval = tsval;
                seen |= Track::SEEN_TIMESTAMP;
            }
            (*track).ifindex = sighting.ifindex;
            (*track).peer_mac = sighting.peer_mac;
            (*track).own_mac = sighting.own_mac;
            (*track).seen = seen;
        }
    }

    #[inline(always)]
    pub fn count_held(&self) {
        // SAFETY: see `new`.
        unsafe { (*self.track).held = (*self.track).held.wrapping_add(1) };
    }

    #[inline(always)]
    pub fn set_hold_expired(&self) {
        // SAFETY: see `new`.
        unsafe { (*self.track).seen |= Track::SEEN_HOLD_EXPIRED };
    }
}

/// Atomic, because both directions, on two CPUs, mark both halves. `core` has no 32-bit atomics for the BPF target,
/// though its instruction set does.
///
/// # Safety
/// `word` is aligned and valid, and shared only with other atomic writers.
#[inline(always)]
unsafe fn fetch_or(word: *mut u32, bits: u32) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: by contract.
    unsafe {
        core::arch::asm!("lock *(u32 *)(r1 + 0) |= w2", in("r1") word, in("r2") bits as u64, options(nostack))
    };
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: by contract.
    unsafe { core::sync::atomic::AtomicU32::from_ptr(word) }.fetch_or(bits, core::sync::atomic::Ordering::Relaxed);
}

/// # Safety
/// As for [`fetch_or`].
#[inline(always)]
unsafe fn fetch_and(word: *mut u32, bits: u32) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: by contract.
    unsafe {
        core::arch::asm!("lock *(u32 *)(r1 + 0) &= w2", in("r1") word, in("r2") bits as u64, options(nostack))
    };
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: by contract.
    unsafe { core::sync::atomic::AtomicU32::from_ptr(word) }.fetch_and(bits, core::sync::atomic::Ordering::Relaxed);
}
