//! Map values as the fast path sees them: shared with other CPUs and with user space, so reached word by word.
//!
//! The only place outside `packet::frame` with `unsafe`: a value is behind a raw pointer, and no reference to it is
//! ever made.

use core::{marker::PhantomData, ptr::NonNull};

use crate::abi::{Addr4, Addr6, Flow4, Flow6, Splice, Track};

/// One half-flow: a copy of what user space wrote, and the words that the kernel keeps.
pub struct Half<'t, Addr> {
    pub splice: Splice,
    pub src: Addr,
    pub dst: Addr,
    pub ports: u32,
    words: Words,
    table: PhantomData<&'t ()>,
}

#[derive(Clone, Copy)]
struct Words {
    seen: *mut u32,
    packets: *mut u32,
    last_seen: *mut u32,
    bytes: *mut u64,
}

macro_rules! half_of {
    ($addr:ty, $flow:ty) => {
        impl Half<'_, $addr> {
            /// # Safety
            /// `flow` points to a map value that stays allocated for the lifetime of the result.
            #[inline(always)]
            pub unsafe fn new(flow: NonNull<$flow>) -> Self {
                let flow = flow.as_ptr();
                // SAFETY: user space wrote these words before the value became visible and never writes them again.
                let (splice, src, dst, ports) = unsafe { ((*flow).splice, (*flow).src, (*flow).dst, (*flow).ports) };
                // SAFETY: field addresses within the value.
                let words = unsafe {
                    Words {
                        seen: &raw mut (*flow).seen,
                        packets: &raw mut (*flow).packets,
                        last_seen: &raw mut (*flow).last_seen,
                        bytes: &raw mut (*flow).bytes,
                    }
                };
                Self { splice, src, dst, ports, words, table: PhantomData }
            }
        }
    };
}
half_of!(Addr4, Flow4);
half_of!(Addr6, Flow6);

impl<Addr> Half<'_, Addr> {
    /// Bits of [`crate::abi::Seen`] and the time of making.
    #[inline(always)]
    pub fn seen(&self) -> u32 {
        // SAFETY: see `new`.
        unsafe { self.words.seen.read() }
    }

    #[inline(always)]
    pub fn set_seen(&self, bits: u32) {
        // SAFETY: see `new`.
        unsafe { fetch_or(self.words.seen, bits) };
    }

    #[inline(always)]
    pub fn clear_seen(&self, bits: u32) {
        // SAFETY: see `new`.
        unsafe { fetch_and(self.words.seen, !bits) };
    }

    /// Not atomic: the packets of a half-flow come in on one queue. Two queues would lose counts, nothing else.
    #[inline(always)]
    pub fn count(&self, data_len: u32, now_ns: u64) {
        let Words { packets, last_seen, bytes, .. } = self.words;
        // SAFETY: see `new`.
        unsafe {
            packets.write(packets.read().wrapping_add(1));
            bytes.write(bytes.read().wrapping_add(data_len as u64));
            last_seen.write((now_ns >> 20) as u32);
        }
    }
}

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

impl TrackSlot<'_> {
    /// # Safety
    /// `track` points to a map value that stays allocated for the lifetime of the result.
    #[inline(always)]
    pub unsafe fn new(track: NonNull<Track>) -> Self {
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
