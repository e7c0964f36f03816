//! Rows of what clients dial, and by which way they come.

use super::super::access::{many, one, optional, several, show_all, single};
use super::super::{Access, Group, Setting};
use super::{LISTENING, NETWORK_ROW, ROW};
use crate::config::text::*;

pub const ROWS: &[Setting] = &[
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
        name: "source_address",
        value: "ADDRESS",
        unset: "the kernel's choice, by its routes",
        example: "10.0.0.10",
        help: "Address that connections to origins leave from: one IPv4 and one IPv6 address.\n\
               With several balancers, it moves to another host together with the VIP, and takes the flows along; it \
               may be the VIP. Balancers that have the same one need source_ports of their own each.",
        access: many!(settings.source_addresses, ADDRESS),
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
        help: "RTMP: a port on every VIP, or ADDRESS:PORT.\n\
               Repeat the flag, or separate by commas, to listen on several.",
        access: many!(settings.rtmp, LISTEN),
        ..LISTENING
    },
    Setting {
        name: "http",
        proxy: &["PROXY_HTTP_SERVER"],
        default: "8080",
        help: "HTTP-FLV, HTTP-TS, WebSocket-FLV, HLS, DASH and static files: a port on every VIP, or ADDRESS:PORT.",
        access: many!(settings.http, LISTEN),
        ..LISTENING
    },
    Setting {
        name: "api",
        proxy: &["PROXY_HTTP_API"],
        default: "1985",
        help: "The origins' HTTP API, answered for the whole cluster.",
        access: many!(settings.api, LISTEN),
        ..LISTENING
    },
    Setting {
        name: "rtc",
        proxy: &["PROXY_WEBRTC_SERVER"],
        default: "8000",
        help: "WebRTC media (UDP): a port on every VIP, or ADDRESS:PORT.",
        access: many!(settings.rtc, LISTEN),
        ..LISTENING
    },
    Setting {
        name: "srt",
        proxy: &["PROXY_SRT_SERVER"],
        default: "10080",
        help: "SRT (UDP): a port on every VIP, or ADDRESS:PORT.",
        access: many!(settings.srt, LISTEN),
        ..LISTENING
    },
    Setting {
        name: "rtsp",
        default: "8554",
        help: "RTSP: a port on every VIP, or ADDRESS:PORT.",
        access: many!(settings.rtsp, LISTEN),
        ..LISTENING
    },
    Setting {
        name: "rtc_candidate",
        group: Group::Listening,
        value: "ADDRESS",
        unset: "the addresses of rtc",
        example: "203.0.113.5",
        help: "Address that WebRTC clients are told to send their media to, instead of those that rtc listens on: the \
               public one of a VIP behind NAT.\n\
               ADDRESS or ADDRESS:PORT; without a port, the first of rtc.",
        access: many!(settings.rtc_candidates, CANDIDATE),
        ..ROW
    },
    Setting {
        name: "static_files",
        group: Group::Listening,
        value: "DIR",
        proxy: &["PROXY_STATIC_FILES"],
        unset: "none",
        example: "/var/lib/balancer/players",
        help: "Folder that the HTTP port serves beside the streams: players, a crossdomain.xml.\n\
               A path that names a stream goes to its origin in any case.\n\
               Symbolic links in it are followed wherever they lead.",
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
];
