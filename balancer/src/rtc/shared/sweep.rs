//! The task that writes behind, and looks for sessions that nobody has any more.

use super::super::session::Session;
use super::super::sessions::Sessions;
use super::directory::Said;
use crate::placement::hash;
use balancer_common::abi::FlowKey;
use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What could not be written is tried again.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at all records.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// For a host that is started again while its kernel goes on forwarding.
pub(super) const LEFT_MAX: Duration = Duration::from_secs(300);

impl Sessions {
    /// Runs until `stopped`. Nothing for a balancer that is alone.
    pub async fn share(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        if self.parts.store.share_of().is_none() {
            return;
        }
        let work = async {
            let mut looked_at = self.now();
            loop {
                let _ = tokio::time::timeout(WRITE_EVERY, self.wake.notified()).await;
                self.enter_all_late().await;
                if self.now().saturating_sub(looked_at) >= LOOK_EVERY {
                    looked_at = self.now();
                    self.look_for_left(looked_at);
                }
                while self.parts.store.shelf_is_up() == Some(true) && self.write_batch().await {}
            }
        };
        tokio::select! {
            () = work => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }

    async fn enter_all_late(&self) {
        let late = std::mem::take(&mut *self.late());
        for id in late {
            self.enter_late(id).await;
        }
    }

    /// Records of which no balancer that lives has the session. One of the living removes each.
    pub(super) fn look_for_left(&self, now: Duration) {
        let Some(share) = self.parts.store.share_of() else { return };
        let living = self.living();
        let mut table = self.table();
        let here: HashSet<Arc<str>> = table.shared_names().into_iter().collect();
        let mut left = Vec::new();
        for (name, known) in table.elsewhere.values_mut() {
            let Said::Session(record) = &known.said else { continue };
            // An earlier process of ours may have had it.
            let is_kept = here.contains(name) || record.carriers.iter().any(|id| living.contains(id.as_str()));
            if is_kept {
                known.left_at = None;
                continue;
            }
            let since = *known.left_at.get_or_insert(now);
            if now.saturating_sub(since) >= LEFT_MAX && is_mine(name, &share.id, &living) {
                known.is_left = true;
                left.push(name.clone());
            }
        }
        for name in left {
            self.touch(&mut table, &name);
        }
    }

    /// The other balancers that may be alive.
    pub(super) fn living(&self) -> BTreeSet<Arc<str>> {
        self.parts.store.peers().into_iter().filter(|(_, lives)| *lives != Some(false)).map(|(id, _)| id).collect()
    }

    /// The origin wants the media elsewhere from now on; the way there is looked for later.
    pub(super) fn move_late(&self, id: u32, session: &mut Session, media: SocketAddr) {
        self.leave(id, session);
        session.move_to(media, None);
        self.look_for_way(id);
    }

    /// Soon.
    pub(in super::super) fn look_for_way(&self, id: u32) {
        self.late().insert(id);
        self.wake.notify_one();
    }

    fn late(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn questions(&self) -> MutexGuard<'_, HashSet<FlowKey>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose business something is that any of them could do: rendezvous hashing.
fn is_mine(name: &str, own: &Arc<str>, living: &BTreeSet<Arc<str>>) -> bool {
    let draw = |id: &str| (hash(&[name.as_bytes(), id.as_bytes()]), id.to_owned());
    living.iter().all(|id| draw(id) < draw(own))
}
