//! Live flows that survive the loss of a host, and those whose packets come to another balancer than the one that made
//! them.
//!
//! Every flow that the kernel carries alone is one record in the shelf ([`writer`]). When a balancer dies, or its address
//! comes here, its flows are made here as well ([`take`]), from records that are believed no further than what this
//! balancer could have written itself ([`fit`]). A single packet of an unknown flow is asked about ([`ask`]). A flow
//! whose owner lives and still has the address is a *guest* here: forwarded, but its owner's to end ([`tell`]).
//!
//! Nothing of it is on the way of a packet, and without a shelf nothing of it runs.

mod addresses;
mod ask;
mod claims;
mod ends;
mod fit;
mod host;
mod journal;
mod pages;
mod peers;
mod take;
mod tell;
#[cfg(test)]
mod tests;
mod wire;
mod writer;

pub use addresses::watch;
pub use ask::QUESTIONS_MAX;
pub use host::Host;
pub use peers::Peer;
pub use take::Taken;
pub use wire::key_text;
pub use writer::CHANGES_MAX;

use super::Shelf;
use super::record::PeerRecord;
use crate::counters::Counters;
use crate::live::Live;
use crate::rtc::Sessions;
use crate::slowpath::PortPool;
use crate::sources::Sources;
use crate::store::{Clock, Store};
use ask::Questions;
use balancer_common::abi::{FlowKey, Reason, ServiceKind};
use ends::Ends;
use peers::Peers;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tracing::{debug, info, warn};
use writer::Changes;

/// How often addresses are looked at, whatever the kernel's news say, and others are told.
const BEAT: Duration = Duration::from_secs(1);
/// Pushes that are lost have all records read again, which says nothing of the flows'.
const REWRITE_EVERY: Duration = Duration::from_secs(30);
/// Ends of flows that others forward too, waiting to be told.
const OVER_MAX: usize = 65_536;

/// An address of ours towards origins, and the ports there.
pub type Ports = (IpAddr, RangeInclusive<u16>);

/// Whom the flows work with.
pub struct Parts {
    /// This balancer's id.
    pub own: Arc<str>,
    pub shelf: Arc<dyn Shelf>,
    pub host: Arc<dyn Host>,
    pub live: Arc<Live>,
    pub store: Arc<Store>,
    pub ports: Arc<PortPool>,
    pub counters: Arc<Counters>,
    pub sources: Sources,
    pub source_ports: RangeInclusive<u16>,
    pub clock: Clock,
    /// Where clients are served.
    pub served: Vec<(ServiceKind, SocketAddr)>,
}

pub struct Flows {
    parts: Parts,
    /// Flows of WebRTC are a session's.
    rtc: OnceLock<Arc<Sessions>>,
    changes: Mutex<Changes>,
    changed: Notify,
    questions: Mutex<Questions>,
    asked: Notify,
    peers: Mutex<Peers>,
    /// Addresses of VIPs and sources that this host has.
    held: Mutex<BTreeSet<IpAddr>>,
    /// Rung when they may have changed.
    bell: Arc<Notify>,
    over: Mutex<Vec<FlowKey>>,
    ends: Mutex<Ends>,
    /// Flows of ours that somebody is to be told of, or all.
    claims: Mutex<Vec<(Option<Arc<str>>, FlowKey)>>,
    /// Whose our flows are is to be asked.
    is_unsettled: AtomicBool,
    /// When all flows were last looked through because of the shelf.
    read_at: Mutex<Option<Duration>>,
    /// What the host was told to ask about.
    asked_for: Mutex<Vec<Ports>>,
    /// Balancers whose flows are to be looked through, and not before when.
    to_take: Mutex<BTreeMap<Arc<str>, Duration>>,
    /// What an earlier process has left was looked for.
    is_restored: AtomicBool,
    taking: tokio::sync::Mutex<()>,
    /// What the common clock said when this process's began, in milliseconds.
    began_ms: AtomicU64,
}

