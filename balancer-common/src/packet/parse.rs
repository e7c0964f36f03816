//! From a frame to a 5-tuple: Ethernet with up to two VLAN tags, IPv4, IPv6, TCP.
//!
//! What the fast path does not handle (options, fragments, extension headers) and what is too short for its own
//! headers comes back as the [`Reason`] to pass it to the host's stack.

use super::{
    Frame,
    frame::unknown,
    header::{eth, ip4, ip6, proto, tcp},
};
use crate::abi::{Addr4, Addr6, Reason};

/// Where the IP header starts, and of which kind it is.
pub struct Link {
    pub ether_type: u16,
    pub l3: usize,
}

/// The Ethernet header and its tags. The caller forwards the frame with the tags as they are.
#[inline(always)]
pub fn link(frame: &Frame) -> Result<Link, Reason> {
    let header = frame.view::<{ eth::LEN }>(0).ok_or(Reason::Truncated)?;
    let mut ether_type = header.u16::<{ eth::TYPE }>();
    let mut l3 = eth::LEN;
    if is_tag(ether_type) {
        let tag = frame.view::<{ eth::TAG_LEN }>(l3).ok_or(Reason::Truncated)?;
        ether_type = tag.u16::<{ eth::TAG_TYPE }>();
        l3 += eth::TAG_LEN;
        if is_tag(ether_type) {
            let tag = frame.view::<{ eth::TAG_LEN }>(l3).ok_or(Reason::Truncated)?;
            ether_type = tag.u16::<{ eth::TAG_TYPE }>();
            l3 += eth::TAG_LEN;
        }
    }
    Ok(Link { ether_type, l3: unknown::<31>(l3, header.u8::<0>()) })
}

#[inline(always)]
const fn is_tag(ether_type: u16) -> bool {
    ether_type == eth::VLAN || ether_type == eth::VLAN_SERVICE
}

/// The outcome of an IP header: addresses, protocol, and where the payload lies.
pub struct Ip<Addr> {
    pub src: Addr,
    pub dst: Addr,
    pub proto: u8,
    pub l3: usize,
    pub l4: usize,
    /// Bytes behind the IP header, as the header says; all of them are in the frame.
    pub payload_len: u32,
}

#[inline(always)]
pub fn ipv4(frame: &Frame, l3: usize) -> Result<Ip<Addr4>, Reason> {
    let ip = frame.view::<{ ip4::LEN }>(l3).ok_or(Reason::Truncated)?;
    let version_ihl = ip.u8::<{ ip4::VERSION_IHL }>();
    if version_ihl != ip4::NO_OPTIONS {
        return Err(if version_ihl > ip4::NO_OPTIONS && version_ihl < 0x50 {
            Reason::IpOptions
        } else {
            Reason::NotIp
        });
    }
    if ip.u16::<{ ip4::FRAGMENT }>() & ip4::IS_FRAGMENT != 0 {
        return Err(Reason::Fragment);
    }
    let total_len = u16::from_be(ip.u16::<{ ip4::TOTAL_LEN }>()) as u32;
    if total_len < ip4::LEN as u32 || l3 + total_len as usize > frame.len() {
        return Err(Reason::Truncated);
    }
    Ok(Ip {
        src: ip.u32::<{ ip4::SRC }>(),
        dst: ip.u32::<{ ip4::DST }>(),
        proto: ip.u8::<{ ip4::PROTO }>(),
        l3,
        l4: l3 + ip4::LEN,
        payload_len: total_len - ip4::LEN as u32,
    })
}

#[inline(always)]
pub fn ipv6(frame: &Frame, l3: usize) -> Result<Ip<Addr6>, Reason> {
    let ip = frame.view::<{ ip6::LEN }>(l3).ok_or(Reason::Truncated)?;
    if ip.u8::<{ ip6::VERSION }>() >> 4 != 6 {
        return Err(Reason::NotIp);
    }
    let next_header = ip.u8::<{ ip6::NEXT_HEADER }>();
    if proto::is_extension(next_header) {
        return Err(Reason::ExtensionHeader);
    }
    let payload_len = u16::from_be(ip.u16::<{ ip6::PAYLOAD_LEN }>()) as u32;
    if l3 + ip6::LEN + payload_len as usize > frame.len() {
        return Err(Reason::Truncated);
    }
    Ok(Ip {
        src: ip.addr6::<{ ip6::SRC }>(),
        dst: ip.addr6::<{ ip6::DST }>(),
        proto: next_header,
        l3,
        l4: l3 + ip6::LEN,
        payload_len,
    })
}

