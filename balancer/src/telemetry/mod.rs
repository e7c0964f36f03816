//! The metrics: each declared once, with help, unit and bounded labels. No stream key and no client address is a label.
//!
//! Nearly all are read when they are scraped, from those who count anyway. What happens at a moment (a hand-over, a
//! registration) is told to [`Telemetry`].

mod collector;
mod facts;
#[cfg(test)]
pub mod fixtures;
mod http;
#[cfg(test)]
mod tests;

pub use facts::{Facts, Forwarded, InterfaceStatus, MapUsage};
pub use http::{HttpKind, OriginResult};

use crate::counters::Counters;
use crate::store::{Clock, Store};
use balancer_common::abi::Reason;
use collector::Scrape;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// How the metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For whoever asks for it, as Prometheus does.
    OpenMetrics,
    /// What every other reader knows: there, counters are called `_total` in their declaration too.
    Text,
}

impl Form {
    /// By the `Accept` of a request.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// From an armed splice on an idle machine (about 1.5 ms) to a relayed flow that waits long for a quiet gap.
const SPLICE_SECONDS: [f64; 14] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

type Labels = [(&'static str, &'static str); 1];

pub struct Telemetry {
    registry: Registry,
    splices: Histogram,
    registrations: Family<Labels, Counter>,
    hooks: Family<Labels, Counter>,
    denials: Counter,
    probes: Family<[(&'static str, &'static str); 2], Counter>,
    http: http::HttpCounters,
    counters: Arc<Counters>,
}

impl Telemetry {
    pub fn new(store: Arc<Store>, counters: Arc<Counters>, facts: Arc<dyn Facts>, clock: Clock) -> Self {
        let mut registry = Registry::with_prefix("balancer");
        let splices = Histogram::new(SPLICE_SECONDS);
        registry.register_with_unit(
            "splice_duration",
            "From the decision to hand a flow to the kernel until it forwards it",
            Unit::Seconds,
            splices.clone(),
        );
        let registrations = Family::<Labels, Counter>::default();
        registry.register(
            "registrations",
            "Registrations of origins, by what became of them; refused ones are in the log",
            registrations.clone(),
        );
        let hooks = Family::<Labels, Counter>::default();
        registry.register(
            "hooks",
            "Hooks that origins called, by what became of them; refused ones are in the log",
            hooks.clone(),
        );
        let denials = Counter::default();
        registry.register(
            "api_denials",
            "Requests that the system API refused because of who asked: no token, a wrong one, an address not allowed",
            denials.clone(),
        );
        let probes = Family::<[(&'static str, &'static str); 2], Counter>::default();
        registry.register(
            "probes",
            "Probes of origins' listeners, by the field of the registration that names them and what they answered",
            probes.clone(),
        );
        let http = http::HttpCounters::register(&mut registry);
        registry.register_collector(Box::new(Scrape { store, counters: counters.clone(), facts, clock }));
        Self { registry, splices, registrations, hooks, denials, probes, http, counters }
    }

    /// A flow is forwarded by the kernel now; `took` since that was decided.
    pub fn spliced(&self, took: Duration) {
        self.splices.observe(took.as_secs_f64());
    }

    /// `result` is one of a few constant words.
    pub fn registered(&self, result: &'static str) {
        self.registrations.get_or_create(&[("result", result)]).inc();
    }

    /// `result` is one of a few constant words.
    pub fn hooked(&self, result: &'static str) {
        self.hooks.get_or_create(&[("result", result)]).inc();
    }

    /// Both are one of a few constant words.
    pub fn probed(&self, service: &'static str, result: &'static str) {
        self.probes.get_or_create(&[("service", service), ("result", result)]).inc();
    }

    /// A limit was met.
    pub fn limited(&self, reason: Reason) {
        self.counters.count(reason);
    }

    pub fn denied(&self) {
        self.denials.inc();
    }

    /// A client's request was answered.
    pub fn http_answered(&self, kind: HttpKind, status: u16) {
        self.http.answered(kind, status);
    }

    /// A request was sent to an origin, or was to be.
    pub fn http_asked(&self, result: OriginResult) {
        self.http.asked(result);
    }

    /// All metrics. May block: call it where that is allowed.
    pub fn render(&self, form: Form) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        match form {
            Form::OpenMetrics => text,
            Form::Text => classic(&text),
        }
    }
}

fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // A family's help stands before its type.
    let mut help = "";
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), _, Some(line_help)) => help = line_help,
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let total = if kind == "counter" { "_total" } else { "" };
                let _ = writeln!(text, "# HELP {name}{total} {help}\n# TYPE {name}{total} {kind}");
            }
            (Some("#"), ..) => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}
