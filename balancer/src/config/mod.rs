//! The settings, validated: what the rest of the program works with. Where they come from is the business of the
//! modules below: [`table`] names every setting once, [`layers`] finds what flags, environment and file say,
//! [`resolve`] makes `Settings` of it. Nothing here opens a socket; looking at the host is [`host`]'s alone.

#[cfg(test)]
pub mod fixtures;
pub mod host;
pub mod layers;
pub mod problem;
pub mod resolve;
pub mod show;
pub mod store_url;
pub mod table;
pub mod text;
pub mod validate;

use crate::registry::ProbeSettings;
use balancer_common::abi::ServiceKind;
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use store_url::RedisUrl;

/// A port on every VIP, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    Port(u16),
    Address(SocketAddr),
}

impl Listen {
    pub fn port(&self) -> u16 {
        match self {
            Self::Port(port) => *port,
            Self::Address(address) => address.port(),
        }
    }

    /// The sockets to open for this on the given VIPs.
    pub fn on<'a>(&'a self, vips: &'a [IpAddr]) -> Box<dyn Iterator<Item = SocketAddr> + 'a> {
        match *self {
            Self::Port(port) => Box::new(vips.iter().map(move |vip| SocketAddr::new(*vip, port))),
            Self::Address(address) => Box::new(std::iter::once(address)),
        }
    }
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

/// What becomes of a publisher whose stream has one already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecondPublisher {
    /// The stream's origin decides.
    #[default]
    Origin,
    Refuse,
    Replace,
    /// It waits on another origin.
    Backup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Where WebRTC media is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub ip: IpAddr,
    pub port: Option<u16>,
}

/// Silence after which a flow is over.
#[derive(Clone, Copy, Debug)]
pub struct IdleTimes {
    pub srt: Duration,
    pub webrtc: Duration,
    pub others: Duration,
}

impl IdleTimes {
    pub const fn all(time: Duration) -> Self {
        Self { srt: time, webrtc: time, others: time }
    }
}

/// Where origins and streams are remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// By this balancer alone.
    Memory,
    /// By all that name the same one.
    Redis(RedisUrl),
}

/// What an authentication hook that does not answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFailure {
    Deny,
    Allow,
}

/// `http://HOST[:PORT]/PATH`, found to be one.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl(pub String);

/// It may carry a password.
impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.split('?').next().unwrap_or_default())
    }
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub interfaces: Vec<String>,
    pub vips: Vec<IpAddr>,
    pub xdp_mode: XdpMode,
    pub pin_path: PathBuf,

    pub rtmp: Vec<Listen>,
    pub http: Vec<Listen>,
    pub api: Vec<Listen>,
    pub rtsp: Vec<Listen>,
    pub rtc: Vec<Listen>,
    pub srt: Vec<Listen>,
    /// What answers to WebRTC offers name, if not what `rtc` listens on.
    pub rtc_candidates: Vec<Candidate>,
    pub static_files: Option<PathBuf>,
    /// As many as there are keys, each with the key at its place.
    pub tls_certificates: Vec<PathBuf>,
    pub tls_keys: Vec<PathBuf>,
    /// Who may say in a PROXY protocol header whom it speaks for.
    pub proxy_protocol_from: Vec<IpNet>,

    /// Loopback, unless an address is named or networks that are not loopback may register. On a wildcard `[::]`
    /// the peers' IPv4 addresses arrive mapped: canonicalize them before looking into `allow_register`.
    pub system_api: SocketAddr,
    pub token: Option<Secret>,
    /// Networks that may register an origin without a token; empty means loopback only.
    pub allow_register: Vec<IpNet>,
    /// Networks that origins may be in; `None` means those that the host is directly connected to.
    pub origin_networks: Option<Vec<IpNet>>,
    pub default_origin: Option<DefaultOrigin>,
    pub origin_ttl: Duration,
    pub policy: Policy,
    pub probe: ProbeSettings,
    /// How long the share of an origin that is new, or back, grows.
    pub slow_start: Duration,
    /// Origins that one stream's viewers may be on.
    pub copies: usize,
    pub second_publisher: SecondPublisher,
    /// Asked before a stream is placed.
    pub auth_hook: Option<HttpUrl>,
    pub auth_timeout: Duration,
    pub auth_failure: AuthFailure,
    pub store: StoreKind,
    pub store_prefix: String,
    pub store_timeout: Duration,
    pub store_ca: Option<PathBuf>,
    /// Names this one among those that share a store.
    pub balancer_id: String,

    /// Where connections to origins leave from: of each family one at most; none: the kernel's choice.
    pub source_addresses: Vec<IpAddr>,
    pub source_ports: RangeInclusive<u16>,
    pub connect_timeout: Duration,
    pub idle_timeout: Duration,
    pub srt_idle_timeout: Duration,
    pub rtc_idle_timeout: Duration,
    pub preamble_timeout: Duration,
    /// Between two requests of one HTTP connection.
    pub keep_alive_timeout: Duration,
    pub http_head_bytes_max: usize,
    pub preamble_bytes_max: usize,
    pub handshakes_max: usize,
    pub handshakes_per_client_max: usize,
    pub http_connections_max: usize,
    pub http_connections_per_client_max: usize,
    pub relay_buffer_bytes: usize,
    pub flows_max: usize,

    /// After SIGTERM: how long hand-overs may take, and when the process ends whatever happens.
    pub grace_quit_timeout: Duration,
    pub force_quit_timeout: Duration,
    /// Program and arguments; empty: nobody is told.
    pub announce_command: Vec<String>,
    pub announce_timeout: Duration,
    /// After `down` was said at SIGTERM: how long connections are still taken.
    pub announce_grace: Duration,

    pub log_format: LogFormat,
    /// Directives of `tracing_subscriber::EnvFilter`, already found to parse.
    pub log_level: String,
}

impl Settings {
    /// The TCP ports that clients dial, with the setting that names them.
    pub fn tcp_listens(&self) -> [(&'static str, ServiceKind, &[Listen]); 4] {
        [
            ("rtmp", ServiceKind::Rtmp, &self.rtmp),
            ("http", ServiceKind::Http, &self.http),
            ("api", ServiceKind::Api, &self.api),
            ("rtsp", ServiceKind::Rtsp, &self.rtsp),
        ]
    }

    /// The UDP ports that clients dial.
    pub fn udp_listens(&self) -> [(&'static str, ServiceKind, &[Listen]); 2] {
        [("srt", ServiceKind::Srt, &self.srt), ("rtc", ServiceKind::WebRtc, &self.rtc)]
    }

    /// All of them.
    pub fn listens(&self) -> impl Iterator<Item = (&'static str, ServiceKind, &[Listen])> {
        self.tcp_listens().into_iter().chain(self.udp_listens())
    }

    pub fn idle_times(&self) -> IdleTimes {
        IdleTimes { srt: self.srt_idle_timeout, webrtc: self.rtc_idle_timeout, others: self.idle_timeout }
    }
}

impl Default for Settings {
    /// What the table says, on a host that has no interface: no VIP either.
    fn default() -> Self {
        resolve::Draft::defaults().finish()
    }
}
