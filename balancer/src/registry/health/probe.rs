//! Active probes of one service: when to ask, and how many answers in a row mean what. Pure; time is an argument.

use balancer_common::abi::ServiceKind;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeMode {
    Off,
    /// TCP listeners accept a connection. A process that hangs does so too: the kernel accepts for it.
    Connect,
    /// They answer in their protocol.
    Protocol,
}

impl ProbeMode {
    pub const ALL: [Self; 3] = [Self::Off, Self::Connect, Self::Protocol];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Connect => "connect",
            Self::Protocol => "protocol",
        }
    }
}

/// What an HTTP probe takes for a good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    pub first: u16,
    pub last: u16,
}

impl StatusRange {
    /// `200`, or `200-399`.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let [first, last] = [first, last].map(|s| s.parse::<u16>().ok().filter(|n| (100..600).contains(n)));
        Some(Self { first: first?, last: last? }).filter(|range| range.first <= range.last)
    }

    pub fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl std::fmt::Display for StatusRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// How origins are probed, unless one says otherwise for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSettings {
    pub mode: ProbeMode,
    pub interval: Duration,
    pub timeout: Duration,
    /// Answers in a row that bring an origin back, and failures in a row that end it.
    pub rise: usize,
    pub fall: usize,
    pub http_path: Arc<str>,
    pub http_status: StatusRange,
}

/// Nothing is probed.
impl Default for ProbeSettings {
    fn default() -> Self {
        Self {
            mode: ProbeMode::Off,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
            http_path: "/".into(),
            http_status: StatusRange { first: 200, last: 499 },
        }
    }
}

/// What an operator says of the probes of one origin; what is `None` is as for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeSpec {
    pub mode: Option<ProbeMode>,
    pub http_path: Option<Arc<str>>,
    pub http_status: Option<StatusRange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeFailure {
    /// By a RST, or by ICMP.
    Refused,
    /// No answer in time, or no way there.
    Silent,
    /// What answered does not speak the protocol, or is not well.
    Wrong,
}

impl ProbeFailure {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Silent => "no answer",
            Self::Wrong => "wrong answer",
        }
    }
}

pub type ProbeResult = Result<(), ProbeFailure>;

/// One service's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Probe {
    /// `None`: nobody has asked yet.
    due_at: Option<Duration>,
    under_way: bool,
    asked: u32,
    asked_at: Duration,
    has_answered: bool,
    answered_at: Option<Duration>,
    passed: usize,
    failed: usize,
    /// Failures since the last judgement, and when the first of them was asked.
    window: usize,
    window_at: Duration,
    last: Option<ProbeFailure>,
}

/// What an answer comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Wait for more.
    Nothing,
    Risen,
    /// All since then have failed.
    Fallen {
        since: Duration,
        failure: ProbeFailure,
    },
}

/// While answers change, the next is not waited for as long.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// An interval is at most a tenth longer or shorter: what began together comes apart.
const JITTER_PERCENT: u64 = 10;

impl Probe {
    /// When it is to be asked; the first time somewhere in the interval, so that many origins are not asked at once.
    pub fn due_at(&mut self, seed: u64, interval: Duration, now: Duration) -> Option<Duration> {
        let spread = || now + interval.mul_f64((scramble(seed) % 1000) as f64 / 1000.0);
        let due_at = *self.due_at.get_or_insert_with(spread);
        Some(due_at).filter(|_| !self.under_way)
    }

    /// It is asked now. The number of the question tells which of several listeners it goes to.
    pub fn ask(&mut self, now: Duration) -> u32 {
        (self.under_way, self.asked_at) = (true, now);
        self.asked = self.asked.wrapping_add(1);
        self.asked - 1
    }

    /// Nothing could be found out: this host's fault.
    pub fn forget(&mut self, seed: u64, interval: Duration, now: Duration) {
        self.under_way = false;
        self.due_at = Some(now + jittered(interval, seed ^ u64::from(self.asked)));
    }

