//! ICMP errors about forwarded packets, and all other ICMP.

use std::{format, net::IpAddr, net::Ipv4Addr, net::Ipv6Addr, vec, vec::Vec};

use super::{
    Case, REDIRECT_SLOT, Stage,
    stage::{CLIENT_MAC, ORIGIN_MAC, OWN_MAC, OWN_MAC_BACK},
};
use crate::{
    abi::{Reason, Seen},
    packet::header::proto,
    steer::Verdict,
    testing::build::{Lower, TcpPacket, icmp_frame, udp_frame},
};

const MTU: u32 = 1400;

pub fn cases(stage: &Stage) -> Vec<Case> {
    [translated(stage), other(stage)].into_iter().flatten().collect()
}

/// Type and code of errors that are translated.
fn kinds(stage: &Stage) -> Vec<(u8, u8)> {
    if stage.is_v6 { vec![(1, 4), (2, 0), (3, 0)] } else { vec![(3, 1), (3, 4), (11, 0)] }
}

fn router(stage: &Stage) -> IpAddr {
    if stage.is_v6 {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xeeee, 0, 0, 0, 0, 0xe))
    } else {
        IpAddr::V4(Ipv4Addr::new(100, 64, 0, 14))
    }
}

/// An error from a router, about `packet`, of which `l4` bytes behind the IP header are quoted.
fn error(stage: &Stage, (kind, code): (u8, u8), packet: &TcpPacket, l4: usize) -> Vec<u8> {
    let from =
        Lower { src: router(stage), dst: packet.lower.src, hops: 60, ..stage.lower(packet.source(), packet.source()) };
    icmp_frame(&from, kind, code, MTU, &quote(packet, l4))
}

fn quote(packet: &TcpPacket, l4: usize) -> Vec<u8> {
    // The quoted L4 checksum is not translated: leave it out of the comparison.
    let mut segment = packet.segment();
    segment[16..18].copy_from_slice(&[0xcc, 0xcc]);
    let mut quote = packet.lower.packet(proto::TCP, &segment);
    quote.truncate(quote.len() - segment.len() + l4);
    quote
}

fn translated(stage: &Stage) -> Vec<Case> {
    let mut cases = vec![];
    let (up, down) = (stage.client_packet(), stage.origin_packet());
    for kind in kinds(stage) {
        for l4 in [8, 11, 12, 20, 62] {
            // The origin's packet, which the balancer sent on to the client: the origin must hear of it.
            let emitted = stage.at_client(&down);
            let expected = expected(stage, kind, &down, &emitted, l4, (stage.source().ip(), stage.origin().ip()));
            cases.push(
                Case::new(
                    stage,
                    &format!("error {kind:?} about the origin's packet, {l4} bytes quoted"),
                    stage.world(0),
                    error(stage, kind, &emitted, l4),
                )
                .leaves(
                    Verdict::Redirect(REDIRECT_SLOT),
                    Reason::Icmp,
                    with_macs(expected, ORIGIN_MAC, OWN_MAC_BACK),
                ),
            );
        }
        let emitted = stage.at_origin(&up);
        let expected = expected(stage, kind, &up, &emitted, 20, (stage.vip().ip(), stage.client().ip()));
        cases.push(
            Case::new(
                stage,
                &format!("error {kind:?} about the client's packet"),
                stage.world(0),
                error(stage, kind, &emitted, 20),
            )
            .leaves(Verdict::Tx, Reason::Icmp, with_macs(expected, CLIENT_MAC, OWN_MAC)),
        );
    }
    cases
}

/// The error as the sender of `original` is to get it: quoting what that sender sent, with the hops that were left
/// when the balancer emitted it.
fn expected(
    stage: &Stage,
    (kind, code): (u8, u8),
    original: &TcpPacket,
    emitted: &TcpPacket,
    l4: usize,
    (src, dst): (IpAddr, IpAddr),
) -> Vec<u8> {
    let mut original = original.clone();
    original.lower.hops = emitted.lower.hops;
    let mut quote = quote(&original, l4);
    if l4 < 12 {
        // Too little of the ACK number is quoted to translate it.
        let cut = quote.len() - (l4 - 8);
        quote.truncate(cut);
        quote.extend(&emitted.segment()[8..l4]);
    }
    let lower = Lower { src, dst, hops: 59, ..stage.lower(stage.client(), stage.vip()) };
    icmp_frame(&lower, kind, code, MTU, &quote)
}

