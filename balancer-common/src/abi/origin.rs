//! Value of `ORIGINS`: whether the flows of an origin live, and who it is, for a process that adopts them.

/// What the fast path does with an origin's flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum OriginState {
    /// Never used, or all its flows are gone.
    Empty = 0,
    /// Forward.
    Up = 1,
    /// Answer every packet of its flows with a RST.
    Down = 2,
}

pub const ORIGIN_ID_LEN_MAX: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// [`OriginState`] as a number.
    pub state: u32,
    /// Compared (low 16 bits) with what a flow was placed on; raised when a restarted origin takes the slot over.
    pub generation: u32,
    /// Length of `id` in bytes.
    pub id_len: u32,
    pub reserved: u32,
    /// The origin's id in the registry, UTF-8. User space only.
    pub id: [u8; ORIGIN_ID_LEN_MAX],
}

impl Origin {
    pub const EMPTY: Self = Self { state: 0, generation: 0, id_len: 0, reserved: 0, id: [0; ORIGIN_ID_LEN_MAX] };
}

#[cfg(feature = "user")]
// SAFETY: repr(C), integers only, no padding (asserted below).
unsafe impl aya::Pod for Origin {}

const _: () = assert!(size_of::<Origin>() == 80);
