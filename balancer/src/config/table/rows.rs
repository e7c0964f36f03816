//! The rows. Defaults are those of the SRS documentation's quick start where it has one.

use super::access::{bounded, many, many_or_unset, measured, one, optional, several, show_all, single};
use super::{Access, Group, Setting};
use crate::config::text::*;

/// What most rows leave as it is. `access` is always replaced; it is here because a struct update needs one.
const ROW: Setting = Setting {
    name: "",
    group: Group::Process,
    value: "",
    proxy: &[],
    default: "",
    unset: "",
    example: "",
    within: None,
    choices: &[],
    secret: false,
    served: true,
    help: "",
    access: one!(settings.log_level, LOG_LEVEL),
};

const NETWORK_ROW: Setting = Setting { group: Group::Network, ..ROW };
const LISTENING: Setting =
    Setting { group: Group::Listening, value: "LISTEN", unset: "not listening", served: false, ..ROW };
const SYSTEM_API: Setting = Setting { group: Group::SystemApi, ..ROW };
const ORIGINS: Setting = Setting { group: Group::Origins, ..ROW };
const DEFAULT_ORIGIN: Setting = Setting { group: Group::DefaultOrigin, value: "PORT", ..ROW };
const LIMITS: Setting = Setting { group: Group::Limits, ..ROW };

