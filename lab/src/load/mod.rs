//! Load for measurements: many players of paced streams, one thread at each end so that the ends cost little and the
//! same whatever is between them. Every frame carries the time it was sent at, by a clock that both ends share.

mod datagrams;
mod protocol;
mod sink;
mod source;

pub use datagrams::{DatagramSink, DatagramSource};
pub use protocol::Protocol;
pub use sink::{Sink, idle, set_ups};
pub use source::Source;

use std::time::{Duration, Instant};

/// How late either end may notice that it is to stop.
const TICK: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub players: usize,
    /// One frame, sent at once: the burst.
    pub frame_bytes: usize,
    pub frames_per_second: u32,
}

impl Shape {
    pub fn bits_per_second_each(&self) -> u64 {
        self.frame_bytes as u64 * 8 * u64::from(self.frames_per_second)
    }
}

/// What came in while somebody was measuring.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    pub bytes: u64,
    /// From just before a frame was written to when its last byte was read.
    pub latencies_ns: Vec<u64>,
}

/// Time since the process first asked; the same for every thread.
fn nanos() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}
