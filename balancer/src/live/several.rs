//! Flows of the same session, which somebody else keeps: what has become of them, and their common end.

use super::{Live, State};
use crate::flow::{FlowId, FlowRecord, Protocol};
use crate::offload::SplicedFlow;
use balancer_common::abi::{FlowFlags, FlowKey};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// What is known of a flow that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    pub made_at: Duration,
    /// Datagrams that the origin has sent.
    pub answers: u64,
}

impl Live {
    /// Whether this table has the flow of that client's ingress key.
    pub fn carries(&self, client: FlowKey) -> bool {
        self.state().spliced.contains_key(&client)
    }

    /// `None`: the flow is over.
    pub fn pulse(&self, id: FlowId) -> Option<Pulse> {
        let state = self.state();
        let record = state.table.get(id)?;
        Some(Pulse { made_at: record.made_at, answers: record.to_client.packets })
    }

    /// The flow of that client's ingress key.
    pub fn flow_of(&self, client: FlowKey) -> Option<(FlowId, FlowRecord)> {
        let state = self.state();
        let id = state.spliced.get(&client)?.id;
        Some((id, state.table.get(id)?.clone()))
    }

    /// Ends them at once; each is named by the client's ingress key as well. Nobody is told: their protocol has no word for
    /// it, or it has been said.
    pub fn end_all(&self, flows: impl Iterator<Item = (FlowId, FlowKey)>, why: &'static str) {
        for (id, client) in flows {
            let state = self.state();
            let is_ours = state.spliced.get(&client).is_some_and(|entry| entry.id == id);
            if let Some(task) = state.tasks.get(&id) {
                task.give();
            }
            drop(state);
            if is_ours {
                self.end(client, why, false);
            }
        }
    }

    /// Client's ingress keys of the flows of a protocol that the kernel has.
    pub fn in_kernel(&self, protocol: Protocol) -> Vec<(FlowKey, FlowId)> {
        let state = self.state();
        let is_it = |id| state.table.get(id).is_some_and(|record| record.protocol == protocol);
        state.spliced.iter().filter(|(_, entry)| is_it(entry.id)).map(|(key, entry)| (*key, entry.id)).collect()
    }
}

impl State {
    /// Flows of WebRTC in the kernel that were in no table, now and at the last look: the report of their making was lost,
    /// or nobody wants them. Once is not enough, because user space tells this table after it has told the kernel.
    pub(super) fn strangers(&mut self, flows: &HashMap<FlowKey, SplicedFlow>) -> Vec<FlowKey> {
        let is_rtc =
            |flow: &SplicedFlow| FlowFlags::service(flow.to_origin.splice.flags) == const { Protocol::Webrtc.number() };
        let unknown = flows.iter().filter(|(key, flow)| is_rtc(flow) && !self.spliced.contains_key(key));
        let unknown: HashSet<FlowKey> = unknown.map(|(key, _)| *key).collect();
        let again = unknown.intersection(&self.strange).copied().collect();
        self.strange = unknown;
        again
    }
}
