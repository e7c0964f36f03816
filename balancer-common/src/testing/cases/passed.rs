//! What the host's own stack gets: new connections, and everything the fast path does not handle.

use std::{vec, vec::Vec};

use super::{Case, Stage};
use crate::{
    abi::Reason,
    packet::header::{proto, tcp},
    testing::build::{TcpPacket, udp_frame},
};

pub fn cases(stage: &Stage) -> Vec<Case> {
    let mut cases: Vec<Case> = [misses(stage), not_handled(stage)].into_iter().flatten().collect();
    cases.extend(if stage.is_v6 { only_v6(stage) } else { only_v4(stage) });
    cases
}

fn misses(stage: &Stage) -> Vec<Case> {
    let data = stage.client_packet();
    let syn = TcpPacket { flags: tcp::SYN, payload: vec![], ..data.clone() };
    let mut other_port = data.clone();
    other_port.dst_port += 1;
    let mut other_client = data.clone();
    other_client.src_port += 1;
    let mut at_vip = syn.clone();
    at_vip.lower.dst = stage.stranger().ip();
    let case = |name: &str, world, packet: &TcpPacket| Case::new(stage, name, world, packet.frame());
    let datagram = |port| udp_frame(&data.lower, data.src_port, port, b"?", true);
    vec![
        case("a SYN for a service", stage.bare_world(), &syn).passes(Reason::NewConnection),
        case("a SYN of another client", stage.world(0), &TcpPacket { src_port: 9, ..syn.clone() })
            .passes(Reason::NewConnection),
        case("data for a service", stage.bare_world(), &data).passes(Reason::NoFlow),
        case("data of another client", stage.world(0), &other_client).passes(Reason::NoFlow),
        case("another port", stage.world(0), &other_port).passes(Reason::NotOurs),
        case("another address", stage.world(0), &at_vip).passes(Reason::NotOurs),
        Case::new(stage, "a datagram for a service", stage.world(0), datagram(data.dst_port)).passes(Reason::NoFlow),
        Case::new(stage, "a datagram for no service", stage.world(0), datagram(53)).passes(Reason::NotOurs),
    ]
}

fn not_handled(stage: &Stage) -> Vec<Case> {
    let data = stage.client_packet();
    let case = |name: &str, frame| Case::new(stage, name, stage.world(0), frame);
    let ether_type = 12 + 4 * stage.tags.len();
    let mut arp = data.frame();
    arp[ether_type..ether_type + 2].copy_from_slice(&[0x08, 0x06]);
    let mut version = data.frame();
    version[ether_type + 2] = 0x15;
    let mut tags = data.clone();
    tags.lower.tags = vec![(0x8100, 1); 3];
    let mut longer = data.frame();
    longer.pop();
    let short = |proto, len: usize| data.lower.frame(proto, &vec![0; len]);
    vec![
        case("ARP", arp).passes(Reason::NotIp),
        case("an IP header of version 1", version).passes(Reason::NotIp),
        case("three VLAN tags", tags.frame()).passes(Reason::NotIp),
        case("ESP or SCTP", data.lower.frame(132, &[0; 32])).passes(Reason::OtherProtocol),
        case("a packet longer than its frame", longer).passes(Reason::Truncated),
        case("a TCP packet of 19 bytes", short(proto::TCP, 19)).passes(Reason::Truncated),
        case("a UDP packet of 7 bytes", short(proto::UDP, 7)).passes(Reason::Truncated),
        case("a UDP packet of 0 bytes", short(proto::UDP, 0)).passes(Reason::Truncated),
        case("a frame without IP header", data.frame()[..ether_type + 2].to_vec()).passes(Reason::Truncated),
    ]
}

fn only_v4(stage: &Stage) -> Vec<Case> {
    let data = stage.client_packet();
    let l3 = 14 + 4 * stage.tags.len();
    let case = |name: &str, frame| Case::new(stage, name, stage.world(0), frame);
    let fragment = |bits| {
        let mut packet = data.clone();
        packet.lower.fragment = bits;
        packet.frame()
    };
    let mut options = data.frame();
    options[l3] = 0x46;
    let mut short = data.frame();
    short[l3] = 0x44;
    let mut total = data.frame();
    total[l3 + 2..l3 + 4].copy_from_slice(&[0, 19]);
    vec![
        case("IP options", options).passes(Reason::IpOptions),
        case("an IP header of 16 bytes", short).passes(Reason::NotIp),
        case("a total length of 19", total).passes(Reason::Truncated),
        case("a first fragment", fragment(0x2000)).passes(Reason::Fragment),
        case("a middle fragment", fragment(0x2010)).passes(Reason::Fragment),
        case("a last fragment", fragment(0x0010)).passes(Reason::Fragment),
        case("ICMPv6 in IPv4", data.lower.frame(proto::ICMP6, &[0; 32])).passes(Reason::OtherProtocol),
    ]
}

fn only_v6(stage: &Stage) -> Vec<Case> {
    let data = stage.client_packet();
    let case = |name: &str, frame| Case::new(stage, name, stage.world(0), frame);
    let header = |next| data.lower.frame(next, &[6, 0, 0, 0, 0, 0, 0, 0]);
    vec![
        case("a hop-by-hop header", header(0)).passes(Reason::ExtensionHeader),
        case("a fragment header", header(44)).passes(Reason::ExtensionHeader),
        case("a routing header", header(43)).passes(Reason::ExtensionHeader),
        case("ICMP in IPv6", data.lower.frame(proto::ICMP, &[0; 32])).passes(Reason::OtherProtocol),
    ]
}
