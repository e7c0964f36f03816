//! Flows that survive this host, where several balancers work together; without a shelf there are none.

use crate::cluster::flows::{Flows, Parts};
use crate::cluster::{Entry, Key, Kind};
use crate::offload::Offload;
use crate::rtc::Sessions;
use crate::slowpath::Context;
use crate::store::shared::{Listener, Share};
use balancer_common::abi::ServiceKind;
use std::net::SocketAddr;
use std::sync::Arc;
use tracing::warn;

/// After the flows of an earlier process were adopted.
pub fn start(ctx: &Context, served: &[(ServiceKind, SocketAddr)]) {
    let Some(share) = ctx.store.share_of() else {
        // An earlier process may have been one of several.
        if let Some(Err(error)) = ctx.offload.as_ref().map(|offload| offload.ask_on_miss(false)) {
            warn!(%error, "packets of unknown flows are dropped, because an earlier process has asked for it");
        }
        return;
    };
    let flows = ctx.offload.as_ref().map(|offload| flows(ctx, share, offload, served));
    share.listen(Box::new(Ear { flows, rtc: ctx.rtc.clone() }));
}

fn flows(ctx: &Context, share: &Share, offload: &Arc<Offload>, served: &[(ServiceKind, SocketAddr)]) -> Arc<Flows> {
    let flows = Flows::new(Parts {
        own: share.id.clone(),
        shelf: share.shelf.clone(),
        host: offload.clone(),
        live: ctx.live.clone(),
        store: ctx.store.clone(),
        ports: ctx.ports.clone(),
        counters: ctx.counters.clone(),
        sources: ctx.sources.clone(),
        source_ports: ctx.settings.source_ports.clone(),
        clock: ctx.clock,
        served: served.to_vec(),
    });
    flows.set_sessions(ctx.rtc.clone());
    flows.start();
    flows
}

/// What the store hears that concerns flows and sessions.
struct Ear {
    /// `None`: there is no fast path to carry them.
    flows: Option<Arc<Flows>>,
    rtc: Arc<Sessions>,
}

impl Listener for Ear {
    fn changed(&self, entry: &Entry) {
        match (entry.key.kind, &self.flows) {
            (Kind::Session, _) => self.rtc.changed(entry),
            (Kind::Peer, Some(flows)) => flows.look_around(),
            _ => {}
        }
    }

    fn whole(&self, entries: &[Entry]) {
        // First: flows that are taken look for their sessions.
        self.rtc.whole(entries);
        let Some(flows) = self.flows.clone() else { return };
        let own = Key::new(Kind::Peer, flows.own().clone());
        let is_emptied = !entries.iter().any(|entry| entry.key == own);
        tokio::spawn(async move { flows.shelf_read(is_emptied).await });
    }

    fn told(&self, what: &str) {
        if let Some(flows) = &self.flows {
            flows.told(what);
        }
    }

    fn peer_lost(&self, id: &str) {
        let Some(flows) = self.flows.clone() else { return };
        let id = id.to_owned();
        tokio::spawn(async move { flows.peer_lost(&id).await });
    }
}
