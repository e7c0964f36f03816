//! A second publisher of a stream, by `second_publisher`. The first one's connection may be dead without anybody having
//! heard: an encoder that comes again must not be kept out by itself for long.

use super::place::{PlaceError, PlaceRequest, Placement, Placer, finish};
use crate::config::SecondPublisher;
use crate::registry::{Mapping, Registry, SILENT, SILENT_SAME, Stream, Streams};
use balancer_common::abi::{Reason, ServiceKind};
use std::net::IpAddr;
use std::time::Duration;

/// What becomes of it.
pub(super) enum Second {
    /// It is sent to the same origin, which decides.
    Joins,
    Replaces,
    Refused,
    /// To another origin, where it waits.
    BacksUp,
}

pub(super) fn second(stream: &Stream, policy: SecondPublisher, client: IpAddr, now: Duration) -> Second {
    // Only who has a flow can be reset, here or by the balancer that has it.
    let has_flow = stream.publishers() > 0 || stream.publisher_elsewhere().is_some_and(|p| p.has_flow);
    match policy {
        _ if !stream.is_taken() => Second::Joins,
        SecondPublisher::Origin => Second::Joins,
        SecondPublisher::Replace if has_flow => Second::Replaces,
        SecondPublisher::Replace => Second::Joins,
        SecondPublisher::Refuse if has_flow && is_gone(stream, client, now) => Second::Replaces,
        SecondPublisher::Refuse => Second::Refused,
        SecondPublisher::Backup => Second::BacksUp,
    }
}

/// A live encoder sends many times a second, also one behind the same address. One that has lost its connection dials
/// again from where it was, most often, and has sent nothing on the old one since.
fn is_gone(stream: &Stream, client: IpAddr, now: Duration) -> bool {
    let from = match stream.publisher_elsewhere() {
        Some(publisher) => publisher.from,
        None => stream.publisher().and_then(|p| p.from),
    };
    stream.publisher_unfed(now) >= if from == Some(client) { SILENT_SAME } else { SILENT }
}

impl Placer {
    /// The second publisher waits on another origin. One that waits already gives way to another connection of its own
    /// and to nobody else.
    pub(super) fn back_up(
        &mut self,
        registry: &mut Registry,
        streams: &mut Streams,
        request: &PlaceRequest<'_>,
        (index, mapping): (u32, Mapping),
        service: ServiceKind,
        now: Duration,
    ) -> Result<Placement, PlaceError> {
        let client = request.client.ip().to_canonical();
        let waits = streams.by_index(index).and_then(Stream::backup).filter(|b| registry.is_current(b.placed_on));
        if let Some(backup) = waits.filter(|b| b.is_there && !request.exclude.contains(&b.placed_on.0)) {
            if !backup.is_ours || backup.from.is_some_and(|from| from != client) {
                return Err(PlaceError::Published);
            }
            streams.replace_publishers(index, backup.placed_on, now);
            streams.backs_up(index, backup.placed_on, Some(client), now);
            let on = (backup.placed_on.0, index);
            return finish(registry, (service, request.vip), on, Reason::PublisherReplaced, now);
        }
        let mut exclude = request.exclude.to_vec();
        exclude.push(mapping.origin);
        let request = PlaceRequest { exclude: &exclude, ..*request };
        // Nowhere to wait.
        let chosen = self.choose(registry, streams, &request, service, None, now);
        let (origin, reason) = chosen.map_err(|_| PlaceError::Published)?;
        let placed_on = (origin, registry.generation(origin) as u16);
        streams.backs_up(index, placed_on, Some(client), now);
        registry.attempted(origin, service, now);
        finish(registry, (service, request.vip), (origin, index), reason, now)
    }
}
