//! Sessions of WebRTC: which user name belongs to which origin, from the answer that the signalling saw until the last
//! flow is over.
//!
//! A session makes no flow itself. It is what the kernel (`ICE`, `PORTS4`, `PORTS6`) and the slow path need to make one
//! when a STUN request names it; how many they may make, and how fast, is bounded here. Reads no SDP and no packet.

mod adopt;
mod ends;
mod kernel;
mod session;
mod sessions;
mod shared;
mod sweep;
mod table;
#[cfg(test)]
mod tests;

pub use session::Member;
pub use sessions::{Admitted, Parts, Refused, Sessions};
pub use shared::Asked;

use crate::flow::Role;
use crate::placement::Placement;
use crate::recognize::StreamKey;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What an origin and a client have agreed on.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// The origin's own user name fragments: more than one when its transports are not bundled.
    pub ufrags: Vec<String>,
    pub key: Arc<StreamKey>,
    pub role: Role,
    pub placement: Placement,
    /// Where the origin wants the media.
    pub media: SocketAddr,
    /// Who made the offer; `None`: an earlier process heard it.
    pub client: Option<IpAddr>,
    /// By what it is renamed and ended: path and query of the origin's `Location`. Two origins may name theirs alike:
    /// then the last that was registered has the name.
    pub resource: Option<String>,
}

/// Why there is no such session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtcError {
    #[error("the answer has no ice-ufrag, or one that is no user name fragment of 4 to 256 characters")]
    Ufrag,
    #[error("another origin's session has the same ice-ufrag: the client should offer again")]
    Taken,
    #[error("the balancer knows {0} sessions already, which is all it has room for")]
    Full(usize),
    #[error("{0} sessions that were offered from the same address wait for their first packet")]
    Unconfirmed(usize),
    #[error("no session has this resource: it ended, or an earlier process knew it")]
    Unknown,
    #[error("the session's origin is gone")]
    OriginGone,
}
