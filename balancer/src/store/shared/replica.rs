//! What lies in the shelf, as it was seen last, and what of it has to be written.

use super::known::KnownStreams;
use crate::cluster::record::{OriginRecord, PeerRecord};
use crate::cluster::{Key, Kind, ShelfError, Version};
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
    pub streams: KnownStreams,
    /// The others.
    pub peers: HashMap<Arc<str>, Peer>,
    /// What this balancer says of itself.
    pub own: Seen<PeerRecord>,
    /// Origins that were removed here, until the others know.
    pub buried: HashMap<Arc<str>, OriginRecord>,
    /// Streams that an operator has ended here, until the others know.
    pub ended: HashSet<Arc<StreamKey>>,
    /// Origins that an operator has changed here, until the others know.
    pub unsaid: HashSet<Arc<str>>,
    /// Origins whose run was dated before it was known what the others say of it, or what time it is for them.
    pub early: HashSet<Arc<str>>,
    /// Records that may have to be written.
    pub dirty: BTreeSet<Key>,
    /// Streams whose places are being written by who waits for them.
    pub proposed: HashSet<Key>,
    /// Those that could not be: tried again when the others have been.
    pub later: BTreeSet<Key>,
    /// What lies where records of ours belong and is none; it is written over.
    pub foreign: HashMap<Key, Version>,
    /// What lies there in another version's format; it is left alone.
    pub newer: HashSet<Key>,
    /// What was wrong with the shelf last, until something was right.
    pub trouble: Option<ShelfError>,
    /// Others have seen this run of ours.
    pub is_introduced: bool,
    /// Whether the common clock has been read.
    pub is_dated: bool,
    /// The common clock, in milliseconds, when ours was 0.
    ms_at_start: u64,
}

/// How long a dead balancer is remembered, with the flows of it that nobody has taken: longer than any repair of which
/// somebody expects that they go on.
const PEER_KEPT: Duration = Duration::from_secs(86_400);

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
    pub dead_since: Option<Duration>,
    /// Since when the shelf is asked whether it lives, and answers.
    pub asked_since: Option<Duration>,
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
            streams: KnownStreams::default(),
            peers: HashMap::new(),
            own: Seen { version: Version::none(), record: own },
            buried: HashMap::new(),
            ended: HashSet::new(),
            unsaid: HashSet::new(),
            early: HashSet::new(),
            dirty,
            proposed: HashSet::new(),
            later: BTreeSet::new(),
            foreign: HashMap::new(),
            newer: HashSet::new(),
            trouble: None,
            is_introduced: false,
            is_dated: false,
            ms_at_start: 0,
        };
        // This host's may be wrong: until the common clock is known.
        replica.guess_clock(unix, now);
        replica
    }

    /// Others' beats are not heard, or not all of them yet: whoever hears them writes of them when the shelf is back.
    pub fn is_deaf(&self, now: Duration) -> bool {
        !self.is_up || self.up_since.is_some_and(|since| now < since + HEARD_AFTER)
    }

    /// What the common clock shows now.
    pub fn set_clock(&mut self, common: Duration, now: Duration) {
        self.is_dated = true;
        self.guess_clock(common, now);
    }

    pub(super) fn guess_clock(&mut self, common: Duration, now: Duration) {
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

    /// Whether a balancer has been dead for so long that its record is of no use any more.
    pub fn is_over(&self, id: &str, now: Duration) -> bool {
        self.peers.get(id).and_then(|peer| peer.dead_since).is_some_and(|since| since + PEER_KEPT <= now)
    }

    /// The others know what is to be said of it, or nothing is.
    pub fn said(&mut self, key: &Key) {
        if key.kind == Kind::Origin {
            self.unsaid.remove(&key.name);
        }
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
