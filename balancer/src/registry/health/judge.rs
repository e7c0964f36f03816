//! What probes mean for an origin. They say no more than connections do: an origin that is heard, or of which another
//! service answers, keeps its streams.

use super::super::endpoint::{KINDS, slot};
use super::probe::{Heard, ProbeFailure, ProbeResult, ProbeSettings};
use super::{Backoff, Health, State, Why};
use balancer_common::abi::ServiceKind;
use std::time::Duration;

/// What a probe has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    Unchanged,
    /// Its flows end.
    Died,
    Revived,
}

impl Health {
    /// When a service is to be probed; `None`: not now.
    pub fn probe_due_at(
        &mut self,
        kind: ServiceKind,
        seed: u64,
        interval: Duration,
        now: Duration,
    ) -> Option<Duration> {
        if self.is_expired() {
            return None;
        }
        self.probes[slot(kind)].due_at(seed, interval, now).filter(|at| *at <= now)
    }

    /// It is probed now; the number of the probe.
    pub fn probing(&mut self, kind: ServiceKind, now: Duration) -> u32 {
        self.probes[slot(kind)].ask(now)
    }

    /// A probe that came to nothing because of this host.
    pub fn probe_lost(&mut self, kind: ServiceKind, limits: &ProbeSettings, seed: u64, now: Duration) {
        self.probes[slot(kind)].forget(seed, limits.interval, now);
    }

