//! Datagrams larger than the next link carries.

use std::{format, net::SocketAddr, vec, vec::Vec};

use super::{
    Case, REDIRECT_SLOT, Stage,
    stage::{HOP_TO_CLIENT, HOP_TO_ORIGIN, ORIGIN_MAC, OWN_MAC},
};
use crate::{
    abi::Reason,
    packet::header::proto,
    steer::Verdict,
    testing::{
        build::{Lower, TcpPacket, icmp_frame, udp_frame},
        world::{Tuple, World},
    },
};

pub fn cases(stage: &Stage) -> Vec<Case> {
    let mut cases = vec![];
    let mtus: &[u32] =
        if stage.is_v6 { &[1280, 1400, 1500, 70_000] } else { &[92, 100, 571, 572, 576, 1400, 1500, 70_000] };
    for &mtu in mtus {
        cases.extend(around(stage, mtu));
    }
    cases.push(to_client(stage));
    cases.push(cuttable(stage));
    cases.push(not_udp(stage));
    cases.push(padded(stage));
    cases
}

fn world(stage: &Stage, mtu: u32) -> World {
    let mut world = stage.datagram_world();
    world.next_hops.values_mut().filter(|hop| hop.ifindex != 0).for_each(|hop| hop.mtu = mtu);
    world
}

fn ip_len(stage: &Stage) -> usize {
    if stage.is_v6 { 40 } else { 20 }
}

/// A datagram whose IP packet has `len` bytes.
fn datagram(stage: &Stage, packet: &TcpPacket, len: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..len - ip_len(stage) - 8).map(|i| (i * 31 % 251) as u8).collect();
    udp_frame(&packet.lower, packet.src_port, packet.dst_port, &payload, true)
}

/// What the sender of `frame` is told.
fn error(stage: &Stage, frame: &[u8], from: SocketAddr, to: SocketAddr, to_mac: [u8; 6], mtu: u32) -> Vec<u8> {
    let packet = &frame[14 + 4 * stage.tags.len()..];
    let (quoted, least, kind) = if stage.is_v6 { (1232, 48, (2, 0)) } else { (544, 64, (3, 4)) };
    let quoted = if packet.len() >= quoted + ip_len(stage) + 8 { quoted } else { least };
    let lower = Lower { dst_mac: to_mac, src_mac: OWN_MAC, ip_id: 0, class: 0, ..stage.lower(from, to) };
    icmp_frame(&lower, kind.0, kind.1, mtu, &packet[..quoted])
}

/// The largest datagram that fits, and the next one.
fn around(stage: &Stage, mtu: u32) -> Vec<Case> {
    let packet = stage.client_packet();
    let half = Tuple { proto: proto::UDP, ..stage.from_client() };
    let len = (mtu as usize).min(3000);
    let fits = Case::new(
        stage,
        &format!("a datagram that fits {mtu} bytes"),
        world(stage, mtu),
        datagram(stage, &packet, len),
    )
    .leaves(Verdict::Redirect(REDIRECT_SLOT), Reason::ToOrigin, datagram(stage, &stage.at_origin(&packet), len))
    .counts(half, len - ip_len(stage) - 8);
    if mtu > 3000 {
        return vec![fits];
    }
    let frame = datagram(stage, &packet, len + 1);
    let expected = error(stage, &frame, stage.vip(), stage.client(), super::stage::CLIENT_MAC, mtu);
    let name = format!("a datagram that does not fit {mtu} bytes");
    vec![fits, Case::new(stage, &name, world(stage, mtu), frame).leaves(Verdict::Tx, Reason::TooBig, expected)]
}

fn to_client(stage: &Stage) -> Case {
    let mut world = world(stage, 1400);
    world.next_hops.entry(HOP_TO_ORIGIN).and_modify(|hop| hop.mtu = 0);
    let frame = datagram(stage, &stage.origin_packet(), 1472);
    let expected = error(stage, &frame, stage.source(), stage.origin(), ORIGIN_MAC, 1400);
    Case::new(stage, "an origin's datagram that does not fit", world, frame).leaves(
        Verdict::Tx,
        Reason::TooBig,
        expected,
    )
}

/// The sender of an IPv6 packet alone may cut it up.
fn cuttable(stage: &Stage) -> Case {
    let mut packet = stage.client_packet();
    packet.lower.fragment = 0;
    let frame = datagram(stage, &packet, 1401);
    let case = Case::new(stage, "a datagram that does not fit and may be cut up", world(stage, 1400), frame.clone());
    if stage.is_v6 {
        let expected = error(stage, &frame, stage.vip(), stage.client(), super::stage::CLIENT_MAC, 1400);
        case.leaves(Verdict::Tx, Reason::TooBig, expected)
    } else {
        case.passes(Reason::ToFragment)
    }
}

/// TCP has agreed on its segment size.
fn not_udp(stage: &Stage) -> Case {
    let mut world = stage.world(0);
    world.next_hops.entry(HOP_TO_ORIGIN).and_modify(|hop| hop.mtu = 100);
    world.next_hops.entry(HOP_TO_CLIENT).and_modify(|hop| hop.mtu = 100);
    let packet = TcpPacket { payload: vec![7; 200], ..stage.client_packet() };
    super::spliced::to_origin(stage, "a segment has no MTU", world, &packet, &stage.at_origin(&packet))
}

/// Only what the IP header counts is to fit, or is quoted.
fn padded(stage: &Stage) -> Case {
    let mut frame = datagram(stage, &stage.client_packet(), 1401);
    let expected = error(stage, &frame, stage.vip(), stage.client(), super::stage::CLIENT_MAC, 1400);
    frame.extend([0; 40]);
    Case::new(stage, "a datagram that does not fit, with padding behind the packet", world(stage, 1400), frame).leaves(
        Verdict::Tx,
        Reason::TooBig,
        expected,
    )
}
