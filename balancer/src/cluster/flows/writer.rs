//! Keeps the shelf's records of our flows equal to what the table of live flows has.
//!
//! What comes here is only which flows have changed. What is written is what has become of them by then, so that an older
//! word never overtakes a newer one, and whatever was missed is made good by looking at all of them.

use super::Flows;
use super::wire::{key_text, written};
use crate::cluster::record::Record;
use crate::cluster::{FlowAt, ShelfError};
use balancer_common::abi::{FlowKey, Reason};
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// Written at once.
pub const BATCH_MAX: usize = 512;
/// What comes within this time goes together.
const BATCH_TIME: Duration = Duration::from_millis(20);
/// Changes that wait while the shelf is slow. Beyond, all flows are written anew.
pub const CHANGES_MAX: usize = 65_536;
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The record of a flow that has ended may be read until its removal is written.
const ENDED_FOR: Duration = Duration::from_secs(5);

/// Flows by both their keys: of two flows that had the same client's key, either is removed under its own names.
#[derive(Default)]
pub(super) struct Changes {
    flows: HashSet<(FlowKey, FlowKey)>,
    /// Every flow, and every record that is left of others.
    all: bool,
    /// Clients' keys of flows that have ended lately.
    ended: HashMap<FlowKey, Instant>,
}

impl Changes {
    /// `false`: there is no room.
    fn add(&mut self, client: FlowKey, origin: FlowKey) -> bool {
        if self.all || self.flows.contains(&(client, origin)) {
            return true;
        }
        if self.flows.len() >= CHANGES_MAX {
            // They are all among those that are written anew.
            self.flows = HashSet::new();
            self.all = true;
            return false;
        }
        self.flows.insert((client, origin));
        true
    }

    fn end(&mut self, client: FlowKey) {
        if self.ended.len() >= CHANGES_MAX {
            self.ended.retain(|_, at| at.elapsed() < ENDED_FOR);
        }
        if self.ended.len() < CHANGES_MAX {
            self.ended.insert(client, Instant::now());
        }
    }

    /// A record of it under our own name means nothing, whatever packets still come.
    pub(super) fn has_ended(&self, client: FlowKey) -> bool {
        self.ended.get(&client).is_some_and(|at| at.elapsed() < ENDED_FOR)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty() && !self.all
    }

    pub(super) fn take(&mut self) -> Vec<(FlowKey, FlowKey)> {
        let batch: Vec<_> = self.flows.iter().take(BATCH_MAX).copied().collect();
        for flow in &batch {
            self.flows.remove(flow);
        }
        batch
    }
}

impl Flows {
    /// All flows are to be written: the shelf is there again, or has forgotten them.
    pub fn rewrite(&self) {
        self.changes().all = true;
        self.changed.notify_one();
    }

    pub(super) fn change(&self, client: FlowKey, origin: FlowKey) {
        if self.parts.live.carried(client).is_none() {
            self.changes().end(client);
        }
        if !self.changes().add(client, origin) {
            self.parts.counters.count(Reason::LimitFlowRecords);
            warn!(limit = CHANGES_MAX, "more flows came and went than the store takes: all will be written anew");
        }
        self.changed.notify_one();
    }

    /// Writes for as long as the process lives.
    pub(super) async fn write(&self) {
        let mut is_failing = false;
        loop {
            if self.changes().is_empty() {
                self.changed.notified().await;
            }
            if self.changes().flows.len() < BATCH_MAX {
                tokio::time::sleep(BATCH_TIME).await;
            }
            match self.write_once().await {
                Ok(()) if is_failing => {
                    is_failing = false;
                    info!("flows are written to the store again");
                }
                Ok(()) => {}
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        warn!(%error, "flows are not in the store: another balancer could not carry them on");
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    /// Writes whatever waits.
    pub async fn write_now(&self) -> Result<(), ShelfError> {
        while !self.changes().is_empty() {
            self.write_once().await?;
        }
        Ok(())
    }

    /// One batch, or everything. What could not be written is there still.
    pub(super) async fn write_once(&self) -> Result<(), ShelfError> {
        if std::mem::take(&mut self.changes().all) {
            return self.write_all().await.inspect_err(|_| self.changes().all = true);
        }
        let batch = self.changes().take();
        let done = self.write_batch(&batch).await;
        if done.is_err() {
            for (client, origin) in batch {
                self.changes().add(client, origin);
            }
        }
        done
    }

    async fn write_batch(&self, batch: &[(FlowKey, FlowKey)]) -> Result<(), ShelfError> {
        let records: Vec<FlowAt> = batch.iter().flat_map(|(client, origin)| self.now(*client, *origin)).collect();
        if records.is_empty() {
            return Ok(());
        }
        self.parts.shelf.put_flows(&self.parts.own, &records).await
    }

    async fn write_all(&self) -> Result<(), ShelfError> {
        let all = self.parts.live.all_carried();
        for batch in all.chunks(BATCH_MAX) {
            self.write_batch(batch).await?;
        }
        self.sweep_own().await
    }

    /// Removes records under our name of flows that are over. Those of an address that is elsewhere are for who has it.
    async fn sweep_own(&self) -> Result<(), ShelfError> {
        let mut page = Some(0);
        let mut stale = Vec::new();
        while let Some(number) = page {
            let found = self.parts.shelf.flows_of(&self.parts.own, number).await?;
            for text in &found.flows {
                let Ok((_, sound)) = self.read(text) else { continue };
                let Some((client, origin)) = sound.keys() else { continue };
                let is_over = self.parts.live.carried(client).is_none_or(|carried| carried.origin != origin);
                if is_over && self.parts.host.is_here(sound.vip.ip()) {
                    stale.push((client, origin));
                }
            }
            page = found.next;
        }
        for batch in stale.chunks(BATCH_MAX) {
            batch.iter().for_each(|_| self.parts.counters.count(Reason::RecordRepaired));
            self.write_batch(batch).await?;
        }
        Ok(())
    }

    /// What the shelf should say of a flow: it is there, or gone. Of another one with the same client's key, both.
    fn now(&self, client: FlowKey, origin: FlowKey) -> Vec<FlowAt> {
        let at = |origin, value| FlowAt { client: key_text(client), origin: key_text(origin), value };
        let gone = || at(origin, None);
        let Some(carried) = self.parts.live.carried(client) else { return vec![gone()] };
        let mut records = Vec::new();
        if carried.origin != origin {
            records.push(gone());
        }
        let record = &carried.record;
        let halves = self.parts.host.half(client).zip(self.parts.host.half(carried.origin));
        let epoch = self.parts.store.epoch((record.origin, record.origin_generation));
        // Between its end and the table's hearing of it, or on an origin that is this balancer's alone.
        let Some(((forth, back), epoch)) = halves.zip(epoch) else { return vec![gone()] };
        let age = self.parts.clock.now().saturating_sub(record.made_at).as_millis() as u64;
        let made_ms = self.common_ms().saturating_sub(age);
        let text = written(record, client.proto(), [&forth.splice, &back.splice], epoch, made_ms).text();
        records.push(at(carried.origin, Some(text.into())));
        records
    }
}
