//! Records of the `EVENTS` ring buffer: what user space should hear of at once, never per packet.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EventKind {
    /// The first FIN of a half-flow went by.
    Fin = 1,
    /// The first RST of a half-flow went by.
    Rst = 2,
    /// A SYN came on a finished flow: its entries stand in the way of a new connection.
    Reused = 3,
    /// The kernel made a flow of a WebRTC session; the key is the client's.
    Made = 4,
    /// A packet of a flow that is not known here came, with the key. User space answers by `FLOWS4`, `FLOWS6` or
    /// [`super::Miss`].
    Missed = 5,
}

impl EventKind {
    pub const fn from_u32(n: u32) -> Option<Self> {
        Some(match n {
            1 => Self::Fin,
            2 => Self::Rst,
            3 => Self::Reused,
            4 => Self::Made,
            5 => Self::Missed,
            _ => return None,
        })
    }
}

/// The half-flow's ingress key, or the packet's where there is none; an IPv4 address stands in the first word of each field.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Event {
    /// [`EventKind`] as a number.
    pub kind: u32,
    /// 4 or 6.
    pub family: u32,
    pub src: super::Addr6,
    pub dst: super::Addr6,
    pub ports: u32,
    pub proto: u32,
}

#[cfg(feature = "user")]
// SAFETY: repr(C), integers only, no padding (asserted below).
unsafe impl aya::Pod for Event {}

const _: () = assert!(size_of::<Event>() == 48);
