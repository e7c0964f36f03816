//! SRT: handshakes of callers without a flow, and the end of a flow.

use std::{format, net::SocketAddr, string::String, vec, vec::Vec};

use super::{
    Case, REDIRECT_SLOT, Stage,
    stage::{CLIENT_MAC, OWN_MAC, SECRETS},
};
use crate::{
    abi::{Arrival, EventKind, FlowFlags, OriginState, Reason, Seen, ServiceKind, secret_slot},
    packet::header::proto,
    steer::Verdict,
    testing::{
        build::{Lower, udp_frame},
        cases::LO,
        world::{Tuple, World},
    },
};

const CALLER_SOCKET: u32 = 0x2f00_d00d;
const ORIGIN_SOCKET: u32 = 0x1bad_cafe;

const WAVEAHAND: u32 = 0;
const INDUCTION: u32 = 1;
const CONCLUSION: u32 = 0xffff_ffff;

pub fn cases(stage: &Stage, minute: u64) -> Vec<Case> {
    let mut cases = vec![];
    for part in [inductions, lengths, others, cookies, without_secret, begins_anew] {
        cases.extend(part(stage, minute));
    }
    cases.extend(ends(stage));
    // What does not depend on tags need not be tried with all of them.
    if stage.tags.is_empty() {
        cases.extend(every_length(stage, minute));
    }
    cases
}

/// The frame by which a caller begins.
pub fn induction(stage: &Stage) -> Vec<u8> {
    frame(stage, &handshake(4, INDUCTION, 0))
}

/// And the one by which it goes on, with the cookie of the frame that answered.
pub fn conclusion(stage: &Stage, answer: &[u8]) -> Vec<u8> {
    let words = answer.len() - 20;
    let cookie = answer[words..].first_chunk().map_or(0, |word| u32::from_be_bytes(*word));
    frame(stage, &handshake(5, CONCLUSION, cookie))
}

fn caller(stage: &Stage) -> Tuple {
    Tuple { proto: proto::UDP, ..stage.from_client() }
}

/// By another implementation than the fast path's.
#[allow(deprecated, reason = "the one SipHash-2-4 at hand whose algorithm is documented")]
fn cookie(from: &Tuple, minute: u64) -> u32 {
    use core::hash::{Hasher, SipHasher};
    use std::net::IpAddr;
    let (k0, k1) = SECRETS[secret_slot(minute) as usize];
    let mut message = vec![];
    for addr in [from.src, from.dst] {
        match addr.ip() {
            IpAddr::V4(ip) => message.extend(ip.octets()),
            IpAddr::V6(ip) => message.extend(ip.octets()),
        }
    }
    message.extend(from.src.port().to_be_bytes());
    message.extend(from.dst.port().to_be_bytes());
    message.extend((minute as u32).to_le_bytes());
    let mut hasher = SipHasher::new_with_keys(k0, k1);
    hasher.write(&message);
    // The lowest bits say which minute it is.
    hasher.finish() as u32 / 4 * 4 + (minute % 4) as u32
}

/// A handshake as a caller sends it, without extensions.
fn handshake(version: u32, kind: u32, cookie: u32) -> Vec<u8> {
    let words = [0x8000_0000, 0, 540, 0, version, 2, 0x0102_0304, 1500, 8192, kind, CALLER_SOCKET, cookie];
    let address = [0x0a71_00cb, 0, 0, 0];
    words.iter().chain(&address).flat_map(|word: &u32| word.to_be_bytes()).collect()
}

/// A listener's answer to it.
fn answer(version: u32, extension: u32, kind: u32, cookie: u32) -> Vec<u8> {
    let mut answer = handshake(version, kind, cookie);
    answer[8..12].fill(0);
    answer[12..16].copy_from_slice(&CALLER_SOCKET.to_be_bytes());
    answer[20..24].copy_from_slice(&extension.to_be_bytes());
    answer
}

fn with_word(mut datagram: Vec<u8>, at: usize, word: u32) -> Vec<u8> {
    datagram[at..at + 4].copy_from_slice(&word.to_be_bytes());
    datagram
}

