//! Who is told of every flow that the kernel carries alone, so that it can be known beyond this process.

use super::Live;
use super::spliced::Spliced;
use crate::flow::{FlowRecord, Path};
use crate::offload::Offload;
use balancer_common::abi::{FlowKey, PROTO_TCP, PROTO_UDP};
use std::sync::Arc;
use std::time::Duration;
use tracing::debug;

pub trait Journal: Send + Sync {
    /// The flow of these two ingress keys, the client's and the origin's, has come or gone: what has become of it is
    /// [`Live::carried`]'s to say. Called with nothing locked; must not wait.
    fn touched(&self, client: FlowKey, origin: FlowKey);

    /// The kernel has dropped a packet of a flow that is not here, and asks whose it is.
    fn missed(&self, key: FlowKey);

    /// A datagram of a client's that belongs to nothing here has come to user space.
    fn stray(&self, client: FlowKey);

    /// A flow of ours has ended, whose packets others forward too, as they say or as they may.
    fn ended(&self, client: FlowKey, is_told: bool);

    /// An end of a guest was seen, or another one: bits of [`super::Heard::bits`]. Its owner may be dead without anybody having
    /// noticed.
    fn guest_end(&self, client: FlowKey, origin: FlowKey, bits: u8);
}

/// A flow that another process could carry on.
#[derive(Clone, Debug)]
pub struct Carried {
    pub record: FlowRecord,
    pub origin: FlowKey,
}

/// As long as a peer that is told of the end may take to answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

impl Live {
    /// A flow leaves the kernel. What its peers say when they are made to ask is the stack's to answer, also where the
    /// kernel asks about flows that it does not know: a silent peer answers once, and that packet would be dropped, or
    /// the flow found again, whose record is still there.
    pub(super) fn take_out(&self, offload: &Offload, (client, origin): (FlowKey, FlowKey), tell: bool) {
        if tell && client.proto() == PROTO_TCP && self.journal.get().is_some() {
            for key in [client, origin] {
                if let Err(error) = offload.nobodys(key, ANSWERED_WITHIN) {
                    debug!(%error, "the end of a flow may not be heard by its peers");
                }
            }
        }
        offload.remove(client, origin);
    }

    /// Once, at the start.
    pub fn set_journal(&self, journal: Arc<dyn Journal>) {
        // A second one would be a mistake of the caller's; the first stays.
        let _ = self.journal.set(journal);
    }

    /// The flow of a client's ingress key, if the kernel alone carries it and it is this balancer's.
    pub fn carried(&self, client: FlowKey) -> Option<Carried> {
        let state = self.state();
        let entry = state.spliced.get(&client)?;
        let record = state.table.get(entry.id).filter(|record| is_carried(client, entry, record))?;
        Some(Carried { record: record.clone(), origin: entry.origin })
    }

    /// Both keys of every such flow.
    pub fn all_carried(&self) -> Vec<(FlowKey, FlowKey)> {
        let state = self.state();
        let is_ours = |client: &FlowKey, entry: &Spliced| {
            state.table.get(entry.id).is_some_and(|record| is_carried(*client, entry, record))
        };
        state.spliced.iter().filter(|(key, entry)| is_ours(key, entry)).map(|(key, e)| (*key, e.origin)).collect()
    }

    /// A packet of a flow that is not here came, on which side ever, and the kernel asks whose it is.
    pub fn missed(&self, key: FlowKey) {
        if let Some(journal) = self.journal.get() {
            journal.missed(key);
        }
    }

    /// A datagram that nobody here knows what to do with. It may belong to another balancer's flow.
    pub fn stray(&self, client: FlowKey) {
        if let Some(journal) = self.journal.get() {
            journal.stray(client);
        }
    }

    pub(super) fn guest_end(&self, (client, origin): (FlowKey, FlowKey), bits: u8) {
        if let Some(journal) = self.journal.get() {
            journal.guest_end(client, origin, bits);
        }
    }

    pub(super) fn touch(&self, client: FlowKey, origin: FlowKey) {
        if let Some(journal) = self.journal.get() {
            journal.touched(client, origin);
        }
    }
}

/// Of UDP also while its socket is there still: nothing that goes by the kernel needs it.
fn is_carried(client: FlowKey, entry: &Spliced, record: &FlowRecord) -> bool {
    let is_alone = entry.alone || (client.proto() == PROTO_UDP && record.path == Path::Kernel);
    is_alone && !entry.is_channel && entry.guest.is_none()
}
