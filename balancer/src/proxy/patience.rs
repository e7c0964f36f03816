//! A limit on waiting that costs next to nothing while nobody has to wait for long: the timer is set when somebody first
//! waits, and set again only when it rings too early or would ring too late. Moving the limit is an assignment.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

pub struct Patience {
    until: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub fn new(limit: Duration) -> Self {
        Self { until: Instant::now() + limit, timer: None }
    }

    /// Starts the wait anew.
    pub fn renew(&mut self, limit: Duration) {
        self.until = Instant::now() + limit;
    }

    /// Whether it is over. If not, the task is woken when it is.
    pub fn poll_over(&mut self, cx: &mut Context<'_>) -> bool {
        let until = self.until;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() > until {
            timer.as_mut().reset(until);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= until {
                return true;
            }
            timer.as_mut().reset(until);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Poll;

    async fn over(patience: &mut Patience) {
        poll_fn(|cx| if patience.poll_over(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_lasts_as_long_as_was_said_last() {
        let start = Instant::now();
        let mut patience = Patience::new(Duration::from_secs(10));
        assert!(tokio::time::timeout(Duration::from_secs(9), over(&mut patience)).await.is_err());
        patience.renew(Duration::from_secs(20));
        over(&mut patience).await;
        assert_eq!(start.elapsed().as_secs(), 29, "later than the timer was set for");
        patience.renew(Duration::from_secs(300));
        assert!(tokio::time::timeout(Duration::from_secs(1), over(&mut patience)).await.is_err());
        patience.renew(Duration::from_secs(5));
        over(&mut patience).await;
        assert_eq!(start.elapsed().as_secs(), 35, "sooner than the timer was set for");
    }
}
