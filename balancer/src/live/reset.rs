//! The order to reset a flow, given to the task that holds its sockets. It stays given: a task that is busy with a
//! hand-over finds it later.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::sync::Notify;

#[derive(Default)]
pub struct ResetOrder {
    given: AtomicBool,
    notify: Notify,
}

impl ResetOrder {
    pub fn give(&self) {
        self.given.store(true, Relaxed);
        self.notify.notify_one();
    }

    pub fn is_given(&self) -> bool {
        self.given.load(Relaxed)
    }

    /// Waits for the order.
    pub async fn given(&self) {
        while !self.is_given() {
            self.notify.notified().await;
        }
    }
}
