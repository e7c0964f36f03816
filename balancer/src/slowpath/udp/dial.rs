//! The socket towards an origin, on a port of our own.

use super::super::Context;
use super::super::ports::PortLease;
use balancer_common::abi::Reason;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;
use tokio::net::UdpSocket;

/// Ports that somebody else on this host may have taken, in a row.
const TRIES_MAX: usize = 16;
/// Room for a burst while user space carries the media.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// Bound to a port of the pool and connected: it hears its origin only, and of ICMP errors too.
pub struct Leg {
    pub socket: UdpSocket,
    pub port: PortLease,
    pub origin: SocketAddr,
}

#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("every source port towards {0} is in use")]
    NoPort(SocketAddr),
    #[error("this host, not {0}: {1}")]
    Local(SocketAddr, io::Error),
}

pub fn dial(ctx: &Context, origin: SocketAddr) -> Result<Leg, DialError> {
    let own = ctx.sources.towards(origin).map_err(|e| DialError::Local(origin, e))?;
    // Ports that are taken by others stay with us until one is found, so that the next try is another one.
    let mut taken = Vec::new();
    loop {
        let Some(mut port) = ctx.ports.reserve(own, origin, Instant::now()) else {
            ctx.counters.count(Reason::LimitSourcePorts);
            return Err(DialError::NoPort(origin));
        };
        match open(&port, origin) {
            Ok(socket) => {
                port.use_up();
                return Ok(Leg { socket, port, origin });
            }
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && taken.len() < TRIES_MAX => taken.push(port),
            Err(e) => return Err(DialError::Local(origin, e)),
        }
    }
}

/// A socket on a port that was granted already.
pub fn open(port: &PortLease, origin: SocketAddr) -> io::Result<UdpSocket> {
    let source = port.source();
    let socket = bound(source)?;
    // As much of it as the system allows.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    socket.connect(&origin.into())?;
    UdpSocket::from_std(socket.into())
}

/// On a port that may be in use towards another origin: whoever is connected hears its own peer only.
pub fn bound(source: SocketAddr) -> io::Result<socket2::Socket> {
    let domain = socket2::Domain::for_address(source);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM.nonblocking(), Some(socket2::Protocol::UDP))?;
    if source.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&source.into())?;
    Ok(socket)
}

impl Leg {
    /// On a port that the caller has already.
    pub fn on(port: PortLease, origin: SocketAddr) -> Result<Self, DialError> {
        let socket = open(&port, origin).map_err(|e| DialError::Local(origin, e))?;
        Ok(Self { socket, port, origin })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::ports::PortPool;
    use super::*;
    use std::net::{IpAddr, Ipv4Addr, UdpSocket as StdSocket};
    use tokio::time::{Duration, timeout};

    const OWN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    /// Longer than anything here takes.
    const SOON: Duration = Duration::from_secs(20);

    async fn hears(socket: &UdpSocket, from: &StdSocket, words: &[u8]) {
        from.send_to(words, socket.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 16];
        let len = timeout(SOON, socket.recv(&mut buffer)).await.expect("a datagram").unwrap();
        assert_eq!(&buffer[..len], words);
    }

    #[tokio::test]
    async fn flows_towards_two_origins_share_a_port_and_hear_their_own() {
        let origins = [0, 1].map(|_| StdSocket::bind((OWN, 0)).unwrap());
        let free = StdSocket::bind((OWN, 0)).unwrap().local_addr().unwrap().port();
        let pool = PortPool::new(free..=free);
        let legs = [0, 1].map(|i| {
            let origin = origins[i].local_addr().unwrap();
            Leg::on(pool.reserve(OWN, origin, Instant::now()).unwrap(), origin).unwrap()
        });
        // A third one on that port says something and hears nothing.
        let third = bound(legs[0].port.source()).unwrap();
        for turn in [[0, 1], [1, 0]] {
            for i in turn {
                hears(&legs[i].socket, &origins[i], &[i as u8]).await;
            }
        }
        assert!(third.recv_from(&mut [std::mem::MaybeUninit::uninit(); 16]).is_err());
    }

    #[test]
    fn a_port_that_cannot_be_opened_does_not_rest() {
        // Somebody else's, who does not share it.
        let other = StdSocket::bind((OWN, 0)).unwrap();
        let port = other.local_addr().unwrap().port();
        let pool = PortPool::new(port..=port);
        let origin = SocketAddr::new(OWN, 9);
        for _ in 0..2 {
            let lease = pool.reserve(OWN, origin, Instant::now()).expect("free again");
            assert!(open(&lease, origin).is_err());
        }
    }
}
