//! By which interface and link-layer address a host is reached, asked of the kernel's routes and neighbours.
//!
//! Flows of TCP learn this from the frames that came in. An origin of UDP may have sent none yet when its first flow is
//! to be made.

use super::netlink::Netlink;
use super::roster::Address;
use super::survey::Survey;
use balancer_common::abi::Track;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::debug;

/// As the track of a connection with that host would say it.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub track: Track,
}

/// Answers are believed for a while, also that there is none: the slots that are made of them follow their neighbours by themselves.
#[derive(Default)]
pub struct Ways {
    known: Mutex<HashMap<IpAddr, (Instant, Option<Way>)>>,
}

const BELIEVED_FOR: Duration = Duration::from_secs(5);
/// A neighbour that nobody talked to lately has to be asked for.
pub(super) const ASK_TRIES: usize = 20;
pub(super) const ASK_PAUSE: Duration = Duration::from_millis(50);

impl Ways {
    /// The way to `host`; `None` when there is no route, or nobody answers for it.
    pub async fn to(&self, host: IpAddr) -> Option<Way> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&host).copied();
        if let Some((_, way)) = known.filter(|(since, _)| since.elapsed() < BELIEVED_FOR) {
            return way;
        }
        // What netlink streams hold between two messages may not change threads.
        let found = tokio::task::spawn_blocking(move || find(host)).await.ok()?;
        let way = found.inspect_err(|error| debug!(%host, error = format!("{error:#}"), "no way")).ok();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (since, _)| since.elapsed() < BELIEVED_FOR);
        known.insert(host, (Instant::now(), way));
        way
    }
}

/// The ways to many hosts; blocks. What was learned stays in `survey` for the next call.
pub fn survey(survey: &mut Survey, hosts: &BTreeSet<IpAddr>) -> anyhow::Result<HashMap<IpAddr, Way>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(survey.of(hosts))
}

fn find(host: IpAddr) -> anyhow::Result<Way> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let netlink = Netlink::open()?;
        let route = netlink.route(host).await?;
        let own_mac = netlink.own_mac(route.ifindex).await?;
        // Zeros: the loopback has no neighbours.
        let peer_mac =
            if own_mac == [0; 6] { own_mac } else { neighbour(&netlink, route.ifindex, route.gateway).await? };
        let track = Track { ifindex: route.ifindex, peer_mac, own_mac, seen: Track::SEEN_L2, ..Track::default() };
        Ok(Way { track })
    })
}

async fn neighbour(netlink: &Netlink, ifindex: u32, ip: IpAddr) -> anyhow::Result<[u8; 6]> {
    let address = Address { ifindex, ip };
    for _ in 0..ASK_TRIES {
        let entries = netlink.neighbours().await?;
        if let Some(mac) = entries.iter().find(|e| e.address == address && !e.failed).and_then(|e| e.mac) {
            return Ok(mac);
        }
        netlink.manage(address).await?;
        tokio::time::sleep(ASK_PAUSE).await;
    }
    anyhow::bail!("nobody answers for {ip}")
}
