//! The task that keeps state and shelf equal: hears news, writes behind, shows that this balancer lives.

use super::super::{Clock, Store};
use super::WRITES_MAX;
use crate::cluster::{Key, News, Put};
use balancer_common::abi::Reason;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

/// How often a balancer shows that it lives, and for how long that holds: a host may be busy for some seconds. Nobody's
/// packets wait for it: whoever gets them asks the shelf, whether the owner of their flow lives or not.
const BEAT_EVERY: Duration = Duration::from_secs(1);
pub const LIVES_FOR: Duration = Duration::from_secs(6);
/// What is written behind is written at least this often, should nobody have asked for it.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Beats between two looks at the common clock, and at records whose time is over.
const BEATS_PER_LOOK: u64 = 10;
const BEATS_PER_LOADS: u64 = 2;

/// Runs until `stopped`. Nothing without a shelf.
pub async fn run(store: Arc<Store>, clock: Clock, stopped: watch::Receiver<bool>) {
    let Some(share) = store.share.clone() else { return };
    let mut news = share.shelf.news();
    let mut stop = stopped.clone();
    let hear = async {
        while let Some(news) = news.recv().await {
            store.hear_apart(&news, clock).await;
        }
    };
    tokio::select! {
        () = hear => {}
        () = write_behind(&store, clock) => {}
        () = beat(&store, clock) => {}
        _ = stop.wait_for(|stopped| *stopped) => {}
    }
}

/// Shows that this balancer lives, and looks who else does.
async fn beat(store: &Store, clock: Clock) {
    let Some(share) = &store.share else { return };
    let mut every = interval(BEAT_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0u64.. {
        every.tick().await;
        let others: Vec<Arc<str>> = store.peers().into_iter().map(|(id, _)| id).collect();
        match share.shelf.live(&share.id, LIVES_FOR, &others).await {
            Ok(living) => store.hear_living(&living, clock.now()),
            Err(error) => {
                store.count_put_error(&error);
                continue;
            }
        }
        if number.is_multiple_of(BEATS_PER_LOADS)
            && let Some(loads) = store.loads_text()
        {
            // May be lost: the next one follows.
            let _ = share.shelf.tell(None, &loads).await;
        }
        if number.is_multiple_of(BEATS_PER_LOOK) {
            store.read_clock(clock).await;
            store.change(|state| state.sweep_records(clock.now()));
            share.wake.notify_one();
        }
    }
}

async fn write_behind(store: &Store, clock: Clock) {
    let Some(share) = &store.share else { return };
    loop {
        let _ = tokio::time::timeout(FLUSH_EVERY, share.wake.notified()).await;
        while store.is_up() && store.write_batch(clock.now()).await {}
    }
}

impl Store {
    fn is_up(&self) -> bool {
        self.lock().shared.as_ref().is_some_and(|replica| replica.is_up)
    }

    /// Whether the store that balancers share is reached; `None`: there is none.
    pub fn shelf_is_up(&self) -> Option<bool> {
        self.lock().shared.as_ref().map(|replica| replica.is_up)
    }

    async fn hear_apart(&self, news: &News, clock: Clock) {
        if matches!(news, News::Whole(_)) {
            // Records are read by the common clock.
            self.read_clock(clock).await;
        }
        self.hear(news, clock.now());
    }

    async fn read_clock(&self, clock: Clock) {
        let Some(share) = &self.share else { return };
        let asked_at = clock.now();
        if let Ok(common) = share.shelf.now().await {
            // Half of the way there and back.
            let at = asked_at + (clock.now() - asked_at) / 2;
            if let Some(replica) = &mut self.lock().shared {
                replica.set_clock(common, at);
            }
        }
    }

    /// Writes what is wanted. Whether there may be more.
    pub(super) async fn write_batch(&self, now: Duration) -> bool {
        let Some(share) = &self.share else { return false };
        let wanted = self.change(|state| state.take_wanted(now));
        let is_full = wanted.len() >= WRITES_MAX;
        let writes = wanted.iter().map(|w| share.shelf.put(&w.key, w.value.as_deref(), &w.seen));
        let results = futures_util::future::join_all(writes).await;
        let (mut again, mut failed) = (false, Vec::<Key>::new());
        for (wanted, result) in wanted.into_iter().zip(results) {
            match result {
                Ok(Put::Done(version)) => self.written(wanted, version, now),
                Ok(Put::Lost(entry)) => {
                    self.counters.count(Reason::RecordRaced);
                    self.hear(&News::Changed(entry), now);
                    again = true;
                    failed.push(wanted.key);
                }
                Err(error) => {
                    self.count_put_error(&error);
                    debug!(key = ?wanted.key, %error, "a record is written later");
                    failed.push(wanted.key);
                }
            }
        }
        self.change(|state| state.dirty(failed));
        is_full || again
    }
}
