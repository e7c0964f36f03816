//! The rules of placement. One stream has one origin of its own; a publisher decides which; a viewer of an unknown stream
//! gets a short lease that the publisher may move; what is dead, draining or excluded gets nothing new. An edge that
//! fetches a stream is sent to an origin, never to an edge: media would go round in a loop.

use super::available::{available, offers, takes_new};
use super::choose::{Candidate, RoundRobin, least_load, rendezvous};
use super::load::STREAM_COST;
use super::second::{Second, second};
use super::spread::expected;
use crate::config::{Policy, SecondPublisher};
use crate::flow::{Protocol, Role};
use crate::recognize::StreamKey;
use crate::recognize::proxy_header::ProxyVersion;
use crate::registry::{FlowTicket, Mapping, Origin, Registry, Stream, Streams, StreamsFull, Transport};
use balancer_common::abi::{Reason, ServiceKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub struct PlaceRequest<'a> {
    pub key: &'a Arc<StreamKey>,
    pub role: Role,
    pub protocol: Protocol,
    /// Where the client arrived: an endpoint of the same address family is preferred, since only such flows can be
    /// spliced.
    pub vip: IpAddr,
    pub client: SocketAddr,
    /// Origins that have failed this client already.
    pub exclude: &'a [u16],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub origin: u16,
    /// Low half of the origin's generation; what the kernel compares.
    pub generation: u16,
    pub origin_id: Arc<str>,
    pub endpoint: SocketAddr,
    pub service: ServiceKind,
    /// Goes to the endpoint before anything else, where it is a TCP listener.
    pub proxy_protocol: Option<ProxyVersion>,
    /// Stream index.
    pub stream: u32,
    pub reason: Reason,
    pub placed_at: Duration,
}

impl Placement {
    pub fn ticket(&self, role: Role, protocol: Protocol) -> FlowTicket {
        FlowTicket { stream: self.stream, origin: self.origin, generation: self.generation, role, protocol }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    #[error("no healthy origin takes new streams of this protocol: register one, or look at `balancer origins`")]
    NoOrigin,
    #[error("every origin has reached its capacity")]
    AtCapacity,
    #[error("the stream is on origin {origin:?}, which does not offer this protocol")]
    NoEndpoint { origin: Arc<str> },
    #[error("the stream is on origin {origin:?}, which does not answer")]
    Unreachable { origin: Arc<str> },
    #[error("the stream is being published already, and second_publisher turns others away")]
    Published,
    #[error(transparent)]
    StreamsFull(#[from] StreamsFull),
}

impl PlaceError {
    /// There are origins, and they are full: to ask again at once is of no use.
    pub fn is_overload(&self) -> bool {
        matches!(self, Self::AtCapacity | Self::StreamsFull(_))
    }

    pub fn reason(&self) -> Reason {
        match self {
            Self::AtCapacity => Reason::AtCapacity,
            Self::StreamsFull(_) => Reason::LimitStreams,
            Self::Published => Reason::PublisherRefused,
            Self::NoOrigin | Self::NoEndpoint { .. } | Self::Unreachable { .. } => Reason::NoOrigin,
        }
    }
}

/// The listener of an origin that a client's first words are for: WHIP and WHEP begin at the API.
const fn entrance_of(protocol: Protocol) -> ServiceKind {
    match protocol {
        Protocol::Webrtc => ServiceKind::Api,
        protocol => service_of(protocol),
    }
}

/// The listener of an origin that serves a protocol. Of WebRTC that is where its media goes.
pub const fn service_of(protocol: Protocol) -> ServiceKind {
    match protocol {
        Protocol::Rtmp => ServiceKind::Rtmp,
        Protocol::Flv | Protocol::Ts | Protocol::Hls | Protocol::Http => ServiceKind::Http,
        Protocol::Srt => ServiceKind::Srt,
        Protocol::Webrtc => ServiceKind::WebRtc,
        Protocol::Rtsp => ServiceKind::Rtsp,
    }
}

/// How a stream is shared between several of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// Origins that its viewers may be on.
    pub copies: usize,
    pub second_publisher: SecondPublisher,
}

impl Default for Sharing {
    fn default() -> Self {
        Self { copies: 1, second_publisher: SecondPublisher::Origin }
    }
}

#[derive(Debug)]
pub struct Placer {
    policy: Policy,
    pub(super) sharing: Sharing,
    alone: bool,
    round_robin: RoundRobin,
    pub(super) viewers_in_turn: RoundRobin,
}

/// What becomes of a stream that has an origin.
pub(super) enum Known {
    Stay,
    Anew,
    Fail(PlaceError),
}

impl Placer {
    pub fn new(policy: Policy, sharing: Sharing) -> Self {
        let (round_robin, viewers_in_turn) = Default::default();
        Self { policy, sharing, alone: false, round_robin, viewers_in_turn }
    }