impl Flows {
    /// From now on `parts.live` tells what is to be written.
    pub fn new(parts: Parts) -> Arc<Self> {
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let began_ms = unix.saturating_sub(parts.clock.now()).as_millis() as u64;
        let flows = Arc::new(Self {
            parts,
            rtc: OnceLock::new(),
            changes: Mutex::default(),
            changed: Notify::new(),
            questions: Mutex::default(),
            asked: Notify::new(),
            peers: Mutex::default(),
            held: Mutex::default(),
            bell: Arc::default(),
            over: Mutex::default(),
            ends: Mutex::default(),
            claims: Mutex::default(),
            is_unsettled: AtomicBool::new(false),
            read_at: Mutex::default(),
            asked_for: Mutex::default(),
            to_take: Mutex::default(),
            is_restored: AtomicBool::new(false),
            taking: tokio::sync::Mutex::default(),
            began_ms: AtomicU64::new(began_ms),
        });
        flows.parts.live.set_journal(Arc::new(journal::Told(Arc::downgrade(&flows))));
        flows
    }

    /// Who is told of flows of WebRTC that are taken over. Once, before the start.
    pub fn set_sessions(&self, rtc: Arc<Sessions>) {
        // A second time would be a mistake of the caller's; the first stays.
        let _ = self.rtc.set(rtc);
    }

    /// Runs for as long as the process lives. The shelf need not be there yet.
    pub fn start(self: &Arc<Self>) {
        if let Err(error) = watch(&self.bell) {
            warn!("{error:#}");
        }
        let (writer, asker, teller, beat) = (self.clone(), self.clone(), self.clone(), self.clone());
        tokio::spawn(async move { writer.write().await });
        tokio::spawn(async move { teller.tell().await });
        tokio::spawn(async move { asker.ask().await });
        tokio::spawn(async move { beat.beat().await });
    }

    /// The shelf is there (again), or has lost everything, and all origins and streams that it knows are known here.
    pub async fn shelf_up(&self) {
        match self.parts.shelf.now().await {
            Ok(now) => {
                self.began_ms.store(now.saturating_sub(self.parts.clock.now()).as_millis() as u64, Relaxed);
            }
            Err(error) => debug!(%error, "the store does not say what time it is"),
        }
        if !self.is_restored.load(Relaxed) {
            match self.take_own().await {
                Ok(_) => self.is_restored.store(true, Relaxed),
                Err(error) => {
                    // What is not read must not be swept away: it is read with the next beat.
                    debug!(%error, "what an earlier process has left is not known");
                    return;
                }
            }
        }
        self.settle_logged().await;
        self.rewrite();
    }

    /// All records were read: the shelf is there (again), it has lost something, or only a push was.
    pub async fn shelf_read(&self, is_emptied: bool) {
        let now = self.parts.clock.now();
        let is_new = {
            let mut read_at = self.read_at();
            let is_new = read_at.is_none_or(|at| now.saturating_sub(at) >= REWRITE_EVERY);
            if is_new || is_emptied {
                *read_at = Some(now);
            }
            is_new
        };
        self.refresh_peers().await;
        if is_new || is_emptied {
            self.shelf_up().await;
        } else {
            self.unsettle();
        }
    }

    /// The other balancers may have changed.
    pub fn look_around(&self) {
        self.bell.notify_one();
    }

    pub fn own(&self) -> &Arc<str> {
        &self.parts.own
    }

    async fn refresh_peers(&self) {
        let Some(records) = self.parts.store.peer_records() else { return };
        let peer = |(record, is_alive): (PeerRecord, bool)| Peer {
            id: record.id.as_str().into(),
            is_alive,
            sources: record.sources,
            source_ports: record.source_ports.0..=record.source_ports.1,
        };
        let peers: Vec<Peer> = records.into_iter().map(peer).collect();
        self.set_peers(&peers).await;
    }

    /// These are all other balancers. Flows of those that are new or dead come here, if they are for this host.
    pub async fn set_peers(&self, peers: &[Peer]) {
        let changed = self.peers().set(peers);
        // A dead one's ports, too: that is what it is about.
        let own = self.parts.sources.addresses().iter().map(|ip| (*ip, self.parts.source_ports.clone()));
        let sources: Vec<_> = own.chain(self.peers().sources()).collect();
        if std::mem::replace(&mut *self.asked_for(), sources.clone()) != sources {
            self.parts.host.ask_for(&sources);
        }
        for id in changed.new.iter().chain(&changed.lost) {
            self.take_logged(id).await;
        }
        if !changed.lost.is_empty() {
            self.take_dead();
        }
        if changed.back {
            self.unsettle();
        }
    }

