//! Damping: an origin that dies again and again is left alone for a time that grows. Pure; time is an argument.
//!
//! Each death resets the clients that it had, so an origin that comes back every few seconds does more harm than one that
//! is gone. It is not dead while it is held: what it carries stays, and where nobody else can take a stream, it does.

use std::time::Duration;

/// So many deaths ...
const DEATHS_MAX: usize = 3;
/// ... within this time are more than an operator's restarts.
const WINDOW: Duration = Duration::from_secs(120);
/// The first hold; each further one takes twice as long.
const HOLD_MIN: Duration = Duration::from_secs(10);
const HOLD_MAX: Duration = Duration::from_secs(600);
/// Without a death for so long after a hold, the origin has its good name back.
const QUIET: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flaps {
    /// The last deaths, the oldest first.
    deaths: [Option<Duration>; DEATHS_MAX],
    /// In a row.
    holds: u32,
    /// When the last of them ends, or ended.
    until: Option<Duration>,
    is_held: bool,
}

impl Flaps {
    pub fn died(&mut self, now: Duration) {
        self.tick(now);
        self.deaths.rotate_left(1);
        self.deaths[DEATHS_MAX - 1] = Some(now);
        let relapse = self.until.is_some_and(|until| now < until + QUIET);
        let often = self.deaths[0].is_some_and(|first| now < first + WINDOW);
        if !relapse {
            self.holds = 0;
        }
        if relapse || often {
            self.holds += 1;
            self.until = Some(now + hold(self.holds));
            self.is_held = true;
        }
    }

    /// About four times a second: a hold ends by it.
    pub fn tick(&mut self, now: Duration) {
        self.is_held &= self.until.is_some_and(|until| now < until);
    }

    /// Until when it is left alone.
    pub fn held_until(&self) -> Option<Duration> {
        self.until.filter(|_| self.is_held)
    }
}

fn hold(number: u32) -> Duration {
    HOLD_MIN.saturating_mul(1 << number.saturating_sub(1).min(16)).min(HOLD_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn two_deaths_are_forgiven_and_holds_double() {
        let mut flaps = Flaps::default();
        for at in [0, 1] {
            flaps.died(s(at));
            assert_eq!(flaps.held_until(), None);
        }
        let mut now = s(2);
        for expected in [10, 20, 40, 80, 160, 320, 600, 600] {
            flaps.died(now);
            assert_eq!(flaps.held_until(), Some(now + s(expected)));
            now += s(expected);
            flaps.tick(now);
            assert_eq!(flaps.held_until(), None);
            now += s(5);
        }
        flaps.died(now + QUIET);
        assert_eq!(flaps.held_until(), None, "it was well for long");
    }

    #[test]
    fn deaths_far_apart_are_no_flapping() {
        let mut flaps = Flaps::default();
        for minute in 0..100 {
            flaps.died(s(61 * minute));
            assert_eq!(flaps.held_until(), None);
        }
    }

    proptest! {
        #[test]
        fn no_hold_is_longer_than_the_limit_and_none_ends_late(gaps in proptest::collection::vec(0u64..700, 1..60)) {
            let (mut flaps, mut now) = (Flaps::default(), s(0));
            for gap in gaps {
                now += s(gap);
                flaps.died(now);
                if let Some(until) = flaps.held_until() {
                    prop_assert!(until >= now + HOLD_MIN && until <= now + HOLD_MAX);
                    let mut later = flaps;
                    later.tick(until);
                    prop_assert_eq!(later.held_until(), None);
                }
            }
        }
    }
}
