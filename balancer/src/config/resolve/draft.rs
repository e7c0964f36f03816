//! Settings in the making: what the rows of the table write to.

use crate::config::table::SETTINGS;
use crate::config::*;
use ipnet::IpNet;
use std::net::{Ipv4Addr, Ipv6Addr};

/// [`Settings`], and what several rows make one field of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub settings: Settings,
    pub system_api: Listen,
    pub default_origin_enabled: bool,
    pub default_origin: DefaultOrigin,
    pub token_file: Option<PathBuf>,
}

impl Draft {
    /// The table's defaults, by the same way that everything else is parsed.
    pub fn defaults() -> Self {
        let mut draft = Self::blank();
        for row in SETTINGS.iter().filter(|row| !row.default.is_empty()) {
            let set = (row.access.set)(&mut draft, row, &[row.default.to_owned()]);
            set.expect("a unit test parses every default");
        }
        draft
    }

    pub fn finish(self) -> Settings {
        let mut settings = self.settings;
        settings.system_api = match self.system_api {
            Listen::Address(address) => address,
            Listen::Port(port) => SocketAddr::new(api_address(&settings.allow_register), port),
        };
        settings.default_origin = self.default_origin_enabled.then_some(self.default_origin);
        settings
    }

    /// Every field with something in it; the defaults replace all that have one.
    fn blank() -> Self {
        Self {
            settings: Settings {
                interfaces: Vec::new(),
                vips: Vec::new(),
                xdp_mode: XdpMode::Auto,
                pin_path: PathBuf::new(),
                rtmp: Vec::new(),
                http: Vec::new(),
                api: Vec::new(),
                rtsp: Vec::new(),
                rtc: Vec::new(),
                srt: Vec::new(),
                rtc_candidates: Vec::new(),
                static_files: None,
                tls_certificates: Vec::new(),
                tls_keys: Vec::new(),
                proxy_protocol_from: Vec::new(),
                system_api: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
                token: None,
                allow_register: Vec::new(),
                origin_networks: None,
                default_origin: None,
                origin_ttl: Duration::ZERO,
                policy: Policy::RoundRobin,
                probe: ProbeSettings::default(),
                slow_start: Duration::ZERO,
                copies: 0,
                second_publisher: SecondPublisher::Origin,
                auth_hook: None,
                auth_timeout: Duration::ZERO,
                auth_failure: AuthFailure::Allow,
                store: StoreKind::Memory,
                store_prefix: String::new(),
                store_timeout: Duration::ZERO,
                store_ca: None,
                balancer_id: String::new(),
                source_addresses: Vec::new(),
                source_ports: 0..=0,
                connect_timeout: Duration::ZERO,
                idle_timeout: Duration::ZERO,
                srt_idle_timeout: Duration::ZERO,
                rtc_idle_timeout: Duration::ZERO,
                preamble_timeout: Duration::ZERO,
                keep_alive_timeout: Duration::ZERO,
                http_head_bytes_max: 0,
                preamble_bytes_max: 0,
                handshakes_max: 0,
                handshakes_per_client_max: 0,
                http_connections_max: 0,
                http_connections_per_client_max: 0,
                relay_buffer_bytes: 0,
                flows_max: 0,
                grace_quit_timeout: Duration::ZERO,
                force_quit_timeout: Duration::ZERO,
                announce_command: Vec::new(),
                announce_timeout: Duration::ZERO,
                announce_grace: Duration::ZERO,
                log_format: LogFormat::Json,
                log_level: String::new(),
            },
            system_api: Listen::Port(0),
            default_origin_enabled: false,
            default_origin: DefaultOrigin {
                ip: Ipv4Addr::UNSPECIFIED.into(),
                rtmp: None,
                http: None,
                api: None,
                rtc: None,
                srt: None,
            },
            token_file: None,
        }
    }
}

impl From<Settings> for Draft {
    fn from(settings: Settings) -> Self {
        let defaults = Self::defaults();
        Self {
            system_api: Listen::Address(settings.system_api),
            default_origin_enabled: settings.default_origin.is_some(),
            default_origin: settings.default_origin.clone().unwrap_or(defaults.default_origin),
            settings,
            ..defaults
        }
    }
}

/// Where a bare port of the system API listens. Loopback keeps strangers out; but who lets other hosts register
/// means that they can reach it.
fn api_address(allow_register: &[IpNet]) -> IpAddr {
    let remote = || allow_register.iter().filter(|n| !n.network().is_loopback());
    if remote().next().is_none() {
        Ipv4Addr::LOCALHOST.into()
    } else if remote().any(|n| matches!(n, IpNet::V6(_))) {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    }
}
