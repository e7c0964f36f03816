//! What the store tells of sessions, and what it does to those that are here.

use super::super::session::End;
use super::super::sessions::Sessions;
use super::super::table::Table;
use super::directory::Said;
use crate::cluster::record::SessionRecord;
use crate::cluster::{Entry, Kind};
use balancer_common::abi::Reason;
use std::collections::HashSet;
use std::sync::Arc;
use tracing::debug;

impl Sessions {
    /// One record has changed.
    pub fn changed(&self, entry: &Entry) {
        if entry.key.kind == Kind::Session {
            let said = entry.value.as_ref().map(|text| self.read(&entry.key.name, text));
            self.hear(&mut self.table(), entry, said);
        }
    }

    /// These are all records. Ours that are not among them are written again; others are gone.
    pub fn whole(&self, entries: &[Entry]) {
        let ours: Vec<&Entry> = entries.iter().filter(|entry| entry.key.kind == Kind::Session).collect();
        let there: HashSet<&Arc<str>> = ours.iter().map(|entry| &entry.key.name).collect();
        let mut table = self.table();
        for name in table.elsewhere.names().iter().filter(|name| !there.contains(name)) {
            table.elsewhere.remove(name);
        }
        for name in table.shared_names().iter().filter(|name| !there.contains(name)) {
            self.parts.counters.count(Reason::RecordRepaired);
            self.touch(&mut table, name);
        }
        drop(table);
        // One lock for each: the slow path waits for it.
        ours.into_iter().for_each(|entry| self.changed(entry));
    }

    fn hear(&self, table: &mut Table, entry: &Entry, said: Option<Said>) {
        let name = &entry.key.name;
        if table.elsewhere.get(name).is_some_and(|known| entry.version.is_before(&known.version)) {
            return;
        }
        match said {
            None => {
                table.elsewhere.remove(name);
                table.elsewhere.forget_end(name);
                // Nobody removes the record of a session that somebody has.
                if table.shared(name).is_some() {
                    self.touch(table, name);
                }
            }
            Some(Said::Session(record)) => {
                self.keep(table, name, entry.version.clone(), Said::Session(record.clone()));
                self.follow(table, name, &record);
            }
            Some(said) => {
                self.keep(table, name, entry.version.clone(), said);
                if table.shared(name).is_some() {
                    self.touch(table, name);
                }
            }
        }
    }

    /// What it means for the session, if that is here.
    fn follow(&self, table: &mut Table, name: &Arc<str>, record: &SessionRecord) {
        self.find_again(table, name, record);
        let Some(id) = table.shared(name) else { return };
        let Some(session) = table.get_mut(id) else { return };
        let is_other = !self.is_of(record, session);
        if is_other && session.is_news {
            return self.touch(table, name);
        }
        // Or its origin has given its name to another one since, which we had only to hear of.
        if is_other || record.over {
            if let Some(session) = table.remove(id) {
                self.finish(table, id, session, End::Told);
            }
            return;
        }
        // Who has renamed it himself and not told yet does so.
        if !session.is_news {
            let moves = session.media != record.media;
            if session.ufrags() != record.ufrags
                && let Err(error) = table.rename(id, record.ufrags.clone(), self.now())
            {
                debug!(%error, "a session keeps its names");
            }
            if let Some(session) = table.get_mut(id) {
                if moves {
                    self.move_late(id, session, record.media);
                } else {
                    self.write_names(id, session);
                }
            }
        }
        let own = self.parts.store.share_of().map(|share| &share.id);
        if !own.is_some_and(|own| record.carriers.iter().any(|id| **id == **own)) {
            self.touch(table, name);
        }
    }

    /// A session that an earlier process has left in the kernel has forgotten its resource, but not its number.
    fn find_again(&self, table: &mut Table, name: &Arc<str>, record: &SessionRecord) {
        let Some(session) = table.get(record.number) else { return };
        if session.name.is_none() && session.media == record.media && self.is_of(record, session) {
            table.share(record.number, name.clone());
            table.resource_is(record.number, record.resource.clone());
        }
    }
}
