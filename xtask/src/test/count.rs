//! How many tests passed, failed and were skipped, read from what libtest prints.

use std::ops::AddAssign;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub passed: u32,
    pub failed: u32,
    pub skipped: u32,
}

impl Count {
    pub const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    pub const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    pub const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Fed line by line with the output of `cargo test`.
#[derive(Default)]
pub struct Counter {
    total: Count,
    /// Tests that found on the way that this machine cannot run them, each with its reason.
    pub skips: Vec<String>,
}

impl Counter {
    pub fn feed(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result:") {
            self.total.passed += number_before(result, "passed");
            self.total.failed += number_before(result, "failed");
            self.total.skipped += number_before(result, "ignored");
        } else if let Some(why) = line.strip_prefix("skipped:") {
            self.skips.push(why.trim().to_owned());
        }
    }

    /// A test that said `skipped:` returned like one that passed.
    pub fn count(&self) -> Count {
        let skips = u32::try_from(self.skips.len()).unwrap_or(u32::MAX).min(self.total.passed);
        Count { passed: self.total.passed - skips, skipped: self.total.skipped + skips, ..self.total }
    }
}

fn number_before(text: &str, word: &str) -> u32 {
    let mut words = text.split_whitespace();
    let mut before = "";
    words
        .find_map(|next| {
            let found = next.trim_end_matches(';') == word;
            let number = found.then(|| before.parse().unwrap_or(0));
            before = next;
            number
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_programs_are_added() {
        let mut counter = Counter::default();
        counter.feed("test result: ok. 11 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.02s");
        counter.feed("test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1s");
        counter.feed("test a::b ... ok");
        counter.feed("skipped: no bpffs");
        assert_eq!(counter.count(), Count { passed: 13, failed: 1, skipped: 3 });
        assert_eq!(counter.skips, ["no bpffs"]);
    }
}
