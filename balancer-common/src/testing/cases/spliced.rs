//! Packets of live spliced flows, but for their TCP options.

use std::{format, string::String, vec, vec::Vec};

use super::{
    Case, REDIRECT_SLOT, Stage,
    stage::{A, B, HOP_EMPTY, HOP_TO_CLIENT},
};
use crate::{
    abi::{FlowFlags, Reason, Seen},
    packet::header::{proto, tcp},
    steer::Verdict,
    testing::{
        build::{Lower, TcpPacket, udp_frame},
        simulated::{Tuple, World},
    },
};

pub fn cases(stage: &Stage) -> Vec<Case> {
    [numbers(stage), windows(stage), hops(stage), udp(stage)].into_iter().flatten().collect()
}

/// The client's packet reaches the origin as `expected`.
pub fn to_origin(stage: &Stage, name: &str, world: World, packet: &TcpPacket, expected: &TcpPacket) -> Case {
    Case::new(stage, name, world, packet.frame())
        .leaves(Verdict::Redirect(REDIRECT_SLOT), Reason::ToOrigin, expected.frame())
        .counts(stage.from_client(), packet.payload.len())
}

/// The origin's packet reaches the client as `expected`.
pub fn to_client(stage: &Stage, name: &str, world: World, packet: &TcpPacket, expected: &TcpPacket) -> Case {
    Case::new(stage, name, world, packet.frame())
        .leaves(Verdict::Tx, Reason::ToClient, expected.frame())
        .counts(stage.from_origin(), packet.payload.len())
}

fn numbers(stage: &Stage) -> Vec<Case> {
    let mut cases = vec![];
    let mut both_ways = |name: &str, change: &dyn Fn(&mut TcpPacket)| {
        let (mut up, mut down) = (stage.client_packet(), stage.origin_packet());
        change(&mut up);
        change(&mut down);
        cases.push(to_origin(stage, &format!("{name}, up"), stage.world(0), &up, &stage.at_origin(&up)));
        cases.push(to_client(stage, &format!("{name}, down"), stage.world(0), &down, &stage.at_client(&down)));
    };
    both_ways("data", &|_| ());
    both_ways("data of odd length", &|p| p.payload.truncate(13));
    both_ways("a full segment", &|p| p.payload = (0..1448u32).map(|i| (i * 7) as u8).collect());
    both_ways("a bare ACK", &|p| (p.payload.clear(), p.flags = tcp::ACKED).1);
    both_ways("seq wraps", &|p| p.seq = 0u32.wrapping_sub(A.min(B) / 2));
    both_ways("seq lands on 0", &|p| p.seq = A.wrapping_neg());
    both_ways("ack wraps", &|p| p.ack = 3);
    both_ways("everything 0", &|p| (p.seq, p.ack, p.window, p.payload) = (0, 0, 0, vec![]));
    both_ways("everything at its highest", &|p| {
        (p.seq, p.ack, p.window, p.payload) = (u32::MAX, u32::MAX, u16::MAX, vec![0xff; 33]);
    });
    both_ways("no ACK flag: the ACK number is left alone", &|p| p.flags = tcp::PSH);
    both_ways("urgent data", &|p| (p.flags, p.urgent) = (tcp::ACKED | tcp::URG, 7));
    both_ways("a repeated SYN with ACK", &|p| (p.flags, p.payload) = (tcp::SYN | tcp::ACKED, vec![]));
    both_ways("congestion was met", &|p| (p.lower.class, p.flags) = (0x0b, tcp::ACKED | 0xc0));
    both_ways("options nobody asked to change", &|p| {
        use crate::testing::build::TcpOption::{Nop, Sack, Timestamps};
        p.options = vec![Nop, Nop, Timestamps(1, 2), Nop, Nop, Sack(vec![(3, 4)])];
    });
    cases
}

fn windows(stage: &Stage) -> Vec<Case> {
    // Left, right, before, after.
    let shifts: [(u32, u32, u16, u16); 8] = [
        (7, 7, 501, 501),
        (7, 0, 501, 64128),
        (7, 0, 512, 65535),
        (14, 0, 65535, 65535),
        (0, 7, 65535, 511),
        (0, 7, 127, 0),
        (7, 10, 501, 62),
        (10, 7, 501, 4008),
    ];
    let mut cases: Vec<Case> = shifts
        .iter()
        .map(|&(left, right, before, after)| {
            let packet = TcpPacket { window: before, ..stage.client_packet() };
            let expected = TcpPacket { window: after, ..stage.at_origin(&packet) };
            let name: String = format!("window {before} << {left} >> {right}");
            to_origin(stage, &name, stage.world(shift(left, right)), &packet, &expected)
        })
        .collect();
    let packet = TcpPacket { flags: tcp::SYN | tcp::ACKED, payload: vec![], ..stage.client_packet() };
    let expected = stage.at_origin(&packet);
    cases.push(to_origin(stage, "the window of a SYN is not scaled", stage.world(shift(7, 0)), &packet, &expected));
    cases
}

