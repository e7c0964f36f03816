//! Carrying on what another balancer has carried: all its flows at once, or those that were asked for.
//!
//! A flow's record never changes, so that whoever installs it makes the very same two half-flows: of two balancers that
//! both believe to be the one, neither spoils what the other forwards. Whose it is decides only who ends it.

use super::Flows;
use super::fit::{Fit, Reading, Unfit};
use super::pages::Pages;
use super::tell::Message;
use super::wire::key_text;
use super::writer::BATCH_MAX;
use crate::cluster::{FlowAt, ShelfError};
use crate::flow::Protocol;
use crate::offload::{SpliceError, Survey, Way};
use balancer_common::abi::{FlowKey, Reason};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, info, warn};

/// Flows whose ways are looked for together, if so many were read by then.
const CHUNK_MAX: usize = 8_192;

/// What could not be read or forgotten is tried again after this: there may be very much of it.
const AGAIN_AFTER: Duration = Duration::from_secs(3);

/// A record, and under whose name it was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub owner: Arc<str>,
    pub text: Arc<str>,
}

/// What became of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// They are our own now.
    pub own: usize,
    /// They are forwarded for their owner.
    pub guests: usize,
    /// Not for this host, or known already.
    pub left: usize,
    /// They cannot be, or cannot be carried on.
    pub refused: usize,
}

impl std::ops::AddAssign for Taken {
    fn add_assign(&mut self, other: Self) {
        self.own += other.own;
        self.guests += other.guests;
        self.left += other.left;
        self.refused += other.refused;
    }
}

/// What became of some.
struct Done {
    taken: Taken,
    /// Has to be written under our name, and then removed under the old ones.
    ours: Vec<Owed>,
}

/// Something has to be written of it.
struct Owed {
    client: FlowKey,
    origin: FlowKey,
    text: Arc<str>,
    owner: Arc<str>,
}

/// Whose a flow is.
enum Whose {
    Ours,
    Guest(Arc<str>),
}

/// A record on its way into the kernel.
struct Candidate {
    fit: Fit,
    text: Arc<str>,
    owner: Arc<str>,
    whose: Whose,
    /// Ends of it that were seen before, by any balancer.
    ends: u8,
}

impl Candidate {
    fn owed(self) -> Owed {
        Owed { client: self.fit.client, origin: self.fit.origin, text: self.text, owner: self.owner }
    }
}

impl Owed {
    fn at(&self, value: Option<Arc<str>>) -> FlowAt {
        FlowAt { client: key_text(self.client), origin: key_text(self.origin), value }
    }

    /// What its old owner would remove.
    fn old(&self) -> (Arc<str>, FlowAt) {
        (self.owner.clone(), self.at(None))
    }
}

