//! Frames for tests, put together field by field and with checksums computed from nothing.
//!
//! Shares no code with the fast path, so that it can be its judge.

use std::{
    net::{IpAddr, SocketAddr},
    vec::Vec,
};

use crate::packet::header::{proto, tcp};

/// Everything below the transport layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lower {
    pub dst_mac: [u8; 6],
    pub src_mac: [u8; 6],
    /// VLAN tags from the outside in: type and tag control information.
    pub tags: Vec<(u16, u16)>,
    pub src: IpAddr,
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub hops: u8,
    pub ip_id: u16,
    /// Flags and fragment offset of IPv4.
    pub fragment: u16,
    /// TOS or traffic class.
    pub class: u8,
}

impl Lower {
    /// The frame around `payload`, which has its checksum already.
    pub fn frame(&self, proto: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend(self.dst_mac);
        frame.extend(self.src_mac);
        for (kind, control) in &self.tags {
            frame.extend(kind.to_be_bytes());
            frame.extend(control.to_be_bytes());
        }
        frame.extend(if self.src.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] });
        frame.extend(self.packet(proto, payload));
        frame
    }

    /// The same from the IP header on.
    pub fn packet(&self, proto: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut ip = Vec::from([0x45, self.class]);
                ip.extend((20 + payload.len() as u16).to_be_bytes());
                ip.extend(self.ip_id.to_be_bytes());
                ip.extend(self.fragment.to_be_bytes());
                ip.extend([self.hops, proto, 0, 0]);
                ip.extend(src.octets());
                ip.extend(dst.octets());
                let sum = checksum(&[&ip]);
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
                ip
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let mut ip = Vec::from([0x60 | self.class >> 4, self.class << 4, 0, 0]);
                ip.extend((payload.len() as u16).to_be_bytes());
                ip.extend([proto, self.hops]);
                ip.extend(src.octets());
                ip.extend(dst.octets());
                ip
            }
            _ => panic!("addresses of two families"),
        };
        packet.extend(payload);
        packet
    }

    fn pseudo_header(&self, proto: u8, len: usize) -> Vec<u8> {
        let mut pseudo = Vec::new();
        for ip in [self.src, self.dst] {
            match ip {
                IpAddr::V4(ip) => pseudo.extend(ip.octets()),
                IpAddr::V6(ip) => pseudo.extend(ip.octets()),
            }
        }
        pseudo.extend((len as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, proto]);
        pseudo
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpOption {
    End,
    Nop,
    Timestamps(u32, u32),
    Sack(Vec<(u32, u32)>),
    Raw(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpPacket {
    pub lower: Lower,
    pub src_port: u16,
    pub dst_port: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub urgent: u16,
    pub options: Vec<TcpOption>,
    pub payload: Vec<u8>,
}

impl TcpPacket {
    pub fn source(&self) -> SocketAddr {
        SocketAddr::new(self.lower.src, self.src_port)
    }

    pub fn destination(&self) -> SocketAddr {
        SocketAddr::new(self.lower.dst, self.dst_port)
    }

    pub fn header_len(&self) -> usize {
        20 + self.encoded_options().len()
    }

    pub fn frame(&self) -> Vec<u8> {
        self.lower.frame(proto::TCP, &self.segment())
    }

    /// TCP header and data.
    pub fn segment(&self) -> Vec<u8> {
        let options = self.encoded_options();
        let mut segment = Vec::new();
        segment.extend(self.src_port.to_be_bytes());
        segment.extend(self.dst_port.to_be_bytes());
        segment.extend(self.seq.to_be_bytes());
        segment.extend(self.ack.to_be_bytes());
        segment.extend([((20 + options.len()) / 4 * 16) as u8, self.flags]);
        segment.extend(self.window.to_be_bytes());
        segment.extend([0, 0]);
        segment.extend(self.urgent.to_be_bytes());
        segment.extend(options);
        segment.extend(&self.payload);
        let sum = checksum(&[&self.lower.pseudo_header(proto::TCP, segment.len()), &segment]);
        segment[tcp::CHECKSUM..tcp::CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
        segment
    }

    /// Filled up with zeroes to a multiple of four.
    fn encoded_options(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for option in &self.options {
            match option {
                TcpOption::End => bytes.push(0),
                TcpOption::Nop => bytes.push(1),
                TcpOption::Timestamps(value, echo) => {
                    bytes.extend([8, 10]);
                    bytes.extend(value.to_be_bytes());
                    bytes.extend(echo.to_be_bytes());
                }
                TcpOption::Sack(blocks) => {
                    bytes.extend([5, 2 + 8 * blocks.len() as u8]);
                    for (left, right) in blocks {
                        bytes.extend(left.to_be_bytes());
                        bytes.extend(right.to_be_bytes());
                    }
                }
                TcpOption::Raw(raw) => bytes.extend(raw),
            }
        }
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        assert!(bytes.len() <= tcp::OPTIONS_LEN_MAX, "more options than a TCP header holds");
        bytes
    }
}

/// A datagram; `has_checksum` is false where the sender left it out.
pub fn udp_frame(lower: &Lower, src_port: u16, dst_port: u16, payload: &[u8], has_checksum: bool) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(src_port.to_be_bytes());
    datagram.extend(dst_port.to_be_bytes());
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    if has_checksum {
        let sum = match checksum(&[&lower.pseudo_header(proto::UDP, datagram.len()), &datagram]) {
            0 => 0xffff,
            sum => sum,
        };
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    }
    lower.frame(proto::UDP, &datagram)
}

/// An ICMP or ICMPv6 message with four bytes of `rest` (an MTU, for one) and `body` behind them.
pub fn icmp_frame(lower: &Lower, kind: u8, code: u8, rest: u32, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::from([kind, code, 0, 0]);
    message.extend(rest.to_be_bytes());
    message.extend(body);
    let (proto, pseudo) = match lower.src {
        IpAddr::V4(_) => (proto::ICMP, Vec::new()),
        IpAddr::V6(_) => (proto::ICMP6, lower.pseudo_header(proto::ICMP6, message.len())),
    };
    let sum = checksum(&[&pseudo, &message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    lower.frame(proto, &message)
}

/// The one's complement of the one's complement sum of big-endian 16-bit words (RFC 1071), over parts of even length
/// but for the last.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum = words.fold(0u64, |sum, word| sum + u64::from(word[0]) * 256 + u64::from(*word.get(1).unwrap_or(&0)));
    !(if sum == 0 { 0 } else { ((sum - 1) % 0xffff + 1) as u16 })
}
