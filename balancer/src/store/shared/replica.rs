//! What lies in the shelf, as it was seen last, and what of it has to be written.

use crate::cluster::record::{OriginRecord, PeerRecord, StreamRecord};
use crate::cluster::{Key, Kind, Version};
use crate::recognize::StreamKey;
use crate::registry::Transport;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Within that time after the shelf is back every balancer has reached it and written.
const HEARD_AFTER: Duration = Duration::from_secs(10);

pub struct Replica {
    /// This balancer.
    pub id: Arc<str>,
    /// Whether the shelf can be asked.
    pub is_up: bool,
    /// When everything that lies there was read last after it was away.
    pub up_since: Option<Duration>,
    pub origins: HashMap<Arc<str>, Seen<OriginRecord>>,
    pub streams: HashMap<Arc<StreamKey>, Seen<StreamRecord>>,
    /// The others.
    pub peers: HashMap<Arc<str>, Peer>,
    /// What this balancer says of itself.
    pub own: Seen<PeerRecord>,
    /// Origins that were removed here, until the others know.
    pub buried: HashMap<Arc<str>, OriginRecord>,
    /// Streams that an operator has ended here, until the others know.
    pub ended: HashSet<Arc<StreamKey>>,
    /// Records that may have to be written.
    pub dirty: BTreeSet<Key>,
    /// The common clock, in milliseconds, when ours was 0.
    ms_at_start: u64,
}

/// A record, and which write of it this was.
#[derive(Clone, Debug)]
pub struct Seen<R> {
    pub version: Version,
    pub record: R,
}

#[derive(Clone, Debug)]
pub struct Peer {
    pub seen: Seen<PeerRecord>,
    pub listens: Vec<(Transport, SocketAddr)>,
    /// `None`: nobody has asked yet.
    pub lives: Option<bool>,
}

impl Replica {
    pub fn new(own: PeerRecord, now: Duration) -> Self {
        let id: Arc<str> = own.id.as_str().into();
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let dirty = BTreeSet::from([Key::new(Kind::Peer, id.clone())]);
        let mut replica = Self {
            id,
            is_up: false,
            up_since: None,
            origins: HashMap::new(),
            streams: HashMap::new(),
            peers: HashMap::new(),
            own: Seen { version: Version::none(), record: own },
            buried: HashMap::new(),
            ended: HashSet::new(),
            dirty,
            ms_at_start: 0,
        };
        // Until the common clock is known.
        replica.set_clock(unix, now);
        replica
    }

    /// Others' beats are not heard, or not all of them yet: whoever hears them writes of them when the shelf is back.
    pub fn is_deaf(&self, now: Duration) -> bool {
        !self.is_up || self.up_since.is_some_and(|since| now < since + HEARD_AFTER)
    }

    /// What the common clock shows now.
    pub fn set_clock(&mut self, common: Duration, now: Duration) {
        self.ms_at_start = (common.saturating_sub(now)).as_millis() as u64;
    }

    /// A moment of ours by the common clock.
    pub fn ms(&self, at: Duration) -> u64 {
        self.ms_at_start.saturating_add(at.as_millis() as u64)
    }

    /// A moment of the common clock by ours.
    pub fn at(&self, ms: u64) -> Duration {
        Duration::from_millis(ms.saturating_sub(self.ms_at_start))
    }

    /// Whether a balancer may be carrying something: it is this one, or one that is not known to be dead.
    pub fn may_live(&self, id: &str) -> bool {
        *id == *self.id || self.peers.get(id).is_some_and(|peer| peer.lives != Some(false))
    }

    /// Whose business something is that any balancer could do: rendezvous hashing over the living.
    pub fn is_mine(&self, name: &str) -> bool {
        let draw = |id: &str| crate::placement::hash(&[name.as_bytes(), id.as_bytes()]);
        let own = (draw(&self.id), &*self.id);
        let others = self.peers.iter().filter(|(_, peer)| peer.lives == Some(true));
        others.map(|(id, _)| (draw(id), &**id)).all(|other| other < own)
    }
}

/// `tcp 192.0.2.10:1935`, as a peer's record has it.
pub fn listen_text(transport: Transport, address: SocketAddr) -> String {
    let transport = match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    };
    format!("{transport} {address}")
}

pub fn listen_of(text: &str) -> Option<(Transport, SocketAddr)> {
    let (transport, address) = text.split_once(' ')?;
    let transport = match transport {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        _ => return None,
    };
    Some((transport, address.parse().ok()?))
}
