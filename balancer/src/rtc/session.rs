//! One session: its names, the source ports that it is granted, and the flows that it has. Pure; time is an argument.
//!
//! Two limits bound what somebody can do who has seen a name. [`PORT_SLOTS`] ports at once, one more each second: a new
//! address of the client's costs one. And [`FLOWS_MAX`]: with so many flows there are no more ports until some have
//! ended, those first that the origin, which checks every request, has answered least.

use super::NewSession;
use crate::flow::{FlowId, Protocol, Role};
use crate::placement::Placement;
use crate::recognize::StreamKey;
use crate::registry::FlowTicket;
use crate::slowpath::PortLease;
use balancer_common::abi::{FlowKey, PORT_SLOTS};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// From the answer to the client's first request.
pub const UNCONFIRMED_MAX: Duration = Duration::from_secs(60);
/// Of one address, which may be that of many clients. Nobody else's sessions lack ports for theirs.
pub const UNCONFIRMED_PER_CLIENT_MAX: usize = 128;
/// Ports that a session holds before its first flow: an offer costs its sender nothing.
pub const UNCONFIRMED_PORTS: usize = 2;
/// After the last flow: a client that comes back has its session still.
pub const LINGER: Duration = Duration::from_secs(30);
/// For requests that were under way when ICE was restarted.
pub const OLD_NAME_MAX: Duration = Duration::from_secs(30);
/// Transports of one client, from all of its addresses.
pub const FLOWS_MAX: usize = 16;
/// A client asks several times a second until it hears an answer.
pub const UNANSWERED_MAX: Duration = Duration::from_secs(10);
/// Between two warnings about one session.
const WARN_EVERY: Duration = Duration::from_secs(60);

pub struct Session {
    pub key: Arc<StreamKey>,
    pub role: Role,
    pub placement: Placement,
    pub media: SocketAddr,
    /// `None` also when an earlier process knew it.
    pub resource: Option<String>,
    pub names: Vec<Name>,
    /// How the kernel reaches the origin; `None`: user space makes the flows.
    pub way: Option<KernelWay>,
    pub slots: [Slot; PORT_SLOTS as usize],
    pub flows: Vec<Member>,
    pub expires_at: Duration,
    /// Who made the offer, until there is a flow.
    pub waits_for: Option<IpAddr>,
    /// It has or had a flow.
    pub is_confirmed: bool,
    /// It is counted as a flow of its stream's, since it has none.
    pub is_counted: bool,
    /// Under which the other balancers know of it.
    pub name: Option<Arc<str>>,
    /// They do not know its names yet, or where its media are.
    pub is_news: bool,
    /// A flow of it was carried on that another balancer had made. What was heard of that there, nobody knows here.
    pub taken_at: Option<Duration>,
    warned_at: Option<Duration>,
}

/// Why there is a session no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its client or its origin says so.
    Over,
    /// Its origin has given its name to another one.
    Replaced,
    /// Another balancer says so.
    Told,
    /// Its client has gone to another balancer.
    MovedOn,
    Silent,
    /// The balancer is to end.
    Drained,
    /// For what concerns its origin or its stream.
    Gone(&'static str),
}

impl End {
    /// Also for the other balancers, which cannot know.
    pub fn is_for_all(self) -> bool {
        matches!(self, Self::Over | Self::Replaced)
    }

    pub fn why(self) -> &'static str {
        match self {
            Self::Over => "session over",
            Self::Replaced => "replaced",
            Self::Told => "ended through another balancer",
            Self::MovedOn => "carried by another balancer",
            Self::Silent => "silent",
            Self::Drained => "drained",
            Self::Gone(why) => why,
        }
    }
}

pub struct Name {
    pub ufrag: String,
    /// ICE was restarted: nobody has the name from then on.
    pub until: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelWay {
    pub source: IpAddr,
    /// Index into `NEXT_HOPS`.
    pub next_hop: u16,
}

/// One flow that may be made.
#[derive(Default)]
pub enum Slot {
    /// Not before it is filled again.
    #[default]
    Empty,
    /// By user space, which takes a port for it.
    Free,
    /// By whoever takes this port first. `is_missed`: the port was not in the map when it was last looked for, and no flow
    /// had it.
    Granted { port: PortLease, is_missed: bool },
}

#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub id: FlowId,
    /// The client's ingress key.
    pub key: FlowKey,
}

