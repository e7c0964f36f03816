//! What the store says of sessions, this balancer's own among them: by name, by user name fragment and by number; and
//! which of it has to be written. Pure.

use crate::cluster::Version;
use crate::cluster::record::SessionRecord;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// As many as there may be streams. One record takes about a kilobyte; of those beyond, nothing is known here.
pub const KNOWN_MAX: usize = 131_072;

#[derive(Default)]
pub struct Directory {
    known: HashMap<Arc<str>, Known>,
    by_ufrag: HashMap<String, Arc<str>>,
    by_number: HashMap<u32, Arc<str>>,
    /// Records that may have to be written.
    dirty: BTreeSet<Arc<str>>,
    /// Sessions that were ended here, until the others know.
    over: HashSet<Arc<str>>,
}

pub struct Known {
    pub version: Version,
    pub said: Said,
    /// Since when nobody who lives has it.
    pub left_at: Option<Duration>,
    /// So long that it goes.
    pub is_left: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Session(Arc<SessionRecord>),
    /// In the format of another version: for those that know it.
    Newer,
    /// Nothing that one of us would say.
    Nonsense,
}

impl Directory {
    pub fn get(&self, name: &str) -> Option<&Known> {
        self.known.get(name)
    }

    pub fn record(&self, name: &str) -> Option<&Arc<SessionRecord>> {
        match &self.known.get(name)?.said {
            Said::Session(record) => Some(record),
            Said::Newer | Said::Nonsense => None,
        }
    }

    pub fn names(&self) -> Vec<Arc<str>> {
        self.known.keys().cloned().collect()
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = (&Arc<str>, &mut Known)> {
        self.known.iter_mut()
    }

    /// What lies there now. `false`: there is no room.
    pub fn set(&mut self, name: &Arc<str>, version: Version, said: Said) -> bool {
        let left_at = self.remove(name).and_then(|before| before.left_at);
        if self.known.len() >= KNOWN_MAX {
            return false;
        }
        if let Said::Session(record) = &said
            && !record.over
        {
            for ufrag in &record.ufrags {
                self.by_ufrag.insert(ufrag.clone(), name.clone());
            }
            self.by_number.insert(record.number, name.clone());
        }
        self.known.insert(name.clone(), Known { version, said, left_at, is_left: false });
        true
    }

    /// Nothing lies there any more.
    pub fn remove(&mut self, name: &str) -> Option<Known> {
        let known = self.known.remove(name)?;
        if let Said::Session(record) = &known.said {
            // By now another session may have them.
            for ufrag in &record.ufrags {
                if self.by_ufrag.get(ufrag).is_some_and(|of| **of == *name) {
                    self.by_ufrag.remove(ufrag);
                }
            }
            if self.by_number.get(&record.number).is_some_and(|of| **of == *name) {
                self.by_number.remove(&record.number);
            }
        }
        Some(known)
    }

    /// The session that has this user name fragment.
    pub fn named(&self, ufrag: &str) -> Option<&Arc<str>> {
        self.by_ufrag.get(ufrag).filter(|name| !self.over.contains(*name))
    }

    pub fn numbered(&self, number: u32) -> Option<&Arc<str>> {
        self.by_number.get(&number).filter(|name| !self.over.contains(*name))
    }

    /// The session is over, and the others are to hear of it. `false`: nobody knows of it, or everybody.
    pub fn end(&mut self, name: &str) -> bool {
        let is_open = |known: &&Known| matches!(&known.said, Said::Session(record) if !record.over);
        let Some((name, _)) = self.known.get_key_value(name).filter(|(_, known)| is_open(known)) else { return false };
        let name = name.clone();
        self.dirty.insert(name.clone());
        self.over.insert(name)
    }

    pub fn is_ended(&self, name: &str) -> bool {
        self.over.contains(name)
    }

    /// The others know; or the name is another session's.
    pub fn forget_end(&mut self, name: &str) {
        self.over.remove(name);
    }

    /// Its record may have to be written.
    pub fn touch(&mut self, name: &Arc<str>) {
        self.dirty.insert(name.clone());
    }

    pub fn take_touched(&mut self, how_many: usize) -> Vec<Arc<str>> {
        let mut taken = Vec::new();
        while taken.len() < how_many
            && let Some(name) = self.dirty.pop_first()
        {
            taken.push(name);
        }
        taken
    }
}
