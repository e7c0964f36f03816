//! Flows whose media goes by UDP in the kernel while a task in user space keeps their session (RTSP). The task owns the
//! flow and ends it; the table counts what its channels carry, and tells the task when it is to end.

use super::spliced::Spliced;
use super::{Live, State};
use crate::flow::{FlowId, FlowState, Path};
use crate::offload::{Datagrams, SpliceError};
use balancer_common::abi::FlowKey;
use std::time::Duration;

impl Live {
    /// The kernel carries one more channel of a flow, until [`Live::drop_channel`] or [`Live::close`].
    pub fn carry(&self, id: FlowId, datagrams: &Datagrams) -> Result<FlowKey, SpliceError> {
        let Some(offload) = &self.offload else { return Err(SpliceError::Off) };
        let (to_origin, to_client) = datagrams.halves()?;
        let (client, origin) = (to_origin.ingress, to_client.ingress);
        // Ports that an earlier flow left behind.
        self.forget_leg(client);
        self.forget_leg(origin);
        offload.splice(&to_origin, &to_client, false)?;
        let now = self.now();
        let mut state = self.state();
        state.spliced.insert(client, Box::new(Spliced::channel(id, origin, now)));
        state.sessions.entry(id).or_default().push(client);
        if let Some(record) = state.table.get_mut(id) {
            record.path = Path::Kernel;
            record.state = FlowState::Spliced;
        }
        Ok(client)
    }

    /// One channel ends, its flow goes on.
    pub fn drop_channel(&self, id: FlowId, client: FlowKey) {
        let mut state = self.state();
        let origin = take_channel(&mut state, id, client);
        if let Some(clients) = state.sessions.get_mut(&id) {
            clients.retain(|key| *key != client);
        }
        drop(state);
        if let (Some(offload), Some(origin)) = (&self.offload, origin) {
            offload.remove(client, origin);
        }
    }

    /// The flow is over, and all its channels.
    pub(super) fn drop_channels(&self, id: FlowId) {
        let clients = self.state().sessions.remove(&id).unwrap_or_default();
        for client in clients {
            self.drop_channel(id, client);
        }
    }
}

/// By now the key may belong to another flow.
fn take_channel(state: &mut State, id: FlowId, client: FlowKey) -> Option<FlowKey> {
    state.spliced.get(&client).filter(|entry| entry.id == id)?;
    state.spliced.remove(&client).map(|entry| entry.origin)
}

impl State {
    /// Tells the tasks of sessions whose channels have all been silent for so long.
    pub(super) fn end_idle_sessions(&self, idle_timeout: Duration, now: Duration) {
        for id in self.sessions.keys() {
            if let (Some(record), Some(task)) = (self.table.get(*id), self.tasks.get(id))
                && now.saturating_sub(record.active_at) >= idle_timeout
            {
                task.give();
            }
        }
    }
}
