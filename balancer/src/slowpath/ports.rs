//! Source ports towards the origins, from a pool of our own outside `ip_local_port_range`.
//!
//! A spliced flow has no socket that would keep its port, so the kernel must never hand these out; and a port rests
//! for a while after its flow ended, so that a late packet of the old flow cannot meet a new one.

use std::collections::{HashMap, VecDeque};
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
    pools: Mutex<HashMap<(IpAddr, SocketAddr), Pool>>,
}

#[derive(Default)]
struct Pool {
    used: std::collections::HashSet<u16>,
    resting: VecDeque<(Instant, u16)>,
    /// Last port that was given out: the next search starts behind it.
    last: u16,
}

/// A port in use; rests when dropped.
pub struct PortLease {
    pool: Arc<PortPool>,
    source: SocketAddr,
    origin: SocketAddr,
}

impl PortPool {
    pub fn new(range: RangeInclusive<u16>) -> Arc<Self> {
        Arc::new(Self { range, pools: Mutex::new(HashMap::new()) })
    }

    /// A free port on `own` towards `origin`; `None` when all are used or rest.
    pub fn take(self: &Arc<Self>, own: IpAddr, origin: SocketAddr, now: Instant) -> Option<PortLease> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = pools.entry((own, origin)).or_default();
        while pool.resting.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, port)) = pool.resting.pop_front() {
                pool.used.remove(&port);
            }
        }
        let (first, last) = (*self.range.start(), *self.range.end());
        let size = u32::from(last - first) + 1;
        let offset = if pool.last < first || pool.last >= last { 0 } else { u32::from(pool.last - first) + 1 };
        let port = (0..size).map(|i| first + ((offset + i) % size) as u16).find(|p| !pool.used.contains(p))?;
        pool.used.insert(port);
        pool.last = port;
        Some(PortLease { pool: self.clone(), source: SocketAddr::new(own, port), origin })
    }

    /// Marks a port that a flow of an earlier process uses.
    pub fn adopt(self: &Arc<Self>, source: SocketAddr, origin: SocketAddr) -> PortLease {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.entry((source.ip(), origin)).or_default().used.insert(source.port());
        PortLease { pool: self.clone(), source, origin }
    }
}

impl PortLease {
    pub fn source(&self) -> SocketAddr {
        self.source
    }
}

impl Drop for PortLease {
    fn drop(&mut self) {
        let mut pools = self.pool.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = pools.entry((self.source.ip(), self.origin)).or_default();
        pool.resting.push_back((Instant::now() + QUARANTINE, self.source.port()));
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
    fn an_adopted_port_is_not_given_out() {
        let pool = PortPool::new(20000..=20000);
        let origin = "10.0.0.1:1935".parse().unwrap();
        let _a = pool.adopt(SocketAddr::new(OWN, 20000), origin);
        assert!(pool.take(OWN, origin, Instant::now()).is_none());
    }
}
