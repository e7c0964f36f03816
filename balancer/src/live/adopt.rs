//! Flows that an earlier process left in the kernel: they get records again, with their stream, origin and counts.

use super::Live;
use super::spliced::Spliced;
use crate::flow::{Counter, FlowRecord, FlowState, Path, Protocol, Role};
use crate::offload::{Half, SplicedFlow};
use crate::recognize::StreamKey;
use crate::slowpath::PortPool;
use balancer_common::abi::{FlowFlags, PROTO_UDP, Seen};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// What the maps say of origins and streams, by index.
#[derive(Default)]
pub struct Known {
    pub origins: HashMap<u16, Arc<str>>,
    pub streams: HashMap<u32, Arc<StreamKey>>,
}

impl Live {
    /// Takes over what is in the flow tables. Flows whose stream or origin nobody knows any more are removed: nothing
    /// could ever be said of them, or done with them. Returns (adopted, removed).
    pub fn adopt(&self, known: &Known, ports: &Arc<PortPool>) -> (usize, usize) {
        let Some(offload) = &self.offload else { return (0, 0) };
        let (mut adopted, mut removed) = (0, 0);
        let flows = offload.flows().unwrap_or_else(|error| {
            warn!(%error, "the flow tables cannot be read: flows of an earlier process go on unseen");
            Vec::new()
        });
        for flow in flows {
            match self.record_of(&flow, known) {
                Some(record) if died_with_its_session(&flow, &record) => {
                    offload.remove(flow.client, flow.origin);
                    // A late packet of the origin's must not meet a new session on the same port.
                    drop(ports.adopt(record.source, record.origin_address));
                    removed += 1;
                }
                Some(record) => {
                    let port = ports.adopt(record.source, record.origin_address);
                    self.store.flow_adopted(super::ticket(&record), self.now());
                    let service = crate::placement::service_of(record.protocol);
                    self.store.learn_endpoint(record.origin, service, record.origin_address);
                    let mut state = self.state();
                    let id = state.table.insert(record);
                    state.spliced.insert(flow.client, Box::new(Spliced::adopted(id, &flow, port)));
                    adopted += 1;
                }
                None => {
                    offload.remove(flow.client, flow.origin);
                    removed += 1;
                }
            }
        }
        (adopted, removed)
    }

    fn record_of(&self, flow: &SplicedFlow, known: &Known) -> Option<FlowRecord> {
        let splice = &flow.to_origin.splice;
        let (client, vip) = flow.client.addresses();
        let (origin_address, source) = flow.origin.addresses();
        let now = self.now();
        let counter = |half: &Half| Counter { packets: u64::from(half.packets), bytes: half.bytes };
        let publish = splice.flags & FlowFlags::PUBLISH != 0;
        Some(FlowRecord {
            client,
            // Nobody wrote it down: the kernel has no use for it.
            announced: None,
            vip,
            origin: splice.origin,
            origin_generation: splice.origin_generation,
            origin_id: known.origins.get(&splice.origin)?.clone(),
            origin_address,
            source,
            protocol: Protocol::from_number(FlowFlags::service(splice.flags))?,
            role: if publish { Role::Publish } else { Role::Play },
            stream: known.streams.get(&splice.stream)?.clone(),
            stream_index: splice.stream,
            path: Path::Kernel,
            state: FlowState::Spliced,
            to_origin: counter(&flow.to_origin),
            to_client: counter(&flow.to_client),
            made_at: now.saturating_sub(age(flow.to_origin.seen)),
            active_at: now,
        })
    }
}

/// The session of RTSP over UDP was a connection of the earlier process's.
fn died_with_its_session(flow: &SplicedFlow, record: &FlowRecord) -> bool {
    flow.client.proto() == PROTO_UDP && record.protocol == Protocol::Rtsp
}

fn age(seen: u32) -> Duration {
    const SECONDS: u32 = (1 << 24) - 1;
    let made_at = seen >> Seen::MADE_AT_SHIFT;
    Duration::from_secs(u64::from(crate::offload::boot_seconds().wrapping_sub(made_at) & SECONDS))
}
