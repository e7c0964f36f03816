//! Makes the maps and the living flows equal to what the store wants. Restart, registration, lease expiry, connect
//! failure and API call all take this one path.

use crate::flow::Role;
use crate::live::Live;
use crate::offload::{Offload, StreamEntry};
use crate::registry::DesiredOrigin;
use crate::rtc::Sessions;
use crate::store::{Changes, Store};
use balancer_common::abi::{ORIGIN_ID_LEN_MAX, Origin, OriginState, StreamPlacement};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::{info, warn};

pub struct Reconciler {
    store: Arc<Store>,
    live: Arc<Live>,
    offload: Option<Arc<Offload>>,
    rtc: Arc<Sessions>,
    /// What the maps say now: one reconciliation at a time.
    applied: Mutex<HashMap<u16, DesiredOrigin>>,
}

impl Reconciler {
    pub fn new(store: Arc<Store>, live: Arc<Live>, offload: Option<Arc<Offload>>, rtc: Arc<Sessions>) -> Arc<Self> {
        Arc::new(Self { store, live, offload, rtc, applied: Mutex::default() })
    }

    /// Applies everything that has changed. Cheap when nothing has.
    pub fn run(&self) {
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let Changes { origins, streams, resets } = self.store.take_changes();
        for origin in origins.into_iter().flatten() {
            self.apply_origin(&mut applied, origin);
        }
        if let Some(offload) = &self.offload {
            for change in streams {
                let name = change.key.to_string();
                match change.placed_on {
                    Some((origin, origin_generation)) => offload.set_stream(&StreamEntry {
                        hash: hash(&name),
                        placement: StreamPlacement { stream: change.index, origin, origin_generation },
                        name: name.into_bytes(),
                    }),
                    None => offload.remove_stream(hash(&name), change.index),
                }
            }
        }
        for reset in resets {
            // First: else their clients would have new flows at once.
            self.rtc.end_reset(&reset);
            let flows = self.live.reset(|f| {
                (f.stream_index, f.origin, f.origin_generation) == (reset.stream, reset.origin, reset.generation)
                    && reset.publishers_before.is_none_or(|before| f.role == Role::Publish && f.made_at < before)
            });
            if flows > 0 {
                let why = match reset.publishers_before {
                    None => "the stream is not there any more",
                    Some(_) => "another publisher has come",
                };
                info!(flows, origin = reset.origin, why, "flows of a stream are reset");
            }
        }
    }

    fn apply_origin(&self, applied: &mut HashMap<u16, DesiredOrigin>, wanted: DesiredOrigin) {
        let before = applied.insert(wanted.index, wanted.clone());
        if before.as_ref() == Some(&wanted) {
            return;
        }
        if let Some(offload) = &self.offload {
            offload.set_origin(wanted.index, &value(&wanted));
        }
        let Some(before) = before.filter(|b| b.state == OriginState::Up) else { return };
        if wanted.state != OriginState::Up || wanted.generation != before.generation {
            self.rtc.end_placed(wanted.index, before.generation as u16, None);
            let flows = self.live.origin_died(wanted.index, before.generation as u16);
            warn!(origin = %before.id, flows, "origin is gone: its flows are reset, its streams are free");
        }
    }

    /// Takes what the maps say for what is applied, so that the first run resets nothing that lives on.
    pub fn adopt(&self, origins: impl Iterator<Item = DesiredOrigin>) {
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        applied.extend(origins.map(|o| (o.index, o)));
    }
}

fn value(origin: &DesiredOrigin) -> Origin {
    let mut value = Origin { state: origin.state as u32, generation: origin.generation, ..Origin::EMPTY };
    let id = origin.id.as_bytes();
    let len = id.len().min(ORIGIN_ID_LEN_MAX);
    value.id[..len].copy_from_slice(&id[..len]);
    value.id_len = len as u32;
    value
}

/// FNV-1a over the canonical stream key: the key of `STREAMS`.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}
