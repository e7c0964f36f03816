//! What is known of every flow, for the API, placement and the metrics.

use crate::recognize::StreamKey;
use balancer_common::abi::ServiceKind;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Rtmp,
    Flv,
    Ts,
    Hls,
    Http,
    Srt,
    Webrtc,
    Rtsp,
}

impl Protocol {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Rtmp => "rtmp",
            Self::Flv => "flv",
            Self::Ts => "ts",
            Self::Hls => "hls",
            Self::Http => "http",
            Self::Srt => "srt",
            Self::Webrtc => "webrtc",
            Self::Rtsp => "rtsp",
        }
    }

    /// How a flow in the kernel remembers it: the number of its service, and one more for the service that speaks two.
    pub const fn number(self) -> u32 {
        match self {
            Self::Rtmp => ServiceKind::Rtmp as u32,
            Self::Flv => ServiceKind::Http as u32,
            Self::Hls | Self::Http => ServiceKind::Api as u32,
            Self::Srt => ServiceKind::Srt as u32,
            Self::Webrtc => ServiceKind::WebRtc as u32,
            Self::Rtsp => ServiceKind::Rtsp as u32,
            Self::Ts => 15,
        }
    }

    pub const fn from_number(number: u32) -> Option<Self> {
        const ALL: [Protocol; 7] = [
            Protocol::Rtmp,
            Protocol::Flv,
            Protocol::Http,
            Protocol::Srt,
            Protocol::Webrtc,
            Protocol::Rtsp,
            Protocol::Ts,
        ];
        let mut i = 0;
        while i < ALL.len() {
            if ALL[i].number() == number {
                return Some(ALL[i]);
            }
            i += 1;
        }
        None
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    Publish,
    Play,
}

impl Role {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Play => "play",
        }
    }
}

/// Who copies the bytes: nobody (the kernel rewrites packets) or user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    Kernel,
    Relay,
}

impl Path {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Relay => "relay",
        }
    }
}

/// The life of a flow; see `ARCHITECTURE.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FlowState {
    Connecting,
    Relaying,
    Holding,
    Spliced,
    Closing,
}

impl FlowState {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Relaying => "relaying",
            Self::Holding => "holding",
            Self::Spliced => "spliced",
            Self::Closing => "closing",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    pub packets: u64,
    pub bytes: u64,
}

/// One flow. Times are since an arbitrary start that every caller shares (the process's monotonic clock).
#[derive(Clone, Debug)]
pub struct FlowRecord {
    pub client: SocketAddr,
    /// For whom the client, a load balancer in front, says that it speaks. Boxed: few flows have one.
    pub announced: Option<Box<SocketAddr>>,
    pub vip: SocketAddr,
    /// Index and id of the origin in the registry.
    pub origin: u16,
    /// Low half of the origin's generation at the placement.
    pub origin_generation: u16,
    pub origin_id: Arc<str>,
    pub origin_address: SocketAddr,
    /// The balancer's own address towards the origin.
    pub source: SocketAddr,
    pub protocol: Protocol,
    pub role: Role,
    pub stream: Arc<StreamKey>,
    pub stream_index: u32,
    pub path: Path,
    pub state: FlowState,
    /// Payload. Relayed flows count reads as packets.
    pub to_origin: Counter,
    pub to_client: Counter,
    pub made_at: Duration,
    pub active_at: Duration,
}

/// All flows, by id.
#[derive(Default)]
pub struct FlowTable {
    /// Boxed: a table that doubles when it is full should double pointers, not records.
    flows: HashMap<FlowId, Box<FlowRecord>>,
    next: u64,
}

impl FlowTable {
    pub fn insert(&mut self, record: FlowRecord) -> FlowId {
        self.next += 1;
        let id = FlowId(self.next);
        self.flows.insert(id, Box::new(record));
        id
    }

    pub fn get_mut(&mut self, id: FlowId) -> Option<&mut FlowRecord> {
        self.flows.get_mut(&id).map(|record| &mut **record)
    }

    pub fn get(&self, id: FlowId) -> Option<&FlowRecord> {
        self.flows.get(&id).map(|record| &**record)
    }

    pub fn remove(&mut self, id: FlowId) -> Option<FlowRecord> {
        self.flows.remove(&id).map(|record| *record)
    }

    pub fn iter(&self) -> impl Iterator<Item = (FlowId, &FlowRecord)> {
        self.flows.iter().map(|(id, f)| (*id, &**f))
    }

    pub fn len(&self) -> usize {
        self.flows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }
}
