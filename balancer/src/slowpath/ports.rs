//! Source ports towards the origins, from a pool of our own outside `ip_local_port_range`.
//!
//! A spliced flow has no socket that would keep its port, so the kernel must never hand these out; and a port rests
//! for a while after its flow ended, so that a late packet of the old flow cannot meet a new one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// TIME_WAIT of the peers is 60 s on Linux: as long as that, a late segment may still come.
pub const QUARANTINE: Duration = Duration::from_secs(60);

/// One pool for each (own address, origin endpoint): a port is free towards one origin while it is used towards
/// another.
pub struct PortPool {
    range: RangeInclusive<u16>,
    pools: Mutex<Pools>,
}

struct Pools {
    /// Where the first search of each begins.
    begin_after: u16,
    all: HashMap<(IpAddr, SocketAddr), Pool>,
}

struct Pool {
    used: HashSet<u16>,
    resting: VecDeque<(Instant, u16)>,
    /// Last port that was given out: the next search starts behind it.
    last: u16,
}

/// A port in use; rests when dropped, once it was used.
pub struct PortLease {
    used: bool,
    pool: Arc<PortPool>,
    source: SocketAddr,
    origin: SocketAddr,
}

impl PortPool {
    pub fn new(range: RangeInclusive<u16>) -> Arc<Self> {
        // Not where an earlier process began: other balancers may carry its flows.
        let size = u64::from(range.end().saturating_sub(*range.start())) + 1;
        let begin_after = *range.start() + (RandomState::new().build_hasher().finish() % size) as u16;
        Arc::new(Self { range, pools: Mutex::new(Pools { begin_after, all: HashMap::new() }) })
    }

    /// A free port on `own` towards `origin`; `None` when all are used or rest.
    pub fn take(self: &Arc<Self>, own: IpAddr, origin: SocketAddr, now: Instant) -> Option<PortLease> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = pools.of(own, origin);
        pool.awake(now);
        let port = pool.find(&self.range, |pool, port| pool.is_free(port))?;
        Some(self.lease(pool, own, origin, port, true))
    }

    /// The same for a flow that may never come: the port rests only after [`PortLease::use_up`].
    pub fn reserve(self: &Arc<Self>, own: IpAddr, origin: SocketAddr, now: Instant) -> Option<PortLease> {
        self.take(own, origin, now).map(|mut lease| {
            lease.used = false;
            lease
        })
    }

    /// An even port of `own`'s and the next one, for RTP and RTCP (RFC 3550 section 11). Towards whom is not known yet,
    /// so they are free towards everybody: these are ports of bound sockets. They rest only after
    /// [`PortLease::use_up`].
    pub fn take_pair(self: &Arc<Self>, own: IpAddr, now: Instant) -> Option<[PortLease; 2]> {
        let anybody = SocketAddr::new(own, 0);
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = pools.of(own, anybody);
        pool.awake(now);
        let last = *self.range.end();
        let both = |pool: &Pool, port: u16| {
            port.is_multiple_of(2) && port < last && pool.is_free(port) && pool.is_free(port + 1)
        };
        let rtp = pool.find(&self.range, both)?;
        Some([rtp, rtp + 1].map(|port| self.lease(pool, own, anybody, port, false)))
    }

    fn lease(self: &Arc<Self>, pool: &mut Pool, own: IpAddr, origin: SocketAddr, port: u16, used: bool) -> PortLease {
        pool.used.insert(port);
        pool.last = port;
        PortLease { used, pool: self.clone(), source: SocketAddr::new(own, port), origin }
    }

    /// Marks a port that a flow of an earlier process uses.
    pub fn adopt(self: &Arc<Self>, source: SocketAddr, origin: SocketAddr) -> PortLease {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.of(source.ip(), origin).used.insert(source.port());
        PortLease { used: true, pool: self.clone(), source, origin }
    }

    /// The same for a flow that another balancer has carried until now; `None`: a flow of ours uses the port. One that
    /// rests may be this very flow's, which comes back. Rests only after [`PortLease::use_up`].
    pub fn claim(self: &Arc<Self>, source: SocketAddr, origin: SocketAddr) -> Option<PortLease> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = pools.of(source.ip(), origin);
        let rested = pool.resting.iter().position(|(_, port)| *port == source.port());
        if let Some(at) = rested {
            pool.resting.remove(at);
        }
        let is_free = pool.used.insert(source.port()) || rested.is_some();
        is_free.then(|| PortLease { used: false, pool: self.clone(), source, origin })
    }
}