pub static SETTINGS: &[Setting] = &[
    Setting {
        name: "interface",
        value: "NAME",
        unset: "the interface of the default route",
        example: "eth0",
        help: "Interface that faces clients or origins; give every one that does.\n\
               The fast path is attached to each. Repeat the flag, or separate names by commas.",
        access: many!(settings.interfaces, INTERFACE),
        ..NETWORK_ROW
    },
    Setting {
        name: "vip",
        value: "ADDRESS",
        unset: "the address of the first interface",
        example: "192.0.2.10",
        help: "Address that clients dial, IPv4 or IPv6.\n\
               When unset: the addresses that a listening port names, else the first interface's IPv4 address, else \
               its global IPv6 address.",
        access: many!(settings.vips, ADDRESS),
        ..NETWORK_ROW
    },
    Setting {
        name: "xdp_mode",
        value: "MODE",
        default: "auto",
        choices: XDP_MODES,
        help: "How the kernel forwards.\n\
               auto: in the driver where it can, else in the generic hook, else relay. native and generic insist. off: \
               relay everything in user space.",
        access: one!(settings.xdp_mode, XDP_MODE),
        ..NETWORK_ROW
    },
    Setting {
        name: "pin_path",
        value: "DIR",
        default: "/sys/fs/bpf/balancer",
        help: "Directory on a bpffs where programs and maps stay, so that streams survive a restart.\n\
               Two balancers on one host need two directories.",
        access: one!(settings.pin_path, ABSOLUTE_PATH),
        ..NETWORK_ROW
    },
    Setting {
        name: "source_ports",
        value: "FIRST-LAST",
        default: "20000-32767",
        help: "Ports that connections to origins leave from.\n\
               One is taken by each flow, per origin address. They must lie outside net.ipv4.ip_local_port_range, or \
               be listed in net.ipv4.ip_local_reserved_ports: the kernel must not give them to anybody else.",
        access: one!(settings.source_ports, PORT_RANGE),
        ..NETWORK_ROW
    },
    Setting {
        name: "rtmp",
        proxy: &["PROXY_RTMP_SERVER"],
        default: "1935",
        unset: "",
        served: true,
        help: "RTMP: a port on every VIP, or ADDRESS:PORT.\n\
               Repeat the flag, or separate by commas, to listen on several.",
        access: many!(settings.rtmp, LISTEN),
        ..LISTENING
    },
    Setting {
        name: "http",
        proxy: &["PROXY_HTTP_SERVER"],
        default: "8080",
        unset: "",
        served: true,
        help: "HTTP-FLV, HTTP-TS, WebSocket-FLV, HLS, DASH and static files: a port on every VIP, or ADDRESS:PORT.",
        access: many!(settings.http, LISTEN),
        ..LISTENING
    },
    Setting {
        name: "api",
        proxy: &["PROXY_HTTP_API"],
        default: "1985",
        unset: "",
        served: true,
        help: "The origins' HTTP API, answered for the whole cluster.",
        access: many!(settings.api, LISTEN),
        ..LISTENING
    },
    Setting {
        name: "rtc",
        proxy: &["PROXY_WEBRTC_SERVER"],
        example: "8000",
        help: "WebRTC media (UDP). Not served by this version.",
        access: many!(settings.rtc, LISTEN),
        ..LISTENING
    },
    Setting {
        name: "srt",
        proxy: &["PROXY_SRT_SERVER"],
        example: "10080",
        help: "SRT (UDP). Not served by this version.",
        access: many!(settings.srt, LISTEN),
        ..LISTENING
    },
    Setting {
        name: "rtsp",
        default: "8554",
        unset: "",
        served: true,
        help: "RTSP: a port on every VIP, or ADDRESS:PORT.",
        access: many!(settings.rtsp, LISTEN),
        ..LISTENING
    },
    Setting {
        name: "static_files",
        group: Group::Listening,
        value: "DIR",
        proxy: &["PROXY_STATIC_FILES"],
        unset: "none",
        example: "/var/lib/balancer/players",
        help: "Folder that the HTTP port serves beside the streams: players, a crossdomain.xml.\n\
               A path that names a stream goes to its origin in any case.",
        access: optional!(settings.static_files, PATH),
        ..ROW
    },
    Setting {
        name: "tls_certificate",
        group: Group::Listening,
        value: "FILE",
        unset: "no TLS",
        example: "/etc/balancer/tls/fullchain.pem",
        help: "Certificate chain, PEM. With one, the RTMP, HTTP, API and RTSP ports take TLS as well.\n\
               Several files: the client's server name picks, the first stands in for the rest. Read again when a file \
               changes and on SIGHUP. TLS ends in user space: such flows are relayed.",
        access: many!(settings.tls_certificates, ABSOLUTE_PATH),
        ..ROW
    },
    Setting {
        name: "tls_key",
        group: Group::Listening,
        value: "FILE",
        unset: "none",
        example: "/etc/balancer/tls/privkey.pem",
        help: "Private key of each certificate, PEM, in the same order.",
        access: many!(settings.tls_keys, ABSOLUTE_PATH),
        ..ROW
    },
    Setting {
        name: "proxy_protocol_from",
        group: Group::Listening,
        value: "NETWORK",
        unset: "nobody",
        example: "10.0.0.0/24",
        help: "Networks of load balancers in front, whose PROXY protocol header (v1 or v2) is believed.",
        access: many!(settings.proxy_protocol_from, NETWORK),
        ..ROW
    },
    Setting {
        name: "system_api",
        value: "LISTEN",
        proxy: &["PROXY_SYSTEM_API"],
        default: "12025",
        help: "Where origins register and this command asks: a port, or ADDRESS:PORT.\n\
               A bare port listens on 127.0.0.1, and on every address once allow_register names a network other than \
               loopback. (The SRS proxy always listens on every address, and anybody can register an origin there.)",
        access: one!(system_api, LISTEN_HOST),
        ..SYSTEM_API
    },
    Setting {
        name: "token",
        value: "SECRET",
        unset: "none, only addresses in allow_register may register",
        example: "",
        secret: true,
        help: "Token that permits changes through the system API.\n\
               A flag is visible to everybody on the host: prefer token_file or the environment.",
        access: optional!(settings.token, SECRET),
        ..SYSTEM_API
    },
    Setting {
        name: "token_file",
        value: "FILE",
        unset: "none",
        example: "/etc/balancer/token",
        help: "File with the token on its first line.",
        access: optional!(token_file, PATH),
        ..SYSTEM_API
    },
    Setting {
        name: "allow_register",
        value: "NETWORK",
        unset: "loopback only",
        example: "10.0.0.0/8",
        help: "Network whose addresses may register an origin without a token.\n\
               SRS cannot send a token with its heartbeat: name the origins' network here.",
        access: many!(settings.allow_register, NETWORK),
        ..SYSTEM_API
    },
    Setting {
        name: "origin_networks",
        value: "NETWORK",
        unset: "the networks that the host is directly connected to",
        example: "10.0.0.0/8",
        help: "Network that a registered origin's address must be in.",
        access: many_or_unset!(settings.origin_networks, NETWORK),
        ..ORIGINS
    },
    Setting {
        name: "origin_ttl",
        value: "DURATION",
        proxy: &["PROXY_ORIGIN_SERVER_TTL"],
        default: "30s",
        within: Some(("1s", "24h")),
        help: "How long an origin stays registered without another heartbeat.\n\
               Three missed beats are a good measure: SRS sends one every 9 s in the usual configuration.",
        access: measured!(settings.origin_ttl, DURATION),
        ..ORIGINS
    },
    Setting {
        name: "policy",
        value: "POLICY",
        default: "least-load",
        choices: POLICIES,
        help: "Which origin a new stream is placed on.\n\
               least-load: by live bandwidth and flows, against weight and capacity. rendezvous: by a hash of the \
               stream, the same on every host. round-robin: in turn.",
        access: one!(settings.policy, POLICY),
        ..ORIGINS
    },
    Setting {
        name: "auth_hook",
        value: "URL",
        unset: "everybody may publish and play",
        example: "http://127.0.0.1:8085/auth",
        help: "Asked before a stream is placed, with SRS's on_publish or on_play as JSON.\n\
               Allowed by status 200 and a body of 0 or {\"code\":0}; anything else is a refusal.",
        access: optional!(settings.auth_hook, HTTP_URL),
        ..ORIGINS
    },
    Setting {
        name: "auth_timeout",
        value: "DURATION",
        default: "2s",
        within: Some(("10ms", "1m")),
        help: "How long the answer of auth_hook may take.",
        access: measured!(settings.auth_timeout, DURATION),
        ..ORIGINS
    },
    Setting {
        name: "auth_failure",
        value: "deny|allow",
        default: "deny",
        choices: AUTH_FAILURES,
        help: "What a hook that does not answer in time means.",
        access: one!(settings.auth_failure, AUTH_FAILURE),
        ..ORIGINS
    },
    Setting {
        name: "store",
        value: "STORE",
        proxy: &["PROXY_LOAD_BALANCER_TYPE"],
        default: "memory",
        help: "Where origins and streams are remembered. This version: memory.",
        access: one!(settings.store, STORE),
        ..ORIGINS
    },
    Setting {
        name: "default_origin",
        value: "on|off",
        proxy: &["PROXY_DEFAULT_BACKEND_ENABLED"],
        default: "off",
        choices: SWITCHES,
        help: "Use the origin described below without a registration, for ever.",
        access: one!(default_origin_enabled, SWITCH),
        ..DEFAULT_ORIGIN
    },
    Setting {
        name: "default_origin_ip",
        value: "ADDRESS",
        proxy: &["PROXY_DEFAULT_BACKEND_IP"],
        default: "127.0.0.1",
        help: "Its address.",
        access: one!(default_origin.ip, ADDRESS),
        ..DEFAULT_ORIGIN
    },
    Setting {
        name: "default_origin_rtmp",
        proxy: &["PROXY_DEFAULT_BACKEND_RTMP"],
        default: "1935",
        help: "Its RTMP port.",
        access: optional!(default_origin.rtmp, PORT),
        ..DEFAULT_ORIGIN
    },
    Setting {
        name: "default_origin_http",
        proxy: &["PROXY_DEFAULT_BACKEND_HTTP"],
        unset: "none",
        example: "8080",
        help: "Its HTTP port.",
        access: optional!(default_origin.http, PORT),
        ..DEFAULT_ORIGIN
    },
    Setting {
        name: "default_origin_api",
        proxy: &["PROXY_DEFAULT_BACKEND_API"],
        default: "1985",
        help: "Its HTTP API port.",
        access: optional!(default_origin.api, PORT),
        ..DEFAULT_ORIGIN
    },
    Setting {
        name: "default_origin_rtc",
        proxy: &["PROXY_DEFAULT_BACKEND_RTC"],
        default: "8000",
        help: "Its WebRTC port (UDP).",
        access: optional!(default_origin.rtc, PORT),
        ..DEFAULT_ORIGIN
    },
    Setting {
        name: "default_origin_srt",
        proxy: &["PROXY_DEFAULT_BACKEND_SRT"],
        default: "10080",
        help: "Its SRT port (UDP).",
        access: optional!(default_origin.srt, PORT),
        ..DEFAULT_ORIGIN
    },
    Setting {
        name: "connect_timeout",
        value: "DURATION",
        default: "3500ms",
        within: Some(("10ms", "5m")),
        help: "How long an origin may take to accept a connection before another is tried. A lost SYN comes again after 1 s and 3 s.",
        access: measured!(settings.connect_timeout, DURATION),
        ..LIMITS
    },
    Setting {
        name: "idle_timeout",
        value: "DURATION",
        default: "300s",
        within: Some(("1s", "24h")),
        help: "A flow without a packet in either direction for this long is removed.",
        access: measured!(settings.idle_timeout, DURATION),
        ..LIMITS
    },
    Setting {
        name: "preamble_timeout",
        value: "DURATION",
        default: "10s",
        within: Some(("100ms", "5m")),
        help: "How long a client may take until it has said which stream it wants.",
        access: measured!(settings.preamble_timeout, DURATION),
        ..LIMITS
    },
    Setting {
        name: "keep_alive_timeout",
        value: "DURATION",
        default: "75s",
        within: Some(("100ms", "1h")),
        help: "How long an HTTP connection may stay open between two requests.",
        access: measured!(settings.keep_alive_timeout, DURATION),
        ..LIMITS
    },
    Setting {
        name: "http_head_bytes_max",
        value: "BYTES",
        default: "16KiB",
        within: Some(("1KiB", "1MiB")),
        help: "Longest request line and headers of one HTTP or RTSP request.",
        access: measured!(settings.http_head_bytes_max, BYTES),
        ..LIMITS
    },
    Setting {
        name: "preamble_bytes_max",
        value: "BYTES",
        default: "64KiB",
        within: Some(("4KiB", "16MiB")),
        help: "How many bytes a client may send until it has said which stream it wants.",
        access: measured!(settings.preamble_bytes_max, BYTES),
        ..LIMITS
    },
    Setting {
        name: "handshakes_max",
        value: "COUNT",
        default: "10000",
        within: Some(("1", "1000000")),
        help: "Clients that may be in their handshake at the same time; more are refused.\n\
               Each needs two file descriptors while it lasts: `balancer check` compares with the limit.",
        access: measured!(settings.handshakes_max, COUNT),
        ..LIMITS
    },
    Setting {
        name: "handshakes_per_client_max",
        value: "COUNT",
        default: "100",
        within: Some(("1", "1000000")),
        help: "The same, for one client address.",
        access: measured!(settings.handshakes_per_client_max, COUNT),
        ..LIMITS
    },
    Setting {
        name: "relay_buffer_bytes",
        value: "BYTES",
        default: "256KiB",
        within: Some(("4KiB", "64MiB")),
        help: "Buffer of a relayed flow, per direction.",
        access: measured!(settings.relay_buffer_bytes, BYTES),
        ..LIMITS
    },
    Setting {
        name: "flows_max",
        value: "COUNT",
        default: "500000",
        // Half of the flow tables' capacity: a flow has two halves. A unit test compares.
        within: Some(("1", "524288")),
        help: "Flows at the same time, in the kernel and relayed; more are refused.",
        access: measured!(settings.flows_max, COUNT),
        ..LIMITS
    },
    Setting {
        name: "grace_quit_timeout",
        value: "DURATION",
        proxy: &["PROXY_GRACE_QUIT_TIMEOUT"],
        default: "20s",
        within: Some(("0", "24h")),
        help: "After SIGTERM: how long flows that are still relayed may take to be handed to the kernel.\n\
               Spliced flows go on in any case.",
        access: measured!(settings.grace_quit_timeout, DURATION),
        ..ROW
    },
    Setting {
        name: "force_quit_timeout",
        value: "DURATION",
        proxy: &["PROXY_FORCE_QUIT_TIMEOUT"],
        default: "30s",
        within: Some(("0", "24h")),
        help: "After SIGTERM: when the process ends, whatever is left.",
        access: measured!(settings.force_quit_timeout, DURATION),
        ..ROW
    },
    Setting {
        name: "log_format",
        value: "FORMAT",
        default: "text",
        choices: LOG_FORMATS,
        help: "How the log is written, to standard error.",
        access: one!(settings.log_format, LOG_FORMAT),
        ..ROW
    },
    Setting {
        name: "log_level",
        value: "LEVEL",
        default: "info",
        help: "What is logged: error, warn, info, debug or trace.\n\
               Also per module: info,balancer::slowpath=debug.",
        access: one!(settings.log_level, LOG_LEVEL),
        ..ROW
    },
];
