//! The sessions and what they own in the kernel: who tells of them, and who makes flows of them.

use super::session::{End, KernelWay, Member, Session, Slot};
use super::table::Table;
use super::{NewSession, RtcError};
use crate::counters::Counters;
use crate::flow::{Counter, FlowRecord, FlowState, Path, Protocol, Role};
use crate::live::Live;
use crate::offload::{Half, Offload, Ways};
use crate::placement::Placement;
use crate::recognize::StreamKey;
use crate::slowpath::{PortLease, PortPool};
use crate::sources::Sources;
use crate::store::{Clock, Store};
use balancer_common::abi::{FlowKey, OriginState, Reason};
use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

pub struct Sessions {
    pub(super) table: Mutex<Table>,
    pub(super) parts: Parts,
    /// Something has to be written, or to be found out.
    pub(super) wake: Notify,
    /// Sessions whose way to the origin is to be looked for.
    pub(super) late: Mutex<BTreeSet<u32>>,
    /// Clients about which the other balancers' flows are asked.
    pub(super) questions: Mutex<HashSet<FlowKey>>,
}

/// Whom the sessions work with.
pub struct Parts {
    /// `None`: every flow is relayed.
    pub offload: Option<Arc<Offload>>,
    pub ways: Arc<Ways>,
    pub store: Arc<Store>,
    pub live: Arc<Live>,
    pub ports: Arc<PortPool>,
    pub sources: Sources,
    pub counters: Arc<Counters>,
    pub clock: Clock,
}

/// Leave for one flow that user space makes.
pub struct Admitted {
    pub session: u32,
    pub key: Arc<StreamKey>,
    pub role: Role,
    pub placement: Placement,
    pub media: SocketAddr,
    /// The port that was granted; `None`: it needs one.
    pub port: Option<PortLease>,
    /// The kernel does not know the session yet.
    pub is_late: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The name is nobody's.
    Unknown,
    /// It is a session's that another balancer has: see [`Sessions::summon`].
    Elsewhere,
    /// The session has as many flows as it may have for now.
    Exhausted,
}

impl Sessions {
    pub fn new(parts: Parts) -> Arc<Self> {
        let (table, wake, late, questions) = Default::default();
        Arc::new(Self { table, parts, wake, late, questions })
    }

    /// For tests of who tells us of sessions.
    #[cfg(test)]
    pub fn without_kernel(store: Arc<Store>, live: Arc<Live>, counters: Arc<Counters>, clock: Clock) -> Arc<Self> {
        let ports = PortPool::new(20_000..=29_999);
        let (ways, sources) = (Arc::default(), Sources::default());
        Self::new(Parts { offload: None, ways, store, live, ports, sources, counters, clock })
    }

    /// From now on a STUN request that has one of the names makes a flow to the origin. Before the client may read the
    /// answer: its first request follows at once.
    pub async fn register(&self, new: NewSession) -> Result<(), RtcError> {
        let (origin, generation) = (new.placement.origin, new.placement.generation);
        let way = self.way(new.media).await;
        let origins = self.parts.store.desired_origins();
        let is_up =
            |o: &&crate::registry::DesiredOrigin| o.state == OriginState::Up && o.generation as u16 == generation;
        if !origins.iter().filter(is_up).any(|o| o.index == origin) {
            return Err(RtcError::OriginGone);
        }
        let name = self.add(new, way)?;
        self.tell(&name).await;
        Ok(())
    }

    /// By which name the other balancers are to know it.
    fn add(&self, new: NewSession, way: Option<KernelWay>) -> Result<Arc<str>, RtcError> {
        let mut table = self.table();
        if self.is_taken_elsewhere(&table, &new) {
            return Err(RtcError::Taken);
        }
        let name: Arc<str> = new.resource.as_ref().or(new.ufrags.first()).map_or("", String::as_str).into();
        let (ufrags, origin, media) = (new.ufrags.clone(), new.placement.origin_id.clone(), new.media);
        let added = table.add(new, self.now());
        match added {
            Err(RtcError::Full(_)) => self.parts.counters.count(Reason::LimitRtcSessions),
            Err(RtcError::Unconfirmed(_)) => self.parts.counters.count(Reason::LimitRtcUnconfirmed),
            _ => {}
        }
        let (id, replaced) = added?;
        for (id, session) in replaced {
            self.finish(&mut table, id, session, End::Replaced);
        }
        if self.parts.store.share_of().is_some() {
            table.share(id, name.clone());
            self.end_replaced(&mut table, &ufrags, &origin, media);
        }
        if let Some(session) = table.get_mut(id) {
            session.way = way;
            self.count_as_flow(session, true);
            self.enter(id, session);
        }
        Ok(name)
    }

