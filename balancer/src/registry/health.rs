//! Whether an origin can be trusted with a stream, from what happens to connections. A pure state machine.
//!
//! A *refused* connection says that the process is gone: the origin is dead at once. A *time-out* may be a full accept
//! queue, a lost SYN or a lost host: the origin gets no new stream for a moment (suspect), and is dead only when a
//! second attempt, begun after the first had failed, times out too while the kernel has heard nothing from it. Live
//! streams are not thrown away because an accept queue was full.
//!
//! A service that was refused and never worked, on an origin where another did (a port that is registered but off), is
//! set aside alone: one viewer asking for it must not kill the publishers beside it.
//!
//! Probes ([`judge`]) say the same as connections do, with thresholds; whoever dies often is held back ([`flaps`]), and who
//! is new or back begins with a small share.
//!
//! Back-off doubles from 1 s to 30 s. When it has run out, one attempt is let through; others wait for its outcome.

mod flaps;
mod judge;
mod probe;

pub use judge::Judged;
pub use probe::{ProbeFailure, ProbeMode, ProbeResult, ProbeSettings, ProbeSpec, StatusRange};

use super::endpoint::{KINDS, slot};
use balancer_common::abi::ServiceKind;
use flaps::Flaps;
use probe::Probe;
use std::time::Duration;

/// Short, because a process that restarts is back within a second; the limit is the longest that a repaired origin
/// should stay idle.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// Answered by a RST: nothing listens there.
    Refused,
    /// No answer, or no way there.
    TimedOut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Refused,
    TimedOut,
    LeaseExpired,
    Probe(ServiceKind, ProbeFailure),
    /// It has died too often lately.
    Flapping,
}

/// All there are, without building texts.
macro_rules! of_probe {
    ($failure:expr, $label:literal) => {
        match $failure {
            ProbeFailure::Refused => concat!($label, " probe: refused"),
            ProbeFailure::Silent => concat!($label, " probe: no answer"),
            ProbeFailure::Wrong => concat!($label, " probe: wrong answer"),
        }
    };
}