    pub fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// Whether other balancers cannot be heard: streams go where any of them would send them, and what they have said of
    /// publishers may be over.
    pub fn set_alone(&mut self, alone: bool) {
        self.alone = alone;
    }

    pub(super) fn policy(&self) -> Policy {
        if self.alone { Policy::Rendezvous } else { self.policy }
    }

    fn second_publisher(&self, stream: &Stream) -> SecondPublisher {
        if self.alone && stream.publisher_elsewhere().is_some() {
            SecondPublisher::Origin
        } else {
            self.sharing.second_publisher
        }
    }

    pub fn place(
        &mut self,
        registry: &mut Registry,
        streams: &mut Streams,
        request: &PlaceRequest<'_>,
        now: Duration,
    ) -> Result<Placement, PlaceError> {
        let service = entrance_of(request.protocol);
        let client = request.client.ip().to_canonical();
        let fetches = request.role == Role::Play && registry.is_edge_at(client);
        let known = streams.get(request.key).and_then(|s| Some((s, s.mapping?)));
        let known =
            known.filter(|(_, m)| registry.is_current(m.placed_on()) && !(fetches && registry.is_edge(m.origin)));
        let twin = twin(streams, request).filter(|(origin, _)| {
            let excluded = request.exclude.contains(origin);
            !excluded && registry.get(*origin).is_some_and(|o| offers(o, service) && !o.health.is_dead())
        });
        let known = known.filter(|(_, m)| m.confirmed || twin.is_none_or(|twin| m.placed_on() == twin));
        let mut waiting = None;
        if let Some((stream, mapping)) = known
            && let Some(origin) = registry.get(mapping.origin)
        {
            let kept = keep(stream, mapping, origin, (request.role, service), request.exclude, now);
            let index = stream.index;
            let is_viewer = request.role == Role::Play && !fetches && mapping.confirmed && stream.is_published();
            let home = matches!(kept, Known::Stay);
            let spread = if is_viewer {
                self.spread(registry, streams, request, (stream, mapping, home), service, now)
            } else {
                None
            };
            if let Some(chosen) = spread {
                return share(registry, streams, request, (index, mapping, chosen), service, now);
            }
            match kept {
                Known::Stay => {
                    let mut reason = if fetches { Reason::PlacedPull } else { Reason::PlacedSticky };
                    if request.role == Role::Publish {
                        match second(stream, self.second_publisher(stream), client, now) {
                            Second::Joins => {}
                            Second::Refused => return Err(PlaceError::Published),
                            Second::BacksUp => {
                                return self.back_up(registry, streams, request, (index, mapping), service, now);
                            }
                            Second::Replaces => {
                                streams.replace_publishers(index, mapping.placed_on(), now);
                                reason = Reason::PublisherReplaced;
                            }
                        }
                        streams.publishes(index, Some(client), now);
                    }
                    streams.renew(index, now);
                    return finish(registry, (service, request.vip), (mapping.origin, index), reason, now);
                }
                Known::Fail(error) => return Err(error),
                Known::Anew => waiting = (stream.players() > 0).then_some(mapping.origin),
            }
        }
        let (origin, by_policy) = match twin {
            Some((origin, _)) => (origin, Reason::PlacedViewer),
            None => self.choose(registry, streams, request, service, waiting, now)?,
        };
        let reason = match (by_policy, request.role) {
            (Reason::PlacedDefault, _) => Reason::PlacedDefault,
            _ if fetches => Reason::PlacedPull,
            _ if !request.exclude.is_empty() => Reason::PlacedRetry,
            (_, Role::Play) => Reason::PlacedViewer,
            (by_policy, Role::Publish) => by_policy,
        };
        let generation = registry.generation(origin) as u16;
        let mapping = Mapping { origin, generation, confirmed: request.role == Role::Publish };
        let stream = streams.assign(request.key, mapping, now)?;
        if request.role == Role::Publish {
            streams.publishes(stream, Some(client), now);
        }
        registry.attempted(origin, service, now);
        finish(registry, (service, request.vip), (origin, stream), reason, now)
    }

