//! What lies in the shelf of streams, as it was seen last, and which of them are said to be on an origin.
//!
//! An origin's record comes every few seconds, for each of hundreds: what it has to do with streams must not be looked
//! for among all of them.

use super::replica::Seen;
use crate::cluster::Version;
use crate::cluster::record::StreamRecord;
use crate::recognize::StreamKey;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

type Known = Seen<StreamRecord>;

#[derive(Default)]
pub struct KnownStreams {
    all: HashMap<Arc<StreamKey>, Known>,
    /// By the origin's id.
    on: HashMap<Arc<str>, HashSet<Arc<StreamKey>>>,
}

impl KnownStreams {
    pub fn get(&self, key: &StreamKey) -> Option<&Known> {
        self.all.get(key)
    }

    /// With the key as it is kept.
    pub fn get_key_value(&self, key: &StreamKey) -> Option<(&Arc<StreamKey>, &Known)> {
        self.all.get_key_value(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<StreamKey>, &Known)> {
        self.all.iter()
    }

    /// Those whose records name the origin.
    pub fn on(&self, origin: &str) -> impl Iterator<Item = (&Arc<StreamKey>, &Known)> {
        self.on.get(origin).into_iter().flatten().filter_map(|key| self.all.get_key_value(key))
    }

    /// Answers what was known before.
    pub fn insert(&mut self, key: &Arc<StreamKey>, known: Known) -> Option<Known> {
        let before = self.remove(key).map(|(_, known)| known);
        for origin in named(&known.record) {
            match self.on.get_mut(origin) {
                Some(on) => _ = on.insert(key.clone()),
                None => _ = self.on.insert(origin.into(), HashSet::from([key.clone()])),
            }
        }
        self.all.insert(key.clone(), known);
        before
    }

    pub fn remove(&mut self, key: &StreamKey) -> Option<(Arc<StreamKey>, Known)> {
        let (key, known) = self.all.remove_entry(key)?;
        for origin in named(&known.record) {
            self.leave(origin, &key);
        }
        Some((key, known))
    }

    /// Versions of another life of the shelf say nothing any more.
    pub fn forget_versions(&mut self) {
        for known in self.all.values_mut() {
            known.version = Version::none();
        }
    }

    fn leave(&mut self, origin: &str, key: &StreamKey) {
        if let Some(on) = self.on.get_mut(origin) {
            on.remove(key);
            if on.is_empty() {
                self.on.remove(origin);
            }
        }
    }
}

/// The origins that a stream is said to be on.
fn named(record: &StreamRecord) -> impl Iterator<Item = &str> {
    std::iter::once(record.origin.as_str()).chain(record.also_on.iter().map(|also| also.origin.as_str()))
}

#[cfg(test)]
mod tests {
    use super::super::streams::new_record;
    use super::*;

    #[test]
    fn a_stream_is_found_by_its_origin_wherever_it_moves() {
        let key: Arc<StreamKey> = Arc::new(StreamKey::new("", "live", "a").unwrap());
        let known = |origin| Known { version: Version::none(), record: new_record(&key, (origin, 1), 0) };
        let mut streams = KnownStreams::default();
        for origin in ["o1", "o2", "o2"] {
            streams.insert(&key, known(origin));
        }
        assert_eq!((streams.on("o1").count(), streams.on("o2").count(), streams.iter().count()), (0, 1, 1));
        assert!(streams.remove(&key).is_some() && streams.remove(&key).is_none());
        assert!(streams.on.is_empty());
    }
}