impl Pools {
    fn of(&mut self, own: IpAddr, origin: SocketAddr) -> &mut Pool {
        let last = self.begin_after;
        self.all.entry((own, origin)).or_insert_with(|| Pool { used: HashSet::new(), resting: VecDeque::new(), last })
    }
}

impl Pool {
    /// Ports that have rested for long enough are free again.
    fn awake(&mut self, now: Instant) {
        while self.resting.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, port)) = self.resting.pop_front() {
                self.used.remove(&port);
            }
        }
    }

    fn is_free(&self, port: u16) -> bool {
        !self.used.contains(&port)
    }

    /// The first port that will do, looked for behind the last one that was given out.
    fn find(&self, range: &RangeInclusive<u16>, will_do: impl Fn(&Self, u16) -> bool) -> Option<u16> {
        let (first, last) = (*range.start(), *range.end());
        let size = u32::from(last - first) + 1;
        let offset = if self.last < first || self.last >= last { 0 } else { u32::from(self.last - first) + 1 };
        (0..size).map(|i| first + ((offset + i) % size) as u16).find(|port| will_do(self, *port))
    }
}

impl PortLease {
    pub fn source(&self) -> SocketAddr {
        self.source
    }

    /// A peer may send to it from now on.
    pub fn use_up(&mut self) {
        self.used = true;
    }
}

impl Drop for PortLease {
    fn drop(&mut self) {
        let mut pools = self.pool.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = pools.of(self.source.ip(), self.origin);
        if self.used {
            pool.resting.push_back((Instant::now() + QUARANTINE, self.source.port()));
        } else {
            pool.used.remove(&self.source.port());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_port_rests_before_it_is_used_again() {
        let pool = PortPool::new(20000..=20001);
        let origin = "10.0.0.1:1935".parse().unwrap();
        let now = Instant::now();
        let a = pool.take(OWN, origin, now).unwrap();
        let b = pool.take(OWN, origin, now).unwrap();
        assert_ne!(a.source().port(), b.source().port());
        assert!(pool.take(OWN, origin, now).is_none());
        let port = a.source().port();
        drop(a);
        assert!(pool.take(OWN, origin, now).is_none(), "in quarantine");
        let later = Instant::now() + QUARANTINE;
        assert_eq!(pool.take(OWN, origin, later).unwrap().source().port(), port);
    }

    #[test]
    fn origins_do_not_share_a_pool() {
        let pool = PortPool::new(20000..=20000);
        let now = Instant::now();
        let _a = pool.take(OWN, "10.0.0.1:1935".parse().unwrap(), now).unwrap();
        assert!(pool.take(OWN, "10.0.0.2:1935".parse().unwrap(), now).is_some());
    }

    #[test]
    fn pairs_begin_with_an_even_port_and_are_free_towards_everybody() {
        let pool = PortPool::new(20001..=20006);
        let now = Instant::now();
        let ports = |pair: &[PortLease; 2]| [pair[0].source().port(), pair[1].source().port()];
        drop(pool.take_pair(OWN, now).unwrap());
        let _ = pool.take_pair(OWN, now).unwrap();
        let mut a = pool.take_pair(OWN, now).unwrap();
        a.iter_mut().for_each(PortLease::use_up);
        let b = pool.take_pair(OWN, now).unwrap();
        let first = ports(&a);
        let mut both = [first, ports(&b)];
        both.sort();
        assert_eq!(both, [[20002, 20003], [20004, 20005]]);
        assert!(pool.take_pair(OWN, now).is_none(), "20006 has no neighbour");
        drop(a);
        assert!(pool.take_pair(OWN, now).is_none(), "in quarantine");
        assert_eq!(ports(&pool.take_pair(OWN, Instant::now() + QUARANTINE).unwrap()), first);
    }

    #[test]
    fn an_adopted_port_is_not_given_out() {
        let pool = PortPool::new(20000..=20000);
        let origin = "10.0.0.1:1935".parse().unwrap();
        let _a = pool.adopt(SocketAddr::new(OWN, 20000), origin);
        assert!(pool.take(OWN, origin, Instant::now()).is_none());
    }
}
