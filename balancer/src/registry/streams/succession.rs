//! Who comes after a publisher that is gone, and which carriers are given up: what time and measurements do to them.

use super::carriers::{Carrier, SILENT, SILENT_SAME, Why};
use super::{Mapping, Publisher, Stream, StreamKey, Streams};
use crate::flow::Role;
use balancer_common::abi::Reason;
use std::time::Duration;

impl Streams {
    /// What has happened since the last call, to be counted.
    pub fn take_tally(&mut self) -> Vec<Reason> {
        std::mem::take(&mut self.tally)
    }

    /// A balancer is lost: another one may be carrying its publishers on, which it says a moment later.
    pub fn hold_successions(&mut self, until: Duration) {
        self.successions_from = self.successions_from.max(until);
    }

    /// Others have told of a stream: its publisher may be gone.
    pub fn succeed(&mut self, key: &StreamKey, now: Duration) {
        if let Some(stream) = self.get(key).filter(|s| s.mapping.is_some() && self.is_orphan(s, now)) {
            self.take_over(stream.index, now);
        }
    }

    /// Leases of carriers; publishers and edges that have fallen silent.
    pub(super) fn tick_carriers(&mut self, now: Duration) {
        let with = self.iter().filter(|s| !s.carriers.is_empty() || !s.barred.is_empty());
        let with: Vec<u32> = with.map(|s| s.index).collect();
        for index in with {
            let Some(stream) = self.slot_mut(index) else { continue };
            stream.barred.retain(|(_, until)| *until > now);
            let key = stream.key.clone();
            self.succeed(&key, now);
            let Some(stream) = self.by_index(index) else { continue };
            let over = |c: &Carrier| match c.why {
                Why::Told { .. } | Why::Heard { .. } => false,
                Why::Fetches => c.until <= now && stream.group(c.placed_on).is_none(),
                Why::Backup { .. } => c.until <= now && stream.group(c.placed_on).is_none_or(|g| g.publishers == 0),
            };
            let is_fed = stream.is_fed();
            let unfed = |c: &Carrier| {
                let unfed = stream.group(c.placed_on).filter(|g| g.players > 0).and_then(|g| g.unfed(Role::Play));
                is_fed && unfed.is_some_and(|unfed| unfed >= SILENT)
            };
            let barren: Vec<(u16, u16)> = stream.carriers.iter().filter(|c| unfed(c)).map(|c| c.placed_on).collect();
            let over: Vec<(u16, u16)> = stream.carriers.iter().filter(|c| over(c)).map(|c| c.placed_on).collect();
            for placed_on in over {
                self.drop_carrier(index, placed_on);
            }
            for placed_on in barren {
                self.bar(index, placed_on, now);
            }
        }
    }

    /// The stream goes to where another publisher waits, if there is one: its viewers come again and find it there.
    pub(super) fn take_over(&mut self, index: u32, now: Duration) -> bool {
        let Some(stream) = self.slot_mut(index) else { return false };
        let Some(Carrier { placed_on, why, .. }) = stream.successor().cloned() else { return false };
        let from = match &why {
            Why::Backup { from } => *from,
            Why::Told { .. } | Why::Fetches | Why::Heard { .. } => None,
        };
        stream.publisher = Some(Publisher { from, since: now });
        let left = stream.mapping.map(|m| m.placed_on()).filter(|placed_on| stream.group(*placed_on).is_some());
        let (origin, generation) = placed_on;
        self.map(index, Some(Mapping { origin, generation, confirmed: true }));
        if let Why::Told { clients, .. } = why {
            clients.iter().for_each(|client| self.add_client(index, placed_on, client));
        }
        if let Some(left) = left {
            self.reset_all(index, left);
        }
        self.renew(index, now);
        self.tally.push(Reason::BackupTakesOver);
        true
    }

    /// The publisher is gone, or as good as gone, while the successor's is not.
    fn is_orphan(&self, stream: &Stream, now: Duration) -> bool {
        let Some(successor) = stream.successor() else { return false };
        if !stream.is_taken() {
            return now >= self.successions_from;
        }
        let is_flow = stream.publishers() > 0 || stream.publisher_elsewhere().is_some();
        let unfed = stream.group(successor.placed_on).and_then(|g| g.unfed(Role::Publish));
        is_flow && stream.publisher_unfed(now) >= SILENT && unfed.is_some_and(|unfed| unfed < SILENT_SAME)
    }
}

impl Stream {
    /// A backup's flow is there, or an origin that says that it has a publisher of its own.
    fn successor(&self) -> Option<&Carrier> {
        let publishers = |c: &Carrier| self.group(c.placed_on).map_or(0, |g| g.publishers);
        let lives = |c: &&Carrier| match &c.why {
            Why::Backup { .. } => publishers(c) > 0,
            Why::Told { own, clients, .. } => *own && !clients.is_empty(),
            // The balancer that has it there decides.
            Why::Fetches | Why::Heard { .. } => false,
        };
        let is_backup = |c: &&Carrier| matches!(c.why, Why::Backup { .. });
        let backup = self.carriers.iter().filter(is_backup).find(lives);
        backup.or_else(|| self.carriers.iter().find(lives))
    }
}
