//! Counts the RTP packets of one stream and knows how many never came. No clock: what is missing now may still come.

use std::collections::BTreeSet;

/// Gaps that are remembered; older ones count as lost for good.
const GAPS_MAX: usize = 4096;

#[derive(Default)]
pub struct Tally {
    pub received: u64,
    first: Option<u64>,
    last: u64,
    missing: BTreeSet<u64>,
    given_up: u64,
}

impl Tally {
    /// By extended sequence number. True unless this one was there already.
    pub fn note(&mut self, number: u64) -> bool {
        let new = match self.first {
            None => {
                (self.first, self.last) = (Some(number), number);
                true
            }
            Some(_) if number > self.last => {
                self.missing.extend(self.last + 1..number);
                self.last = number;
                while self.missing.len() > GAPS_MAX {
                    self.missing.pop_first();
                    self.given_up += 1;
                }
                true
            }
            Some(_) => self.missing.remove(&number),
        };
        self.received += u64::from(new);
        new
    }

    /// Between the first and the last.
    pub fn lost(&self) -> u64 {
        self.missing.len() as u64 + self.given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_late_is_not_lost_and_what_comes_twice_counts_once() {
        let mut tally = Tally::default();
        for number in [100, 101, 105, 103, 103, 105, 99] {
            tally.note(number);
        }
        assert_eq!((tally.received, tally.lost()), (4, 2));
    }
}
