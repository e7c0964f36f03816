//! Where the fields of each header lie, and the constants that stand in them.

use core::mem::offset_of;
use network_types::{
    eth::EthHdr,
    icmp::Icmpv4Hdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
    udp::UdpHdr,
    vlan::VlanHdr,
};

/// Ethernet and VLAN tags.
pub mod eth {
    use super::*;
    pub const LEN: usize = EthHdr::LEN;
    pub const DST: usize = offset_of!(EthHdr, dst_addr);
    pub const SRC: usize = offset_of!(EthHdr, src_addr);
    pub const TYPE: usize = offset_of!(EthHdr, ether_type);
    pub const TAG_LEN: usize = VlanHdr::LEN;
    /// The type behind the tag, counted from the tag's own type.
    pub const TAG_TYPE: usize = offset_of!(VlanHdr, ether_type);

    pub const IPV4: u16 = 0x0800u16.to_be();
    pub const IPV6: u16 = 0x86ddu16.to_be();
    pub const VLAN: u16 = 0x8100u16.to_be();
    /// 802.1ad service tag.
    pub const VLAN_SERVICE: u16 = 0x88a8u16.to_be();
}

pub mod ip4 {
    use super::*;
    pub const LEN: usize = Ipv4Hdr::LEN;
    pub const VERSION_IHL: usize = offset_of!(Ipv4Hdr, vihl);
    pub const TOTAL_LEN: usize = offset_of!(Ipv4Hdr, tot_len);
    pub const ID: usize = offset_of!(Ipv4Hdr, id);
    pub const FRAGMENT: usize = offset_of!(Ipv4Hdr, frags);
    pub const TTL: usize = offset_of!(Ipv4Hdr, ttl);
    pub const PROTO: usize = offset_of!(Ipv4Hdr, proto);
    pub const CHECKSUM: usize = offset_of!(Ipv4Hdr, check);
    pub const SRC: usize = offset_of!(Ipv4Hdr, src_addr);
    pub const DST: usize = offset_of!(Ipv4Hdr, dst_addr);
    /// Version 4, five words.
    pub const NO_OPTIONS: u8 = 0x45;
    /// What is left of a fragment field that says "the first or only one".
    pub const FRAGMENT_OFFSET: u16 = 0x1fffu16.to_be();
    pub const DONT_FRAGMENT: u16 = 0x4000u16.to_be();
    /// More-fragments bit and fragment offset.
    pub const IS_FRAGMENT: u16 = 0x3fffu16.to_be();
    /// Identification 0 and the don't-fragment bit, one word (RFC 6864, 4.1).
    pub const ATOMIC: u32 = 0x4000u32.to_be();
}

pub mod ip6 {
    use super::*;
    pub const LEN: usize = Ipv6Hdr::LEN;
    pub const VERSION: usize = offset_of!(Ipv6Hdr, vcf);
    pub const PAYLOAD_LEN: usize = offset_of!(Ipv6Hdr, payload_len);
    pub const NEXT_HEADER: usize = offset_of!(Ipv6Hdr, next_hdr);
    pub const HOP_LIMIT: usize = offset_of!(Ipv6Hdr, hop_limit);
    pub const SRC: usize = offset_of!(Ipv6Hdr, src_addr);
    pub const DST: usize = offset_of!(Ipv6Hdr, dst_addr);
}

pub mod tcp {
    use super::*;
    pub const LEN: usize = TcpHdr::LEN;
    pub const PORTS: usize = offset_of!(TcpHdr, source);
    pub const SEQ: usize = offset_of!(TcpHdr, seq);
    pub const ACK: usize = offset_of!(TcpHdr, ack_seq);
    pub const DATA_OFFSET: usize = offset_of!(TcpHdr, _bitfield_1);
    pub const FLAGS: usize = DATA_OFFSET + 1;
    pub const WINDOW: usize = offset_of!(TcpHdr, window);
    pub const CHECKSUM: usize = offset_of!(TcpHdr, check);
    pub const URGENT: usize = offset_of!(TcpHdr, urg_ptr);
    pub const OPTIONS_LEN_MAX: usize = 40;

    pub const FIN: u8 = 1 << 0;
    pub const SYN: u8 = 1 << 1;
    pub const RST: u8 = 1 << 2;
    pub const PSH: u8 = 1 << 3;
    pub const ACKED: u8 = 1 << 4;
    pub const URG: u8 = 1 << 5;
}

pub mod udp {
    use super::*;
    pub const LEN: usize = UdpHdr::LEN;
    pub const PORTS: usize = offset_of!(UdpHdr, src);
    /// Of header and payload.
    pub const LENGTH: usize = offset_of!(UdpHdr, len);
    pub const CHECKSUM: usize = offset_of!(UdpHdr, check);
}

pub mod icmp {
    use super::*;
    pub const LEN: usize = Icmpv4Hdr::LEN;
    pub const TYPE: usize = offset_of!(Icmpv4Hdr, type_);
    pub const CHECKSUM: usize = offset_of!(Icmpv4Hdr, check);
    /// What the type gives a meaning to: an MTU, for one.
    pub const REST: usize = offset_of!(Icmpv4Hdr, data);

    pub const UNREACHABLE: u8 = 3;
    /// A code of [`UNREACHABLE`].
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    pub const TOO_BIG6: u8 = 2;

    /// Types that quote the packet they are about (RFC 792): unreachable, with "fragmentation needed", and time exceeded.
    #[inline(always)]
    pub const fn is_error(kind: u8) -> bool {
        matches!(kind, 3 | 11)
    }

    /// The same in ICMPv6 (RFC 4443): unreachable, too big, time exceeded.
    #[inline(always)]
    pub const fn is_error6(kind: u8) -> bool {
        matches!(kind, 1..=3)
    }
}

/// IP protocol numbers.
pub mod proto {
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMP6: u8 = 58;

    /// IPv6 extension headers (RFC 8200, RFC 4302, RFC 4303, RFC 6275, RFC 7401, RFC 5533).
    #[inline(always)]
    pub const fn is_extension(next_header: u8) -> bool {
        matches!(next_header, 0 | 43 | 44 | 50 | 51 | 60 | 135 | 139 | 140)
    }
}

const _: () = assert!(tcp::FLAGS == 13 && tcp::WINDOW == 14 && tcp::LEN == 20 && ip4::LEN == 20 && ip6::LEN == 40);
