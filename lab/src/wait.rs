//! Waiting for a condition, never for a time: poll until it holds or a deadline passes, and fail loudly.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);

/// Polls `condition` until it gives a value. The error names what was waited for.
pub fn wait_for<T>(what: &str, within: Duration, mut condition: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("waited {} s in vain for: {what}", within.as_secs());
        }
        std::thread::sleep(POLL);
    }
}

/// The same for a plain yes or no.
pub fn wait_until(what: &str, within: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    wait_for(what, within, || condition().then_some(()))
}
