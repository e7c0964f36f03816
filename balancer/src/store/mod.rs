//! What is shared by everything that serves: origins, streams and where they are, behind one lock.
//!
//! Today it lives in memory. What would take a round trip in a store that several hosts share (placing, registering,
//! an operator's word) is `async` from the start; what one host sees for itself (connections, flows, rates) is not. It
//! touches no map: a reconciler waits on [`Store::subscribe`], takes [`Store::take_changes`] and makes the maps equal.

mod claims;
mod clock;
mod copies;
mod flows;
mod probes;
pub mod shared;
#[cfg(test)]
mod tests;
mod view;

pub use claims::{Publication, TellError, Told};
pub use clock::Clock;
pub use copies::CopiesError;
pub use view::{OriginView, StreamView};

use crate::config::{DefaultOrigin, Policy};
use crate::counters::Counters;
use crate::placement::{
    LEASED_MAX, Loads, PlaceError, PlaceRequest, Placement, Placer, RequestPlace, RequestPlaced, Sharing, lease_stream,
    meant, place_on, place_request,
};
use crate::recognize::StreamKey;
use crate::registry::{
    Admission, ConnectFailure, DesiredOrigin, FlowTicket, Mapping, Name, OriginSpec, RegisterError, Registered,
    Registry, Reset, SrsRegistration, StreamChange, Streams,
};
use balancer_common::abi::{Reason, ServiceKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

pub struct StoreSettings {
    pub policy: Policy,
    pub sharing: Sharing,
    pub origin_ttl: Duration,
    pub default_origin: Option<DefaultOrigin>,
    pub admission: Admission,
}

pub struct Store {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    counters: Arc<Counters>,
    /// `None`: this balancer is alone.
    share: Option<Arc<shared::Share>>,
}

struct State {
    registry: Registry,
    streams: Streams,
    placer: Placer,
    shared: Option<Box<shared::Replica>>,
    /// What following the others has come to, to be counted.
    conflicts: Vec<Reason>,
    others: shared::OthersLoads,
}

/// Everything that has changed since the last time, for the one reconciler.
#[derive(Debug, Default)]
pub struct Changes {
    /// What `ORIGINS` should say, whole; `None`: as before. A flow whose placement has another generation than its
    /// origin has here, or whose origin is not `Up`, is to be reset; the kernel does so to those that are spliced.
    pub origins: Option<Vec<DesiredOrigin>>,
    /// In this order: a name may go and come again.
    pub streams: Vec<StreamChange>,
    /// Viewers that a publisher has left behind, and streams that an operator has ended.
    pub resets: Vec<Reset>,
}

impl Store {
    /// Before anything is served or registered, adopt what an earlier process has left.
    pub fn new(settings: StoreSettings, counters: Arc<Counters>) -> Result<Self, RegisterError> {
        let StoreSettings { policy, sharing, origin_ttl, default_origin, admission } = settings;
        let registry = Registry::new(admission, origin_ttl, default_origin.as_ref())?;
        let state = State {
            registry,
            streams: Streams::default(),
            placer: Placer::new(policy, sharing),
            shared: None,
            conflicts: Vec::new(),
            others: shared::OthersLoads::default(),
        };
        Ok(Self { state: Mutex::new(state), changed: watch::Sender::new(0), counters, share: None })
    }

    /// Wakes when [`Store::take_changes`] has something. The number only counts.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub fn take_changes(&self) -> Changes {
        let State { registry, streams, .. } = &mut *self.lock();
        let origins = registry.take_changed().then(|| registry.desired());
        Changes { origins, streams: streams.take_changes(), resets: streams.take_resets() }
    }

    pub fn desired_origins(&self) -> Vec<DesiredOrigin> {
        self.lock().registry.desired()
    }

    /// Which origin a stream's client goes to. Counted by its reason.
    pub async fn place(&self, request: &PlaceRequest<'_>, now: Duration) -> Result<Placement, PlaceError> {
        let result = self.place_shared(request, now).await;
        self.counters.count(match &result {
            Ok(placement) => placement.reason,
            Err(error) => error.reason(),
        });
        result
    }

    /// Where one HTTP request goes. Only what fails is counted: a viewer of HLS makes one every few seconds.
    pub async fn place_request(&self, request: &RequestPlace<'_>, now: Duration) -> Result<RequestPlaced, PlaceError> {
        let result = self.change(|State { registry, streams, .. }| place_request(registry, streams, request, now));
        if let Err(error) = &result {
            self.counters.count(error.reason());
        }
        result
    }

    /// The very origin that a request names: see [`place_on`].
    pub async fn place_on(
        &self,
        (id, key): (&str, Option<&StreamKey>),
        on: (ServiceKind, IpAddr),
        now: Duration,
    ) -> Result<RequestPlaced, PlaceError> {
        let result = self.change(|State { registry, streams, .. }| place_on(registry, streams, (id, key), on, now));
        if let Err(error) = &result {
            self.counters.count(error.reason());
        }
        result
    }

    /// An origin has the stream that a request was sent to it for: see [`lease_stream`].
    pub async fn lease_stream(&self, key: &Arc<StreamKey>, placement: &Placement, now: Duration) -> Option<u32> {
        let leased =
            self.change(|State { registry, streams, .. }| lease_stream(registry, streams, key, placement, now));
        match leased {
            Some(_) => self.counters.count(Reason::PlacedViewer),
            None if self.stream_count() >= LEASED_MAX => self.counters.count(Reason::LimitStreams),
            None => {}
        }
        leased
    }

    /// Whether a stream is on some origin.
    pub fn is_placed(&self, key: &StreamKey) -> bool {
        self.lock().streams.get(key).is_some_and(|stream| stream.mapping.is_some())
    }

    /// The stream that a request with these keys means, if there is one.
    pub fn meant(&self, keys: &[StreamKey]) -> Option<Arc<StreamKey>> {
        let state = self.lock();
        meant(&state.registry, &state.streams, keys).map(|(stream, _)| stream.key.clone())
    }

    /// Answers whether the origin died of it.
    pub fn connect_failed(&self, placement: &Placement, failure: ConnectFailure, now: Duration) -> bool {
        self.change(|State { registry, streams, .. }| {
            let placed_on = (placement.origin, placement.generation);
            let died = registry.connect_failed(placed_on, placement.service, failure, placement.placed_at, now);
            if died {
                streams.free_origin(placement.origin, now);
            }
            died
        })
    }

    /// Answers whether the origin was dead until now. Then `ORIGINS` says so still, and a flow must not be spliced
    /// before the reconciler has run: the kernel would reset it.
    pub fn connect_succeeded(&self, placement: &Placement) -> bool {
        self.change(|state| {
            state.registry.connect_succeeded((placement.origin, placement.generation), placement.service)
        })
    }

    /// Once for every flow, adopted ones too.
    pub fn flow_opened(&self, ticket: FlowTicket) {
        self.change(|state| {
            state.registry.flow_opened(ticket.origin);
            state.streams.flow_opened(ticket);
        });
    }

    /// Once for every flow that was opened, with the same ticket.
    pub fn flow_closed(&self, ticket: FlowTicket, now: Duration) {
        self.change(|state| {
            state.registry.flow_closed(ticket.origin);
            state.streams.flow_closed(ticket, now);
        });
    }

    /// About once a second.
    pub fn set_loads(&self, loads: &Loads) {
        self.change(|State { registry, streams, .. }| {
            registry.set_loads(&loads.origins);
            streams.set_rates(&loads.streams);
            streams.set_unfed(&loads.unfed);
        });
    }

    /// Leases and deadlines; about once a second.
    pub fn tick(&self, now: Duration) {
        self.change(|State { registry, streams, shared, .. }| {
            if shared.as_ref().is_some_and(|replica| replica.is_deaf(now)) {
                registry.hold_leases(now);
            }
            for origin in registry.tick(now) {
                streams.free_origin(origin, now);
            }
            streams.tick(now);
        });
    }

    pub async fn register(&self, beat: &SrsRegistration, now: Duration) -> Result<Registered, RegisterError> {
        self.registered(false, now, |registry| registry.register(beat, now)).await
    }

    pub async fn put_origin(&self, id: &Name, spec: &OriginSpec, now: Duration) -> Result<Registered, RegisterError> {
        self.registered(true, now, |registry| registry.put(id, spec, now)).await
    }

    /// `None`: there is no such origin.
    pub async fn delete_origin(&self, id: &str, now: Duration) -> Result<Option<u16>, RegisterError> {
        let removed = self.change(|state| {
            let epoch = state.registry.index_of(id).map_or(0, |index| state.registry.epoch(index));
            let removed = state.registry.remove(id, now)?;
            if let Some(index) = removed {
                state.streams.free_origin(index, now);
                state.bury_origin(id, epoch, now);
            }
            Ok::<_, RegisterError>(removed)
        })?;
        if removed.is_some() {
            self.write_now(shared::origin_key(id), now).await;
        }
        Ok(removed)
    }

    /// No new streams, until [`Store::undrain`]. At `deadline` what is left is reset.
    pub async fn drain(&self, id: &str, deadline: Option<Duration>, now: Duration) -> Option<u16> {
        let drained = self.change(|state| state.drained(|registry| registry.drain(id, deadline)))?;
        self.write_now(shared::origin_key(id), now).await;
        Some(drained)
    }

    pub async fn undrain(&self, id: &str, now: Duration) -> Option<u16> {
        let undrained = self.change(|state| state.drained(|registry| registry.undrain(id)))?;
        self.write_now(shared::origin_key(id), now).await;
        Some(undrained)
    }

    /// Ends a stream: its flows are to be reset, and who comes next decides anew. `false`: there is no such stream.
    pub async fn delete_stream(&self, key: &StreamKey, now: Duration) -> bool {
        let is_known = self.change(|state| {
            state.bury_stream(key);
            state.streams.release(key, now).is_some()
        });
        if is_known {
            self.write_now(shared::stream_key(key), now).await;
        }
        is_known
    }

    /// From the `ORIGINS` map of an earlier process. `false`: its flows have to go.
    pub fn adopt_origin(&self, index: u16, id: &str, generation: u32, now: Duration) -> bool {
        self.change(|state| state.registry.adopt(index, id, generation, now))
    }

    /// From `STREAMS` and `STREAM_NAMES`, after the origins. `false`: the entries are stale.
    pub fn adopt_stream(&self, index: u32, key: &Arc<StreamKey>, placed_on: (u16, u16), now: Duration) -> bool {
        self.change(|State { registry, streams, .. }| {
            let (origin, generation) = placed_on;
            let mapping = Mapping { origin, generation, confirmed: true };
            registry.is_current(placed_on) && streams.adopt(index, key, mapping, now)
        })
    }

    /// Where an adopted flow reaches its origin.
    pub fn learn_endpoint(&self, origin: u16, service: ServiceKind, address: SocketAddr) {
        self.change(|state| state.registry.learn_endpoint(origin, service, address));
    }

    /// Whether an origin may have this address.
    pub fn admits(&self, service: ServiceKind, address: SocketAddr) -> bool {
        self.lock().registry.admits(service, address)
    }

    /// A listener of an origin, as long as what was placed on it holds: WHIP needs `api` beside `rtc`.
    pub fn endpoint(&self, placement: &Placement, service: ServiceKind) -> Option<SocketAddr> {
        let state = self.lock();
        let current = state.registry.is_current((placement.origin, placement.generation));
        let origin = state.registry.get(placement.origin).filter(|_| current)?;
        crate::placement::endpoint(origin, service, placement.endpoint.ip(), placement.stream)
    }

    pub fn origins(&self, now: Duration) -> Vec<OriginView> {
        let state = self.lock();
        state.registry.live().map(|(index, _)| index).filter_map(|index| state.origin_view(index, now)).collect()
    }

    pub fn origin(&self, id: &str, now: Duration) -> Option<OriginView> {
        let state = self.lock();
        state.origin_view(state.registry.index_of(id)?, now)
    }

    pub fn streams(&self) -> Vec<StreamView> {
        let state = self.lock();
        state.streams.iter().map(|s| state.stream_view(s)).collect()
    }

    pub fn stream_count(&self) -> usize {
        self.lock().streams.len()
    }

    pub fn stream(&self, key: &StreamKey) -> Option<StreamView> {
        let state = self.lock();
        state.streams.get(key).map(|s| state.stream_view(s))
    }

    /// Runs a change and wakes the reconciler when it has something to do.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        for reason in state.streams.take_tally() {
            self.counters.count(reason);
        }
        let news = state.registry.is_changed() || state.streams.has_news();
        let touched = state.streams.has_touched();
        drop(state);
        if news {
            self.changed.send_modify(|n| *n += 1);
        }
        if let Some(share) = self.share.as_ref().filter(|_| touched) {
            share.wake();
        }
        result
    }

    /// A panic under the lock leaves counts that may be off by one, not a reason to stop serving.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn place(&mut self, request: &PlaceRequest<'_>, now: Duration) -> Result<Placement, PlaceError> {
        self.placer.place(&mut self.registry, &mut self.streams, request, now)
    }

    /// A registration, and the end of the streams whose origin it replaces.
    fn after(
        &mut self,
        now: Duration,
        register: impl FnOnce(&mut Registry) -> Result<Registered, RegisterError>,
    ) -> Result<Registered, RegisterError> {
        let registered = register(&mut self.registry)?;
        for origin in &registered.ended {
            self.streams.free_origin(*origin, now);
        }
        Ok(registered)
    }
}
