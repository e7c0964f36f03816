//! The settings, validated: what the rest of the program works with. Where they come from is the business of the
//! modules below.

use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// A port on every VIP, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    Port(u16),
    Address(SocketAddr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// Native where the driver has it, generic otherwise, relay when neither works.
    Auto,
    Native,
    Generic,
    /// Relay everything.
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    LeastLoad,
    Rendezvous,
    RoundRobin,
}

/// A value that shows itself nowhere but where it is used.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// An origin that needs no registration (`PROXY_DEFAULT_BACKEND_*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultOrigin {
    pub ip: IpAddr,
    pub rtmp: Option<u16>,
    pub http: Option<u16>,
    pub api: Option<u16>,
    pub rtc: Option<u16>,
    pub srt: Option<u16>,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub interfaces: Vec<String>,
    pub vips: Vec<IpAddr>,
    pub xdp_mode: XdpMode,
    pub pin_path: PathBuf,

    pub rtmp: Vec<Listen>,

    pub system_api: SocketAddr,
    pub token: Option<Secret>,
    /// Networks that may register an origin without a token; empty means loopback only.
    pub allow_register: Vec<IpNet>,
    /// Networks that origins may be in; `None` means those that the host is directly connected to.
    pub origin_networks: Option<Vec<IpNet>>,
    pub default_origin: Option<DefaultOrigin>,
    pub origin_ttl: Duration,
    pub policy: Policy,

    pub source_ports: RangeInclusive<u16>,
    pub connect_timeout: Duration,
    pub idle_timeout: Duration,
    pub preamble_timeout: Duration,
    pub preamble_bytes_max: usize,
    pub handshakes_max: usize,
    pub handshakes_per_client_max: usize,
    pub relay_buffer_bytes: usize,
    pub flows_max: usize,

    /// After SIGTERM: how long hand-overs may take, and when the process ends whatever happens.
    pub grace_quit_timeout: Duration,
    pub force_quit_timeout: Duration,
}
