//! Binding requests made by hand, right and wrong, and sent from any address of a host: what an attacker can do who
//! knows a user name, or none.

use crate::net::Netns;
use anyhow::Result;
use std::net::{SocketAddr, UdpSocket};

pub const USERNAME: u16 = 0x0006;
pub const PRIORITY: u16 = 0x0024;
pub const USE_CANDIDATE: u16 = 0x0025;
const COOKIE: u32 = 0x2112_A442;
const HEADER: usize = 20;

/// A binding request with these attributes, in this order; its length is what they take.
pub fn request(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0];
    message.extend(COOKIE.to_be_bytes());
    message.extend(*b"lab-forgery!");
    for (kind, value) in attributes {
        message.extend(kind.to_be_bytes());
        message.extend((value.len() as u16).to_be_bytes());
        message.extend_from_slice(value);
        message.resize(message.len().next_multiple_of(4), 0);
    }
    let length = (message.len() - HEADER) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    message
}

/// A request that nominates, for this user name, without any integrity.
pub fn forged(username: &str) -> Vec<u8> {
    request(&[(USERNAME, username.as_bytes()), (PRIORITY, &[0x7e, 0xff, 0xff, 0xff]), (USE_CANDIDATE, &[])])
}

/// Sends each datagram from a port of its own, none of which is used again.
pub fn send_from_new_ports(netns: &Netns, to: SocketAddr, datagrams: &[Vec<u8>]) -> Result<Vec<SocketAddr>> {
    netns.run(|| {
        let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse()?;
        let mut from = Vec::new();
        // They live until the last has sent, so that no port comes twice.
        let mut sockets = Vec::new();
        for datagram in datagrams {
            let socket = UdpSocket::bind(any)?;
            socket.send_to(datagram, to)?;
            from.push(socket.local_addr()?);
            sockets.push(socket);
        }
        Ok(from)
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_how_long_it_is() {
        let message = forged("ab:cde");
        assert_eq!(message.len(), HEADER + 4 + 8 + 8 + 4);
        assert_eq!(message[2..4], [0, 24]);
        assert_eq!(&message[24..30], b"ab:cde");
    }
}
