//! Makes this balancer one of several, where the settings name a store that they share.

use crate::cluster::record::{FORMAT, PeerRecord, Unknown};
use crate::cluster::secret::{CommonSecret, srt_secret};
use crate::cluster::{self, Shelf};
use crate::config::Settings;
use crate::counters::Counters;
use crate::registry::Transport;
use crate::slowpath::Context;
use crate::store::shared::{self, listen_text};
use crate::store::{Clock, Store};
use balancer_common::abi::ServiceKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, warn};

/// How often the clocks of this host and of the store are compared for SRT's cookies, which are good for a minute.
const CLOCK_EVERY: Duration = Duration::from_secs(10);

/// Before anything is placed.
pub fn join(
    store: &mut Store,
    settings: &Settings,
    listens: &[(Transport, SocketAddr)],
    counters: Arc<Counters>,
    clock: Clock,
) -> anyhow::Result<()> {
    let Some(shelf) = cluster::redis::connect(settings, counters)? else { return Ok(()) };
    store.share(shelf, own_record(settings, listens), clock.now());
    Ok(())
}

fn own_record(settings: &Settings, listens: &[(Transport, SocketAddr)]) -> PeerRecord {
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    PeerRecord {
        v: FORMAT,
        id: settings.balancer_id.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        started_ms: started.as_millis() as u64,
        listens: listens.iter().map(|(transport, address)| listen_text(*transport, *address)).collect(),
        sources: settings.source_addresses.clone(),
        source_ports: (*settings.source_ports.start(), *settings.source_ports.end()),
        draining: false,
        unknown: Unknown::new(),
    }
}

/// The tasks of one of several. Nothing for one that is alone.
pub fn start(ctx: &Arc<Context>, stopped: &watch::Receiver<bool>) {
    let Some(share) = ctx.store.share_of() else { return };
    tokio::spawn(shared::run(ctx.store.clone(), ctx.clock, stopped.clone()));
    tokio::spawn(ctx.rtc.clone().share(stopped.clone()));
    tokio::spawn(agree_on_cookies(ctx.clone(), share.shelf.clone()));
    tokio::spawn(tell_draining(ctx.clone()));
}

async fn tell_draining(ctx: Arc<Context>) {
    let mut state = ctx.readiness.subscribe();
    loop {
        let is_draining = state.borrow_and_update().drain.is_some();
        ctx.store.set_draining(is_draining);
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// SRT's cookies are the same everywhere: a caller may be answered by one balancer and come back to another.
async fn agree_on_cookies(ctx: Arc<Context>, shelf: Arc<dyn Shelf>) {
    let mut every = interval(CLOCK_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut own: Option<CommonSecret> = None;
    loop {
        every.tick().await;
        if ctx.store.shelf_is_up() != Some(true) {
            // Soon after it is back.
            every.reset_after(Duration::from_millis(200));
            continue;
        }
        match srt_secret(&*shelf, own).await {
            Ok(secret) => own = Some(secret),
            Err(error) => {
                warn!(%error, "no common secret for SRT's cookies: callers that come to another balancer begin anew");
                continue;
            }
        }
        match shelf.now().await {
            Ok(common) => {
                if let Some(secret) = own {
                    ctx.srt.share(ctx.offload.as_deref(), secret, common);
                }
            }
            Err(error) => debug!(%error, "the store's clock is read later"),
        }
    }
}

/// Every address at which clients reach this balancer, for the others: no origin may register one of them.
pub fn listens(served: &[(ServiceKind, SocketAddr)], settings: &Settings) -> Vec<(Transport, SocketAddr)> {
    let served = served.iter().map(|(kind, address)| (Transport::of(*kind), *address));
    let api = settings.system_api;
    let api = (!api.ip().is_loopback() && !api.ip().is_unspecified()).then_some((Transport::Tcp, api));
    // An address that only this host can reach may be somebody else's elsewhere.
    served.chain(api).filter(|(_, address)| !address.ip().is_loopback() && !address.ip().is_unspecified()).collect()
}