    /// What services have answered, as far as they are asked.
    pub fn probes(&self) -> impl Iterator<Item = (ServiceKind, &'static str)> + '_ {
        KINDS.into_iter().filter_map(|kind| Some((kind, self.probes[slot(kind)].state()?)))
    }

    pub fn probed(
        &mut self,
        (kind, result): (ServiceKind, ProbeResult),
        limits: &ProbeSettings,
        seed: u64,
        heard_at: Option<Duration>,
        now: Duration,
    ) -> Judged {
        let at = slot(kind);
        let heard = self.probes[at].hear((kind, result), limits, seed, now);
        if self.is_expired() {
            return Judged::Unchanged;
        }
        self.worked[at] |= result.is_ok();
        let judged = match heard {
            Heard::Nothing => Judged::Unchanged,
            Heard::Risen => self.risen(kind, limits),
            Heard::Fallen { since, failure } => self.fallen((kind, failure), since, heard_at, now),
        };
        if result.is_err() {
            self.wait_for_probes(kind, limits, now);
        }
        judged
    }

    /// As long as probes fail, no client is sent to find out.
    fn wait_for_probes(&mut self, kind: ServiceKind, limits: &ProbeSettings, now: Duration) {
        let until = now + 2 * limits.interval + limits.timeout;
        if let Some(b) = &mut self.aside[slot(kind)] {
            b.retry_at = b.retry_at.max(until);
        } else if let State::Suspect(b) | State::Dead(b) = &mut self.state
            && (self.worked[slot(kind)] || !self.worked.contains(&true))
        {
            b.retry_at = b.retry_at.max(until);
        }
    }

    fn risen(&mut self, kind: ServiceKind, limits: &ProbeSettings) -> Judged {
        self.aside[slot(kind)] = None;
        // That one service answers does not bring back an origin that died of another one's silence.
        let well = |at: usize| !self.worked[at] || self.aside[at].is_some() || self.probes[at].is_well(limits.rise);
        let is_well = (0..KINDS.len()).all(well);
        match self.state {
            State::Suspect(_) | State::Dead(_) if is_well => {
                let revived = self.is_dead();
                self.rise();
                if revived { Judged::Revived } else { Judged::Unchanged }
            }
            State::Up | State::Suspect(_) | State::Dead(_) | State::Expired => Judged::Unchanged,
        }
    }

    fn fallen(
        &mut self,
        (kind, failure): (ServiceKind, ProbeFailure),
        since: Duration,
        heard_at: Option<Duration>,
        now: Duration,
    ) -> Judged {
        let at = slot(kind);
        let why = Why::Probe(kind, failure);
        let others = || (0..KINDS.len()).filter(|other| *other != at);
        // A listener that was never there, or hangs while the process answers elsewhere, is set aside alone; one that is
        // gone although it did work is the whole process.
        let alone = (!self.worked[at] && others().any(|other| self.worked[other]))
            || (failure != ProbeFailure::Refused && others().any(|other| self.probes[other].answered_since(since)));
        if alone {
            let next = Backoff::after(self.aside[at], why, now);
            let retry_at = self.aside[at].map_or(next.retry_at, |b| b.retry_at.max(next.retry_at));
            self.aside[at] = Some(Backoff { retry_at, ..next });
            return Judged::Unchanged;
        }
        let is_heard = failure != ProbeFailure::Refused && heard_at.is_some_and(|at| at > since);
        match self.state {
            State::Expired => Judged::Unchanged,
            State::Dead(b) => {
                self.state = State::Dead(b.again(why, now));
                Judged::Unchanged
            }
            State::Up if is_heard => {
                self.state = State::Suspect(Backoff::after(None, why, now));
                Judged::Unchanged
            }
            State::Suspect(b) if is_heard => {
                self.state = State::Suspect(b.again(why, now));
                Judged::Unchanged
            }
            State::Up => self.die(Backoff::after(None, why, now), now),
            State::Suspect(b) => self.die(b.again(why, now), now),
        }
    }

    fn die(&mut self, backoff: Backoff, now: Duration) -> Judged {
        self.state = State::Dead(backoff);
        self.flaps.died(now);
        Judged::Died
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::health::ConnectFailure;
    use super::ProbeFailure::{Refused, Silent, Wrong};
    use super::*;
    use ServiceKind::{Http, Rtmp};
    use proptest::prelude::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    struct Table {
        health: Health,
        limits: ProbeSettings,
        now: Duration,
        heard_at: Option<Duration>,
    }

    impl Table {
        fn new() -> Self {
            Self { health: Health::default(), limits: ProbeSettings::default(), now: s(0), heard_at: None }
        }

        fn hear(&mut self, kind: ServiceKind, result: ProbeResult) -> Judged {
            self.now += s(1);
            self.health.probing(kind, self.now);
            self.health.probed((kind, result), &self.limits, 7, self.heard_at, self.now)
        }

        fn hear_all(&mut self, kind: ServiceKind, results: &[ProbeResult]) -> Vec<Judged> {
            results.iter().map(|result| self.hear(kind, *result)).collect()
        }
    }

    const OK: ProbeResult = Ok(());

    #[test]
    fn three_failures_are_death_and_two_answers_the_return() {
        let mut t = Table::new();
        t.hear(Rtmp, OK);
        assert_eq!(
            t.hear_all(Rtmp, &[Err(Silent), Err(Silent), OK, Err(Silent), Err(Wrong), Err(Silent)]),
            [
                Judged::Unchanged,
                Judged::Unchanged,
                Judged::Unchanged,
                Judged::Unchanged,
                Judged::Unchanged,
                Judged::Died
            ]
        );
        assert_eq!(t.health.why().unwrap().text(), "rtmp probe: no answer");
        assert!(!t.health.available(Rtmp, t.now + s(10)), "no client is sent to find out");
        assert_eq!(
            t.hear_all(Rtmp, &[Err(Silent), OK, Err(Refused), OK, OK]),
            [Judged::Unchanged, Judged::Unchanged, Judged::Unchanged, Judged::Unchanged, Judged::Revived]
        );
        assert!(t.health.available(Rtmp, t.now) && t.health.why().is_none());
    }

    #[test]
    fn without_probes_clients_find_out_again() {
        let mut t = Table::new();
        t.hear_all(Rtmp, &[Err(Silent); 3]);
        assert!(t.health.is_dead() && t.health.available(Rtmp, t.now + s(60)));
    }

    #[test]
    fn an_origin_that_still_sends_keeps_its_streams_and_gets_no_new_ones() {
        let mut t = Table::new();
        t.hear(Rtmp, OK);
        t.heard_at = Some(s(1000));
        assert_eq!(t.hear_all(Rtmp, &[Err(Silent); 6]), [Judged::Unchanged; 6]);
        assert!(!t.health.is_dead() && !t.health.available(Rtmp, t.now));
        t.heard_at = Some(t.now);
        t.hear_all(Rtmp, &[Err(Silent); 2]);
        assert_eq!(t.hear(Rtmp, Err(Silent)), Judged::Died, "silent since");
    }

    #[test]
    fn a_refusal_is_believed_whatever_is_heard() {
        let mut t = Table::new();
        t.hear(Rtmp, OK);
        t.heard_at = Some(s(1000));
        assert_eq!(t.hear_all(Rtmp, &[Err(Refused); 3])[2], Judged::Died);
    }

    #[test]
    fn a_service_that_fails_beside_one_that_answers_is_set_aside_alone() {
        for worked in [false, true] {
            let mut t = Table::new();
            if worked {
                t.hear(Http, OK);
            }
            for _ in 0..3 {
                assert_eq!(t.hear(Rtmp, OK), Judged::Unchanged);
                assert_eq!(t.hear(Http, Err(Silent)), Judged::Unchanged);
            }
            assert_eq!(t.health.aside().collect::<Vec<_>>(), [Http]);
            assert!(t.health.available(Rtmp, t.now) && !t.health.available(Http, t.now));
            t.hear_all(Http, &[OK, OK]);
            assert_eq!(t.health.aside().count(), 0);
        }
    }

    #[test]
    fn an_origin_returns_when_all_that_worked_does_again() {
        let mut t = Table::new();
        t.hear_all(Http, &[OK, OK]);
        t.hear_all(Rtmp, &[OK, OK]);
        assert_eq!(t.hear_all(Rtmp, &[Err(Refused); 3])[2], Judged::Died);
        assert_eq!(t.hear_all(Http, &[OK; 5]), [Judged::Unchanged; 5]);
        assert_eq!(t.hear_all(Rtmp, &[OK, OK]), [Judged::Unchanged, Judged::Revived]);
    }

    #[test]
    fn a_clients_failure_is_not_overruled_by_another_service() {
        let mut t = Table::new();
        t.hear_all(Http, &[OK, OK]);
        t.hear_all(Rtmp, &[OK, OK]);
        assert!(t.health.failed(Rtmp, ConnectFailure::Refused, t.now, None, t.now));
        assert_eq!(t.hear(Http, OK), Judged::Unchanged);
        assert_eq!(t.health.probe_due_at(Rtmp, 7, s(5), t.now), Some(t.now - s(1)), "asked at once");
        assert_eq!(t.hear_all(Rtmp, &[OK, OK]), [Judged::Unchanged, Judged::Revived]);
    }

    #[test]
    fn who_dies_again_and_again_is_held() {
        let mut t = Table::new();
        for round in 0..3 {
            assert_eq!(t.health.held_until(), None, "{round}");
            t.hear_all(Rtmp, &[OK, OK, Err(Refused), Err(Refused), Err(Refused)]);
        }
        assert_eq!(t.hear_all(Rtmp, &[OK, OK])[1], Judged::Revived);
        assert_eq!(t.health.why(), Some(Why::Flapping));
        assert!(!t.health.is_dead() && t.health.retry_at().is_some_and(|at| at > t.now));
        t.health.tick(t.now + s(10));
        assert_eq!(t.health.why(), None);
    }

    #[test]
    fn nothing_is_asked_of_an_expired_origin() {
        let mut t = Table::new();
        t.hear(Rtmp, OK);
        t.health.expire();
        assert_eq!(t.health.probe_due_at(Rtmp, 7, s(5), t.now + s(60)), None);
        assert_eq!(t.hear_all(Rtmp, &[OK, OK]), [Judged::Unchanged; 2]);
        assert!(t.health.is_expired());
    }

    proptest! {
        #[test]
        fn deaths_and_returns_alternate_and_flapping_gets_rarer(
            steps in proptest::collection::vec((any::<bool>(), 0usize..3, 0u8..4), 1..400),
        ) {
            let mut t = Table::new();
            let mut deaths: Vec<Duration> = vec![];
            for (rtmp, failure, outcome) in steps {
                let kind = if rtmp { Rtmp } else { Http };
                let result = if outcome < 2 { OK } else { Err([Refused, Silent, Wrong][failure]) };
                let was_dead = t.health.is_dead();
                match t.hear(kind, result) {
                    Judged::Died => {
                        prop_assert!(!was_dead && t.health.is_dead());
                        deaths.push(t.now);
                    }
                    Judged::Revived => prop_assert!(was_dead && !t.health.is_dead()),
                    Judged::Unchanged => prop_assert_eq!(was_dead, t.health.is_dead()),
                }
                t.health.tick(t.now);
                if deaths.len() >= 3 && t.now < deaths[deaths.len() - 3] + s(120) && t.now < deaths[deaths.len() - 1] + s(10) {
                    prop_assert!(t.health.held_until().is_some());
                }
                if t.health.why().is_none() && !t.health.aside().any(|k| k == Rtmp) {
                    prop_assert!(t.health.available(Rtmp, t.now));
                }
            }
        }
    }
}