fn frame(stage: &Stage, datagram: &[u8]) -> Vec<u8> {
    frame_from(stage, stage.client(), datagram)
}

fn frame_from(stage: &Stage, client: SocketAddr, datagram: &[u8]) -> Vec<u8> {
    let lower = stage.lower(client, stage.vip());
    udp_frame(&lower, client.port(), stage.vip().port(), datagram, true)
}

/// The frame in which the balancer answers.
fn answered(stage: &Stage, datagram: &[u8]) -> Vec<u8> {
    let (vip, client) = (stage.vip(), stage.client());
    let lower = Lower {
        dst_mac: CLIENT_MAC,
        src_mac: OWN_MAC,
        ip_id: 0,
        fragment: 0x4000,
        class: 0,
        ..stage.lower(vip, client)
    };
    udp_frame(&lower, vip.port(), client.port(), datagram, true)
}

/// The UDP header of `frame` with another length in it.
fn with_udp_len(stage: &Stage, mut frame: Vec<u8>, len: u16) -> Vec<u8> {
    let l4 = 14 + 4 * stage.tags.len() + if stage.is_v6 { 40 } else { 20 };
    frame[l4 + 4..l4 + 6].copy_from_slice(&len.to_be_bytes());
    frame
}

impl Case {
    /// Passed to user space, which is told by which way the caller came.
    fn passes_up(mut self, from: Tuple, reason: Reason) -> Self {
        let arrival = Arrival { ifindex: LO, peer_mac: CLIENT_MAC, own_mac: OWN_MAC };
        self.world_after.arrivals.insert(from, arrival);
        self.passes(reason)
    }
}

fn inductions(stage: &Stage, minute: u64) -> Vec<Case> {
    let expected = answered(stage, &answer(5, 0x4a17, INDUCTION, cookie(&caller(stage), minute)));
    let asked = handshake(4, INDUCTION, 0);
    let case = |name: &str, frame: Vec<u8>| {
        Case::new(stage, name, stage.srt_world(), frame).leaves(Verdict::Tx, Reason::SrtAnswered, expected.clone())
    };
    let extended = [&asked[..], b"an extension that no induction has"].concat();
    let mut padded = frame(stage, &asked);
    padded.extend([0; 7]);
    let bare = udp_frame(&stage.lower(stage.client(), stage.vip()), stage.client().port(), 1935, &asked, false);
    let unsummed = "an SRT induction without checksum";
    let mut last_hop = stage.lower(stage.client(), stage.vip());
    last_hop.hops = 1;
    let last_hop = udp_frame(&last_hop, stage.client().port(), 1935, &asked, true);
    vec![
        case("an SRT induction", frame(stage, &asked)),
        case("an SRT induction with something behind it", frame(stage, &extended)),
        case("an SRT induction with padding behind the packet", padded),
        case("an SRT induction in a shorter datagram", with_udp_len(stage, frame(stage, &extended), 72)),
        case("an SRT induction with one hop to live", last_hop),
        case("an SRT induction with a cookie", frame(stage, &handshake(4, INDUCTION, 0x1234_5678))).leaves(
            Verdict::Tx,
            Reason::SrtAnswered,
            expected.clone(),
        ),
        case("an SRT induction of version 5", frame(stage, &handshake(5, INDUCTION, 0))),
        if stage.is_v6 {
            Case::new(stage, unsummed, stage.srt_world(), bare).drops(Reason::UdpNoChecksum)
        } else {
            case(unsummed, bare)
        },
    ]
}

fn lengths(stage: &Stage, _: u64) -> Vec<Case> {
    let sent = frame(stage, &handshake(4, INDUCTION, 0));
    let case = |name: &str, len: u16| {
        let frame = with_udp_len(stage, sent.clone(), len);
        Case::new(stage, &format!("an SRT handshake whose UDP length is {name}"), stage.srt_world(), frame)
    };
    vec![
        case("larger than the packet", 73).passes(Reason::Truncated),
        case("as large as can be", u16::MAX).passes(Reason::Truncated),
        case("less than a header", 7).passes(Reason::Truncated),
        case("0", 0).passes(Reason::Truncated),
        case("a header's", 8).passes_up(caller(stage), Reason::NoFlow),
        case("one byte short", 71).drops(Reason::SrtMalformed),
    ]
}

