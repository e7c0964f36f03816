//! The counters of the proxied part of HTTP. They are counted for every request, so each is found by an index.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpKind {
    Playlist,
    Manifest,
    Segment,
    /// A file of the balancer's own.
    File,
    Api,
    Other,
    /// Never got so far as to be for anything.
    Refused,
}

/// What became of a request at an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginResult {
    /// By a connection that was there.
    Reused,
    Connected,
    /// No connection could be had.
    ConnectFailed,
    /// The connection ended before the answer began.
    Broken,
    /// No answer in time.
    Slow,
    /// Too many requests to the origin are under way, or this host has no connection left.
    Busy,
}

const KINDS: [(HttpKind, &str); 7] = [
    (HttpKind::Playlist, "playlist"),
    (HttpKind::Manifest, "manifest"),
    (HttpKind::Segment, "segment"),
    (HttpKind::File, "file"),
    (HttpKind::Api, "api"),
    (HttpKind::Other, "other"),
    (HttpKind::Refused, "refused"),
];
const RESULTS: [(OriginResult, &str); 6] = [
    (OriginResult::Reused, "reused"),
    (OriginResult::Connected, "connected"),
    (OriginResult::ConnectFailed, "connect_failed"),
    (OriginResult::Broken, "broken"),
    (OriginResult::Slow, "slow"),
    (OriginResult::Busy, "busy"),
];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

pub(super) struct HttpCounters {
    requests: [[Counter; CLASSES.len()]; KINDS.len()],
    origin_requests: [Counter; RESULTS.len()],
}

impl HttpCounters {
    pub fn register(registry: &mut Registry) -> Self {
        let requests = Family::<[(&'static str, &'static str); 2], Counter>::default();
        registry.register(
            "http_requests",
            "HTTP requests that were answered, by what they were for and the class of the answer's status",
            requests.clone(),
        );
        let origin_requests = Family::<[(&'static str, &'static str); 1], Counter>::default();
        registry.register(
            "http_origin_requests",
            "HTTP requests to origins, by what became of them; reused and connected have been answered",
            origin_requests.clone(),
        );
        Self {
            requests: KINDS
                .map(|(_, kind)| CLASSES.map(|code| requests.get_or_create(&[("kind", kind), ("code", code)]).clone())),
            origin_requests: RESULTS.map(|(_, label)| origin_requests.get_or_create(&[("result", label)]).clone()),
        }
    }

    pub fn answered(&self, kind: HttpKind, status: u16) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.requests[kind as usize][class].inc();
    }

    pub fn asked(&self, result: OriginResult) {
        self.origin_requests[result as usize].inc();
    }
}

const _: () = {
    let mut i = 0;
    while i < KINDS.len() {
        assert!(KINDS[i].0 as usize == i, "found by its number");
        i += 1;
    }
    let mut i = 0;
    while i < RESULTS.len() {
        assert!(RESULTS[i].0 as usize == i, "found by its number");
        i += 1;
    }
};