fn with_macs(mut frame: Vec<u8>, dst: [u8; 6], src: [u8; 6]) -> Vec<u8> {
    frame[..6].copy_from_slice(&dst);
    frame[6..12].copy_from_slice(&src);
    frame
}

fn other(stage: &Stage) -> Vec<Case> {
    let emitted = stage.at_client(&stage.origin_packet());
    let kind = kinds(stage)[1];
    let case = |name: &str, frame: Vec<u8>| Case::new(stage, name, stage.world(0), frame).passes(Reason::IcmpOther);
    let lower = stage.lower(stage.stranger(), stage.vip());
    let (echo, redirect) = if stage.is_v6 { (128, 137) } else { (8, 5) };
    let stranger = stage.packet(stage.vip(), stage.stranger());
    let mut fragment = emitted.clone();
    fragment.lower.fragment = 0x2001;

    let mut cases = vec![
        case("a ping", icmp_frame(&lower, echo, 0, 1, b"ping")),
        case("an ICMP redirect", error(stage, (redirect, 0), &emitted, 20)),
        case("an error about someone else's packet", error(stage, kind, &stranger, 20)),
        case("an error that quotes too little", error(stage, kind, &emitted, 7)),
        case("an error that quotes no transport header", error(stage, kind, &emitted, 0)),
        case("an error that quotes nothing", icmp_frame(&lower, kind.0, kind.1, MTU, &[])),
    ];
    if !stage.is_v6 {
        cases.push(case("an error about a later fragment", error(stage, kind, &fragment, 20)));
    }
    let mut world = stage.world(0);
    for flow in world.flows.values_mut() {
        flow.seen |= Seen::CLOSED;
    }
    cases.push(
        Case::new(stage, "an error about a closed flow", world, error(stage, kind, &emitted, 20))
            .passes(Reason::IcmpOther),
    );
    cases.push(about_udp(stage, kind));
    cases.push(last_hop(stage, kind, &emitted));
    cases
}

fn last_hop(stage: &Stage, kind: (u8, u8), emitted: &TcpPacket) -> Case {
    let from = Lower { src: router(stage), hops: 1, ..stage.lower(stage.stranger(), stage.vip()) };
    let frame = icmp_frame(&from, kind.0, kind.1, MTU, &quote(emitted, 20));
    Case::new(stage, "an error with one hop to live", stage.world(0), frame).drops(Reason::TtlExpired)
}

fn about_udp(stage: &Stage, kind: (u8, u8)) -> Case {
    let world = stage.datagram_world();
    // Quoted from the IP header on, without checksum, so that all of it is translated.
    let ether_len = 14 + 4 * stage.tags.len();
    let quote = |packet: &TcpPacket| {
        udp_frame(&packet.lower, packet.src_port, packet.dst_port, b"late", false).split_off(ether_len)
    };
    let mut original = stage.origin_packet();
    let emitted = stage.at_client(&original);
    original.lower.hops = emitted.lower.hops;
    let from = Lower { src: router(stage), hops: 60, ..stage.lower(stage.stranger(), stage.vip()) };
    let to = Lower { src: stage.source().ip(), hops: 59, ..stage.lower(stage.source(), stage.origin()) };
    let expected = icmp_frame(&to, kind.0, kind.1, MTU, &quote(&original));
    Case::new(stage, "an error about a datagram", world, icmp_frame(&from, kind.0, kind.1, MTU, &quote(&emitted)))
        .leaves(Verdict::Redirect(REDIRECT_SLOT), Reason::Icmp, with_macs(expected, ORIGIN_MAC, OWN_MAC_BACK))
}
