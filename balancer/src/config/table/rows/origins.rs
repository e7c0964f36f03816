//! Rows of the system API and of origins.

use super::super::access::{bounded, many, many_or_unset, measured, one, optional, several, show_all, single};
use super::super::{Access, Setting};
use super::{DEFAULT_ORIGIN, ORIGINS, SYSTEM_API};
use crate::config::text::*;

pub const ROWS: &[Setting] = &[
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
        name: "copies",
        value: "COUNT",
        default: "1",
        within: Some(("1", "64")),
        help: "How many origins the viewers of one published stream are spread over.\n\
               Its own is one of them; others count that say that they have it: by hooks, because a publisher or another \
               origin brings it there, or by PUT /api/v1/streams/{key}/copies. Edges serve beside them, uncounted.",
        access: measured!(settings.copies, COUNT),
        ..ORIGINS
    },
    Setting {
        name: "second_publisher",
        value: "WHAT",
        default: "origin",
        choices: SECOND_PUBLISHERS,
        help: "What becomes of a publisher whose stream is being published.\n\
               origin: it is sent to the same origin, which decides. refuse: it is turned away, unless the first has sent \
               nothing for 5 s (2 s from the same address): then that one is dead. replace: the first is reset. backup: \
               it waits on another origin; when the first dies, viewers move there.",
        access: one!(settings.second_publisher, SECOND_PUBLISHER),
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
];
