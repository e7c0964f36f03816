//! Datagrams for an SRT service: the fast path, another implementation of SRT and user space's reader see the same
//! handshake, no cookie is valid but the one that was given, and no answer is longer than its question.
//!
//! Input: one byte that chooses the family and whether there are secrets, then the datagram.
#![no_main]

use balancer_common::{
    abi::Reason,
    packet::srt::{HANDSHAKE_LEN, Handshake, Header, kind},
    steer::Verdict,
    testing::{
        build::udp_frame,
        cases::{NOW_NS, Stage},
        oracle,
        simulated::run,
        world::World,
    },
};
use libfuzzer_sys::fuzz_target;
use srt_protocol::packet::{ControlTypes, HandshakeControlInfo, Packet, ShakeType};

/// Longer ones would not fit an Ethernet frame.
const DATAGRAM_LEN_MAX: usize = 1400;

fn frame(stage: &Stage, datagram: &[u8]) -> Vec<u8> {
    let (client, vip) = (stage.client(), stage.vip());
    udp_frame(&stage.lower(client, vip), client.port(), vip.port(), datagram, true)
}

fn steered(stage: &Stage, world: &World, datagram: &[u8]) -> (Verdict, Reason, Vec<u8>) {
    let frame = frame(stage, datagram);
    let (outcome, after, _) = run(world, &frame, NOW_NS);
    oracle::judge(&frame, outcome, &after);
    assert!(after.len() <= frame.len());
    (outcome.verdict, outcome.reason, after)
}

/// The handshake of a caller as the other implementation reads it. Without extensions: it panics on some of them.
fn other(datagram: &[u8]) -> Option<HandshakeControlInfo> {
    let mut bytes = datagram.get(..HANDSHAKE_LEN)?;
    match Packet::parse(&mut bytes, false).ok()? {
        Packet::Control(control) if control.dest_sockid.0 == 0 => match control.control_type {
            ControlTypes::Handshake(info) => Some(info),
            _ => None,
        },
        _ => None,
    }
}

fn compare(info: &HandshakeControlInfo, ours: &Handshake<[u8; HANDSHAKE_LEN]>) {
    assert_eq!((info.socket_id.0, info.syn_cookie as u32), (ours.socket_id(), ours.cookie()));
    assert_eq!((info.max_packet_size.0, info.max_flow_size.0), (ours.mtu().into(), ours.flow_window().into()));
    assert_eq!(info.init_seq_num.as_raw(), ours.initial_sequence_number() & 0x7fff_ffff);
    assert_eq!(i32::from(info.shake_type) as u32, ours.kind());
    assert_eq!(matches!(info.shake_type, ShakeType::Rejection(_)), ours.is_rejection());
}

fuzz_target!(|input: &[u8]| {
    let [choice, datagram @ ..] = input else { return };
    let datagram = &datagram[..datagram.len().min(DATAGRAM_LEN_MAX)];
    let stage = &Stage::all()[usize::from(choice & 1) * 3];
    let mut world = stage.srt_world();
    if choice & 2 != 0 {
        world.secrets.clear();
    }
    let (verdict, reason, after) = steered(stage, &world, datagram);
    let is_handshake = Header::read(datagram).is_some_and(|header| header.is_handshake() && header.destination() == 0);
    let ours = Handshake::read(datagram).filter(|ours| ours.destination() == 0);
    if let Some(info) = other(datagram) {
        compare(&info, &ours.expect("a handshake to the other"));
    }
    let Some(mut ours) = ours.filter(|ours| ours.socket_id() != 0) else {
        let expected = if is_handshake { Reason::SrtMalformed } else { Reason::NoFlow };
        return assert_eq!(reason, expected);
    };
    if choice & 2 != 0 {
        return assert_eq!((verdict, reason), (Verdict::Pass, Reason::NoFlow));
    }
    match ours.kind() {
        kind::INDUCTION => {
            assert_eq!((verdict, reason), (Verdict::Tx, Reason::SrtAnswered));
            let answer = Handshake::read(&after[after.len() - HANDSHAKE_LEN..]).expect("a handshake");
            assert!(answer.destination() == ours.socket_id() && answer.cookie() != 0);
            // It is the one that a conclusion passes with.
            ours.set_kind(kind::CONCLUSION);
            ours.set_cookie(answer.cookie());
            assert_eq!(steered(stage, &world, ours.bytes()).1, Reason::SrtConclusion);
        }
        kind::WAVEAHAND => assert_eq!((verdict, reason), (Verdict::Tx, Reason::SrtRendezvous)),
        // One in 2^30 is guessed, and four minutes are tried.
        kind::CONCLUSION => {
            assert!(matches!(reason, Reason::SrtBadCookie | Reason::SrtStaleCookie | Reason::SrtConclusion))
        }
        _ => assert_eq!(reason, Reason::SrtMalformed),
    }
});
