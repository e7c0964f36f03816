//! Rows of how origins are looked after.

use super::super::access::{bounded, measured, one, single};
use super::super::{Access, Setting};
use super::HEALTH;
use crate::config::text::*;

pub const ROWS: &[Setting] = &[
    Setting {
        name: "probe",
        value: "off|connect|protocol",
        default: "protocol",
        choices: PROBE_MODES,
        help: "How origins are asked whether they are well, beside what their connections show.\n\
               protocol: every listener is to answer: RTMP its handshake, HTTP and the HTTP API a GET, RTSP an OPTIONS, SRT an \
               induction, WebRTC a binding request (which servers need not answer: only the silence of one that has \
               done so counts). connect: TCP listeners are to accept, which a process that hangs does, too; that is why it \
               is not the default.",
        access: one!(settings.probe.mode, PROBE_MODE),
        ..HEALTH
    },
    Setting {
        name: "probe_interval",
        value: "DURATION",
        default: "5s",
        within: Some(("100ms", "1h")),
        help: "Between two probes of one listener; 1 s while its state changes.",
        access: measured!(settings.probe.interval, DURATION),
        ..HEALTH
    },
    Setting {
        name: "probe_timeout",
        value: "DURATION",
        default: "2s",
        within: Some(("10ms", "1m")),
        help: "How long the answer to a probe may take.",
        access: measured!(settings.probe.timeout, DURATION),
        ..HEALTH
    },
    Setting {
        name: "probe_rise",
        value: "COUNT",
        default: "2",
        within: Some(("1", "100")),
        help: "Answers in a row that bring an origin back.",
        access: measured!(settings.probe.rise, COUNT),
        ..HEALTH
    },
    Setting {
        name: "probe_fall",
        value: "COUNT",
        default: "3",
        within: Some(("1", "100")),
        help: "Failures in a row after which an origin is down and its flows are reset.\n\
               One that is silent but still sends on the flows that it has keeps them, and gets no new ones. One that goes \
               down three times in two minutes is left alone for 10 s, then 20 s, up to 10 min, where others can serve.",
        access: measured!(settings.probe.fall, COUNT),
        ..HEALTH
    },
    Setting {
        name: "probe_http_path",
        value: "PATH",
        default: "/",
        help: "What HTTP probes ask for.",
        access: one!(settings.probe.http_path, REQUEST_PATH),
        ..HEALTH
    },
    Setting {
        name: "probe_http_status",
        value: "STATUS",
        default: "200-499",
        help: "The statuses that are a good answer: one, or the first and the last.\n\
               By default a 404 is one: a server without that page is well.",
        access: one!(settings.probe.http_status, STATUS_RANGE),
        ..HEALTH
    },
    Setting {
        name: "slow_start",
        value: "DURATION",
        default: "10s",
        within: Some(("0", "1h")),
        help: "How long the share of new streams grows, from a tenth to the whole, that an origin gets which is new or back.\n\
               Not with the policy rendezvous, which has to come to the same everywhere. 0: at once.",
        access: measured!(settings.slow_start, DURATION),
        ..HEALTH
    },
];