impl Why {
    pub const fn text(self) -> &'static str {
        match self {
            Self::Refused => "connection refused",
            Self::TimedOut => "connection timed out",
            Self::LeaseExpired => "lease expired: no heartbeat",
            Self::Flapping => "held: it died too often lately",
            Self::Probe(ServiceKind::Rtmp, failure) => of_probe!(failure, "rtmp"),
            Self::Probe(ServiceKind::Http, failure) => of_probe!(failure, "http"),
            Self::Probe(ServiceKind::Api, failure) => of_probe!(failure, "api"),
            Self::Probe(ServiceKind::Srt, failure) => of_probe!(failure, "srt"),
            Self::Probe(ServiceKind::WebRtc, failure) => of_probe!(failure, "rtc"),
            Self::Probe(ServiceKind::Rtsp, failure) => of_probe!(failure, "rtsp"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Backoff {
    failures: u32,
    failed_at: Duration,
    retry_at: Duration,
    why: Why,
}

impl Backoff {
    fn after(earlier: Option<Self>, why: Why, now: Duration) -> Self {
        let failures = earlier.map_or(1, |e| e.failures.saturating_add(1));
        Self { failures, failed_at: now, retry_at: now + delay(failures), why }
    }

    /// Found by a probe: what was put off stays so.
    fn again(self, why: Why, now: Duration) -> Self {
        let next = Self::after(Some(self), why, now);
        Self { retry_at: next.retry_at.max(self.retry_at), ..next }
    }
}

fn delay(failures: u32) -> Duration {
    BACKOFF_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(BACKOFF_MAX)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Up,
    Suspect(Backoff),
    Dead(Backoff),
    Expired,
}

#[derive(Clone, Debug, Default)]
pub struct Health {
    state: State,
    /// Services that have accepted a connection.
    worked: [bool; KINDS.len()],
    /// Services set aside alone.
    aside: [Option<Backoff>; KINDS.len()],
    probes: [Probe; KINDS.len()],
    flaps: Flaps,
    /// Since when it is up; `None`: for less than a tick.
    up_at: Option<Duration>,
}

/// Of a newcomer's weight, in percent; also the steps in which it grows.
const SHARE_MIN: u32 = 10;

impl Health {
    /// No flow of it is worth keeping.
    pub fn is_dead(&self) -> bool {
        matches!(self.state, State::Dead(_) | State::Expired)
    }

    /// Why it gets no new streams.
    pub fn why(&self) -> Option<Why> {
        match self.state {
            State::Up => self.flaps.held_until().map(|_| Why::Flapping),
            State::Suspect(b) | State::Dead(b) => Some(b.why),
            State::Expired => Some(Why::LeaseExpired),
        }
    }

    /// Services that are set aside alone.
    pub fn aside(&self) -> impl Iterator<Item = ServiceKind> + '_ {
        KINDS.into_iter().filter(|kind| self.aside[slot(*kind)].is_some())
    }

    pub fn retry_at(&self) -> Option<Duration> {
        match self.state {
            State::Suspect(b) | State::Dead(b) => Some(b.retry_at),
            State::Up => self.held_until(),
            State::Expired => None,
        }
    }

    /// Until then it gets new streams only where nobody else can take them.
    pub fn held_until(&self) -> Option<Duration> {
        self.flaps.held_until()
    }

    /// How much of its weight counts, in percent: it is to fill its caches and warm up before its full share comes.
    pub fn share_percent(&self, slow_start: Duration, now: Duration) -> u32 {
        let since = self.up_at.map_or(Duration::ZERO, |at| now.saturating_sub(at));
        if since >= slow_start {
            return 100;
        }
        let percent = (since.as_millis() * 100 / slow_start.as_millis().max(1)) as u32;
        (percent / SHARE_MIN * SHARE_MIN).max(SHARE_MIN)
    }

    /// About four times a second.
    pub fn tick(&mut self, now: Duration) {
        self.flaps.tick(now);
        if !self.is_dead() {
            self.up_at.get_or_insert(now);
        }
    }

    /// Another run, other addresses, or the end of a silence: what happened says nothing about this one, except that it
    /// happened again. `ended`: flows were lost by it.
    pub fn anew(&self, ended: bool, now: Duration) -> Self {
        let mut flaps = self.flaps;
        if ended {
            flaps.died(now);
        }
        Self { flaps, ..Self::default() }
    }

    fn rise(&mut self) {
        if self.is_dead() {
            self.up_at = None;
        }
        self.state = State::Up;
    }

    /// Whether a new stream may be tried on it.
    pub fn available(&self, kind: ServiceKind, now: Duration) -> bool {
        let rested = |b: &Backoff| b.retry_at <= now;
        self.aside[slot(kind)].as_ref().is_none_or(rested)
            && match &self.state {
                State::Up => true,
                State::Suspect(b) | State::Dead(b) => rested(b),
                State::Expired => false,
            }
    }

    /// Whether a stream that it carries is better left there: it is up, or was heard since a connection timed out.
    pub fn responsive(&self, heard_at: Option<Duration>) -> bool {
        match self.state {
            State::Up => true,
            State::Suspect(b) => heard_at.is_some_and(|at| at > b.failed_at),
            State::Dead(_) | State::Expired => false,
        }
    }

    /// A connection is about to be tried: the next one waits for its outcome.
    pub fn attempted(&mut self, kind: ServiceKind, now: Duration) {
        if let State::Suspect(b) | State::Dead(b) = &mut self.state {
            b.retry_at = now + delay(b.failures);
        }
        if let Some(b) = &mut self.aside[slot(kind)] {
            b.retry_at = now + delay(b.failures);
        }
    }

    /// A service carries a connection. Answers whether the origin was dead until now.
    pub fn succeeded(&mut self, kind: ServiceKind) -> bool {
        let was_dead = self.is_dead();
        self.worked[slot(kind)] = true;
        self.aside[slot(kind)] = None;
        self.probes[slot(kind)].trust();
        match self.state {
            State::Expired => {}
            State::Up | State::Suspect(_) | State::Dead(_) => self.rise(),
        }
        was_dead && !self.is_dead()
    }

    /// A connection, tried at `tried_at`, failed. Answers whether the origin died of it.
    pub fn failed(
        &mut self,
        kind: ServiceKind,
        failure: ConnectFailure,
        tried_at: Duration,
        heard_at: Option<Duration>,
        now: Duration,
    ) -> bool {
        let at = slot(kind);
        let seen = match failure {
            ConnectFailure::Refused => ProbeFailure::Refused,
            ConnectFailure::TimedOut => ProbeFailure::Silent,
        };
        self.probes[at].doubt(seen, now);
        if failure == ConnectFailure::Refused && !self.worked[at] && self.worked.contains(&true) {
            if self.aside[at].is_none_or(|b| b.failed_at <= tried_at) {
                self.aside[at] = Some(Backoff::after(self.aside[at], Why::Refused, now));
            }
            return false;
        }
        let (next, died) = match (self.state, failure) {
            (State::Expired, _) => (State::Expired, false),
            // Of many attempts that were under way together, the first to fail speaks for all.
            (State::Dead(b), _) if tried_at < b.failed_at => (State::Dead(b), false),
            (State::Dead(b), ConnectFailure::Refused) => {
                (State::Dead(Backoff::after(Some(b), Why::Refused, now)), false)
            }
            (State::Dead(b), ConnectFailure::TimedOut) => {
                (State::Dead(Backoff::after(Some(b), Why::TimedOut, now)), false)
            }
            (State::Up, ConnectFailure::Refused) => (State::Dead(Backoff::after(None, Why::Refused, now)), true),
            (State::Suspect(b), ConnectFailure::Refused) => {
                (State::Dead(Backoff::after(Some(b), Why::Refused, now)), true)
            }
            (State::Up, ConnectFailure::TimedOut) => (State::Suspect(Backoff::after(None, Why::TimedOut, now)), false),
            (State::Suspect(b), ConnectFailure::TimedOut) if tried_at < b.failed_at => (State::Suspect(b), false),
            (State::Suspect(b), ConnectFailure::TimedOut) => {
                let next = Backoff::after(Some(b), Why::TimedOut, now);
                let heard = heard_at.is_some_and(|at| at > b.failed_at);
                if heard { (State::Suspect(next), false) } else { (State::Dead(next), true) }
            }
        };
        self.state = next;
        if died {
            self.flaps.died(now);
        }
        died
    }

    /// The lease ran out. Answers whether that is what killed it.
    pub fn expire(&mut self) -> bool {
        let died = !self.is_dead();
        self.state = State::Expired;
        died
    }

    pub fn is_expired(&self) -> bool {
        self.state == State::Expired
    }
}

#[cfg(test)]
mod tests {
    use super::ConnectFailure::{Refused, TimedOut};
    use super::*;
    use ServiceKind::{Http, Rtmp};

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_refused_connection_is_death_and_back_off_doubles_to_its_limit() {
        let mut h = Health::default();
        assert!(h.failed(Rtmp, Refused, s(0), None, s(0)));
        let mut now = s(0);
        for expected in [1, 2, 4, 8, 16, 30, 30, 30] {
            assert_eq!(h.retry_at(), Some(now + s(expected)));
            assert!(!h.available(Rtmp, now + s(expected) - Duration::from_nanos(1)));
            now += s(expected);
            assert!(h.available(Rtmp, now));
            h.attempted(Rtmp, now);
            assert!(!h.available(Rtmp, now), "one attempt at a time");
            assert!(!h.failed(Rtmp, Refused, now, None, now), "it dies once");
        }
        h.succeeded(Rtmp);
        assert!(h.available(Rtmp, now) && !h.is_dead());
        assert!(h.failed(Rtmp, Refused, now, None, now));
        assert_eq!(h.retry_at(), Some(now + s(1)), "a success starts the back-off anew");
    }

    #[test]
    fn a_time_out_is_a_suspicion_and_a_second_one_death() {
        let mut h = Health::default();
        assert!(!h.failed(Rtmp, TimedOut, s(0), None, s(3)));
        assert!(!h.is_dead() && !h.available(Rtmp, s(3)) && !h.responsive(None));
        assert!(!h.failed(Rtmp, TimedOut, s(1), None, s(4)), "it was under way already");
        assert!(h.available(Rtmp, s(4)));
        assert!(h.failed(Rtmp, TimedOut, s(4), None, s(7)));
        assert_eq!(h.why(), Some(Why::TimedOut));
    }

    #[test]
    fn an_origin_that_still_sends_is_not_killed_by_time_outs() {
        let mut h = Health::default();
        h.failed(Rtmp, TimedOut, s(0), None, s(3));
        assert!(h.responsive(Some(s(4))) && !h.responsive(Some(s(2))));
        assert!(!h.failed(Rtmp, TimedOut, s(4), Some(s(6)), s(7)));
        assert!(!h.is_dead() && !h.available(Rtmp, s(7)));
        assert!(h.failed(Rtmp, TimedOut, s(9), Some(s(6)), s(12)), "silent since");
    }

    #[test]
    fn a_service_that_never_worked_is_set_aside_alone() {
        let mut h = Health::default();
        h.succeeded(Rtmp);
        assert!(!h.failed(Http, Refused, s(0), None, s(0)));
        assert!(h.available(Rtmp, s(0)) && !h.available(Http, s(0)) && h.available(Http, s(1)));
        assert_eq!(h.aside().collect::<Vec<_>>(), [Http]);
        h.succeeded(Http);
        assert!(h.failed(Http, Refused, s(2), None, s(2)), "it did work: the process is gone");
    }

    #[test]
    fn nothing_but_a_registration_wakes_an_expired_origin() {
        let mut h = Health::default();
        assert!(h.expire() && !h.expire());
        h.succeeded(Rtmp);
        assert!(h.is_expired() && !h.available(Rtmp, s(100)) && !h.failed(Rtmp, Refused, s(1), None, s(1)));
    }
}