/// Cut to every length, by sender and not on the way.
fn every_length(stage: &Stage, minute: u64) -> Vec<Case> {
    let mut cases = vec![];
    let sent = [
        ("induction", handshake(4, INDUCTION, 0)),
        ("conclusion", handshake(5, CONCLUSION, cookie(&caller(stage), minute))),
    ];
    for (kind, datagram) in sent {
        for len in 0..datagram.len() {
            let name = format!("{len} bytes of an SRT {kind}");
            let case = Case::new(stage, &name, stage.srt_world(), frame(stage, &datagram[..len]));
            cases.push(if len < 16 {
                case.passes_up(caller(stage), Reason::NoFlow)
            } else {
                case.drops(Reason::SrtMalformed)
            });
        }
    }
    cases
}

fn others(stage: &Stage, minute: u64) -> Vec<Case> {
    let known = cookie(&caller(stage), minute);
    let case = |name: &str, datagram: &[u8]| {
        Case::new(stage, &format!("SRT without a flow: {name}"), stage.srt_world(), frame(stage, datagram))
    };
    let sent = |kind| handshake(5, kind, known);
    let mut cases: Vec<Case> = vec![
        case("a rendezvous", &sent(WAVEAHAND)).leaves(
            Verdict::Tx,
            Reason::SrtRendezvous,
            answered(stage, &answer(5, 0, 1002, known)),
        ),
        case("an induction from socket 0", &with_word(sent(INDUCTION), 40, 0)).drops(Reason::SrtMalformed),
        case("a rendezvous from socket 0", &with_word(sent(WAVEAHAND), 40, 0)).drops(Reason::SrtMalformed),
        case("a conclusion from socket 0", &with_word(sent(CONCLUSION), 40, 0)).drops(Reason::SrtMalformed),
    ];
    for kind in [2, 1002, 2404, 0x7fff_ffff, 0x8000_0000, 0xffff_fffd, 0xffff_fffe] {
        cases.push(case(&format!("type {kind:x}"), &sent(kind)).drops(Reason::SrtMalformed));
    }
    let induction = sent(INDUCTION);
    let mut up = |name: &str, datagram: &[u8]| {
        cases.push(case(name, datagram).passes_up(caller(stage), Reason::NoFlow));
    };
    up("nothing at all", &[]);
    up("data", &with_word(induction.clone(), 0, 0x0000_0001));
    up("a keep-alive", &with_word(induction.clone(), 0, 0x8001_0000));
    up("a SHUTDOWN", &with_word(induction.clone(), 0, 0x8005_0000));
    up("a handshake without its control bit", &with_word(induction.clone(), 0, 0));
    up("a handshake for a socket", &with_word(induction, 12, CALLER_SOCKET));
    up("a STUN request", &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    cases
}

fn cookies(stage: &Stage, minute: u64) -> Vec<Case> {
    let from = caller(stage);
    let stranger = stage.stranger();
    let sent = |version, cookie| frame(stage, &handshake(version, CONCLUSION, cookie));
    let case =
        |name: &str, frame: Vec<u8>| Case::new(stage, &format!("an SRT conclusion {name}"), stage.srt_world(), frame);
    let age = |minutes| cookie(&from, minute.wrapping_sub(minutes));
    let of = |from: Tuple| sent(5, cookie(&from, minute));
    let mut extended = handshake(5, CONCLUSION, age(0));
    extended.extend((0..1200).map(|i| i as u8));
    let mut again = case("repeated in its minute", sent(5, age(0)));
    again.world.arrivals.insert(from, Arrival { ifindex: 9, ..Arrival::default() });
    vec![
        case("with its cookie", sent(5, age(0))).passes_up(from, Reason::SrtConclusion),
        case("with extensions", frame(stage, &extended)).passes_up(from, Reason::SrtConclusion),
        case("of version 4", sent(4, age(0))).passes_up(from, Reason::SrtConclusion),
        again.passes_up(from, Reason::SrtConclusion),
        case("with the last minute's cookie", sent(5, age(1))).passes_up(from, Reason::SrtConclusion),
        case("with a cookie of two minutes ago", sent(5, age(2))).drops(Reason::SrtStaleCookie),
        case("with a cookie of three minutes ago", sent(5, age(3))).drops(Reason::SrtStaleCookie),
        case("with a cookie of four minutes ago", sent(5, age(4))).drops(Reason::SrtBadCookie),
        case("with the next minute's cookie", sent(5, cookie(&from, minute + 1))).drops(Reason::SrtBadCookie),
        case("without a cookie", sent(5, 0)).drops(Reason::SrtBadCookie),
        case("of version 4 without a cookie", sent(4, 0)).drops(Reason::SrtBadCookie),
        case("with one bit wrong", sent(5, age(0) ^ 0x8000)).drops(Reason::SrtBadCookie),
        case(
            "with another client's cookie",
            of(Tuple { src: SocketAddr::new(stranger.ip(), from.src.port()), ..from }),
        )
        .drops(Reason::SrtBadCookie),
        case("with another port's cookie", of(Tuple { src: SocketAddr::new(from.src.ip(), 40124), ..from }))
            .drops(Reason::SrtBadCookie),
        case("with another VIP's cookie", of(Tuple { dst: SocketAddr::new(stranger.ip(), from.dst.port()), ..from }))
            .drops(Reason::SrtBadCookie),
        case(
            "with a cookie for another port of the VIP",
            of(Tuple { dst: SocketAddr::new(from.dst.ip(), 1936), ..from }),
        )
        .drops(Reason::SrtBadCookie),
        case("from another client", frame_from(stage, stranger, &handshake(5, CONCLUSION, age(0))))
            .drops(Reason::SrtBadCookie),
    ]
}

/// Before user space has written any.
fn without_secret(stage: &Stage, minute: u64) -> Vec<Case> {
    let none = || World { secrets: [].into(), ..stage.srt_world() };
    let case = |name: &str, datagram: &[u8]| {
        Case::new(stage, &format!("without secrets, an SRT {name}"), none(), frame(stage, datagram))
            .passes_up(caller(stage), Reason::NoFlow)
    };
    let known = cookie(&caller(stage), minute);
    vec![
        case("induction", &handshake(4, INDUCTION, 0)),
        case("conclusion", &handshake(5, CONCLUSION, known)),
        case("conclusion with a cookie of 0", &handshake(5, CONCLUSION, 0)),
    ]
}

/// A world with an SRT flow, whose receivers' socket ids are known or 0.
fn flow_world(stage: &Stage, (to_origin, to_client): (u32, u32)) -> World {
    let mut world = stage.datagram_world();
    for (tuple, flow) in &mut world.flows {
        flow.splice.flags |= (ServiceKind::Srt as u32) << FlowFlags::SERVICE_SHIFT;
        flow.splice.seq_delta = if *tuple == caller(stage) { to_origin } else { to_client };
    }
    world
}

/// Whoever has a flow is treated like everybody when it begins anew.
fn begins_anew(stage: &Stage, minute: u64) -> Vec<Case> {
    let from = caller(stage);
    let known = cookie(&from, minute);
    let case = |name: &str, datagram: &[u8]| {
        let world = World { flows: flow_world(stage, (ORIGIN_SOCKET, CALLER_SOCKET)).flows, ..stage.srt_world() };
        Case::new(stage, &format!("by a caller with a flow, {name}"), world, frame(stage, datagram))
    };
    let passed_on = |name: &str, datagram: &[u8]| {
        let packet = stage.client_packet();
        let to = stage.at_origin(&packet);
        let sent = udp_frame(&to.lower, to.src_port, to.dst_port, datagram, true);
        case(name, datagram)
            .leaves(Verdict::Redirect(REDIRECT_SLOT), Reason::ToOrigin, sent)
            .counts(from, datagram.len())
    };
    let conclusion = handshake(5, CONCLUSION, known);
    let mut dead = case("whose origin is down, an SRT conclusion", &conclusion);
    for world in [&mut dead.world, &mut dead.world_after] {
        world.origins.values_mut().for_each(|(state, _)| *state = OriginState::Down as u32);
    }
    vec![
        dead.passes_up(from, Reason::SrtConclusion),
        case("an SRT induction", &handshake(4, INDUCTION, 0)).leaves(
            Verdict::Tx,
            Reason::SrtAnswered,
            answered(stage, &answer(5, 0x4a17, INDUCTION, known)),
        ),
        case("an SRT conclusion", &conclusion).passes_up(from, Reason::SrtConclusion),
        case("an SRT conclusion without a cookie", &handshake(5, CONCLUSION, 0)).drops(Reason::SrtBadCookie),
        case("half of an SRT conclusion", &conclusion[..40]).drops(Reason::SrtMalformed),
        passed_on("an SRT handshake for a socket", &with_word(conclusion.clone(), 12, ORIGIN_SOCKET)),
        passed_on("SRT data for nobody", &with_word(conclusion.clone(), 0, 1)),
        passed_on("less than a header of SRT", &conclusion[..15]),
    ]
}

fn ends(stage: &Stage) -> Vec<Case> {
    let sockets = (ORIGIN_SOCKET, CALLER_SOCKET);
    let control = |kind: u32, socket: u32| -> Vec<u8> {
        [0x8000_0000 | kind << 16, 0, 77, socket, 0].iter().flat_map(|word: &u32| word.to_be_bytes()).collect()
    };
    let (up, down) = (caller(stage), Tuple { proto: proto::UDP, ..stage.from_origin() });
    let case = |name: &str, world: World, datagram: &[u8], is_up: bool| {
        let name: String = format!("{name} {}", if is_up { "to the origin" } else { "to the client" });
        let packet = if is_up { stage.client_packet() } else { stage.origin_packet() };
        let (half, to, verdict, reason) = if is_up {
            (up, stage.at_origin(&packet), Verdict::Redirect(REDIRECT_SLOT), Reason::ToOrigin)
        } else {
            (down, stage.at_client(&packet), Verdict::Tx, Reason::ToClient)
        };
        let frame = |p: &crate::testing::build::TcpPacket| udp_frame(&p.lower, p.src_port, p.dst_port, datagram, true);
        Case::new(stage, &name, world, frame(&packet)).leaves(verdict, reason, frame(&to)).counts(half, datagram.len())
    };
    let mut cases = vec![];
    for (is_up, half, socket) in [(true, up, ORIGIN_SOCKET), (false, down, CALLER_SOCKET)] {
        let shutdown = control(5, socket);
        let ended = |case: Case| case.marks(half, Seen::FIN).tells(EventKind::Fin, half);
        cases.push(ended(case("an SRT SHUTDOWN", flow_world(stage, sockets), &shutdown, is_up)));
        cases.push(ended(case("an SRT SHUTDOWN of 16 bytes", flow_world(stage, sockets), &shutdown[..16], is_up)));
        cases.push(ended(case("an SRT SHUTDOWN for nobody knows whom", flow_world(stage, (0, 0)), &shutdown, is_up)));
        let mut over = flow_world(stage, sockets);
        over.flows.entry(half).and_modify(|flow| flow.seen |= Seen::FIN);
        cases.push(case("a second SRT SHUTDOWN", over, &shutdown, is_up));
        let mut goes_on = |name: &str, datagram: &[u8]| {
            cases.push(case(name, flow_world(stage, sockets), datagram, is_up));
        };
        goes_on("an SRT SHUTDOWN for another socket", &control(5, socket ^ 1));
        goes_on("an SRT SHUTDOWN cut off", &shutdown[..15]);
        goes_on("an SRT keep-alive", &control(1, socket));
        goes_on("an SRT ACK", &control(2, socket));
        goes_on("SRT data that looks like a SHUTDOWN", &with_word(shutdown.clone(), 0, 0x0005_0000));
        goes_on("an empty datagram of an SRT flow", &[]);
        cases.push(case("what would be an SRT SHUTDOWN", stage.datagram_world(), &shutdown, is_up));
    }
    cases
}
