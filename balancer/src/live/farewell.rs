//! The last word to a client of UDP: no host's stack says it for us, as it does with a RST.

use super::Live;
use crate::flow::FlowRecord;
use balancer_common::abi::FlowKey;

/// To whom the last word is said.
#[derive(Clone, Debug)]
pub struct Farewell {
    pub record: FlowRecord,
    /// What the protocol remembered of the origin and of the client: SRT's socket ids.
    pub tags: (u32, u32),
}

/// Says it: whoever holds the sockets.
pub trait Farewells: Send + Sync {
    fn say(&self, farewell: Farewell);
}

impl Live {
    /// Once, at the start.
    pub fn set_farewells(&self, farewells: std::sync::Arc<dyn Farewells>) {
        // A second one would be a mistake of the caller's; the first stays.
        let _ = self.farewells.set(farewells);
    }

    pub(super) fn say_farewell(&self, record: &FlowRecord, tags: (u32, u32)) {
        if let Some(farewells) = self.farewells.get() {
            farewells.say(Farewell { record: record.clone(), tags });
        }
    }

    /// What stands in the halves of a flow, as long as they are there.
    pub(super) fn tags(&self, client: FlowKey, origin: FlowKey) -> (u32, u32) {
        let Some(offload) = &self.offload else { return (0, 0) };
        let tag = |key| offload.flow(key).map_or(0, |half| half.splice.seq_delta);
        (tag(client), tag(origin))
    }
}
