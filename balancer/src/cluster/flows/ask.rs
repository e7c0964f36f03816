//! Questions to the shelf about single packets: whose flow is this? In batches, each once, and not without end.

use super::Flows;
use super::take::Found;
use super::wire::{key_text, parse_key};
use crate::cluster::FoundFlow;
use balancer_common::abi::{FlowKey, Reason};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::debug;

const BATCH_MAX: usize = 256;
/// What comes within this time is asked together.
const BATCH_TIME: Duration = Duration::from_millis(1);
/// Packets of unknown flows about which a question is open, or was just answered. Beyond, nothing is asked; who sends
/// them sends them again.
pub const QUESTIONS_MAX: usize = 16_384;
/// A shelf that says nothing for so long is not waited for: the flow is nobody's.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same while another balancer's flows are still to be read: it may well be one of those.
const PATIENCE_OWED: Duration = Duration::from_secs(30);
/// How long an answer holds for what comes to user space; the kernel remembers by itself.
const BELIEVED_FOR: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Questions {
    waiting: Vec<FlowKey>,
    known: HashMap<FlowKey, State>,
}

struct State {
    since: Instant,
    /// The kernel waits for the answer.
    by_kernel: bool,
    /// The shelf does not know it.
    is_nobodys: bool,
    is_waiting: bool,
}

impl Questions {
    /// `false`: there is no room.
    fn add(&mut self, key: FlowKey, by_kernel: bool, now: Instant) -> bool {
        let is_full = self.known.len() >= QUESTIONS_MAX;
        let state = match self.known.entry(key) {
            Entry::Vacant(_) if is_full => return false,
            Entry::Vacant(entry) => entry.insert(State { since: now, by_kernel, is_nobodys: false, is_waiting: false }),
            Entry::Occupied(entry) => entry.into_mut(),
        };
        if state.is_nobodys && now.duration_since(state.since) < BELIEVED_FOR && !by_kernel {
            return true;
        }
        if std::mem::take(&mut state.is_nobodys) {
            state.since = now;
        }
        state.by_kernel |= by_kernel;
        if !std::mem::replace(&mut state.is_waiting, true) {
            self.waiting.push(key);
        }
        true
    }

    fn take(&mut self) -> Vec<FlowKey> {
        let batch = self.waiting.split_off(self.waiting.len().saturating_sub(BATCH_MAX));
        for key in &batch {
            if let Some(state) = self.known.get_mut(key) {
                state.is_waiting = false;
            }
        }
        batch
    }

    fn tidy(&mut self, now: Instant) {
        self.known.retain(|_, state| state.is_waiting || now.duration_since(state.since) < BELIEVED_FOR);
    }
}

impl Flows {
    /// The kernel has dropped a packet whose flow may be another balancer's, and waits.
    pub fn missed(&self, key: FlowKey) {
        self.question(key, true);
    }

    /// A datagram of a client's has come to user space that belongs to nothing here.
    pub fn stray(&self, client: FlowKey) {
        self.question(client, false);
    }

    fn question(&self, key: FlowKey, by_kernel: bool) {
        if self.questions().add(key, by_kernel, Instant::now()) {
            self.asked.notify_one();
        } else {
            self.parts.counters.count(Reason::LimitQuestionsOfFlows);
        }
    }

    /// Asks for as long as the process lives.
    pub(super) async fn ask(&self) {
        loop {
            self.asked.notified().await;
            tokio::time::sleep(BATCH_TIME).await;
            while self.ask_once().await {}
            self.questions().tidy(Instant::now());
        }
    }

    /// One batch; `false`: there was none.
    pub(super) async fn ask_once(&self) -> bool {
        let batch = self.questions().take();
        if batch.is_empty() {
            return false;
        }
        // Who may have taken a flow has written it before it went from under the name of who had it, which is asked first.
        let mut owners = self.peers().dead_first();
        owners.push(self.parts.own.clone());
        let texts: Vec<Arc<str>> = batch.iter().map(|key| key_text(*key)).collect();
        match self.parts.shelf.find_flows(&owners, &texts).await {
            Ok(answers) => self.answer(batch, answers).await,
            Err(error) => {
                debug!(%error, "the store does not say whose packets these are");
                self.give_up(&batch);
            }
        }
        true
    }

    async fn answer(&self, batch: Vec<FlowKey>, answers: Vec<Option<FoundFlow>>) {
        let mut found = Vec::new();
        for (key, answer) in batch.iter().zip(answers) {
            // An index may lead to a record that is another's.
            let is_its = |text: &str| {
                let keys = self.read(text).ok().and_then(|(_, sound)| sound.keys());
                keys.is_some_and(|(client, origin)| [client, origin].contains(key))
            };
            match answer {
                Some(FoundFlow { owner, value }) if is_its(&value) => found.push(Found { owner, text: value }),
                Some(_) => self.parts.counters.count(Reason::RecordForeign),
                None => self.parts.counters.count(Reason::FlowNotFound),
            }
        }
        self.take_found(found).await;
        for key in batch {
            // Also when it was refused: nobody carries it then.
            if self.parts.host.half(key).is_some() {
                self.questions().known.remove(&key);
                self.parts.host.answered(key);
            } else {
                self.nobodys(key);
            }
        }
    }

    fn nobodys(&self, key: FlowKey) {
        let mut questions = self.questions();
        let Some(state) = questions.known.get_mut(&key) else { return };
        (state.is_nobodys, state.since) = (true, Instant::now());
        let by_kernel = state.by_kernel;
        drop(questions);
        if by_kernel {
            self.parts.host.nobodys(key);
        }
    }

    /// The kernel asks again, as long as packets come.
    fn give_up(&self, batch: &[FlowKey]) {
        let patience = if self.is_taking() { PATIENCE_OWED } else { PATIENCE };
        let late = |key: &&FlowKey| self.questions().known.get(*key).is_some_and(|s| s.since.elapsed() >= patience);
        let late: Vec<FlowKey> = batch.iter().filter(late).copied().collect();
        late.into_iter().for_each(|key| self.nobodys(key));
    }
}

/// For messages that name flows by their client's key.
pub(super) fn keys<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<FlowKey> {
    texts.filter_map(parse_key).collect()
}
