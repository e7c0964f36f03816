//! Whose a flow is, where two balancers have it: exactly one of them, and both come to the same one.
//!
//! Who gets flows from another one tells that one so, which then looks for its own among the others' records, and claims
//! them. Whoever hears a claim and has the flow too compares it with its own: who has the address goes before who has
//! not; then who made the flow, before who inherited it, before who found it in its kernel after a restart; then the
//! name. The weaker one gives way; the stronger one answers with its own claim, to which the other one gives way. So a
//! balancer that was taken for dead and lives keeps what it carries, and one that was dead leaves alone what its heirs
//! carry.

use super::Flows;
use super::tell::Message;
use super::wire::key_text;
use super::writer::BATCH_MAX;
use crate::cluster::ShelfError;
use crate::live::{Claim, Standing};
use balancer_common::abi::{FlowKey, Reason};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use tracing::debug;

/// Claims that wait to be told. Beyond, who has to know hears of them when all are looked through again.
const CLAIMS_MAX: usize = 262_144;
/// Added to a claim's number without the address.
const ELSEWHERE: u8 = 4;

fn number(claim: Claim, is_here: bool) -> u8 {
    claim as u8 + if is_here { 0 } else { ELSEWHERE }
}

impl Flows {
    /// Flows that are another living balancer's too: it was alone with the shelf, or this one was taken for dead.
    pub(super) async fn settle(&self) -> Result<(), ShelfError> {
        let others = self.peers().living();
        if others.is_empty() {
            return Ok(());
        }
        let own = [self.parts.own.clone()];
        let mut here: HashMap<IpAddr, bool> = HashMap::new();
        for batch in self.parts.live.all_carried().chunks(BATCH_MAX) {
            let keys: Vec<Arc<str>> = batch.iter().map(|(client, _)| key_text(*client)).collect();
            let theirs = self.parts.shelf.find_flows(&others, &keys).await?;
            if theirs.iter().all(Option::is_none) {
                continue;
            }
            let ours = self.parts.shelf.find_flows(&own, &keys).await?;
            for (((client, origin), theirs), ours) in batch.iter().zip(theirs).zip(ours) {
                let keys = |text: &str| self.read(text).ok().and_then(|(_, sound)| sound.keys());
                // An earlier flow from the client's port is another one.
                let Some(found) = theirs.filter(|found| keys(&found.value) == Some((*client, *origin))) else {
                    continue;
                };
                let Some(Standing::Ours(claim)) = self.parts.live.standing(*client) else { continue };
                let vip = client.addresses().1.ip();
                let is_here = *here.entry(vip).or_insert_with(|| self.parts.host.is_here(vip));
                let is_weak = claim == Claim::Adopted && (ours.is_none() || found.owner < self.parts.own);
                let carries = self.peers().carries(&found.owner, vip);
                if carries && (!is_here || is_weak) {
                    self.give_way(*client, &found.owner, is_here);
                } else {
                    self.insist(*client, *origin, &found.owner);
                }
            }
        }
        Ok(())
    }

    /// Another balancer says that a flow is its own.
    pub(super) fn claimed(&self, client: FlowKey, by: &Arc<str>, theirs: u8) {
        let live = &self.parts.live;
        match live.standing(client) {
            None => {}
            Some(Standing::GuestOf(_)) => _ = live.give_guest(client, Some(by)),
            Some(Standing::Ours(claim)) => {
                let is_here = self.parts.host.is_here(client.addresses().1.ip());
                if (number(claim, is_here), &self.parts.own) > (theirs, by) {
                    self.give_way(client, by, is_here);
                } else if let Some(carried) = live.carried(client) {
                    self.insist(client, carried.origin, by);
                }
            }
        }
    }

    fn give_way(&self, client: FlowKey, to: &Arc<str>, is_here: bool) {
        debug!(%to, is_here, "a flow is another balancer's");
        if is_here {
            self.parts.live.become_guest(client, to);
        } else {
            self.parts.live.let_go(client);
        }
    }

    /// It may have been removed from under our name.
    fn insist(&self, client: FlowKey, origin: FlowKey, against: &Arc<str>) {
        self.claim(client, Some(against));
        self.change(client, origin);
    }

    /// Tells one that a flow is ours, or all, with the next beat.
    fn claim(&self, client: FlowKey, to: Option<&Arc<str>>) {
        let mut claims = self.claims();
        if claims.len() < CLAIMS_MAX {
            claims.push((to.cloned(), client));
        } else {
            self.parts.counters.count(Reason::LimitFlowWords);
        }
        drop(claims);
        self.bell.notify_one();
    }

    pub(super) async fn tell_claims(&self) {
        let waiting = std::mem::take(&mut *self.claims());
        let mut here: HashMap<IpAddr, bool> = HashMap::new();
        let mut by_whom: BTreeMap<Option<Arc<str>>, Vec<(String, u8)>> = BTreeMap::new();
        for (to, client) in waiting {
            let Some(Standing::Ours(claim)) = self.parts.live.standing(client) else { continue };
            let vip = client.addresses().1.ip();
            let is_here = *here.entry(vip).or_insert_with(|| self.parts.host.is_here(vip));
            by_whom.entry(to).or_default().push((key_text(client).to_string(), number(claim, is_here)));
        }
        for (to, claims) in by_whom {
            for part in claims.chunks(super::tell::NAMED_MAX) {
                self.say(to.as_deref(), Message { claims: part.to_vec(), ..Message::default() }).await;
            }
        }
    }

    /// Guests of one that carries them no more, and of which it has left no record: it is dead, and the record was never
    /// written; or another heir has been faster. They are their heir's.
    pub(super) fn inherit_guests(&self, owner: &Arc<str>) {
        let guests = self.parts.live.guests();
        for (client, origin, _) in guests.into_iter().filter(|(_, _, of)| of == owner) {
            let vip = client.addresses().1.ip();
            let heir = self.heir(owner, vip, &key_text(client));
            if heir == *owner || !self.parts.host.is_here(vip) {
                continue;
            }
            if heir == self.parts.own {
                self.inherit(client, origin, None);
            } else {
                self.parts.live.give_guest(client, Some(&heir));
            }
        }
    }

    fn inherit(&self, client: FlowKey, origin: FlowKey, from: Option<&Arc<str>>) {
        if self.parts.live.give_guest(client, None) {
            self.change(client, origin);
            self.claim(client, from);
        }
    }

    /// Another balancer has heard a flow that it takes for ours.
    pub(super) fn heard(&self, client: FlowKey, by: &Arc<str>, bits: u8) {
        match self.parts.live.standing(client) {
            Some(Standing::Ours(_)) => self.parts.live.heard_elsewhere(client, bits),
            // And we take it for that one's: then it is nobody's.
            Some(Standing::GuestOf(owner)) if owner == *by => {
                if let Some(origin) = self.parts.live.origin_key(client) {
                    self.inherit(client, origin, Some(by));
                }
            }
            // It is to ask anew.
            Some(Standing::GuestOf(_)) | None => self.end_elsewhere(client),
        }
    }

    /// Addresses have gone from this host: what still comes is asked about.
    pub(super) fn drop_guests(&self, gone: &[IpAddr]) {
        let guests = if gone.is_empty() { Vec::new() } else { self.parts.live.guests() };
        for (client, _, _) in guests.iter().filter(|(client, _, _)| gone.contains(&client.addresses().1.ip())) {
            self.parts.live.let_go(*client);
        }
    }
}
