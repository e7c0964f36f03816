//! Sessions that several balancers share: what is signalled through one is carried, renamed and ended through any.
//!
//! Every session is one record, which names the balancers that have it. It is written when they change, and holds for as
//! long as one of them lives, so that nothing has to be renewed. What others write is kept in the [`directory`], where it
//! costs neither a port nor an entry of `ICE`; a session of theirs becomes one of ours when a client names it here, or
//! when a flow of it is taken over ([`fit`] says which may). A record that goes away ends nothing: the end is written in it.

mod directory;
mod fit;
mod hear;
mod summon;
mod sweep;
#[cfg(test)]
mod tests;

pub use directory::Directory;
pub use summon::Asked;

use super::session::Session;
use super::sessions::Sessions;
use super::table::Table;
use crate::cluster::record::{RECORD_BYTES_MAX, Record, SessionRecord};
use crate::cluster::{Key, Kind, Put, ShelfError, Version};
use balancer_common::abi::Reason;
use directory::Said;
use std::sync::Arc;
use std::time::Duration;
use tracing::debug;

/// How long an answer waits until the others may know of the session: its client's first request may come to one of them,
/// and is repeated until somebody answers.
const TELL_WITHIN: Duration = Duration::from_millis(250);
/// Of records, at once.
const BATCH_MAX: usize = 64;
/// How often a lost race is run again before it is left to the task that writes behind.
const ATTEMPTS: usize = 4;

/// A write that is wanted.
struct Wanted {
    record: Option<SessionRecord>,
    seen: Version,
}

impl Sessions {
    /// A session's record is written now, for a caller who waits, but not for long.
    pub(super) async fn tell(&self, name: &Arc<str>) {
        if self.parts.store.share_of().is_none() {
            return;
        }
        if self.parts.store.shelf_is_up() == Some(true) {
            match tokio::time::timeout(TELL_WITHIN, self.write(name)).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(_) => self.parts.counters.count(Reason::StoreLate),
            }
        }
        let mut table = self.table();
        self.touch(&mut table, name);
    }

    /// A session's record is written soon.
    pub(super) fn touch(&self, table: &mut Table, name: &Arc<str>) {
        if self.parts.store.share_of().is_some() {
            table.elsewhere.touch(name);
            self.wake.notify_one();
        }
    }

    /// What waits, a batch of it. Whether there may be more.
    async fn write_batch(&self) -> bool {
        let names = self.table().elsewhere.take_touched(BATCH_MAX);
        let done = futures_util::future::join_all(names.iter().map(|name| self.write(name))).await;
        let mut table = self.table();
        for (name, _) in names.iter().zip(&done).filter(|(_, is_done)| !**is_done) {
            table.elsewhere.touch(name);
        }
        names.len() == BATCH_MAX && done.contains(&true)
    }

    /// Whether the record lies there as it is wanted.
    async fn write(&self, name: &Arc<str>) -> bool {
        let Some(share) = self.parts.store.share_of() else { return true };
        let key = Key::new(Kind::Session, name.clone());
        for _ in 0..ATTEMPTS {
            let Some(wanted) = self.wanted(name) else { return true };
            let text = wanted.record.as_ref().map(SessionRecord::text);
            if text.as_ref().is_some_and(|text| text.len() > RECORD_BYTES_MAX) {
                debug!("a session's names are too long to be shared");
                return true;
            }
            match share.shelf.put(&key, text.as_deref(), &wanted.seen).await {
                Ok(Put::Done(version)) => {
                    self.written(name, wanted, version);
                    return true;
                }
                Ok(Put::Lost(entry)) => {
                    self.parts.counters.count(Reason::RecordRaced);
                    self.changed(&entry);
                }
                Err(error) => {
                    self.parts.counters.count(match &error {
                        ShelfError::Down(_) => Reason::StoreDown,
                        ShelfError::Late => Reason::StoreLate,
                        ShelfError::Refused(_) => Reason::StoreRefused,
                    });
                    debug!(%error, "a session is told later");
                    return false;
                }
            }
        }
        false
    }

    /// How a record differs from what it should be.
    fn wanted(&self, name: &Arc<str>) -> Option<Wanted> {
        let share = self.parts.store.share_of()?;
        let living = self.living();
        let table = self.table();
        let known = table.elsewhere.get(name);
        let seen = known.map_or_else(Version::none, |known| known.version.clone());
        let said = match known.map(|known| &known.said) {
            Some(Said::Newer) => return None,
            Some(Said::Session(record)) => Some(record),
            Some(Said::Nonsense) | None => None,
        };
        let own = |id: &String| **id == *share.id;
        let record = if let Some((id, session)) = table.shared(name).and_then(|id| Some((id, table.get(id)?))) {
            let mut record = self.record_of(id, session)?;
            let before = said.filter(|record| self.is_of(record, session));
            let carriers = before.map(|before| before.carriers.clone()).unwrap_or_default();
            record.carriers = carriers.into_iter().filter(|id| own(id) || living.contains(id.as_str())).collect();
            if !record.carriers.iter().any(own) {
                record.carriers.push(share.id.to_string());
            }
            if let Some(before) = before {
                record.number = before.number;
                record.unknown = before.unknown.clone();
            }
            // What nobody would believe is not worth a quarrel.
            self.judge(name, &record).ok()?;
            Some(record)
        } else {
            let mut record = SessionRecord::clone(said?);
            record.carriers.retain(|id| !own(id));
            record.over |= table.elsewhere.is_ended(name);
            let is_left = record.carriers.is_empty() || known.is_some_and(|known| known.is_left);
            (!is_left).then_some(record)
        };
        (record.as_ref() != said.map(|said| &**said)).then_some(Wanted { record, seen })
    }

    fn written(&self, name: &Arc<str>, wanted: Wanted, version: Version) {
        let mut table = self.table();
        if table.elsewhere.get(name).is_some_and(|known| version.is_before(&known.version)) {
            return;
        }
        let Some(record) = wanted.record else {
            // Somebody may have written it again since.
            if table.elsewhere.get(name).is_some_and(|known| known.version == wanted.seen) {
                table.elsewhere.remove(name);
            }
            table.elsewhere.forget_end(name);
            return;
        };
        if record.over {
            table.elsewhere.forget_end(name);
        }
        if let Some(session) = table.shared(name).and_then(|id| table.get_mut(id))
            && session.ufrags() == record.ufrags
            && session.media == record.media
        {
            session.is_news = false;
        }
        self.keep(&mut table, name, version, Said::Session(Arc::new(record)));
    }

    fn keep(&self, table: &mut Table, name: &Arc<str>, version: Version, said: Said) {
        if !table.elsewhere.set(name, version, said) {
            self.parts.counters.count(Reason::LimitRtcSessions);
        }
    }

    /// Whether a session's record says that somebody else who lives has come to have it after us.
    pub(super) fn has_moved_on(&self, table: &Table, session: &Session) -> bool {
        let Some(share) = self.parts.store.share_of() else { return false };
        let record = session.name.as_ref().and_then(|name| table.elsewhere.record(name));
        let last = record.and_then(|record| record.carriers.last());
        last.is_some_and(|last| **last != *share.id && self.living().contains(last.as_str()))
    }
}