    pub fn hear(
        &mut self,
        (kind, result): (ServiceKind, ProbeResult),
        limits: &ProbeSettings,
        seed: u64,
        now: Duration,
    ) -> Heard {
        let heard = match result {
            Ok(()) => {
                (self.has_answered, self.answered_at, self.last) = (true, Some(now), None);
                (self.failed, self.window) = (0, 0);
                self.passed = self.passed.saturating_add(1);
                if self.passed >= limits.rise { Heard::Risen } else { Heard::Nothing }
            }
            // Servers need not answer a binding request that names no session of theirs, and SRS does not: only one that
            // has done so before says something by its silence.
            Err(ProbeFailure::Silent) if kind == ServiceKind::WebRtc && !self.has_answered => Heard::Nothing,
            Err(failure) => {
                if self.window == 0 {
                    self.window_at = self.asked_at;
                }
                (self.passed, self.last) = (0, Some(failure));
                self.failed = self.failed.saturating_add(1);
                self.window += 1;
                if self.window >= limits.fall {
                    // Judged anew after as many more: what kept it alive this time may have ended by then.
                    self.window = 0;
                    Heard::Fallen { since: self.window_at, failure }
                } else {
                    Heard::Nothing
                }
            }
        };
        let changing = (1..limits.rise).contains(&self.passed) || (1..limits.fall).contains(&self.failed);
        self.forget(seed, if changing { limits.interval.min(AGAIN_AFTER) } else { limits.interval }, now);
        heard
    }

    /// A client's connection failed there: the next probe says more, at once.
    pub fn doubt(&mut self, failure: ProbeFailure, now: Duration) {
        (self.passed, self.failed) = (0, self.failed.max(1));
        self.last = Some(failure);
        self.due_at = Some(now);
    }

    /// A client was served there.
    pub fn trust(&mut self) {
        (self.failed, self.window, self.last) = (0, 0, None);
    }

    pub fn answered_since(&self, since: Duration) -> bool {
        self.answered_at.is_some_and(|at| at >= since)
    }

    /// Nothing speaks against the origin's return.
    pub fn is_well(&self, rise: usize) -> bool {
        self.failed == 0 && (self.passed >= rise || self.asked == 0 || !self.has_answered)
    }

    /// What is known of it, where it is asked.
    pub fn state(&self) -> Option<&'static str> {
        match (self.last, self.has_answered) {
            (Some(failure), _) => Some(failure.label()),
            (None, true) => Some("up"),
            (None, false) => None,
        }
    }
}

fn jittered(interval: Duration, seed: u64) -> Duration {
    let percent = 100 - JITTER_PERCENT + scramble(seed) % (2 * JITTER_PERCENT + 1);
    interval.mul_f64(percent as f64 / 100.0)
}

/// SplitMix64's mixer: seeds may differ in a bit only.
fn scramble(seed: u64) -> u64 {
    let mut h = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ (h >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ServiceKind::{Rtmp, WebRtc};

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn many_origins_are_not_asked_at_once() {
        let mut by_second = [0; 5];
        for seed in 0..200 {
            let due = Probe::default().due_at(seed, s(5), s(100)).unwrap();
            by_second[(due - s(100)).as_secs() as usize] += 1;
        }
        assert!(by_second.iter().all(|count| (20..=60).contains(count)), "{by_second:?}");
    }

    #[test]
    fn what_changes_is_asked_again_soon_and_what_is_settled_after_the_interval() {
        let limits = ProbeSettings::default();
        let mut probe = Probe::default();
        let mut after = |result| {
            probe.ask(s(100));
            assert_eq!(probe.due_at(1, limits.interval, s(100)), None, "one at a time");
            probe.hear((Rtmp, result), &limits, 1, s(100));
            probe.due_at(1, limits.interval, s(100)).unwrap() - s(100)
        };
        let soon = |pause: Duration| pause <= s(1) + s(1) / 10;
        assert!(soon(after(Ok(()))), "not risen yet");
        assert!(!soon(after(Ok(()))));
        for _ in 0..2 {
            assert!(soon(after(Err(ProbeFailure::Silent))));
        }
        assert!(!soon(after(Err(ProbeFailure::Silent))), "it has fallen: there is no hurry");
        assert!(soon(after(Ok(()))));
    }

    #[test]
    fn silence_of_webrtc_says_nothing_until_it_has_spoken() {
        let limits = ProbeSettings::default();
        let mut probe = Probe::default();
        let mut hear = |result| probe.hear((WebRtc, result), &limits, 1, s(0));
        for _ in 0..9 {
            assert_eq!(hear(Err(ProbeFailure::Silent)), Heard::Nothing);
        }
        assert_eq!(hear(Ok(())), Heard::Nothing);
        assert_eq!([0; 3].map(|_| hear(Err(ProbeFailure::Silent)))[..2], [Heard::Nothing; 2]);
        assert!(matches!(hear(Err(ProbeFailure::Refused)), Heard::Nothing), "a new window");
    }

    #[test]
    fn ranges_of_statuses_are_read_as_they_are_written() {
        for text in ["200", "200-399", "100-599"] {
            assert_eq!(StatusRange::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "2xx", "99", "600", "300-200", "200-", "-200", "200-300-400"] {
            assert_eq!(StatusRange::parse(text), None, "{text}");
        }
        assert!(StatusRange::parse("200-399").unwrap().contains(399));
    }
}
