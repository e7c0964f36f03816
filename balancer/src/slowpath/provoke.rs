//! Makes an idle peer say something: an empty segment that lies outside its window, which it answers with an ACK.
//!
//! Used when a flow ends that the kernel carries: the peer's ACK meets either the fast path's RST (its origin is down)
//! or the host's own (the flow was removed). RFC 9293 section 3.10.7.4: an unacceptable segment is answered by an ACK.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const TCP_LEN: usize = 20;
const ACK: u8 = 0x10;

/// Sends two probes from `own` to `peer`. Their sequence numbers lie 2^31 apart, so at least one is out of any window.
pub fn provoke(own: SocketAddr, peer: SocketAddr) -> io::Result<()> {
    for seq in [0u32, 1 << 31] {
        send(own, peer, seq)?;
    }
    Ok(())
}

fn send(own: SocketAddr, peer: SocketAddr, seq: u32) -> io::Result<()> {
    let (domain, packet) = match (own.ip(), peer.ip()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => (socket2::Domain::IPV4, packet4(src, dst, segment(own, peer, seq))),
        (IpAddr::V6(src), IpAddr::V6(dst)) => (socket2::Domain::IPV6, packet6(src, dst, segment(own, peer, seq))),
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    // IPPROTO_RAW: send only, the IP header is ours.
    let raw = socket2::Socket::new(domain, socket2::Type::RAW, Some(socket2::Protocol::from(libc::IPPROTO_RAW)))?;
    // A raw IPv6 socket takes the port for a protocol number: it must be 0.
    raw.send_to(&packet, &SocketAddr::new(peer.ip(), 0).into()).map(drop)
}

fn segment(own: SocketAddr, peer: SocketAddr, seq: u32) -> [u8; TCP_LEN] {
    let mut tcp = [0u8; TCP_LEN];
    tcp[0..2].copy_from_slice(&own.port().to_be_bytes());
    tcp[2..4].copy_from_slice(&peer.port().to_be_bytes());
    tcp[4..8].copy_from_slice(&seq.to_be_bytes());
    tcp[12] = (TCP_LEN as u8 / 4) << 4;
    tcp[13] = ACK;
    tcp
}

fn packet4(src: Ipv4Addr, dst: Ipv4Addr, mut tcp: [u8; TCP_LEN]) -> Vec<u8> {
    let pseudo = [&src.octets()[..], &dst.octets()[..], &[0, 6, 0, TCP_LEN as u8]].concat();
    let sum = checksum(&[&pseudo, &tcp]);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    // The kernel fills in the length, the identification and the checksum (raw(7)).
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0];
    packet.extend(src.octets());
    packet.extend(dst.octets());
    packet.extend(tcp);
    packet
}

fn packet6(src: Ipv6Addr, dst: Ipv6Addr, mut tcp: [u8; TCP_LEN]) -> Vec<u8> {
    let pseudo = [&src.octets()[..], &dst.octets()[..], &[0, 0, 0, TCP_LEN as u8, 0, 0, 0, 6]].concat();
    let sum = checksum(&[&pseudo, &tcp]);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0, 0, TCP_LEN as u8, 6, 64];
    packet.extend(src.octets());
    packet.extend(dst.octets());
    packet.extend(tcp);
    packet
}

/// RFC 1071, over parts of even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 =
        parts.iter().flat_map(|p| p.chunks_exact(2)).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]]))).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_carry_right_checksums() {
        let (own, peer) = ("10.0.0.1:1935".parse().unwrap(), "10.0.0.2:4000".parse().unwrap());
        let packet = packet4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2), segment(own, peer, 7));
        let pseudo = [&packet[12..20], &[0, 6, 0, 20]].concat();
        assert_eq!(checksum(&[&pseudo, &packet[20..]]), 0);
        let (src, dst) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let packet = packet6(src, dst, segment(own, peer, 7));
        let pseudo = [&packet[8..40], &[0, 0, 0, 20, 0, 0, 0, 6]].concat();
        assert_eq!(checksum(&[&pseudo, &packet[40..]]), 0);
    }
}
