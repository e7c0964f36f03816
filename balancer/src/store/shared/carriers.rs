//! Who publishes a stream and where else it is, in the words of records: copies that one balancer was told of serve the
//! viewers of all, and a backup that waits through one takes over for all. It is the balancer that has the backup's flow
//! that moves the stream; the others follow its record.

use super::super::State;
use super::replica::Replica;
use crate::cluster::record::{AlsoOnRecord, PublisherRecord, StreamRecord, Unknown};
use crate::config::SecondPublisher;
use crate::recognize::StreamKey;
use crate::registry::{AlsoOn, CARRIERS_MAX, PublisherElsewhere, Stream};
use std::time::Duration;

/// How long after a balancer is lost its publishers may still come to show at another one, which carries them on.
pub const CARRIED_ON_WITHIN: Duration = Duration::from_secs(5);

impl State {
    /// Who its publisher is. Of two the other balancer's was first: which origin the stream is on has been settled.
    pub(super) fn say_publisher(
        &self,
        replica: &Replica,
        stream: Option<&Stream>,
        record: &mut StreamRecord,
        now: Duration,
    ) {
        let own = &*replica.id;
        if record.publisher.as_ref().is_some_and(|p| p.at != *own && replica.may_live(&p.at)) {
            return;
        }
        let said = record.publisher.take().filter(|p| p.at == *own);
        let Some(stream) = stream.filter(|stream| is_published_here(stream)) else { return };
        let is_judged = !matches!(self.placer.sharing().second_publisher, SecondPublisher::Origin);
        let quiet = is_judged.then(|| stream.publisher_unfed(now)).filter(|_| stream.is_quiet());
        // When that was is said once: it is measured in whole seconds.
        let quiet_since_ms = quiet.map(|quiet| {
            let before = said.as_ref().and_then(|p| p.quiet_since_ms);
            before.unwrap_or_else(|| replica.ms(now.saturating_sub(quiet)))
        });
        record.publisher = Some(PublisherRecord {
            at: own.into(),
            since_ms: said.as_ref().map_or_else(|| replica.ms(now), |p| p.since_ms),
            claimed: stream.publishers() == 0,
            from: stream.publisher().and_then(|p| p.from).filter(|_| is_judged),
            quiet_since_ms,
            unknown: said.map_or_else(Unknown::new, |p| p.unknown),
        });
    }

    /// Where else it is.
    pub(super) fn say_also_on(&self, replica: &Replica, stream: Option<&Stream>, record: &mut StreamRecord) {
        let own = &*replica.id;
        let (said, mut all): (Vec<_>, Vec<_>) = record.also_on.drain(..).partition(|also| also.at == *own);
        all.retain(|also| replica.may_live(&also.at));
        for also in stream.into_iter().flat_map(Stream::also_on) {
            let Some((origin, epoch)) = self.run_at(also.placed_on).filter(|_| all.len() < CARRIERS_MAX) else {
                continue;
            };
            let unknown = said.iter().find(|s| *s.origin == *origin).map_or_else(Unknown::new, |s| s.unknown.clone());
            let (origin, at) = (origin.to_string(), own.to_owned());
            all.push(AlsoOnRecord { origin, epoch, at, backup: also.is_backup, unknown });
        }
        // The same whoever writes it.
        all.sort_by(|a, b| (&a.at, &a.origin).cmp(&(&b.at, &b.origin)));
        record.also_on = all;
    }

    pub(super) fn hear_also_on(&mut self, replica: &Replica, key: &StreamKey, record: &StreamRecord, now: Duration) {
        let theirs = record.also_on.iter().filter(|also| also.at != *replica.id && replica.may_live(&also.at));
        let heard: Vec<AlsoOn> = theirs
            .filter_map(|also| {
                let placed_on = self.registry.current(&also.origin, also.epoch)?;
                (!self.registry.is_edge(placed_on.0)).then_some(AlsoOn { placed_on, is_backup: also.backup })
            })
            .collect();
        self.streams.set_also_on(key, &heard, now);
    }

    /// Publishers of ours that came before give way to another balancer's.
    pub(super) fn give_way(&mut self, key: &StreamKey, before: Duration) {
        let Some(stream) = self.streams.get(key).filter(|stream| stream.publishers() > 0) else { return };
        if let (index, Some(mapping)) = (stream.index, stream.mapping) {
            self.streams.replace_publishers(index, mapping.placed_on(), before);
        }
    }
}

/// Its publisher came through this balancer, or its origin has told this one of it.
pub fn is_published_here(stream: &Stream) -> bool {
    stream.publishers() > 0 || stream.is_claimed()
}

/// Its publisher, if another balancer that may live has it.
pub fn publisher_elsewhere(replica: &Replica, record: &StreamRecord) -> Option<PublisherElsewhere> {
    let publisher = record.publisher.as_ref().filter(|p| p.at != *replica.id && replica.may_live(&p.at))?;
    Some(PublisherElsewhere {
        from: publisher.from,
        has_flow: !publisher.claimed,
        quiet_since: publisher.quiet_since_ms.map(|ms| replica.at(ms)),
    })
}
