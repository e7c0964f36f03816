//! Waiting, and how long something takes.

use anyhow::{Result, bail};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Nothing takes longer, on a machine that does anything at all.
pub const TIME_MAX: Duration = Duration::from_secs(300);

/// Until it holds; how long that was.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) -> Result<Duration> {
    let since = Instant::now();
    while !holds() {
        if since.elapsed() > TIME_MAX {
            bail!("waited for {} s in vain: {what}", TIME_MAX.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(since.elapsed())
}

/// Asks the same again and again, from a thread of its own: the longest that an answer took.
pub struct Watch {
    stop: Arc<AtomicBool>,
    longest_us: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub fn over(ask: impl Fn() + Send + 'static) -> Self {
        let (stop, longest_us) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (is_over, longest) = (stop.clone(), longest_us.clone());
        let thread = std::thread::spawn(move || {
            while !is_over.load(Relaxed) {
                let since = Instant::now();
                ask();
                longest.fetch_max(since.elapsed().as_micros() as u64, Relaxed);
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        Self { stop, longest_us, thread: Some(thread) }
    }

    pub fn longest_ms(mut self) -> f64 {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say; what it measured is counted.
            let _ = thread.join();
        }
        self.longest_us.load(Relaxed) as f64 / 1000.0
    }
}
