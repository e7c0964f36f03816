//! Who the client is: as its packets say, and as those say who may speak for it.

use std::net::SocketAddr;

#[derive(Clone, Debug)]
pub struct Visitor {
    /// Whose packets arrive here: the flow's identity.
    pub peer: SocketAddr,
    /// Where the client arrived: here, or at the load balancer in front.
    pub dialled: SocketAddr,
    /// For whom a trusted load balancer in front speaks.
    pub announced: Option<SocketAddr>,
    pub tls: bool,
}

impl Visitor {
    pub fn new(peer: SocketAddr, dialled: SocketAddr) -> Self {
        Self { peer, dialled, announced: None, tls: false }
    }

    /// The person at the other end, for origins, hooks and logs.
    pub fn client(&self) -> SocketAddr {
        self.announced.unwrap_or(self.peer)
    }
}
