//! Our own address towards an origin: the one that is set for the origin's family, else the one that the host's routes say.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// `source_address`: one of each family at most.
#[derive(Clone, Debug, Default)]
pub struct Sources(Arc<[IpAddr]>);

#[derive(Debug, thiserror::Error)]
#[error("source_address {0} is not on this host now (`ip addr`): does another balancer have it, with the VIP?")]
pub struct NotHere(pub IpAddr);

impl Sources {
    pub fn new(addresses: &[IpAddr]) -> Self {
        Self(addresses.into())
    }

    /// What a connection to `target` leaves from.
    pub fn towards(&self, target: SocketAddr) -> io::Result<IpAddr> {
        match self.set_for(target) {
            Some(own) if is_here(own) => Ok(own),
            Some(own) => Err(io::Error::new(io::ErrorKind::AddrNotAvailable, NotHere(own))),
            None => by_route(target),
        }
    }

    /// The same, if it is set.
    pub fn set_for(&self, target: SocketAddr) -> Option<IpAddr> {
        self.0.iter().find(|own| own.is_ipv4() == target.is_ipv4()).copied()
    }

    pub fn addresses(&self) -> &[IpAddr] {
        &self.0
    }
}

/// Whether packets to the address are this host's. `bind()` alone would not tell: where an address floats, hosts are set
/// to bind addresses that they do not have (`ip_nonlocal_bind`).
pub fn is_here(own: IpAddr) -> bool {
    let itself = SocketAddr::new(own, 9);
    if own.is_ipv6() {
        // From an address of its own to that address, the host takes the same one.
        return by_route(itself).is_ok_and(|ip| ip == own);
    }
    // Bound to a foreign address, it finds no route from there.
    UdpSocket::bind((own, 0)).and_then(|probe| probe.connect(itself)).is_ok()
}

/// A TCP socket that will leave from `own`, by a port that the kernel chooses when it connects: by then it knows towards
/// whom the port has to be free. A port that is bound ahead is taken towards everybody.
pub fn outgoing(own: IpAddr) -> io::Result<socket2::Socket> {
    let source = SocketAddr::new(own, 0);
    let domain = socket2::Domain::for_address(source);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM.nonblocking(), Some(socket2::Protocol::TCP))?;
    let on = 1i32;
    // SAFETY: the value outlives the call and its length is its own.
    let set = unsafe {
        let (level, option) = (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT);
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), size_of::<i32>() as libc::socklen_t)
    };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    socket.bind(&source.into())?;
    Ok(socket)
}

/// A UDP connect asks the routing table and sends nothing.
fn by_route(target: SocketAddr) -> io::Result<IpAddr> {
    let any: SocketAddr = if target.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let probe = UdpSocket::bind(any)?;
    probe.connect(target)?;
    Ok(probe.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_address_of_the_origins_family_is_used() {
        let sources = Sources::new(&[ip("127.0.0.7"), ip("::1")]);
        assert_eq!(sources.towards("127.0.0.1:1935".parse().unwrap()).unwrap(), ip("127.0.0.7"));
        assert_eq!(sources.set_for("[2001:db8::1]:1935".parse().unwrap()), Some(ip("::1")));
        let only_six = Sources::new(&[ip("::1")]);
        assert_eq!(only_six.towards("127.0.0.1:1935".parse().unwrap()).unwrap(), ip("127.0.0.1"));
    }

    #[tokio::test]
    async fn what_goes_out_comes_from_there() {
        let origin = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = tokio::net::TcpSocket::from_std_stream(outgoing(ip("127.0.0.7")).unwrap().into());
        let (_stream, accepted) = tokio::join!(socket.connect(origin.local_addr().unwrap()), origin.accept());
        assert_eq!(accepted.unwrap().1.ip(), ip("127.0.0.7"));
    }

    #[test]
    fn an_address_that_is_elsewhere_is_said_by_the_name_of_its_setting() {
        let error = Sources::new(&[ip("192.0.2.77")]).towards("127.0.0.1:1935".parse().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
        assert!(error.to_string().starts_with("source_address 192.0.2.77 is not on this host"), "{error}");
    }
}