/// The packet that an ICMP error quotes: cut off anywhere behind its ports and sequence number.
pub struct Quoted<Addr> {
    pub src: Addr,
    pub dst: Addr,
    pub proto: u8,
    pub l4: usize,
}

#[inline(always)]
pub fn quoted_ipv4(frame: &Frame, at: usize) -> Option<Quoted<Addr4>> {
    let ip = frame.view::<{ ip4::LEN }>(at)?;
    if ip.u8::<{ ip4::VERSION_IHL }>() != ip4::NO_OPTIONS || ip.u16::<{ ip4::FRAGMENT }>() & ip4::FRAGMENT_OFFSET != 0 {
        return None;
    }
    Some(Quoted {
        src: ip.u32::<{ ip4::SRC }>(),
        dst: ip.u32::<{ ip4::DST }>(),
        proto: ip.u8::<{ ip4::PROTO }>(),
        l4: at + ip4::LEN,
    })
}

#[inline(always)]
pub fn quoted_ipv6(frame: &Frame, at: usize) -> Option<Quoted<Addr6>> {
    let ip = frame.view::<{ ip6::LEN }>(at)?;
    if ip.u8::<{ ip6::VERSION }>() >> 4 != 6 {
        return None;
    }
    Some(Quoted {
        src: ip.addr6::<{ ip6::SRC }>(),
        dst: ip.addr6::<{ ip6::DST }>(),
        proto: ip.u8::<{ ip6::NEXT_HEADER }>(),
        l4: at + ip6::LEN,
    })
}

/// A TCP header, numbers in host order.
#[derive(Clone, Copy)]
pub struct Tcp {
    /// Where the header starts in the frame.
    pub at: usize,
    /// Source and destination port as they lie in the packet.
    pub ports: u32,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// What the header claims; see [`Tcp::is_sound`].
    pub header_len: u32,
    /// Bytes of header and data together.
    pub len: u32,
}

impl Tcp {
    #[inline(always)]
    pub fn parse(frame: &Frame, at: usize, len: u32) -> Result<Self, Reason> {
        let view = frame.view::<{ tcp::LEN }>(at).ok_or(Reason::Truncated)?;
        if len < tcp::LEN as u32 {
            return Err(Reason::Truncated);
        }
        Ok(Self {
            at,
            ports: view.u32::<{ tcp::PORTS }>(),
            seq: u32::from_be(view.u32::<{ tcp::SEQ }>()),
            ack: u32::from_be(view.u32::<{ tcp::ACK }>()),
            flags: view.u8::<{ tcp::FLAGS }>(),
            header_len: (view.u8::<{ tcp::DATA_OFFSET }>() >> 4) as u32 * 4,
            len,
        })
    }

    /// The header is neither shorter than a TCP header nor longer than the packet.
    #[inline(always)]
    pub const fn is_sound(&self) -> bool {
        self.header_len >= tcp::LEN as u32 && self.header_len <= self.len
    }

    #[inline(always)]
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// Bytes of data. Only of a sound header.
    #[inline(always)]
    pub const fn data_len(&self) -> u32 {
        self.len.wrapping_sub(self.header_len)
    }

    /// The sequence number behind the data and the SYN or FIN. Only of a sound header.
    #[inline(always)]
    pub const fn end(&self) -> u32 {
        let control = self.has(tcp::SYN) as u32 + self.has(tcp::FIN) as u32;
        self.seq.wrapping_add(self.data_len()).wrapping_add(control)
    }
}

/// Sequence number order, modulo 2^32 (RFC 9293, 3.4).
#[inline(always)]
pub const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}
