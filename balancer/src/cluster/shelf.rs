//! Where shared records lie: the one interface between the balancer and a store that several of them reach.
//!
//! Whoever implements it sets a deadline to every call, so that a caller is never held up by a store that is slow.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

pub type ShelfFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, ShelfError>> + Send + 'a>>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShelfError {
    /// Not connected, or the connection broke while it was asked: whether a write was done is not known.
    #[error("the store is not reached: {0}")]
    Down(String),
    /// It did not answer within the deadline: whether a write was done is not known.
    #[error("the store did not answer in time")]
    Late,
    /// It answered with an error.
    #[error("the store refuses: {0}")]
    Refused(String),
}

/// What a record is about. Its letter stands before the name in the shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A balancer. Written first: what names one that nobody knows is taken for left behind.
    Peer,
    Origin,
    Stream,
    /// A session of WebRTC.
    Session,
    /// What all balancers must agree on, like the secret of SRT's cookies.
    Common,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Origin, Self::Stream, Self::Session, Self::Peer, Self::Common];

    pub const fn letter(self) -> char {
        match self {
            Self::Origin => 'o',
            Self::Stream => 's',
            Self::Session => 'i',
            Self::Peer => 'b',
            Self::Common => 'c',
        }
    }
}

/// Written `o/edge-1`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub kind: Kind,
    pub name: Arc<str>,
}

impl Key {
    pub fn new(kind: Kind, name: impl Into<Arc<str>>) -> Self {
        Self { kind, name: name.into() }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let (letter, name) = text.split_once('/')?;
        let kind = Kind::ALL.into_iter().find(|kind| letter.chars().eq([kind.letter()]))?;
        Some(Self::new(kind, name))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.letter(), self.name)
    }
}

/// Names of streams and of sessions are secrets.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Stream | Kind::Session | Kind::Common => write!(f, "{}/<redacted>", self.kind.letter()),
            Kind::Origin | Kind::Peer => fmt::Display::fmt(self, f),
        }
    }
}

/// Which write of a record this is: `life:number`. Never the same twice, also not when the store has lost everything and
/// begins another life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Version(pub Arc<str>);

impl Version {
    /// There is no such record.
    pub fn none() -> Self {
        Self::default()
    }

    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is surely an earlier write than `other`. Of two lives nobody knows.
    pub fn is_before(&self, other: &Self) -> bool {
        let number = |version: &Self| {
            let (life, number) = version.0.rsplit_once(':')?;
            Some((Arc::<str>::from(life), number.parse::<u64>().ok()?))
        };
        matches!((number(self), number(other)), (Some((a, m)), Some((b, n))) if a == b && m < n)
    }
}

/// A record as it lies there. Without a value, it is gone (or was never there) and the version is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Key,
    pub version: Version,
    pub value: Option<Arc<str>>,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    Done(Version),
    /// Somebody has written meanwhile: this is what lies there.
    Lost(Entry),
}

/// What a shelf tells without being asked, in order for each key. Own writes come back too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    Changed(Entry),
    /// The connection is there (again). Everything that lies there follows as [`News::Whole`].
    Up,
    /// These are all records: what is not among them is gone. After a connection, after a push was lost, and when the
    /// store was emptied.
    Whole(Vec<Entry>),
    /// Calls fail from now on, until [`News::Up`].
    Down(ShelfError),
    /// Another balancer says something to this one, or to all; see [`Shelf::tell`].
    Told(Arc<str>),
}

/// One flow's record: under the client's ingress key, with the origin's ingress key for a second name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowAt {
    pub client: Arc<str>,
    pub origin: Arc<str>,
    /// `None`: remove it.
    pub value: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFlow {
    pub owner: Arc<str>,
    pub value: Arc<str>,
}

/// A part of one balancer's flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowPage {
    /// Values of records.
    pub flows: Vec<Arc<str>>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<u64>,
}

pub trait Shelf: Send + Sync + 'static {
    /// Writes `value` (`None`: removes the record) if the version that lies there is `seen`.
    fn put<'a>(&'a self, key: &'a Key, value: Option<&'a str>, seen: &'a Version) -> ShelfFuture<'a, Put>;

    fn get<'a>(&'a self, key: &'a Key) -> ShelfFuture<'a, Entry>;

    /// What happens from now on. One receiver at a time.
    fn news(&self) -> mpsc::Receiver<News>;

    /// Says something to one balancer, or to all. May be lost.
    fn tell<'a>(&'a self, to: Option<&'a str>, what: &'a str) -> ShelfFuture<'a, ()>;

    /// This balancer lives for another `ttl`. Answers which of `others` do; fails if that was forgotten, for a moment.
    fn live<'a>(&'a self, own: &'a str, ttl: Duration, others: &'a [Arc<str>]) -> ShelfFuture<'a, Vec<Arc<str>>>;

    /// The store's own clock, since the Unix epoch: the one that all balancers share.
    fn now<'a>(&'a self) -> ShelfFuture<'a, Duration>;

    /// Writes and removes records of `owner`'s flows, in one round trip.
    fn put_flows<'a>(&'a self, owner: &'a str, flows: &'a [FlowAt]) -> ShelfFuture<'a, ()>;

    /// For each ingress key (of a client's or of an origin's half): whose flow that is, and its record.
    fn find_flows<'a>(
        &'a self,
        owners: &'a [Arc<str>],
        keys: &'a [Arc<str>],
    ) -> ShelfFuture<'a, Vec<Option<FoundFlow>>>;

    /// A page of a balancer's flows, the first at 0.
    fn flows_of<'a>(&'a self, owner: &'a str, page: u64) -> ShelfFuture<'a, FlowPage>;

    /// Removes all that is left of a balancer's flows.
    fn forget_flows<'a>(&'a self, owner: &'a str) -> ShelfFuture<'a, ()>;
}
