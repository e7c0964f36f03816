//! What balancers say to each other about flows: which addresses they have, what a guest has heard, what is over, and whose
//! they are. Any of it may be lost; the next second says it again, or silence ends what is left.

use super::ask::keys;
use super::wire::{key_text, parse_key};
use super::{BEAT, Flows};
use crate::live::Heard;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tracing::debug;

/// Flows in one message.
pub const NAMED_MAX: usize = 512;
const MESSAGE_BYTES_MAX: usize = 128 * 1024;
const KIND: &str = "flows";

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Message {
    /// [`KIND`]: other messages are for others.
    pub about: String,
    pub from: String,
    /// Addresses of VIPs and sources that its sender has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<BTreeSet<IpAddr>>,
    /// Flows of the receiver's, by their client's keys, with [`Heard::bits`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heard: Vec<(String, u8)>,
    /// Flows of the sender's that have ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub over: Vec<String>,
    /// Flows, by their client's keys and their origin's, with bits of ends that passed its sender's host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<(String, String, u8)>,
    /// Flows that are the sender's, and how well: see [`super::claims`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<(String, u8)>,
    /// Some of the receiver's flows are the sender's from now on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub took: bool,
}

impl Message {
    fn read(text: &str) -> Option<Self> {
        let message: Self = (text.len() <= MESSAGE_BYTES_MAX).then(|| serde_json::from_str(text).ok())??;
        let named = [message.heard.len(), message.over.len(), message.claims.len(), message.ends.len()]
            .into_iter()
            .sum::<usize>();
        (message.about == KIND && named <= NAMED_MAX).then_some(message)
    }
}

impl Flows {
    /// What another balancer says. `false`: it is not about flows.
    pub fn told(&self, text: &str) -> bool {
        let Some(message) = Message::read(text) else { return false };
        if *message.from == *self.parts.own || !self.peers().knows(&message.from) {
            return true;
        }
        let from: Arc<str> = message.from.as_str().into();
        self.peers().hear(&from);
        if let Some(holds) = message.holds
            && self.peers().hold(&from, holds)
        {
            // What it carried may be ours by now, and the other way round.
            self.to_take().insert(from.clone(), Duration::ZERO);
            self.unsettle();
        }
        if message.took {
            self.unsettle();
        }
        for (key, bits) in &message.heard {
            if let Some(key) = parse_key(key) {
                self.heard(key, &from, *bits);
            }
        }
        self.ends_told(&message.ends);
        let over = keys(message.over.iter().map(String::as_str));
        if !over.is_empty() {
            self.parts.live.guests_over(&over, &from);
        }
        for (key, claim) in &message.claims {
            if let Some(key) = parse_key(key) {
                self.claimed(key, &from, *claim);
            }
        }
        true
    }

    /// For as long as the process lives, and never behind a take-over of many flows: those who hear nothing take flows for
    /// silent.
    pub(super) async fn tell(&self) {
        let mut tick = tokio::time::interval(BEAT);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.tell_holds().await;
            self.tell_over().await;
            self.tell_heard().await;
            self.tell_ends().await;
        }
    }

    pub(super) async fn tell_holds(&self) {
        let holds = Some(self.held().clone());
        self.say(None, Message { holds, ..Message::default() }).await;
    }

    /// What guests have heard, to their owners.
    pub(super) async fn tell_heard(&self) {
        let mut by_owner: HashMap<Arc<str>, Vec<(String, u8)>> = HashMap::new();
        for Heard { owner, client, bits } in self.parts.live.take_heard() {
            by_owner.entry(owner).or_default().push((key_text(client).to_string(), bits));
        }
        for (owner, heard) in by_owner {
            for part in heard.chunks(NAMED_MAX) {
                self.say(Some(&owner), Message { heard: part.to_vec(), ..Message::default() }).await;
            }
        }
    }

    pub(super) async fn tell_over(&self) {
        let over: Vec<_> = std::mem::take(&mut *self.over());
        for part in over.chunks(NAMED_MAX) {
            let over = part.iter().map(|key| key_text(*key).to_string()).collect();
            if !self.say(None, Message { over, ..Message::default() }).await {
                part.iter().for_each(|client| self.end_elsewhere(*client));
            }
        }
    }

    /// `false`: it was not sent.
    pub(super) async fn say(&self, to: Option<&str>, message: Message) -> bool {
        let message = Message { about: KIND.to_owned(), from: self.parts.own.to_string(), ..message };
        let Ok(text) = serde_json::to_string(&message) else { return false };
        let told = self.parts.shelf.tell(to, &text).await;
        if let Err(error) = &told {
            debug!(%error, "another balancer does not hear of flows");
        }
        told.is_ok()
    }
}
