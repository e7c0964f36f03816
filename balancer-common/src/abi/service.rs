//! `SERVICES`: which (address, port, protocol) the balancer serves. Looked up only when no flow is found.

/// VIP address, port and protocol. An IPv4 address stands in the first word, the others are 0.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ServiceKey {
    pub addr: super::Addr6,
    /// Network byte order as loaded, zero-extended.
    pub port: u32,
    /// IP protocol number; bit 8 set for IPv6.
    pub proto: u32,
}

impl ServiceKey {
    pub const IPV6: u32 = 1 << 8;
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Service {
    /// [`ServiceKind`] as a number.
    pub kind: u32,
    pub reserved: u32,
}

/// What is served on a port; also stands in a flow's flags. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum ServiceKind {
    Rtmp = 1,
    Http = 2,
    Api = 3,
    Srt = 4,
    WebRtc = 5,
    Rtsp = 6,
}

impl ServiceKind {
    pub const fn from_u32(n: u32) -> Option<Self> {
        Some(match n {
            1 => Self::Rtmp,
            2 => Self::Http,
            3 => Self::Api,
            4 => Self::Srt,
            5 => Self::WebRtc,
            6 => Self::Rtsp,
            _ => return None,
        })
    }
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: repr(C), integers only, no padding (asserted below).
    unsafe impl aya::Pod for super::ServiceKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Service {}
}

const _: () = {
    assert!(size_of::<ServiceKey>() == 24);
    assert!(size_of::<Service>() == 8);
};
