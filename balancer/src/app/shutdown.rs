//! SIGTERM: no new connections, hand-overs may finish, the fast path stays. Flows in the kernel go on.

use crate::readiness::Word;
use crate::slowpath::Context;
use anyhow::Context as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Clients are to go elsewhere before they are turned away: whoever sends them here is told, and is given time.
async fn withdraw(ctx: &Context, term: &mut Signal, int: &mut Signal) {
    ctx.readiness.stopping();
    let Some(announcer) = &ctx.announcer else { return };
    let told = async {
        announcer.wait_said(Word::Down).await;
        tokio::time::sleep(ctx.settings.announce_grace).await;
    };
    tokio::select! {
        () = told => {}
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

pub async fn serve_until_stopped(
    ctx: &Arc<Context>,
    stop: watch::Sender<bool>,
    api: JoinHandle<()>,
) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    // Outside systemd there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    withdraw(ctx, &mut term, &mut int).await;
    stop.send_replace(true);
    let (handshakes, relayed) = (ctx.admission.in_progress(), ctx.live.in_user_space());
    info!(handshakes, relayed, "stopping: flows in the kernel go on");

    let settings = &ctx.settings;
    let busy = || ctx.admission.in_progress() + ctx.live.in_user_space();
    let settle = async {
        while busy() > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        // The API stops by itself, once its answers are out.
        let _ = api.await;
    };
    let limit = settings.grace_quit_timeout.min(settings.force_quit_timeout);
    let impatient = async {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    };
    tokio::select! {
        done = tokio::time::timeout(limit, settle) => {
            if done.is_err() {
                warn!(flows = busy(), limit_s = limit.as_secs(), "flows that could not be handed over end now");
            }
        }
        () = impatient => warn!(flows = busy(), "second signal: ending at once"),
    }
    if ctx.offload.is_some() {
        let kernel = ctx.live.len().saturating_sub(ctx.live.in_user_space());
        info!(flows = kernel, "the fast path stays; `balancer unload` removes it");
    }
    Ok(())
}