    /// One of them has not been heard for its time.
    pub async fn peer_lost(&self, id: &str) {
        if self.peers().lose(id) {
            self.take_logged(&id.into()).await;
            self.take_dead();
        }
    }

    async fn settle_logged(&self) {
        if let Err(error) = self.settle().await {
            debug!(%error, "whose the flows are is not known");
            self.is_unsettled.store(true, Relaxed);
        }
    }

    /// Others have changed, so that a flow may be somebody else's, or no longer is.
    fn unsettle(&self) {
        self.is_unsettled.store(true, Relaxed);
        self.bell.notify_one();
    }

    async fn beat(&self) {
        let mut tick = tokio::time::interval(BEAT);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let is_tick = tokio::select! {
                _ = tick.tick() => true,
                () = self.bell.notified() => false,
            };
            self.refresh_peers().await;
            let came = self.look();
            if let Some(came) = came {
                self.tell_holds().await;
                self.arrived(&came).await;
            }
            if is_tick && !self.is_restored.load(Relaxed) && self.parts.store.shelf_is_up() == Some(true) {
                self.shelf_up().await;
            }
            self.take_waiting(self.parts.clock.now()).await;
            if self.is_unsettled.swap(false, Relaxed) {
                self.settle_logged().await;
            }
            self.tell_claims().await;
        }
    }

    /// Looks which addresses this host has; those that it had not before. `None`: nothing has changed.
    fn look(&self) -> Option<Vec<IpAddr>> {
        let wanted: BTreeSet<IpAddr> = self
            .parts
            .served
            .iter()
            .map(|(_, vip)| vip.ip())
            .chain(self.parts.sources.addresses().iter().copied())
            .collect();
        let now: BTreeSet<IpAddr> = wanted.into_iter().filter(|ip| self.parts.host.is_here(*ip)).collect();
        let mut held = self.held();
        if *held == now {
            return None;
        }
        let came = now.difference(&held).copied().collect();
        let gone: Vec<IpAddr> = held.difference(&now).copied().collect();
        *held = now;
        drop(held);
        self.drop_guests(&gone);
        self.is_unsettled.store(true, Relaxed);
        Some(came)
    }

    /// Addresses have come to this host, and with them other balancers' flows; perhaps some of our own that an earlier
    /// process on another kernel has left.
    async fn arrived(&self, came: &[IpAddr]) {
        if came.is_empty() {
            return;
        }
        info!(addresses = ?came, "addresses have come to this host");
        let ids = self.peers().ids();
        for id in &ids {
            self.take_logged(id).await;
        }
    }

    /// Whose a flow is that was found under the name of `owner`: its own as long as that lives and has the address.
    fn heir(&self, owner: &Arc<str>, vip: IpAddr, flow: &str) -> Arc<str> {
        let peers = self.peers();
        if **owner == *self.parts.own || peers.carries(owner, vip) {
            return owner.clone();
        }
        peers.heir(&self.parts.own, vip, flow)
    }

    /// A flow that others forward is not here, or no more: they are told, or ask anew.
    fn end_elsewhere(&self, client: FlowKey) {
        let mut over = self.over();
        if over.len() < OVER_MAX {
            over.push(client);
        } else {
            self.parts.counters.count(Reason::LimitFlowWords);
        }
    }

    /// Ours, or another balancer's.
    fn is_source(&self, ip: IpAddr) -> bool {
        self.parts.sources.addresses().contains(&ip) || self.peers().is_source(ip)
    }

    fn common_ms(&self) -> u64 {
        self.began_ms.load(Relaxed) + self.parts.clock.now().as_millis() as u64
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        // Each of these is whole between two statements.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn questions(&self) -> MutexGuard<'_, Questions> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peers(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<IpAddr>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_at(&self) -> MutexGuard<'_, Option<Duration>> {
        self.read_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked_for(&self) -> MutexGuard<'_, Vec<Ports>> {
        self.asked_for.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn to_take(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Duration>> {
        self.to_take.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claims(&self) -> MutexGuard<'_, Vec<(Option<Arc<str>>, FlowKey)>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn over(&self) -> MutexGuard<'_, Vec<FlowKey>> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
