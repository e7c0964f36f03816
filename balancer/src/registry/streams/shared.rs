//! What other balancers have to do with a stream: they may carry it too, they hear where it has gone, and they decide.

use super::carriers::{Carrier, SILENT_SAME, Why};
use super::{LINGER, Mapping, Stream, StreamKey, Streams, StreamsFull};
use crate::flow::Role;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What other balancers say of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// It is known to all: it stays as long as they say.
    pub is_known: bool,
    /// Another balancer carries its publisher, or was told of it.
    pub publisher: Option<PublisherElsewhere>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublisherElsewhere {
    /// `None`: not known.
    pub from: Option<IpAddr>,
    /// It came through a balancer, which can reset it.
    pub has_flow: bool,
    /// It has sent nothing since then.
    pub quiet_since: Option<Duration>,
}

/// An origin that carries a stream beside its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlsoOn {
    pub placed_on: (u16, u16),
    /// A second publisher waits there.
    pub is_backup: bool,
}

impl Stream {
    /// The publisher, if another balancer has it and this one has none.
    pub fn publisher_elsewhere(&self) -> Option<PublisherElsewhere> {
        self.elsewhere_says.publisher.filter(|_| self.publishers() == 0)
    }

    /// What this balancer knows that others do not.
    pub fn also_on(&self) -> impl Iterator<Item = AlsoOn> + '_ {
        self.carriers.iter().filter_map(|c| match c.why {
            Why::Told { .. } => Some(AlsoOn { placed_on: c.placed_on, is_backup: false }),
            Why::Backup { .. } => Some(AlsoOn { placed_on: c.placed_on, is_backup: true }),
            Why::Fetches | Why::Heard { .. } => None,
        })
    }
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

    /// Where others say that the stream is, beside its own origin. An origin that nobody names any more and that goes on
    /// to feed its viewers here, since perhaps only the balancer that spoke of it has gone, keeps them.
    pub fn set_also_on(&mut self, key: &StreamKey, all: &[AlsoOn], now: Duration) {
        let Some(index) = self.by_key.get(key).copied() else { return };
        let is_named = |c: &Carrier| all.iter().any(|also| also.placed_on == c.placed_on);
        while let Some(stream) = self.slot_mut(index)
            && let Some(at) = stream.carriers.iter().position(|c| matches!(c.why, Why::Heard { .. }) && !is_named(c))
        {
            let unfed = stream.group(stream.carriers[at].placed_on).and_then(|g| g.unfed(Role::Play));
            if unfed.is_some_and(|unfed| unfed < SILENT_SAME) {
                stream.carriers[at].why = Why::Fetches;
            } else {
                self.uncarry(index, at);
            }
        }
        for also in all {
            self.carry(index, also.placed_on, now, || Why::Heard { is_backup: also.is_backup });
        }
    }

    /// The others say that the stream is there, `until` a time. Flows of ours that are not are reset. `None`: it is nowhere.
    pub fn move_to(
        &mut self,
        key: &Arc<StreamKey>,
        mapping: Option<Mapping>,
        until: Duration,
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
        // For as long as they say, and not anew: of what is heard late by all, all would tell all.
        let until = until.min(now + LINGER);
        let is_ours = self.is_carried(key)
            || self.by_index(index).is_some_and(|s| s.lease_until > until || !s.carriers.is_empty());
        let is_to_be_told = is_ours || self.touched.keys.contains(key);
        self.map(index, mapping);
        if let Some(stream) = self.slot_mut(index) {
            stream.lease_until = stream.lease_until.max(until);
        }
        if !is_to_be_told {
            self.touched.keys.remove(key);
        }
        if mapping.is_some()
            && before.map(|m| m.placed_on()) != mapping.map(|m| m.placed_on())
            && let Some(stream) = self.by_index(index)
        {
            let left_behind: Vec<_> = stream.elsewhere().collect();
            self.resets.extend(left_behind);
        }
        Ok(index)
    }

    /// The same for a backup's.
    pub fn take_back_backup(&mut self, key: &StreamKey, placed_on: (u16, u16)) {
        let Some(stream) = self.get(key).filter(|stream| stream.group(placed_on).is_none()) else { return };
        let is_it = |c: &Carrier| c.placed_on == placed_on && matches!(c.why, Why::Backup { .. });
        if let (index, Some(at)) = (stream.index, stream.carriers.iter().position(is_it)) {
            self.uncarry(index, at);
        }
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
