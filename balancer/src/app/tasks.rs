//! Everything that runs beside the connections.

use crate::api::Api;
use crate::api::access::Access;
use crate::offload::{EventSource, Offload, neighbours};
use crate::probe::Prober;
use crate::slowpath::{self, Bound, Context, udp};
use crate::tls;
use anyhow::Context as _;
use balancer_common::abi::EventKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, warn};

const SCAN_EVERY: Duration = Duration::from_secs(1);
const SWEEP_EVERY: Duration = Duration::from_secs(1);
const TICK_EVERY: Duration = Duration::from_millis(250);

/// Starts them; the handle is the system API's.
pub async fn start(
    ctx: &Arc<Context>,
    access: Access,
    (bound, datagrams): (Vec<Bound>, Vec<Arc<udp::Listener>>),
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<JoinHandle<()>> {
    let api = serve_api(ctx, access, stopped.clone()).await?;
    for listener in bound {
        tokio::spawn(slowpath::serve(ctx.clone(), listener, stopped.clone()));
    }
    for listener in datagrams {
        tokio::spawn(udp::serve(ctx.clone(), listener, stopped.clone()));
    }
    if let Some(announcer) = ctx.announcer.clone() {
        let state = ctx.readiness.subscribe();
        tokio::spawn(async move { announcer.follow(state).await });
    }
    let prober = Prober { store: ctx.store.clone(), telemetry: ctx.telemetry.clone(), clock: ctx.clock };
    tokio::spawn(prober.run());
    tokio::spawn(scan(ctx.clone()));
    tokio::spawn(tick(ctx.clone()));
    tokio::spawn(sweep(ctx.clone()));
    tokio::spawn(reconcile(ctx.clone()));
    let hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    tokio::spawn(tls::watch(ctx.tls.clone(), hangup));
    if let Some(offload) = &ctx.offload {
        tokio::spawn(events(ctx.clone()));
        watch_neighbours(offload.clone())?;
    }
    Ok(api)
}

/// On a thread of its own: what netlink streams hold between two messages may not change threads.
fn watch_neighbours(offload: Arc<Offload>) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot watch neighbours")?;
    let watch = move || match runtime.block_on(neighbours::watch(offload)) {};
    std::thread::Builder::new().name("neighbours".into()).spawn(watch).context("cannot watch neighbours")?;
    Ok(())
}

async fn serve_api(
    ctx: &Arc<Context>,
    access: Access,
    mut stopped: watch::Receiver<bool>,
) -> anyhow::Result<JoinHandle<()>> {
    let api = Api {
        store: ctx.store.clone(),
        facts: ctx.facts.clone(),
        readiness: ctx.readiness.clone(),
        telemetry: ctx.telemetry.clone(),
        counters: ctx.counters.clone(),
        clock: ctx.clock,
        access,
    };
    let address = ctx.settings.system_api;
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot serve the system API on {address}: is the port free (`ss -ltnp`)? --system-api sets another")
    })?;
    let stop = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
    let readiness = ctx.readiness.clone();
    Ok(tokio::spawn(async move {
        if let Err(error) = api.serve(listener, stop).await {
            error!(%error, "the system API has ended");
            readiness.broken("the system API has ended");
        }
    }))
}

/// Looks at the flows in the kernel.
async fn scan(ctx: Arc<Context>) {
    let mut every = tokio::time::interval(SCAN_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if let Some(offload) = &ctx.offload {
            offload.follow_mtus();
        }
        let looker = ctx.clone();
        // A walk over a large table takes a while: not on a worker that connections wait for.
        let look = move || {
            let strangers = looker.live.scan(looker.settings.idle_times());
            strangers.into_iter().for_each(|client| slowpath::made(&looker, client));
        };
        if let Err(error) = tokio::task::spawn_blocking(look).await {
            error!(%error, "a look at the flows failed");
        }
    }
}

/// The sessions of WebRTC.
async fn sweep(ctx: Arc<Context>) {
    let mut every = tokio::time::interval(SWEEP_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 0.. {
        every.tick().await;
        let sessions = ctx.rtc.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || sessions.sweep(number)).await {
            error!(%error, "a look at the sessions of WebRTC failed");
        }
    }
}

/// Leases and deadlines.
async fn tick(ctx: Arc<Context>) {
    let mut every = tokio::time::interval(TICK_EVERY);
    loop {
        every.tick().await;
        ctx.store.tick(ctx.now());
        if ctx.readiness.take_due(ctx.now()) {
            let ctx = ctx.clone();
            tokio::task::spawn_blocking(move || end_all(&ctx));
        }
        ctx.proxy.origins.sweep();
        ctx.srt.tick(ctx.offload.as_deref(), ctx.now());
    }
}

/// The deadline of this balancer's own drain has come.
fn end_all(ctx: &Context) {
    // First: else their clients would have new flows at once.
    let sessions = ctx.rtc.end_everything();
    let flows = ctx.live.reset(|_| true);
    warn!(flows, sessions, "the deadline of the drain has come: what was left is reset");
}

async fn reconcile(ctx: Arc<Context>) {
    let mut changed = ctx.store.subscribe();
    loop {
        ctx.reconciler.run();
        if changed.changed().await.is_err() {
            return;
        }
    }
}

/// What the kernel reports.
async fn events(ctx: Arc<Context>) {
    let Some(offload) = ctx.offload.clone() else { return };
    let source = match EventSource::new(offload) {
        Ok(source) => source,
        Err(error) => return error!(%error, "no events from the fast path: ends are seen by the next look only"),
    };
    loop {
        match source.next().await {
            Ok(events) => events.into_iter().for_each(|(kind, key)| match kind {
                EventKind::Made => slowpath::made(&ctx, key),
                EventKind::Missed => ctx.live.missed(key),
                EventKind::Fin | EventKind::Rst | EventKind::Reused => ctx.live.event(kind, key),
            }),
            Err(error) => return error!(%error, "no more events from the fast path"),
        }
    }
}
