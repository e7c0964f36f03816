//! Rows of limits, and of the process itself.

use super::super::access::{bounded, measured, one, single};
use super::super::{Access, Setting};
use super::{LIMITS, ROW};
use crate::config::text::*;

pub const ROWS: &[Setting] = &[
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
        name: "srt_idle_timeout",
        value: "DURATION",
        default: "10s",
        within: Some(("1s", "1h")),
        help: "The same for SRT, whose ends send keep-alives every second.",
        access: measured!(settings.srt_idle_timeout, DURATION),
        ..LIMITS
    },
    Setting {
        name: "rtc_idle_timeout",
        value: "DURATION",
        default: "30s",
        within: Some(("1s", "1h")),
        help: "The same for WebRTC, whose clients check the connection every few seconds (RFC 7675).",
        access: measured!(settings.rtc_idle_timeout, DURATION),
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
        name: "http_connections_max",
        value: "COUNT",
        default: "20000",
        within: Some(("1", "1000000")),
        help: "HTTP connections whose requests are proxied, also while they wait for the next one; more get a 503.\n\
               Each needs a file descriptor, and another one while it is answered: `balancer check` compares with the limit.",
        access: measured!(settings.http_connections_max, COUNT),
        ..LIMITS
    },
    Setting {
        name: "http_connections_per_client_max",
        value: "COUNT",
        default: "1000",
        within: Some(("1", "1000000")),
        help: "The same, for one client address.",
        access: measured!(settings.http_connections_per_client_max, COUNT),
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
        name: "announce_command",
        value: "WORD",
        unset: "nobody is told",
        example: "/usr/local/lib/balancer/announce.sh",
        help: "Program and arguments that tell a router whether to send clients here; up, down or fault is added.\n\
               No shell reads it. It runs when the balancer is ready, drains and stops, one run at a time, and again when \
               it has failed. Say the same twice and nothing may happen.",
        access: Access {
            is_list: true,
            set: |d, _, texts| {
                // Unlike other lists, this may say a word twice.
                d.settings.announce_command = texts.to_vec();
                Ok(())
            },
            get: |d| d.settings.announce_command.clone(),
        },
        ..ROW
    },
    Setting {
        name: "announce_timeout",
        value: "DURATION",
        default: "5s",
        within: Some(("100ms", "1m")),
        help: "How long a run of announce_command may take before it is ended.",
        access: measured!(settings.announce_timeout, DURATION),
        ..ROW
    },
    Setting {
        name: "announce_grace",
        value: "DURATION",
        default: "1s",
        within: Some(("0", "5m")),
        help: "After SIGTERM, once announce_command has said down: how long connections are still taken.\n\
               A router needs that long to send clients elsewhere.",
        access: measured!(settings.announce_grace, DURATION),
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