    /// ICE has been restarted (RFC 8445 section 9): these are the names from now on. The old ones stay for a while. `media`:
    /// where the origin wants the media from now on, if it has said so.
    pub async fn rename(&self, resource: &str, ufrags: Vec<String>, media: Option<SocketAddr>) -> Result<(), RtcError> {
        let way = match media {
            Some(media) => self.way(media).await,
            None => None,
        };
        if let Some(name) = self.rename_here(resource, ufrags, media.zip(Some(way)))? {
            self.tell(&name).await;
        }
        Ok(())
    }

    /// A session that another balancer has is ours, too, from then on.
    fn rename_here(
        &self,
        resource: &str,
        ufrags: Vec<String>,
        to: Option<(SocketAddr, Option<KernelWay>)>,
    ) -> Result<Option<Arc<str>>, RtcError> {
        let mut table = self.table();
        let id = match table.of_resource(resource) {
            Some(id) => id,
            None => self.take_session(&mut table, &resource.into()).ok_or(RtcError::Unknown)?,
        };
        table.rename(id, ufrags, self.now())?;
        let Some(session) = table.get_mut(id) else { return Ok(None) };
        session.is_news = true;
        match to.filter(|(media, _)| *media != session.media) {
            Some((media, way)) => {
                // What was granted is for the old address.
                self.leave(id, session);
                session.move_to(media, way);
                self.enter(id, session);
            }
            None => self.write_names(id, session),
        }
        if session.way.is_none() {
            self.look_for_way(id);
        }
        Ok(session.name.clone())
    }

    /// Whether a STUN request that has this name makes a flow.
    pub fn knows(&self, ufrag: &str) -> bool {
        self.table().named(ufrag).is_some()
    }

