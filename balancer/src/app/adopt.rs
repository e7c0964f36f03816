//! Takes over what an earlier process left in the kernel: origins, streams, flows, sessions of
//! WebRTC, in this order.

use crate::live::adopt::Known;
use crate::recognize::StreamKey;
use crate::registry::DesiredOrigin;
use crate::slowpath::Context;
use balancer_common::abi::{Origin, OriginState};
use std::sync::Arc;
use tracing::info;

pub fn adopt(ctx: &Context) {
    let Some(offload) = &ctx.offload else { return };
    let now = ctx.now();
    let mut known = Known::default();
    let mut applied = Vec::new();
    for (index, origin) in offload.origins() {
        let Some(desired) = desired(index, &origin) else { continue };
        if desired.state == OriginState::Up && ctx.store.adopt_origin(index, &desired.id, desired.generation, now) {
            known.origins.insert(index, desired.id.clone());
        }
        applied.push(desired);
    }
    for entry in offload.streams() {
        let placement = entry.placement;
        let key: Option<StreamKey> = std::str::from_utf8(&entry.name).ok().and_then(|name| name.parse().ok());
        let adopted = key.map(Arc::new).filter(|key| {
            let placed_on = (placement.origin, placement.origin_generation);
            ctx.store.adopt_stream(placement.stream, key, placed_on, now)
        });
        match adopted {
            Some(key) => drop(known.streams.insert(placement.stream, key)),
            None => offload.remove_stream(entry.hash, placement.stream),
        }
    }
    ctx.reconciler.adopt(applied.into_iter());
    let (adopted, removed) = ctx.live.adopt(&known, &ctx.ports);
    let sessions = ctx.rtc.adopt(&known);
    if adopted + removed + sessions > 0 {
        let (origins, streams) = (known.origins.len(), known.streams.len());
        info!(adopted, removed, origins, streams, sessions, "took over the flows of an earlier process");
    }
}

fn desired(index: u16, origin: &Origin) -> Option<DesiredOrigin> {
    let id = origin.id.get(..origin.id_len as usize)?;
    let state = if origin.state == OriginState::Up as u32 { OriginState::Up } else { OriginState::Down };
    Some(DesiredOrigin { index, state, generation: origin.generation, id: std::str::from_utf8(id).ok()?.into() })
}
