//! Keeps `NEXT_HOPS` true: has the kernel probe every neighbour that a next hop points at, and rewrites the slots when
//! one of them gets another MAC. Makes no next hops and looks up no routes for them.
//!
//! Forwarded packets never touch the host's stack. Without this, neighbour entries would go stale unnoticed, and a
//! gateway that fails over would take every stream behind it along.
//!
//! - News of the kernel are acted upon at once. A dump every few seconds finds what the news lost.
//! - Entries are made managed and are never unmade: after SIGTERM the fast path stays, and a later process relies on
//!   them. `balancer unload` leaves them too, because nobody can tell ours from an operator's; they cost a probe every
//!   half a minute and go with the link.
//! - Permanent, noarp and externally learned entries are somebody's. They are followed, not touched.
//! - A change that happened while no process watched is not found: the pinned slot knows a MAC and no address. It shows
//!   as a next hop that nobody answers for, which is logged.

mod netlink;
mod prefixes;
mod roster;
mod survey;
mod ways;

use super::Offload;
use netlink::{Netlink, News};
pub use roster::Mac;
use roster::{ADDRESSES_MAX, Action, Address, Hop, MANAGED_PER_HOP_MAX, Roster};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
pub use survey::Survey;
use tokio::time::MissedTickBehavior;
pub use ways::{Way, Ways, survey};

/// How long a lost notification may matter.
const DUMP_EVERY: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The part of the fast path that follows the neighbours. A test has its own.
pub trait Slots {
    /// Interface and MAC of every next hop in use.
    fn neighbours(&self) -> Vec<(u32, Mac)>;
    /// Every next hop on `ifindex` with the old MAC gets the new one; says how many.
    fn neighbour_moved(&self, ifindex: u32, old: Mac, new: Mac) -> usize;
}

impl Slots for Offload {
    fn neighbours(&self) -> Vec<(u32, Mac)> {
        self.neighbours()
    }

    fn neighbour_moved(&self, ifindex: u32, old: Mac, new: Mac) -> usize {
        self.neighbour_moved(ifindex, old, new)
    }
}

/// Watches for as long as it is polled, in the network namespace of the thread that polls it.
pub async fn watch<S: Slots>(slots: Arc<S>) -> Infallible {
    let mut roster = Roster::default();
    let mut pause = PAUSE_MIN;
    loop {
        let started = Instant::now();
        let error = match session(&*slots, &mut roster).await {
            Ok(never) => match never {},
            Err(error) => format!("{error:#}"),
        };
        if started.elapsed() > PAUSE_MAX {
            pause = PAUSE_MIN;
        }
        tracing::warn!(
            error,
            retry_s = pause.as_secs(),
            "NEXT_HOPS does not follow the neighbours for now: if this repeats, does the service have CAP_NET_ADMIN and \
             AF_NETLINK (RestrictAddressFamilies)?"
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Until netlink fails.
async fn session(slots: &impl Slots, roster: &mut Roster) -> anyhow::Result<Infallible> {
    let mut netlink = Netlink::open()?;
    let mut dump = tokio::time::interval(DUMP_EVERY);
    dump.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let news = tokio::select! {
            _ = dump.tick() => None,
            news = netlink.news() => Some(news?),
        };
        match news {
            None => {
                roster.dumped(&netlink.neighbours().await?);
                follow(slots, roster, &netlink).await?;
                let actions = roster.upkeep(&in_use(slots));
                act(actions, slots, roster, &netlink).await;
            }
            Some(News::Changed(entry)) => {
                if roster.notified(&entry) {
                    follow(slots, roster, &netlink).await?;
                }
            }
            Some(News::Lost) => dump.reset_immediately(),
        }
    }
}

/// Moves what has to move.
async fn follow(slots: &impl Slots, roster: &mut Roster, netlink: &Netlink) -> anyhow::Result<()> {
    let actions = roster.decide(&in_use(slots), None);
    let unsure = actions.contains(&Action::AskGateways);
    act(actions, slots, roster, netlink).await;
    if unsure {
        let gateways = netlink.gateways().await?;
        let actions = roster.decide(&in_use(slots), Some(&gateways));
        act(actions, slots, roster, netlink).await;
    }
    Ok(())
}

fn in_use(slots: &impl Slots) -> BTreeSet<Hop> {
    slots.neighbours().into_iter().map(|(ifindex, mac)| Hop { ifindex, mac }).collect()
}

async fn act(actions: Vec<Action>, slots: &impl Slots, roster: &mut Roster, netlink: &Netlink) {
    for action in actions {
        match action {
            Action::Move { hop, new, by } => {
                let moved = slots.neighbour_moved(hop.ifindex, hop.mac, new);
                let interface = netlink.interface_name(hop.ifindex).await;
                let (old, new) = (Shown(hop.mac), Shown(new));
                tracing::info!(interface, address = %by.ip, %old, %new, slots = moved, "next hop follows its neighbour");
            }
            Action::Manage(address) => look_after(netlink.manage(address).await, address, roster, netlink).await,
            Action::Probe(address) => look_after(netlink.probe(address).await, address, roster, netlink).await,
            Action::AskGateways => {}
            Action::Keep { .. } | Action::Unwatched(_) | Action::Crowded(_) | Action::Full => {
                warn(action, roster, netlink).await;
            }
        }
    }
}

/// A refusal concerns one address; the others go on.
async fn look_after(result: anyhow::Result<()>, address: Address, roster: &mut Roster, netlink: &Netlink) {
    let Err(error) = result else { return };
    if roster.refused(address) {
        let interface = netlink.interface_name(address.ifindex).await;
        tracing::warn!(
            interface,
            address = %address.ip,
            error = format!("{error:#}"),
            "the kernel does not probe this next hop: is the interface up, and does the service have CAP_NET_ADMIN?"
        );
    }
}

async fn warn(action: Action, roster: &Roster, netlink: &Netlink) {
    match action {
        Action::Keep { hop, moved, stays } => tracing::warn!(
            interface = netlink.interface_name(hop.ifindex).await,
            mac = %Shown(hop.mac),
            moved = %moved.ip,
            stays = %stays.ip,
            "an address left this next hop, which stays for the sake of another: flows by way of the one that left are \
             lost unless their old host forwards them"
        ),
        Action::Unwatched(hop) => tracing::warn!(
            interface = netlink.interface_name(hop.ifindex).await,
            mac = %Shown(hop.mac),
            "no neighbour has the MAC of this next hop, so nobody will notice when it changes: does a router send from \
             another MAC than it answers for, or did it change while no balancer ran?"
        ),
        Action::Crowded(hop) => tracing::warn!(
            interface = netlink.interface_name(hop.ifindex).await,
            mac = %Shown(hop.mac),
            limit = MANAGED_PER_HOP_MAX,
            "more addresses than the limit share the MAC of this next hop (proxy ARP?): the kernel probes only the first"
        ),
        Action::Full => tracing::warn!(
            overlooked = roster.overlooked(),
            limit = ADDRESSES_MAX,
            "too many neighbours: next hops behind those that were overlooked will not follow them; split the network"
        ),
        Action::Move { .. } | Action::Manage(_) | Action::Probe(_) | Action::AskGateways => {}
    }
}

struct Shown(Mac);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}
