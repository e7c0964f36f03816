//! The one clock of the process: time since a start that everybody shares, handed to the pure core as an argument.

use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now(self) -> Duration {
        self.0.elapsed()
    }
}