fn shift(left: u32, right: u32) -> u32 {
    left << FlowFlags::WINDOW_LEFT_SHIFT | right << FlowFlags::WINDOW_RIGHT_SHIFT
}

fn hops(stage: &Stage) -> Vec<Case> {
    let mut last = stage.client_packet();
    last.lower.hops = 2;
    let expected = stage.at_origin(&last);
    let mut cases = vec![to_origin(stage, "two hops to live", stage.world(0), &last, &expected)];
    for hops in [1, 0] {
        last.lower.hops = hops;
        let name = format!("{hops} hops to live");
        cases.push(Case::new(stage, &name, stage.world(0), last.frame()).drops(Reason::TtlExpired));
    }

    let packet = stage.client_packet();
    for (name, hop) in [("the next hop is not known yet", HOP_EMPTY), ("the next hop is out of range", 60000)] {
        let mut world = stage.world(0);
        if let Some(flow) = world.flows.get_mut(&stage.from_client()) {
            flow.splice.next_hop = hop;
        }
        cases.push(Case::new(stage, name, world, packet.frame()).drops(Reason::NoNextHop));
    }

    // One-armed: the same interface both ways.
    let mut world = stage.world(0);
    if let Some(hop) = world.next_hops.get_mut(&HOP_TO_CLIENT) {
        hop.dst_mac = super::stage::ORIGIN_MAC;
        hop.src_mac = super::stage::OWN_MAC_BACK;
    }
    if let Some(flow) = world.flows.get_mut(&stage.from_client()) {
        flow.splice.next_hop = HOP_TO_CLIENT;
    }
    let expected = stage.at_origin(&packet);
    cases.push(
        Case::new(stage, "the origin is on the client's interface", world, packet.frame())
            .leaves(Verdict::Tx, Reason::ToOrigin, expected.frame())
            .counts(stage.from_client(), packet.payload.len()),
    );
    let mut padded = packet.frame();
    padded.extend([0; 9]);
    let mut expected = expected.frame();
    expected.extend([0; 9]);
    let mut world = stage.world(0);
    world.flows.extend(stage.world(0).flows);
    cases.push(
        Case::new(stage, "padding behind the packet", world, padded)
            .leaves(Verdict::Redirect(REDIRECT_SLOT), Reason::ToOrigin, expected)
            .counts(stage.from_client(), packet.payload.len()),
    );
    cases
}

fn udp(stage: &Stage) -> Vec<Case> {
    let of = |tuple: Tuple| Tuple { proto: proto::UDP, ..tuple };
    let world = stage.datagram_world();
    let key = of(stage.from_client());
    let packet = stage.client_packet();
    let payload = b"a datagram";
    let frame = |packet: &TcpPacket, sum| udp_frame(&packet.lower, packet.src_port, packet.dst_port, payload, sum);
    let marked = TcpPacket { lower: Lower { class: 0xbb, ..packet.lower.clone() }, ..packet.clone() };
    let mut cases: Vec<Case> = [
        ("a datagram", &packet, true),
        ("a datagram marked for low delay that met congestion", &marked, true),
        ("a datagram without checksum", &packet, false),
    ]
    .map(|(name, packet, has_checksum)| {
        let case = Case::new(stage, name, world.clone(), frame(packet, has_checksum));
        if stage.is_v6 && !has_checksum {
            return case.drops(Reason::UdpNoChecksum);
        }
        let expected = frame(&stage.at_origin(packet), has_checksum);
        case.leaves(Verdict::Redirect(REDIRECT_SLOT), Reason::ToOrigin, expected).counts(key, payload.len())
    })
    .into();
    let mut down = world.clone();
    down.origins.clear();
    cases.push(
        Case::new(stage, "a datagram for an origin that is gone", down, frame(&packet, true))
            .drops(Reason::OriginDownNoAck),
    );
    let mut closed = world;
    if let Some(flow) = closed.flows.get_mut(&key) {
        flow.seen |= Seen::CLOSED;
    }
    cases.push(Case::new(stage, "a datagram of a closed flow", closed, frame(&packet, true)).passes(Reason::Closed));
    cases
}
