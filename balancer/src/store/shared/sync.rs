//! The task that keeps state and shelf equal: hears news, writes behind, shows that this balancer lives.

use super::super::{Clock, Store};
use crate::cluster::{Key, Kind, News, Put, ShelfError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
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
    // Each by itself: who hears very much at once must not be taken for dead, nor keep others waiting for what it writes.
    let mut tasks = JoinSet::new();
    let (hearer, writer, beater) = (store.clone(), store.clone(), store);
    tasks.spawn(async move {
        while let Some(news) = news.recv().await {
            hearer.hear_apart(&news, clock).await;
        }
    });
    tasks.spawn(async move { write_behind(&writer, clock).await });
    tasks.spawn(async move { beat(&beater, clock).await });
    tokio::select! {
        _ = tasks.join_next() => {}
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
            Ok(living) => {
                store.hear_living(&living, clock.now());
                store.answered();
            }
            Err(error) => {
                store.count_put_error(&error);
                store.hear_of_nobody();
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
            for id in store.sweep_records(clock.now()) {
                // The next look tries again.
                if share.shelf.forget_flows(&id).await.is_ok() {
                    store.change(|state| state.dirty([Key::new(Kind::Peer, id)]));
                }
            }
            share.wake.notify_one();
        }
    }
}

async fn write_behind(store: &Store, clock: Clock) {
    let Some(share) = &store.share else { return };
    loop {
        let _ = tokio::time::timeout(FLUSH_EVERY, share.wake.notified()).await;
        while store.is_up() {
            match store.write_batch(clock.now()).await {
                Batch::Last => break,
                Batch::More => {}
                // A store that is full or late is not helped by being asked again at once.
                Batch::Failed => {
                    sleep(FLUSH_EVERY).await;
                    break;
                }
            }
        }
    }
}

/// What became of what was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Batch {
    /// That was all.
    Last,
    More,
    /// The shelf has not taken all of it.
    Failed,
}

impl Store {
    fn is_up(&self) -> bool {
        self.lock().shared.as_ref().is_some_and(|replica| replica.is_up)
    }

    /// Whether the store that balancers share is reached; `None`: there is none.
    pub fn shelf_is_up(&self) -> Option<bool> {
        self.lock().shared.as_ref().map(|replica| replica.is_up)
    }

    /// What other balancers say is not heard now, or not all of it again.
    pub fn is_deaf(&self, now: Duration) -> bool {
        self.lock().shared.as_ref().is_some_and(|replica| replica.is_deaf(now))
    }

    pub(super) async fn hear_apart(&self, news: &News, clock: Clock) {
        if matches!(news, News::Whole(_)) {
            // Before its record is there: a balancer that is known and does not live is dead.
            if let Some(share) = &self.share
                && let Err(error) = share.shelf.live(&share.id, LIVES_FOR, &[]).await
            {
                self.count_put_error(&error);
            }
            // Records are read by the common clock.
            self.read_clock(clock).await;
        }
        self.hear(news, clock.now()).await;
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

    /// The shelf works, as far as can be seen: what it refuses is seen when it is written to.
    fn answered(&self) {
        if let Some(replica) = &mut self.lock().shared {
            let is_written = replica.dirty.is_empty() && replica.later.is_empty();
            replica.trouble.take_if(|trouble| is_written || !matches!(trouble, ShelfError::Refused(_)));
        }
    }

    /// Writes what is wanted.
    pub(super) async fn write_batch(&self, now: Duration) -> Batch {
        let Some(share) = &self.share else { return Batch::Last };
        let (wanted, is_more) = self.change(|state| state.take_wanted(now));
        let writes = wanted.iter().map(|w| share.shelf.put(&w.key, w.value.as_deref(), &w.seen));
        let results = futures_util::future::join_all(writes).await;
        let (mut lost, mut failed) = (Vec::new(), Vec::new());
        for (wanted, result) in wanted.into_iter().zip(results) {
            match result {
                Ok(Put::Done(version)) => self.written(wanted, version, now),
                Ok(Put::Lost(entry)) => {
                    self.lost(&entry, now);
                    lost.push(wanted.key);
                }
                Err(error) => failed.push((wanted.key, error)),
            }
        }
        for (key, error) in &failed {
            self.count_put_error(error);
            debug!(?key, %error, "a record is written later");
        }
        let batch = match () {
            () if !failed.is_empty() => Batch::Failed,
            () if is_more || !lost.is_empty() => Batch::More,
            () => Batch::Last,
        };
        self.change(|state| {
            state.dirty(lost);
            state.shared.iter_mut().for_each(|replica| replica.later.extend(failed.drain(..).map(|(key, _)| key)));
        });
        batch
    }
}