impl Flows {
    /// Everything of a balancer's that is for this host: it is dead, or an address has come here.
    pub async fn take(&self, owner: &Arc<str>) -> Result<Taken, ShelfError> {
        // One at a time: they would look for the same ways, and for the same flows.
        let _turn = self.taking.lock().await;
        let mut survey = Survey::default();
        let (mut taken, mut ours) = (Taken::default(), Vec::new());
        let mut pages = Pages::of(self.parts.shelf.clone(), owner.clone());
        let read = loop {
            let flows = match pages.next(CHUNK_MAX).await {
                Ok(Some(flows)) => flows,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            let found = flows.into_iter().map(|(text, read)| (Found { owner: owner.clone(), text }, read)).collect();
            let (done, known) = self.take_chunk(found, survey, false).await;
            survey = known;
            taken += done.taken;
            ours.extend(done.ours);
        };
        // The kernel forwards them by now: whose they are may be written later.
        let old = self.own_up(ours).await;
        // Not before all pages were read, which may be counted by what is left.
        read?;
        self.forget(old).await;
        self.inherit_guests(owner);
        if taken.own + taken.guests + taken.refused > 0 {
            let Taken { own, guests, left, refused } = taken;
            info!(%owner, own, guests, left, refused, "carries on another balancer's flows");
        }
        Ok(taken)
    }

    /// Flows that may be for this host have not been read yet.
    pub(super) fn is_taking(&self) -> bool {
        !self.to_take().is_empty() || self.taking.try_lock().is_err()
    }

    /// What the lost one was to inherit has another heir.
    pub(super) fn take_dead(&self) {
        let dead = self.peers().dead();
        self.to_take().extend(dead.into_iter().map(|id| (id, Duration::ZERO)));
        self.bell.notify_one();
    }

    pub(super) async fn take_logged(&self, id: &Arc<str>) {
        if let Err(error) = self.take(id).await {
            // What was not read is nobody's: neither ended nor forgotten, if nobody comes back to it.
            warn!(peer = %id, %error, "another balancer's flows cannot be read: tried again, and packets are asked about");
            self.take_again(id);
        }
    }

    /// Later, once more.
    fn take_again(&self, id: &Arc<str>) {
        self.to_take().insert(id.clone(), self.parts.clock.now() + AGAIN_AFTER);
    }

    /// Those whose time has come by `now`.
    pub(super) async fn take_waiting(&self, now: Duration) {
        let due: Vec<Arc<str>> = self.to_take().extract_if(.., |_, at| *at <= now).map(|(id, _)| id).collect();
        for id in &due {
            self.take_logged(id).await;
        }
    }

    /// Records that were asked for: their packets come here.
    pub(super) async fn take_found(&self, found: Vec<Found>) -> Taken {
        let found = found.into_iter().map(|found| (self.read(&found.text), found)).map(|(read, found)| (found, read));
        let (done, _) = self.take_chunk(found.collect(), Survey::default(), true).await;
        let old = self.own_up(done.ours).await;
        self.forget(old).await;
        done.taken
    }

    /// What an earlier process has left under our name and another kernel has lost, unless somebody has taken it.
    pub(super) async fn take_own(&self) -> Result<Taken, ShelfError> {
        let _turn = self.taking.lock().await;
        let others = self.peers().ids();
        let (mut taken, mut page) = (Taken::default(), Some(0));
        let mut survey = Survey::default();
        while let Some(number) = page {
            let found = self.parts.shelf.flows_of(&self.parts.own, number).await?;
            page = found.next;
            let found: Vec<_> = found.flows.into_iter().map(|text| (self.read(&text), text)).collect();
            let keys: Vec<Arc<str>> = found.iter().map(|(read, _)| client_of(read)).collect();
            let elsewhere = self.parts.shelf.find_flows(&others, &keys).await?;
            let left = found.into_iter().zip(elsewhere).filter(|(_, elsewhere)| elsewhere.is_none());
            let left = left.map(|((read, text), _)| (Found { owner: self.parts.own.clone(), text }, read)).collect();
            let (done, known) = self.take_chunk(left, survey, false).await;
            survey = known;
            taken += done.taken;
            self.own_up(done.ours).await;
        }
        Ok(taken)
    }

    async fn take_chunk(&self, found: Vec<(Found, Reading)>, mut survey: Survey, asked: bool) -> (Done, Survey) {
        let mut taken = Taken::default();
        let mut candidates = Vec::with_capacity(found.len());
        let mut here = HashMap::new();
        for (found, read) in found {
            match self.candidate(found, read, asked, &mut here) {
                Ok(Some(candidate)) => candidates.push(candidate),
                Ok(None) => taken.left += 1,
                Err(unfit) => {
                    taken.refused += 1;
                    self.refuse(&unfit);
                }
            }
        }
        let hosts: BTreeSet<IpAddr> = candidates
            .iter()
            .filter(|candidate| !self.parts.live.carries(candidate.fit.client))
            .flat_map(|c| [c.fit.sound.client.ip(), c.fit.sound.origin_address.ip()])
            .collect();
        let host = self.parts.host.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let ways = if hosts.is_empty() { HashMap::new() } else { host.ways(&mut survey, &hosts) };
            (ways, survey)
        });
        let (ways, survey) = looked.await.unwrap_or_else(|error| {
            warn!(%error, "the ways of flows cannot be found");
            Default::default()
        });
        let mut ours = Vec::new();
        for candidate in candidates {
            match self.install(&candidate, &ways) {
                Ok(()) => match candidate.whose {
                    Whose::Ours => {
                        self.find_session(&candidate.fit);
                        taken.own += 1;
                        self.parts.counters.count(Reason::FlowTaken);
                        ours.push(candidate.owed());
                    }
                    Whose::Guest(_) => {
                        taken.guests += 1;
                        self.parts.counters.count(Reason::FlowGuest);
                    }
                },
                Err(None) => {
                    taken.left += 1;
                    // Ours by another way: then it goes from under the other name all the same.
                    if self.is_doubly_recorded(&candidate) {
                        ours.push(candidate.owed());
                    }
                }
                Err(Some(unfit)) => {
                    taken.refused += 1;
                    self.refuse(&unfit);
                }
            }
        }
        (Done { taken, ours }, survey)
    }

    fn refuse(&self, unfit: &Unfit) {
        let reason = unfit.reason();
        self.parts.counters.count(reason);
        debug!(number = reason as u32, help = reason.help(), "{unfit}");
    }

    /// `None`: it is no concern of this host's.
    fn candidate(
        &self,
        found: Found,
        read: Reading,
        asked: bool,
        here: &mut HashMap<IpAddr, bool>,
    ) -> Result<Option<Candidate>, Unfit> {
        let (written, sound) = read?;
        let vip = sound.vip.ip();
        // Who asks has got a packet of it.
        let is_here = asked || *here.entry(vip).or_insert_with(|| self.parts.host.is_here(vip));
        let fit = self.fit(&written, sound)?;
        if asked && *found.owner == *self.parts.own && self.changes().has_ended(fit.client) {
            return Err(Unfit::NotTaken("it has just ended here"));
        }
        if !is_here {
            return Ok(None);
        }
        let heir = self.heir(&found.owner, vip, &key_text(fit.client));
        let whose = if *heir == *self.parts.own { Whose::Ours } else { Whose::Guest(heir) };
        let is_lost = matches!(&whose, Whose::Guest(heir) if *heir != found.owner);
        // Another one inherits it, and will have most of its packets. Ours come by a question, if there are any.
        if is_lost && !asked && !self.parts.live.is_guest(fit.client) {
            return Ok(None);
        }
        let ends = self.ends().of((fit.client, fit.origin), written.made_ms);
        Ok(Some(Candidate { fit, text: found.text, owner: found.owner, whose, ends }))
    }

    /// `Err(None)`: it is here already.
    fn install(&self, candidate: &Candidate, ways: &HashMap<IpAddr, Way>) -> Result<(), Option<Unfit>> {
        let (parts, fit) = (&self.parts, &candidate.fit);
        let guest_of = match &candidate.whose {
            Whose::Ours => None,
            Whose::Guest(owner) => Some(owner),
        };
        if parts.live.carries(fit.client) {
            // Our own stays our own.
            return if parts.live.give_guest(fit.client, guest_of) { Ok(()) } else { Err(None) };
        }
        let refused = |why| Some(Unfit::NotTaken(why));
        let way = |ip| ways.get(&ip).ok_or(refused("no way leads to its client, or to its origin"));
        let (to_client, to_origin) = (way(fit.sound.client.ip())?, way(fit.sound.origin_address.ip())?);
        let port = parts.ports.claim(fit.sound.source, fit.sound.origin_address);
        let mut port = port.ok_or(refused("its port is used by a flow of this balancer's"))?;
        let (forth, back) = fit.halves(to_client, to_origin);
        match parts.host.install(&forth, &back) {
            Ok(()) => {}
            // A process before us has left it in the kernel.
            Err(SpliceError::Taken) if self.is_installed(fit) => {}
            Err(error) => {
                debug!(%error, "a flow does not go into the kernel");
                return Err(refused("the fast path does not take it"));
            }
        }
        port.use_up();
        let record = self.live_record(fit, self.common_ms());
        if !parts.live.take(record, (fit.client, fit.origin), port, guest_of) {
            return Err(None);
        }
        parts.live.end_told((fit.client, fit.origin), candidate.ends);
        parts.host.answered(fit.client);
        parts.host.answered(fit.origin);
        Ok(())
    }

    fn is_doubly_recorded(&self, candidate: &Candidate) -> bool {
        let is_ours =
            || self.parts.live.carried(candidate.fit.client).is_some_and(|c| c.origin == candidate.fit.origin);
        matches!(candidate.whose, Whose::Ours) && *candidate.owner != *self.parts.own && is_ours()
    }

    /// Flows of WebRTC belong to sessions, and name them in a word that other protocols use for something else.
    fn find_session(&self, fit: &Fit) {
        if let Some(rtc) = self.rtc.get().filter(|_| fit.sound.protocol == Protocol::Webrtc) {
            rtc.taken(fit.sound.to_origin.seq_delta, fit.client);
        }
    }

    fn is_installed(&self, fit: &Fit) -> bool {
        let leads_to = |key, to: FlowKey| self.parts.host.half(key).is_some_and(|half| half.egress.reversed() == to);
        leads_to(fit.client, fit.origin) && leads_to(fit.origin, fit.client)
    }

    /// Writes what was taken under our own name. Only then may it go under the old one.
    async fn own_up(&self, taken: Vec<Owed>) -> Vec<(Arc<str>, FlowAt)> {
        let mut old = Vec::new();
        for batch in taken.chunks(BATCH_MAX) {
            let records: Vec<_> = batch.iter().map(|c| c.at(Some(c.text.clone()))).collect();
            if self.parts.shelf.put_flows(&self.parts.own, &records).await.is_err() {
                // Two have them for a while. Ours are written when the shelf is there again, and only then is another's gone.
                batch.iter().for_each(|c| self.change(c.client, c.origin));
                batch.iter().filter(|c| c.owner != self.parts.own).for_each(|c| self.take_again(&c.owner));
                continue;
            }
            // One may have ended before it was written, and its removal been too early.
            for gone in batch.iter().filter(|c| self.parts.live.carried(c.client).is_none()) {
                self.change(gone.client, gone.origin);
            }
            old.extend(batch.iter().filter(|c| *c.owner != *self.parts.own).map(Owed::old));
        }
        old
    }

    async fn forget(&self, old: Vec<(Arc<str>, FlowAt)>) {
        let mut by_owner: HashMap<Arc<str>, Vec<FlowAt>> = HashMap::new();
        for (owner, record) in old {
            by_owner.entry(owner).or_default().push(record);
        }
        for (owner, records) in by_owner {
            for batch in records.chunks(BATCH_MAX) {
                if let Err(error) = self.parts.shelf.put_flows(&owner, batch).await {
                    debug!(%owner, %error, "records of flows that were taken stay under the old name for now");
                    self.take_again(&owner);
                }
            }
            // Then: it may live, and write them again.
            self.say(Some(&owner), Message { took: true, ..Message::default() }).await;
        }
    }
}

/// Nothing has an empty name.
fn client_of(read: &Reading) -> Arc<str> {
    let keys = read.as_ref().ok().and_then(|(_, sound)| sound.keys());
    keys.map_or_else(|| "".into(), |(client, _)| key_text(client))
}
