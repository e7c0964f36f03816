//! Who takes part in the packet cases: a client, the balancer, an origin, and the flow between them.

use core::fmt;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    vec,
    vec::Vec,
};

use crate::{
    abi::{FlowFlags, NextHop, OriginState, ServiceKind, Splice},
    packet::header::{proto, tcp},
    testing::{
        build::{Lower, TcpPacket},
        simulated::{Flow, Tuple, World},
    },
};

/// The interface that frames come in on; the kernel's test-run uses the loopback device.
pub const LO: u32 = 1;
/// Any other interface.
const ELSEWHERE: u32 = 7;
/// The slot of `DEVICES` for it.
pub const REDIRECT_SLOT: u32 = 5;

pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xc1];
pub const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xb0];
pub const OWN_MAC_BACK: [u8; 6] = [2, 0, 0, 0, 0, 0xb1];
pub const ORIGIN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];

pub const HOP_TO_ORIGIN: u16 = 3;
pub const HOP_TO_CLIENT: u16 = 4;
pub const HOP_EMPTY: u16 = 9;
pub const ORIGIN: u16 = 11;
/// Its low 16 bits are what a flow remembers.
pub const GENERATION: u32 = 0x0005_0007;

/// Both words of both secrets.
pub const SECRETS: [(u64, u64); 2] = [(0x1122_3344_5566_7788, 0x99aa_bbcc_ddee_ff00), (7, 0xffff_ffff_ffff_fff7)];

/// Client to origin: seq + A, ack - B; origin to client the other way round.
pub const A: u32 = 0x5123_4567;
pub const B: u32 = 0xe000_1111;
/// Added to the client's TSval and to the origin's.
pub const CLIENT_TIME: u32 = 0x1234_0000;
pub const ORIGIN_TIME: u32 = 0xfedc_0000;

/// One family with one kind of Ethernet header.
#[derive(Clone, Debug)]
pub struct Stage {
    pub is_v6: bool,
    pub tags: Vec<(u16, u16)>,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", if self.is_v6 { "v6" } else { "v4" })?;
        self.tags.iter().try_for_each(|(kind, control)| write!(f, " tag {kind:x}.{control:x}"))
    }
}

impl Stage {
    pub fn all() -> Vec<Self> {
        let tags = [vec![], vec![(0x8100, 0x6064)], vec![(0x88a8, 0x0fa0), (0x8100, 0x0064)]];
        let stage = |is_v6| tags.clone().map(|tags| Self { is_v6, tags });
        [stage(false), stage(true)].into_iter().flatten().collect()
    }

