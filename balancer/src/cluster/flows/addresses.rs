//! Tells when addresses of this host come or go: at once, by the kernel's own news.

use anyhow::Context;
use futures_util::StreamExt;
use rtnetlink::MulticastGroup;
use std::sync::{Arc, Weak};
use tokio::sync::Notify;
use tracing::warn;

/// Rings the bell at every change, for as long as somebody has it. In the network namespace of the calling thread, on a
/// thread of its own: what netlink streams hold between two messages may not change threads.
pub fn watch(bell: &Arc<Notify>) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot watch addresses")?;
    let bell = Arc::downgrade(bell);
    let run = move || {
        if let Err(error) = runtime.block_on(follow(&bell)) {
            warn!("addresses that come to this host are noticed a second later: {error:#}");
        }
    };
    std::thread::Builder::new().name("addresses".into()).spawn(run).context("cannot watch addresses")?;
    Ok(())
}

async fn follow(bell: &Weak<Notify>) -> anyhow::Result<()> {
    let groups = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, _, mut news) =
        rtnetlink::new_multicast_connection(&groups).context("cannot subscribe to the kernel's address changes")?;
    tokio::spawn(connection);
    while news.next().await.is_some() {
        let Some(bell) = bell.upgrade() else { return Ok(()) };
        bell.notify_one();
    }
    anyhow::bail!("the kernel's news ended")
}