    pub fn len(&self) -> usize {
        self.table().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// User space has heard a request with these names, of which one is the origin's. It costs what it costs the kernel.
    pub fn admit(&self, names: [&str; 2]) -> Result<Admitted, Refused> {
        let mut table = self.table();
        let Some(id) = names.iter().find_map(|name| table.named(name)) else {
            let is_elsewhere = names.iter().any(|name| table.elsewhere.named(name).is_some());
            return Err(if is_elsewhere { Refused::Elsewhere } else { Refused::Unknown });
        };
        let session = table.get_mut(id).ok_or(Refused::Unknown)?;
        let Some(port) = self.take_slot(id, session) else {
            self.parts.counters.count(Reason::LimitRtcAddresses);
            if session.warns(self.now()) {
                let (number, help) = (Reason::LimitRtcAddresses as u32, Reason::LimitRtcAddresses.help());
                let (stream, origin) = (session.placement.stream, &session.placement.origin_id);
                warn!(stream, %origin, flows = session.flows.len(), number, help, "a session gets no more flows for now");
            }
            return Err(Refused::Exhausted);
        };
        let Session { key, role, placement, media, way, .. } = session;
        let is_late = way.is_none() && self.parts.offload.is_some();
        Ok(Admitted {
            session: id,
            key: key.clone(),
            role: *role,
            placement: placement.clone(),
            media: *media,
            port,
            is_late,
        })
    }

    fn take_slot(&self, id: u32, session: &mut Session) -> Option<Option<PortLease>> {
        for slot in 0..session.slots.len() {
            match std::mem::take(&mut session.slots[slot]) {
                Slot::Empty => {}
                Slot::Free => return Some(None),
                Slot::Granted { mut port, .. } if self.reclaim(id, session, slot) => {
                    port.use_up();
                    return Some(Some(port));
                }
                // Taken by the kernel, which has told us or will.
                granted => session.slots[slot] = granted,
            }
        }
        None
    }

    /// The flow that was admitted is there.
    pub fn opened(&self, id: u32, member: Member) {
        let mut table = self.table();
        match table.get_mut(id) {
            Some(session) => self.join(id, session, member),
            // It ended in between.
            None => self.parts.live.end_all([(member.id, member.key)].into_iter(), "session over"),
        }
    }

    /// The way to the origin was not known when the session began: perhaps it is now.
    pub async fn enter_late(&self, id: u32) {
        let Some(media) = self.table().get_mut(id).map(|session| session.media) else { return };
        let Some(way) = self.way(media).await else { return };
        let mut table = self.table();
        if let Some(session) = table.get_mut(id).filter(|session| session.way.is_none()) {
            session.way = Some(way);
            self.enter(id, session);
        }
    }

    /// The kernel has made a flow, by its own report or by a look at the table. Again is no harm.
    pub fn made(&self, client: FlowKey) {
        let Some(offload) = &self.parts.offload else { return };
        let mut table = self.table();
        let Some(half) = offload.flow(client) else { return };
        if self.parts.live.carries(client) {
            return;
        }
        offload.count_made(client);
        let origin = half.egress.reversed();
        let (source, media) = half.egress.addresses();
        let session = table.get_mut(half.splice.seq_delta).filter(|session| session.media == media);
        let Some(session) = session else {
            debug!(client = %client.addresses().0, "a flow of a session that is over");
            return offload.remove(client, origin);
        };
        let port = session.taken(source).unwrap_or_else(|| self.parts.ports.adopt(source, media));
        let record = self.record(session, client, &half);
        let id = self.parts.live.joined(record, client, origin, Some(port));
        info!(client = %client.addresses().0, origin = %session.placement.origin_id, "in the kernel");
        self.join(half.splice.seq_delta, session, Member { id, key: client });
    }

    fn record(&self, session: &Session, client: FlowKey, half: &Half) -> FlowRecord {
        let ((client, vip), (source, origin_address)) = (client.addresses(), half.egress.addresses());
        let now = self.now();
        FlowRecord {
            client,
            announced: None,
            vip,
            origin: session.placement.origin,
            origin_generation: session.placement.generation,
            origin_id: session.placement.origin_id.clone(),
            origin_address,
            source,
            protocol: Protocol::Webrtc,
            role: session.role,
            stream: session.key.clone(),
            stream_index: session.placement.stream,
            path: Path::Kernel,
            state: FlowState::Spliced,
            to_origin: Counter::default(),
            to_client: Counter::default(),
            made_at: now,
            active_at: now,
        }
    }

    pub(super) fn join(&self, number: u32, session: &mut Session, member: Member) {
        if !std::mem::replace(&mut session.is_confirmed, true) {
            self.fill_free(number, session);
        }
        if let Some(old) = session.join(member, self.now()) {
            self.parts.counters.count(Reason::LimitRtcMigrations);
            let (stream, new) = (session.placement.stream, member.client());
            info!(stream, %old, %new, origin = %session.placement.origin_id, "another address of a session's client");
        }
        self.count_as_flow(session, false);
    }

    /// A session without a flow stands for one: its stream must stay where the session was made.
    pub(super) fn count_as_flow(&self, session: &mut Session, counts: bool) {
        if std::mem::replace(&mut session.is_counted, counts) == counts {
            return;
        }
        if counts {
            self.parts.store.flow_opened(session.ticket());
        } else {
            self.parts.store.flow_closed(session.ticket(), self.now());
        }
    }

    async fn way(&self, media: SocketAddr) -> Option<KernelWay> {
        let offload = self.parts.offload.as_ref()?;
        let way = self.parts.ways.to(media.ip()).await?;
        let no_way = |error: &dyn std::fmt::Display| debug!(%media, %error, "user space makes the flows of a session");
        let next_hop = offload.next_hop(&way.track).inspect_err(|error| no_way(error)).ok()?;
        let source = self.parts.sources.towards(media).inspect_err(|error| no_way(error)).ok()?;
        Some(KernelWay { source, next_hop })
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        // Every change of the table is whole; what a panic left out in the kernel runs out there by its deadline.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
