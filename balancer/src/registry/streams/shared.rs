//! What other balancers have to do with a stream: they may carry it too, they hear where it has gone, and they decide.

use super::{Mapping, StreamKey, Streams, StreamsFull};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// What other balancers say of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// It is known to all: it stays as long as they say.
    pub is_known: bool,
    /// Another balancer carries its publisher, or was told of it.
    pub is_published: bool,
}

/// Streams of which others may have to hear.
#[derive(Debug, Default)]
pub(super) struct Touched {
    keys: HashSet<Arc<StreamKey>>,
    is_wanted: bool,
}

impl Touched {
    pub fn add(&mut self, key: &Arc<StreamKey>) {
        if self.is_wanted {
            self.keys.insert(key.clone());
        }
    }
}

impl Streams {
    /// From now on, somebody takes what was touched.
    pub fn share(&mut self) {
        self.touched.is_wanted = true;
    }

    /// Streams that have moved, come or gone, or whose first publisher or flow has come or last one gone, since the last
    /// call.
    pub fn take_touched(&mut self) -> HashSet<Arc<StreamKey>> {
        std::mem::take(&mut self.touched.keys)
    }

    pub fn has_touched(&self) -> bool {
        !self.touched.keys.is_empty()
    }

    /// Whether any flow of it is here.
    pub fn is_carried(&self, key: &StreamKey) -> bool {
        self.get(key).is_some_and(|stream| !stream.groups.is_empty() || stream.claim.is_some())
    }

    pub fn set_elsewhere(&mut self, key: &StreamKey, elsewhere: Elsewhere) {
        if let Some(index) = self.by_key.get(key).copied()
            && let Some(stream) = self.slot_mut(index)
        {
            stream.elsewhere_says = elsewhere;
        }
    }

    /// The others say that the stream is there. Flows of ours that are not are reset. `None`: it is nowhere.
    pub fn move_to(
        &mut self,
        key: &Arc<StreamKey>,
        mapping: Option<Mapping>,
        now: Duration,
    ) -> Result<u32, StreamsFull> {
        let index = match self.by_key.get(key.as_ref()) {
            Some(index) => *index,
            None => self.insert(key)?,
        };
        let before = self.by_index(index).and_then(|stream| stream.mapping);
        if before == mapping {
            return Ok(index);
        }
        self.map(index, mapping);
        self.renew(index, now);
        if mapping.is_some()
            && before.map(|m| m.placed_on()) != mapping.map(|m| m.placed_on())
            && let Some(stream) = self.by_index(index)
        {
            let left_behind: Vec<_> = stream.elsewhere().collect();
            self.resets.extend(left_behind);
        }
        Ok(index)
    }

    /// A choice that did not hold: as if it had never been made, where no flow has followed it.
    pub fn take_back(&mut self, key: &StreamKey, mapping: Mapping, now: Duration) {
        let Some(stream) = self.get(key).filter(|stream| stream.mapping == Some(mapping)) else { return };
        if stream.groups.iter().any(|group| group.placed_on == mapping.placed_on()) {
            return;
        }
        let index = stream.index;
        self.map(index, None);
        self.remove_if_unused(index, now);
    }
}
