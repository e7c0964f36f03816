//! `STREAMS` and `STREAM_NAMES`: where a stream was placed, kept beside the flows that carry it, for the next process.
//!
//! The kernel reads neither yet. Names are secrets: they are in maps that only root can read, never in a log.

/// Value of `STREAMS`, by the 64-bit hash of the canonical stream key.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct StreamPlacement {
    /// Index into `STREAM_NAMES`; flows carry it.
    pub stream: u32,
    /// Index into `ORIGINS`.
    pub origin: u16,
    pub origin_generation: u16,
}

pub const STREAM_NAME_LEN_MAX: usize = 252;

/// Value of `STREAM_NAMES`, by stream index: the canonical stream key in UTF-8.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StreamName {
    pub len: u32,
    pub name: [u8; STREAM_NAME_LEN_MAX],
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: repr(C), integers only, no padding (asserted below).
    unsafe impl aya::Pod for super::StreamPlacement {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::StreamName {}
}

const _: () = {
    assert!(size_of::<StreamPlacement>() == 8);
    assert!(size_of::<StreamName>() == 256);
};
