//! The socket towards an origin, on a port of our own.

use super::super::Context;
use super::super::origin_leg::own_address;
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
    let own = own_address(origin).map_err(|e| DialError::Local(origin, e))?;
    // Ports that are taken by others stay with us until one is found, so that the next try is another one.
    let mut taken = Vec::new();
    loop {
        let Some(port) = ctx.ports.take(own, origin, Instant::now()) else {
            ctx.counters.count(Reason::LimitSourcePorts);
            return Err(DialError::NoPort(origin));
        };
        match open(&port, origin) {
            Ok(socket) => return Ok(Leg { socket, port, origin }),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && taken.len() < TRIES_MAX => taken.push(port),
            Err(e) => return Err(DialError::Local(origin, e)),
        }
    }
}

/// A socket on a port that was granted already.
pub fn open(port: &PortLease, origin: SocketAddr) -> io::Result<UdpSocket> {
    let source = port.source();
    let domain = socket2::Domain::for_address(source);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM.nonblocking(), Some(socket2::Protocol::UDP))?;
    if source.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // As much of it as the system allows.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    socket.bind(&source.into())?;
    socket.connect(&origin.into())?;
    UdpSocket::from_std(socket.into())
}

impl Leg {
    /// On a port that the caller has already.
    pub fn on(port: PortLease, origin: SocketAddr) -> Result<Self, DialError> {
        let socket = open(&port, origin).map_err(|e| DialError::Local(origin, e))?;
        Ok(Self { socket, port, origin })
    }
}
