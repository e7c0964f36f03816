//! Where one HTTP request goes. It may name a stream in several ways, or none; and unlike a connection it leaves no
//! trace: a scan of made-up paths must not fill the table of streams.

use super::available::available;
use super::choose::rendezvous;
use super::place::{Known, PlaceError, Placement, finish, keep};
use crate::flow::Role;
use crate::recognize::StreamKey;
use crate::registry::{Mapping, Registry, STREAMS_MAX, Stream, Streams};
use balancer_common::abi::{Reason, ServiceKind};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub struct RequestPlace<'a> {
    /// What the path may mean, the likeliest first.
    pub keys: &'a [StreamKey],
    /// Says where a request goes that means no stream; always the same for the same words.
    pub path: &'a str,
    pub service: ServiceKind,
    /// Where the client arrived: an endpoint of the same address family is preferred.
    pub vip: IpAddr,
    pub client: IpAddr,
    /// Origins that have failed this request already.
    pub exclude: &'a [u16],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPlaced {
    /// Its stream is 0 where none is meant that anybody knows.
    pub placement: Placement,
    /// The stream that is meant, if it is known.
    pub stream: Option<Arc<StreamKey>>,
}

/// What viewers ask for by HTTP may take this many of the streams; the rest is for those who publish.
pub const LEASED_MAX: usize = STREAMS_MAX / 2;

/// The origin of the stream that the request means, else one that is always the same for it.
pub fn place_request(
    registry: &mut Registry,
    streams: &mut Streams,
    request: &RequestPlace<'_>,
    now: Duration,
) -> Result<RequestPlaced, PlaceError> {
    let on = (request.service, request.vip);
    if let Some((stream, mapping)) = meant(registry, streams, request.keys)
        && let Some(origin) = registry.get(mapping.origin)
    {
        match keep(stream, mapping, origin, (Role::Play, request.service), request.exclude, now) {
            Known::Stay => {
                let (index, key) = (stream.index, stream.key.clone());
                streams.renew(index, now);
                let placement = finish(registry, on, (mapping.origin, index), Reason::PlacedSticky, now)?;
                return Ok(RequestPlaced { placement, stream: Some(key) });
            }
            Known::Fail(error) => return Err(error),
            Known::Anew => {}
        }
    }
    let mut available = available(registry, streams, (Role::Play, request.service), request.exclude, now);
    // An edge that asks must not be sent to an edge, which might ask again.
    if registry.is_edge_at(request.client.to_canonical()) {
        available.only(|index| !registry.is_edge(index));
    }
    // A playlist and its segments have the first of their keys in common, and so they find each other.
    let name = request.keys.first().map_or_else(|| request.path.to_owned(), ToString::to_string);
    let (origin, reason) = available.pick(|candidates| rendezvous(&name, candidates), Reason::PlacedViewer)?;
    registry.retrying(origin, request.service, now);
    Ok(RequestPlaced { placement: finish(registry, on, (origin, 0), reason, now)?, stream: None })
}

/// The very origin that a request names, for a session is there: draining or suspect, it is still the right one.
pub fn place_on(
    registry: &Registry,
    streams: &Streams,
    (id, key): (&str, Option<&StreamKey>),
    on: (ServiceKind, IpAddr),
    now: Duration,
) -> Result<RequestPlaced, PlaceError> {
    let found = registry.index_of(id).filter(|index| registry.get(*index).is_some_and(|o| !o.health.is_dead()));
    let index = found.ok_or_else(|| PlaceError::Unreachable { origin: id.into() })?;
    let stream = key.and_then(|key| streams.get(key)).filter(|s| s.is_on(index));
    let placement = finish(registry, on, (index, stream.map_or(0, |stream| stream.index)), Reason::PlacedSticky, now)?;
    Ok(RequestPlaced { placement, stream: stream.map(|stream| stream.key.clone()) })
}

/// The request was answered well by the origin that it went to by its name alone, so the stream is there: a lease, as for
/// every viewer of a stream that nobody is known to publish. The stream's index, or `None` when it has another origin by
/// now, or when enough are leased.
pub fn lease_stream(
    registry: &Registry,
    streams: &mut Streams,
    key: &Arc<StreamKey>,
    placement: &Placement,
    now: Duration,
) -> Option<u32> {
    let placed_on = (placement.origin, placement.generation);
    if !registry.is_current(placed_on) {
        return None;
    }
    match streams.get(key).map(|stream| (stream.index, stream.mapping)) {
        Some((index, Some(mapping))) if registry.is_current(mapping.placed_on()) => {
            (mapping.placed_on() == placed_on).then_some(index)
        }
        None if streams.len() >= LEASED_MAX => None,
        _ => {
            let mapping = Mapping { origin: placement.origin, generation: placement.generation, confirmed: false };
            streams.assign(key, mapping, now).ok()
        }
    }
}

/// By one of the keys; by the word of an origin that knows no vhosts (see `twin` of connections); by a viewer's choice; or
/// by a stream's name where that is the only one of its name in the vhost: nginx-rtmp has `/hls/s1.m3u8` for `live/s1`.
pub fn meant<'a>(registry: &Registry, streams: &'a Streams, keys: &[StreamKey]) -> Option<(&'a Stream, Mapping)> {
    let mapped = |stream: &'a Stream| {
        let mapping = stream.mapping.filter(|mapping| registry.is_current(mapping.placed_on()))?;
        Some((stream, mapping))
    };
    let by_key = || keys.iter().filter_map(|key| streams.get(key)).filter_map(mapped);
    let twins = || keys.iter().filter_map(StreamKey::in_default_vhost).filter_map(|key| streams.get(&key));
    let named = || keys.iter().filter_map(|key| streams.only_one_named(key.vhost(), key.stream()));
    by_key()
        .find(|(_, mapping)| mapping.confirmed)
        .or_else(|| twins().filter(|stream| stream.is_claimed()).find_map(mapped))
        .or_else(|| by_key().next())
        .or_else(|| named().find_map(mapped))
}
