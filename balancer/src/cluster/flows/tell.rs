//! What balancers say to each other about flows: which addresses they have, what a guest has heard, what is over or was
//! taken. Any of it may be lost; the next second says it again, or silence ends what is left.

use super::Flows;
use super::ask::keys;
use super::wire::{key_text, parse_key};
use crate::cluster::FlowAt;
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
    about: String,
    from: String,
    /// Addresses of VIPs and sources that its sender has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holds: Option<BTreeSet<IpAddr>>,
    /// Flows of the receiver's, by their client's keys, with [`Heard::bits`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    heard: Vec<(String, u8)>,
    /// Flows of the sender's that have ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    over: Vec<String>,
    /// Flows of the receiver's that are the sender's from now on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    taken: Vec<String>,
}

impl Message {
    fn read(text: &str) -> Option<Self> {
        let message: Self = (text.len() <= MESSAGE_BYTES_MAX).then(|| serde_json::from_str(text).ok())??;
        let named = [message.heard.len(), message.over.len(), message.taken.len()].into_iter().sum::<usize>();
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
        if let Some(holds) = message.holds
            && self.peers().hold(&message.from, holds)
        {
            // What it carried may be ours by now.
            self.to_take().insert(message.from.as_str().into(), Duration::ZERO);
            self.bell.notify_one();
        }
        for (key, bits) in &message.heard {
            if let Some(key) = parse_key(key) {
                self.parts.live.heard_elsewhere(key, *bits);
            }
        }
        let over = keys(message.over.iter().map(String::as_str));
        if !over.is_empty() {
            self.parts.live.guests_over(&over, &message.from);
        }
        for key in keys(message.taken.iter().map(String::as_str)) {
            let vip = key.addresses().1.ip();
            // We have the address still: then it is ours until we are dead.
            if !self.parts.host.is_here(vip) && self.parts.live.carried(key).is_some() {
                self.parts.live.let_go(key);
            }
        }
        true
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
            self.say(None, Message { over, ..Message::default() }).await;
        }
    }

    /// To an owner that may live and have lost its address.
    pub(super) async fn tell_taken(&self, owner: &Arc<str>, flows: &[FlowAt]) {
        if !self.peers().is_alive(owner) {
            return;
        }
        for part in flows.chunks(NAMED_MAX) {
            let taken = part.iter().map(|flow| flow.client.to_string()).collect();
            self.say(Some(owner), Message { taken, ..Message::default() }).await;
        }
    }

    async fn say(&self, to: Option<&str>, message: Message) {
        let message = Message { about: KIND.to_owned(), from: self.parts.own.to_string(), ..message };
        let Ok(text) = serde_json::to_string(&message) else { return };
        if let Err(error) = self.parts.shelf.tell(to, &text).await {
            debug!(%error, "another balancer does not hear of flows");
        }
    }
}
