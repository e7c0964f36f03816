//! How an endpoint is to send, what may be watched meanwhile, and what came of it.

use crate::plan::{Ending, Plan};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How many bytes may be sent by now. Shared; a test opens it when it is ready to.
#[derive(Clone, Debug)]
pub struct Gate {
    bytes: Arc<AtomicU64>,
    hurries: Arc<AtomicBool>,
}

impl Gate {
    pub fn open() -> Self {
        Self::at(u64::MAX)
    }

    pub fn at(bytes: u64) -> Self {
        Self { bytes: Arc::new(AtomicU64::new(bytes)), hurries: Arc::default() }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub fn set(&self, bytes: u64) {
        self.bytes.store(bytes, Relaxed);
    }

    /// Whatever the pace was: a test has seen what it wanted to see of streams that last.
    pub fn hurry(&self) {
        self.hurries.store(true, Relaxed);
    }
}

/// How an endpoint sends.
#[derive(Clone, Debug)]
pub struct Style {
    pub gate: Gate,
    /// Bytes in one write, or in one message.
    pub write_bytes: usize,
    pub bytes_per_second: Option<u64>,
    /// Without a byte for so long, the transfer is given up.
    pub silence_max: Duration,
}

impl Style {
    /// Bytes that may have been sent by now of a transfer that began then.
    pub fn due(&self, began: Instant) -> u64 {
        let rate = self.bytes_per_second.filter(|_| !self.gate.hurries.load(Relaxed));
        let due = rate.map_or(u64::MAX, |rate| (began.elapsed().as_secs_f64() * rate as f64) as u64);
        due.min(self.gate.bytes())
    }
}

impl Default for Style {
    fn default() -> Self {
        Self {
            gate: Gate::open(),
            write_bytes: 64 * 1024,
            bytes_per_second: None,
            silence_max: Duration::from_secs(120),
        }
    }
}

/// Counters that a test may watch while the transfer runs.
#[derive(Debug, Default)]
pub struct Progress {
    pub sent: AtomicU64,
    pub received: AtomicU64,
    pub started: AtomicBool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The other end closed in order.
    Eof,
    /// This end reset the connection, as planned.
    OwnReset,
    Reset,
    Silence,
    /// The far side said no, with this code.
    Refused(String),
    Stopped,
    Failed(String),
}

#[derive(Clone, Debug)]
pub struct Transfer {
    pub plan: Option<Plan>,
    pub sent: u64,
    pub received: u64,
    /// Where the received stream first differs from what was sent, or goes on after its end.
    pub bad_at: Option<u64>,
    pub end: End,
    /// From the start of the pump to the origin's status; clients only.
    pub status_after: Option<Duration>,
}

impl Transfer {
    pub fn failed(reason: String) -> Self {
        let end = End::Failed(reason);
        Self { plan: None, sent: 0, received: 0, bad_at: None, end, status_after: None }
    }

    /// Everything arrived, unharmed, and it ended as planned.
    pub fn is_complete(&self, end: Endpoint) -> bool {
        let Some(plan) = self.plan else { return false };
        let (sent, received) = end.totals(&plan);
        let expected = match (plan.ending, end) {
            (Ending::Fin, _) => End::Eof,
            (Ending::ClientReset, Endpoint::Client) | (Ending::OriginReset, Endpoint::Origin) => End::OwnReset,
            _ => End::Reset,
        };
        (self.sent, self.received, self.bad_at) == (sent, received, None) && self.end == expected
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Client,
    Origin,
}

impl Endpoint {
    /// Bytes to send and to receive.
    pub fn totals(self, plan: &Plan) -> (u64, u64) {
        match self {
            Self::Client => (plan.up_bytes, plan.down_bytes),
            Self::Origin => (plan.down_bytes, plan.up_bytes),
        }
    }
}
