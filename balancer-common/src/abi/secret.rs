//! `SECRETS`: what the cookies of SRT handshakes are made with, so that nobody gets one for an address that is not his.
//!
//! Written by user space. A minute's cookies are made with slot `(minute >> 6) & 1`, where a minute is `CLOCK_MONOTONIC`
//! (the coarse clock) divided by [`MINUTE_NS`]; the other slot gets a new secret once no cookie of its own is valid any
//! more.

pub const MINUTE_NS: u64 = 60_000_000_000;
pub const SECRETS_LEN: u32 = 2;

/// Value of `SECRETS`: a key of SipHash.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Secret {
    pub k0: u64,
    pub k1: u64,
}

/// The slot of `SECRETS` for a minute.
#[inline(always)]
pub const fn secret_slot(minute: u64) -> u32 {
    (minute >> 6) as u32 & (SECRETS_LEN - 1)
}

#[cfg(feature = "user")]
// SAFETY: repr(C), integers only, no padding (asserted below).
unsafe impl aya::Pod for Secret {}

const _: () = assert!(size_of::<Secret>() == 16);