impl Member {
    pub fn client(&self) -> SocketAddr {
        self.key.addresses().0
    }
}

impl Session {
    pub fn new(new: NewSession, now: Duration) -> Self {
        let NewSession { ufrags, key, role, placement, media, client, resource } = new;
        Self {
            key,
            role,
            placement,
            media,
            resource,
            names: ufrags.into_iter().map(|ufrag| Name { ufrag, until: None }).collect(),
            way: None,
            slots: std::array::from_fn(|_| Slot::Free),
            flows: Vec::new(),
            expires_at: now + UNCONFIRMED_MAX,
            waits_for: client,
            is_confirmed: false,
            is_counted: false,
            name: None,
            is_news: true,
            taken_at: None,
            warned_at: None,
        }
    }

    /// The names that the origin has told last.
    pub fn ufrags(&self) -> Vec<String> {
        self.names.iter().filter(|name| name.until.is_none()).map(|name| name.ufrag.clone()).collect()
    }

    pub fn ticket(&self) -> FlowTicket {
        self.placement.ticket(self.role, Protocol::Webrtc)
    }

    /// As in `IceSession`.
    pub fn family(&self) -> u32 {
        if self.media.is_ipv4() { 4 } else { 6 }
    }

    /// A flow begins. The address that the client had before, if that is another one.
    pub fn join(&mut self, member: Member, now: Duration) -> Option<SocketAddr> {
        let before = self.flows.last().map(Member::client).filter(|before| *before != member.client());
        self.flows.push(member);
        self.waits_for = None;
        self.expires_at = now + LINGER;
        before
    }

    /// How long it lives by what it has now.
    pub fn renew(&mut self, now: Duration) {
        if !self.flows.is_empty() {
            self.expires_at = now + LINGER;
        }
    }

    /// A slot that may be filled again.
    pub fn empty_slot(&self) -> Option<usize> {
        let has_room = self.flows.len() < FLOWS_MAX;
        self.slots.iter().position(|slot| matches!(slot, Slot::Empty)).filter(|_| has_room)
    }

    /// The kernel has taken this port.
    pub fn taken(&mut self, source: SocketAddr) -> Option<PortLease> {
        let is_it = |slot: &&mut Slot| matches!(slot, Slot::Granted { port, .. } if port.source() == source);
        let slot = self.slots.iter_mut().find(is_it)?;
        match std::mem::take(slot) {
            Slot::Granted { mut port, .. } => {
                port.use_up();
                Some(port)
            }
            Slot::Empty | Slot::Free => None,
        }
    }

    /// The flows to the old address stay until they are idle. Its ports are given back: one is there at once for the new
    /// one, the others come one by one.
    pub fn move_to(&mut self, media: SocketAddr, way: Option<KernelWay>) {
        (self.media, self.way) = (media, way);
        self.slots[0] = Slot::Free;
    }

    /// The old names stay for a while.
    pub fn rename(&mut self, ufrags: Vec<String>, now: Duration) {
        for name in &mut self.names {
            name.until = if ufrags.contains(&name.ufrag) { None } else { name.until.or(Some(now + OLD_NAME_MAX)) };
        }
        let fresh = ufrags.into_iter().filter(|ufrag| !self.names.iter().any(|name| name.ufrag == *ufrag));
        let fresh: Vec<_> = fresh.map(|ufrag| Name { ufrag, until: None }).collect();
        self.names.extend(fresh);
    }

    /// Takes out the names whose time is over.
    pub fn forget_old_names(&mut self, now: Duration) -> Vec<String> {
        let is_old = |name: &mut Name| name.until.is_some_and(|until| until <= now);
        self.names.extract_if(.., is_old).map(|name| name.ufrag).collect()
    }

    /// Whether it is time to say that its client asks for too much.
    pub fn warns(&mut self, now: Duration) -> bool {
        let is_due = self.warned_at.is_none_or(|at| now.saturating_sub(at) >= WARN_EVERY);
        if is_due {
            self.warned_at = Some(now);
        }
        is_due
    }
}
