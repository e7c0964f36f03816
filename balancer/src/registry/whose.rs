//! Which origin calls a hook: hooks carry no registration, so it is told by what it says and by where it calls from.

use super::origin::Origin;
use super::origins::Registry;
use super::registration::{Name, OriginRole};
use balancer_common::abi::ServiceKind;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What is known of the caller, from what says most to what says least.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Named by whoever configured the hook.
    pub id: Option<String>,
    /// As SRS names itself, in its registrations too.
    pub server: Option<Name>,
    pub service: Option<Name>,
    /// Where the publisher has dialled, if it dialled an address: the origin's own where it came directly.
    pub dialled: Option<SocketAddr>,
    pub peer: IpAddr,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotWhose {
    #[error("there is no origin {id:?}; `balancer origins` lists them")]
    NoSuchId { id: String },
    #[error("no origin is registered at {peer}: register it first, or name it by ?origin=ID in the hook's URL")]
    Unknown { peer: IpAddr },
    #[error("{} are all at {peer}: name the one by ?origin=ID in the hook's URL", Listed(.ids))]
    Several { peer: IpAddr, ids: Vec<Arc<str>> },
}

impl Registry {
    pub fn whose(&self, caller: &Caller) -> Result<u16, NotWhose> {
        if let Some(id) = &caller.id {
            return self.index_of(id).ok_or_else(|| NotWhose::NoSuchId { id: id.clone() });
        }
        let mut all: Vec<(u16, &Origin)> = self.live().collect();
        // Servers that were started in one folder share the name; then the run tells them apart, or the address.
        let runs = |o: &Origin| o.incarnation.as_ref().map(|run| &run.service) == caller.service.as_ref();
        let server = caller.server.as_ref();
        narrow(&mut all, |o| server.is_some() && o.server.as_ref() == server);
        if server.is_some() && all.first().is_some_and(|(_, o)| o.server.as_ref() == server) {
            narrow(&mut all, runs);
            if let [(index, _)] = all.as_slice() {
                return Ok(*index);
            }
        }
        let peer = caller.peer;
        all.retain(|(_, origin)| is_at(origin, peer));
        let dialled = caller.dialled;
        narrow(&mut all, |o| dialled.is_some_and(|d| o.endpoints.get(ServiceKind::Rtmp).contains(&d)));
        match all.as_slice() {
            [] => Err(NotWhose::Unknown { peer }),
            [(index, _)] => Ok(*index),
            several => Err(NotWhose::Several { peer, ids: several.iter().map(|(_, o)| o.id.clone()).collect() }),
        }
    }

    pub fn is_edge(&self, index: u16) -> bool {
        self.get(index).is_some_and(|origin| origin.role == OriginRole::Edge)
    }

    /// Whether who calls from there is, most likely, an edge that fetches.
    pub fn is_edge_at(&self, ip: IpAddr) -> bool {
        self.live().any(|(_, origin)| origin.role == OriginRole::Edge && is_at(origin, ip))
    }

    /// Whether the publisher that an origin tells of is another origin, which hands its stream on.
    pub fn is_another(&self, index: u16, publisher: IpAddr) -> bool {
        let is_own = self.get(index).is_some_and(|origin| is_at(origin, publisher));
        !is_own && self.live().any(|(_, origin)| is_at(origin, publisher))
    }
}

/// Keeps those that fit, if any do.
fn narrow(all: &mut Vec<(u16, &Origin)>, fits: impl Fn(&Origin) -> bool) {
    if all.iter().any(|(_, origin)| fits(origin)) {
        all.retain(|(_, origin)| fits(origin));
    }
}

fn is_at(origin: &Origin, ip: IpAddr) -> bool {
    origin.ip == Some(ip) || origin.endpoints.iter().any(|(_, address)| address.ip() == ip)
}

/// How many origins an error names.
const LISTED_MAX: usize = 5;

struct Listed<'a>(&'a [Arc<str>]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<&str> = self.0.iter().take(LISTED_MAX).map(|id| &**id).collect();
        let more = if self.0.len() > LISTED_MAX { ", …" } else { "" };
        write!(f, "origins {}{more}", shown.join(", "))
    }
}
