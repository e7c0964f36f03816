//! The contract between the kernel and user space: map names, keys, values, numbered reasons and events.
//!
//! Every value is `repr(C)` with fixed-width integers and no implicit padding; sizes and offsets are asserted below.
//! Change any of it and [`ABI_VERSION`] goes up: a new process must not adopt maps that it would misread.

mod arrival;
mod cluster;
mod event;
mod flow;
mod ice;
mod key;
mod next_hop;
mod origin;
mod reason;
mod secret;
mod service;
mod stream;
mod track;

pub use arrival::Arrival;
pub use cluster::{Cluster, Miss, SourcePorts};
pub use event::{Event, EventKind};
pub use flow::{Flow4, Flow6, FlowFlags, Seen, Splice};
pub use ice::{IceKey, IceSession, PORT_SLOTS, PortKey, UFRAG_LEN_MAX};
pub use key::{Addr4, Addr6, FlowKey4, FlowKey6, PROTO_TCP, PROTO_UDP, swap_ports};
#[cfg(feature = "user")]
pub use key::{FlowKey, addr4, addr6, ip6, ports_of, ports_word};
pub use next_hop::NextHop;
pub use origin::{ORIGIN_ID_LEN_MAX, Origin, OriginState};
pub use reason::{REASONS, Reason, ReasonCount, ReasonKind};
pub use secret::{MINUTE_NS, SECRETS_LEN, Secret, secret_slot};
pub use service::{Service, ServiceKey, ServiceKind};
pub use stream::{STREAM_NAME_LEN_MAX, StreamName, StreamPlacement};
pub use track::{Control, ControlMode, Track};

/// Raised with every change of a layout or of a meaning.
pub const ABI_VERSION: u32 = 3;

/// Names of the pinned maps. Relied on from outside (`bpftool map dump pinned …`): never renamed.
pub mod map {
    pub const SERVICES: &str = "SERVICES";
    pub const FLOWS4: &str = "FLOWS4";
    pub const FLOWS6: &str = "FLOWS6";
    pub const TRACKS4: &str = "TRACKS4";
    pub const TRACKS6: &str = "TRACKS6";
    pub const CONTROLS: &str = "CONTROLS";
    pub const NEXT_HOPS: &str = "NEXT_HOPS";
    pub const STREAMS: &str = "STREAMS";
    pub const STREAM_NAMES: &str = "STREAM_NAMES";
    pub const ORIGINS: &str = "ORIGINS";
    pub const ICE: &str = "ICE";
    pub const PORTS4: &str = "PORTS4";
    pub const PORTS6: &str = "PORTS6";
    pub const NEIGHBOURS: &str = "NEIGHBOURS";
    pub const ARRIVALS: &str = "ARRIVALS";
    pub const SECRETS: &str = "SECRETS";
    pub const CLUSTER: &str = "CLUSTER";
    pub const SOURCES: &str = "SOURCES";
    pub const MISSES: &str = "MISSES";
    pub const DEVICES: &str = "DEVICES";
    pub const REASONS: &str = "REASONS";
    pub const EVENTS: &str = "EVENTS";
    /// Array of one [`super::ABI_VERSION`], pinned beside the rest and checked before adoption.
    pub const ABI: &str = "ABI";
    /// The one XDP program.
    pub const PROGRAM: &str = "balancer";

    /// Every map of the object, each pinned by its name.
    pub const ALL: [&str; 23] = [
        SERVICES,
        FLOWS4,
        FLOWS6,
        TRACKS4,
        TRACKS6,
        CONTROLS,
        NEXT_HOPS,
        STREAMS,
        STREAM_NAMES,
        ORIGINS,
        ICE,
        PORTS4,
        PORTS6,
        NEIGHBOURS,
        ARRIVALS,
        SECRETS,
        CLUSTER,
        SOURCES,
        MISSES,
        DEVICES,
        REASONS,
        EVENTS,
        ABI,
    ];
}

/// Capacities. Hash maps are preallocated by the kernel unless `BPF_F_NO_PREALLOC` is set; the flow tables set it.
pub mod capacity {
    pub const SERVICES: u32 = 1024;
    pub const FLOWS4: u32 = 1 << 20;
    pub const FLOWS6: u32 = 1 << 20;
    /// Two legs for each of up to 32 768 connections that are in userspace at once.
    pub const TRACKS: u32 = 1 << 16;
    pub const CONTROLS: u32 = 1 << 16;
    pub const NEXT_HOPS: u32 = 1 << 16;
    pub const STREAMS: u32 = 1 << 17;
    pub const ORIGINS: u32 = 4096;
    /// Sessions of WebRTC.
    pub const ICE: u32 = 1 << 16;
    pub const PORTS: u32 = ICE * super::PORT_SLOTS;
    pub const NEIGHBOURS: u32 = NEXT_HOPS;
    /// Clients that user space hears by UDP, the latest ones.
    pub const ARRIVALS: u32 = 1 << 14;
    /// Addresses that connections to origins leave from, each for TCP and for UDP.
    pub const SOURCES: u32 = 1024;
    /// Flows that user space is asked about, the latest ones.
    pub const MISSES: u32 = 1 << 16;
    pub const DEVICES: u32 = 64;
    /// Bytes; a power of two and a multiple of the page size.
    pub const EVENTS: u32 = 1 << 18;
}