    pub(super) fn choose(
        &mut self,
        registry: &Registry,
        streams: &Streams,
        request: &PlaceRequest<'_>,
        service: ServiceKind,
        waiting: Option<u16>,
        now: Duration,
    ) -> Result<(u16, Reason), PlaceError> {
        let mut available = available(registry, streams, (request.role, service), request.exclude, now);
        if request.role == Role::Play {
            if registry.is_edge_at(request.client.ip().to_canonical()) {
                available.only(|index| !registry.is_edge(index));
            }
            available.prefer(|index| !registry.is_edge(index));
            let stream = streams.get(request.key);
            // Its own origin is gone: what is left of it is where it was carried too, or where a backup waits.
            available.prefer(|index| stream.is_some_and(|s| s.is_on(index)));
        }
        available
            .prefer(|index| registry.get(index).is_some_and(|origin| offers(origin, service_of(request.protocol))));
        let key = request.key.to_string();
        let reason = match self.policy() {
            Policy::LeastLoad => Reason::PlacedLeastLoad,
            Policy::Rendezvous => Reason::PlacedRendezvous,
            Policy::RoundRobin => Reason::PlacedRoundRobin,
        };
        let by_policy = |candidates: &[Candidate<'_>]| match self.policy() {
            Policy::LeastLoad => least_load(&key, candidates, STREAM_COST, waiting),
            Policy::Rendezvous => rendezvous(&key, candidates),
            Policy::RoundRobin => self.round_robin.next(candidates),
        };
        available.pick(by_policy, reason)
    }
}

/// A viewer of a stream that several carry.
fn share(
    registry: &mut Registry,
    streams: &mut Streams,
    request: &PlaceRequest<'_>,
    (index, mapping, chosen): (u32, Mapping, u16),
    service: ServiceKind,
    now: Duration,
) -> Result<Placement, PlaceError> {
    let bits = streams.by_index(index).map_or(STREAM_COST, expected);
    registry.expects(chosen, service, bits, now);
    let is_home = chosen == mapping.origin;
    if !is_home {
        streams.fetches(index, (chosen, registry.generation(chosen) as u16), now);
    }
    streams.renew(index, now);
    let reason = if is_home { Reason::PlacedSticky } else { Reason::PlacedCopy };
    finish(registry, (service, request.vip), (chosen, index), reason, now)
}

/// Where a viewer's stream is by the word of an origin that knows no such vhost: there, it is the default one's. The
/// viewer binds nobody: whoever publishes the stream under its own name decides.
fn twin(streams: &Streams, request: &PlaceRequest<'_>) -> Option<(u16, u16)> {
    let key = Some(request.key).filter(|_| request.role == Role::Play)?.in_default_vhost()?;
    let stream = streams.get(&key).filter(|stream| stream.is_claimed())?;
    stream.mapping.map(|m| m.placed_on())
}

/// Whether a client joins the stream where it is.
pub(super) fn keep(
    stream: &Stream,
    mapping: Mapping,
    origin: &Origin,
    (role, service): (Role, ServiceKind),
    exclude: &[u16],
    now: Duration,
) -> Known {
    let excluded = exclude.contains(&mapping.origin);
    let offered = offers(origin, service);
    let published = stream.is_published();
    let id = || origin.id.clone();
    match role {
        // Nobody else has what the viewer wants, so a suspect or draining origin is still the right one.
        Role::Play if mapping.confirmed && !origin.health.is_dead() => match (excluded, offered) {
            (true, _) if published => Known::Fail(PlaceError::Unreachable { origin: id() }),
            (true, _) => Known::Anew,
            (false, false) => Known::Fail(PlaceError::NoEndpoint { origin: id() }),
            (false, true) => Known::Stay,
        },
        // Claimed since it was found dead: there or nowhere, and not before it may be tried again.
        Role::Play if stream.is_claimed() && !(offered && !excluded && origin.health.available(service, now)) => {
            Known::Fail(PlaceError::Unreachable { origin: id() })
        }
        // A viewer's choice binds nobody once it is a bad one.
        Role::Play if !excluded && takes_new(origin, role, service, now) => Known::Stay,
        Role::Play => Known::Anew,
        // A publisher that comes back finds its viewers; one that comes second is the origin's to refuse. Of a draining
        // origin a publisher's return is the chance to leave.
        Role::Publish => {
            let stays = mapping.confirmed
                && !excluded
                && offered
                && (published || origin.draining.is_none())
                && origin.health.responsive(origin.load.heard_at);
            if stays { Known::Stay } else { Known::Anew }
        }
    }
}

pub(super) fn finish(
    registry: &Registry,
    (service, vip): (ServiceKind, IpAddr),
    (index, stream): (u16, u32),
    reason: Reason,
    now: Duration,
) -> Result<Placement, PlaceError> {
    let origin = registry.get(index).ok_or(PlaceError::NoOrigin)?;
    let endpoint =
        endpoint(origin, service, vip, stream).ok_or_else(|| PlaceError::NoEndpoint { origin: origin.id.clone() })?;
    let generation = registry.generation(index) as u16;
    Ok(Placement {
        origin: index,
        generation,
        origin_id: origin.id.clone(),
        endpoint,
        service,
        proxy_protocol: origin.proxy_protocol.filter(|_| Transport::of(service) == Transport::Tcp),
        stream,
        reason,
        placed_at: now,
    })
}

/// One of an origin's listeners: of the VIP's address family where there is one, always the same for a stream.
pub fn endpoint(origin: &Origin, service: ServiceKind, vip: IpAddr, stream: u32) -> Option<SocketAddr> {
    let all = origin.endpoints.get(service);
    let same: Vec<SocketAddr> = all.iter().filter(|a| a.is_ipv4() == vip.is_ipv4()).copied().collect();
    let list = if same.is_empty() { all } else { &same };
    list.get(stream as usize % list.len().max(1)).copied()
}