    fn addr(&self, v4: [u8; 4], v6: u16, port: u16) -> SocketAddr {
        let ip = if self.is_v6 {
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, v6, 0xffff, 0, 0xabcd, 0, v6))
        } else {
            IpAddr::V4(Ipv4Addr::from(v4))
        };
        SocketAddr::new(ip, port)
    }

    pub fn client(&self) -> SocketAddr {
        self.addr([198, 51, 100, 7], 0xc, 40123)
    }

    pub fn vip(&self) -> SocketAddr {
        self.addr([203, 0, 113, 1], 0x1, 1935)
    }

    /// The balancer's own address towards the origin.
    pub fn source(&self) -> SocketAddr {
        self.addr([192, 0, 2, 1], 0x2, 10007)
    }

    pub fn origin(&self) -> SocketAddr {
        self.addr([192, 0, 2, 10], 0xa, 19350)
    }

    pub fn stranger(&self) -> SocketAddr {
        self.addr([198, 51, 100, 66], 0xbad, 5555)
    }

    /// Under which the client's packets come in.
    pub fn from_client(&self) -> Tuple {
        Tuple { src: self.client(), dst: self.vip(), proto: proto::TCP }
    }

    /// Under which the origin's packets come in.
    pub fn from_origin(&self) -> Tuple {
        Tuple { src: self.origin(), dst: self.source(), proto: proto::TCP }
    }

    pub fn lower(&self, src: SocketAddr, dst: SocketAddr) -> Lower {
        Lower {
            dst_mac: OWN_MAC,
            src_mac: CLIENT_MAC,
            tags: self.tags.clone(),
            src: src.ip(),
            dst: dst.ip(),
            hops: 64,
            ip_id: 0x4242,
            fragment: 0x4000,
            class: 0x08,
        }
    }

    /// A data packet between any two.
    pub fn packet(&self, src: SocketAddr, dst: SocketAddr) -> TcpPacket {
        TcpPacket {
            lower: self.lower(src, dst),
            src_port: src.port(),
            dst_port: dst.port(),
            seq: 0x1000_0000,
            ack: 0x2000_0000,
            flags: tcp::ACKED | tcp::PSH,
            window: 501,
            urgent: 0,
            options: vec![],
            payload: b"forty-two bytes of very live video, framed".to_vec(),
        }
    }

    pub fn client_packet(&self) -> TcpPacket {
        self.packet(self.client(), self.vip())
    }

    pub fn origin_packet(&self) -> TcpPacket {
        let mut packet = self.packet(self.origin(), self.source());
        packet.lower.src_mac = ORIGIN_MAC;
        packet
    }

    /// What the origin gets for a packet of the client's: the splice without options and windows.
    pub fn at_origin(&self, packet: &TcpPacket) -> TcpPacket {
        let (src, dst) = (self.source(), self.origin());
        let mut packet = packet.clone();
        (packet.lower.src, packet.lower.dst) = (src.ip(), dst.ip());
        (packet.src_port, packet.dst_port) = (src.port(), dst.port());
        (packet.lower.dst_mac, packet.lower.src_mac) = (ORIGIN_MAC, OWN_MAC_BACK);
        packet.lower.hops -= 1;
        packet.seq = packet.seq.wrapping_add(A);
        if packet.flags & tcp::ACKED != 0 {
            packet.ack = packet.ack.wrapping_sub(B);
        }
        packet
    }

    /// What the client gets for a packet of the origin's.
    pub fn at_client(&self, packet: &TcpPacket) -> TcpPacket {
        let (src, dst) = (self.vip(), self.client());
        let mut packet = packet.clone();
        (packet.lower.src, packet.lower.dst) = (src.ip(), dst.ip());
        (packet.src_port, packet.dst_port) = (src.port(), dst.port());
        (packet.lower.dst_mac, packet.lower.src_mac) = (CLIENT_MAC, OWN_MAC);
        packet.lower.hops -= 1;
        packet.seq = packet.seq.wrapping_add(B);
        if packet.flags & tcp::ACKED != 0 {
            packet.ack = packet.ack.wrapping_sub(A);
        }
        packet
    }

    /// Services, next hops and a healthy origin, but no flow.
    pub fn bare_world(&self) -> World {
        let mut world = World { devices: vec![REDIRECT_SLOT], ..World::default() };
        world.origins.insert(ORIGIN, (OriginState::Up as u32, GENERATION));
        for proto in [proto::TCP, proto::UDP] {
            world.services.push((Tuple { src: self.client(), dst: self.vip(), proto }, ServiceKind::Rtmp));
        }
        let to_origin =
            NextHop { ifindex: ELSEWHERE, device: REDIRECT_SLOT, dst_mac: ORIGIN_MAC, src_mac: OWN_MAC_BACK, mtu: 0 };
        let to_client = NextHop { ifindex: LO, device: 0, dst_mac: CLIENT_MAC, src_mac: OWN_MAC, mtu: 0 };
        world.next_hops.insert(HOP_TO_ORIGIN, to_origin);
        world.next_hops.insert(HOP_TO_CLIENT, to_client);
        world.next_hops.insert(HOP_EMPTY, NextHop::default());
        world
    }

    /// The same with both halves of the client's flow.
    pub fn world(&self, flags: u32) -> World {
        let mut world = self.bare_world();
        let to_origin = Tuple { src: self.source(), dst: self.origin(), proto: proto::TCP };
        let to_client = Tuple { src: self.vip(), dst: self.client(), proto: proto::TCP };
        let splice = Splice {
            flags,
            next_hop: HOP_TO_ORIGIN,
            seq_delta: A,
            ack_delta: B.wrapping_neg(),
            tsval_delta: CLIENT_TIME,
            tsecr_delta: ORIGIN_TIME.wrapping_neg(),
            origin: ORIGIN,
            origin_generation: GENERATION as u16,
            stream: 99,
            l4_diff: l4_diff(&self.from_client(), &to_origin),
        };
        let back = Splice {
            flags: flags | FlowFlags::TO_CLIENT,
            next_hop: HOP_TO_CLIENT,
            seq_delta: B,
            ack_delta: A.wrapping_neg(),
            tsval_delta: ORIGIN_TIME,
            tsecr_delta: CLIENT_TIME.wrapping_neg(),
            l4_diff: l4_diff(&self.from_origin(), &to_client),
            ..splice
        };
        let seen = 0x0012_3400;
        let flow = |splice, new| Flow { splice, new, seen, packets: 7, bytes: u64::from(u32::MAX), last_seen: 0 };
        world.flows.insert(self.from_client(), flow(splice, to_origin));
        world.flows.insert(self.from_origin(), flow(back, to_client));
        world
    }

    /// The same with an SRT service on the VIP, and secrets.
    pub fn srt_world(&self) -> World {
        let mut world = self.bare_world();
        for (tuple, kind) in &mut world.services {
            if tuple.proto == proto::UDP {
                *kind = ServiceKind::Srt;
            }
        }
        world.secrets = [(0, SECRETS[0]), (1, SECRETS[1])].into();
        world
    }

    /// The flow carries datagrams instead.
    pub fn datagram_world(&self) -> World {
        let of = |tuple: Tuple| Tuple { proto: proto::UDP, ..tuple };
        let mut world = self.bare_world();
        for (tuple, mut flow) in self.world(0).flows {
            flow.new = of(flow.new);
            world.flows.insert(of(tuple), flow);
        }
        world
    }

    /// The same with a client that has said all that it may: `base` is its sequence number behind that.
    pub fn mute_world(&self, base: u32) -> World {
        let mut world = self.world(0);
        let (to_origin, to_client) = FlowFlags::mute(base);
        for (tuple, flow) in &mut world.flows {
            flow.splice.flags |= if *tuple == self.from_client() { to_origin } else { to_client };
        }
        world
    }
}

/// New minus old, in one's complement, by plain arithmetic modulo 2^16 - 1.
pub fn l4_diff(old: &Tuple, new: &Tuple) -> u16 {
    let diff = (sum(new) + 0xffff * 64 - sum(old)) % 0xffff;
    // As it lies in the packet.
    (diff as u16).to_be()
}

fn sum(tuple: &Tuple) -> u32 {
    [tuple.src, tuple.dst]
        .iter()
        .map(|addr| {
            let words: Vec<u32> = match addr.ip() {
                IpAddr::V4(ip) => ip.octets().chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).collect(),
                IpAddr::V6(ip) => ip.segments().map(u32::from).to_vec(),
            };
            words.iter().sum::<u32>() + u32::from(addr.port())
        })
        .sum()
}
