//! Flows that survive this host, where several balancers work together; without a shelf there are none.

use crate::cluster::flows::{Flows, Parts};
use crate::cluster::{Entry, Key, Kind};
use crate::slowpath::Context;
use crate::store::shared::Listener;
use balancer_common::abi::ServiceKind;
use std::net::SocketAddr;
use std::sync::Arc;
use tracing::warn;

/// After the flows of an earlier process were adopted.
pub fn start(ctx: &Context, served: &[(ServiceKind, SocketAddr)]) {
    let Some(offload) = &ctx.offload else { return };
    let Some(share) = ctx.store.share_of() else {
        // An earlier process may have been one of several.
        if let Err(error) = offload.ask_on_miss(false) {
            warn!(%error, "packets of unknown flows are dropped, because an earlier process has asked for it");
        }
        return;
    };
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
    flows.start();
    share.listen(Box::new(Ear(flows)));
}

/// What the store hears that concerns flows.
struct Ear(Arc<Flows>);

impl Listener for Ear {
    fn changed(&self, entry: &Entry) {
        if entry.key.kind == Kind::Peer {
            self.0.look_around();
        }
    }

    fn whole(&self, entries: &[Entry]) {
        let own = Key::new(Kind::Peer, self.0.own().clone());
        let is_emptied = !entries.iter().any(|entry| entry.key == own);
        let flows = self.0.clone();
        tokio::spawn(async move { flows.shelf_read(is_emptied).await });
    }

    fn told(&self, what: &str) {
        self.0.told(what);
    }

    fn peer_lost(&self, id: &str) {
        let (flows, id) = (self.0.clone(), id.to_owned());
        tokio::spawn(async move { flows.peer_lost(&id).await });
    }
}
