//! How flows end: FIN, RST, ports in use again, origins that are gone.

use std::{vec, vec::Vec};

use super::{
    Case, REDIRECT_SLOT, Stage, spliced,
    stage::{GENERATION, ORIGIN},
};
use crate::{
    abi::{EventKind, OriginState, Reason, Seen, Track},
    packet::header::tcp,
    steer::Verdict,
    testing::{
        build::{TcpOption, TcpPacket},
        simulated::World,
    },
};

pub fn cases(stage: &Stage) -> Vec<Case> {
    [first_and_later(stage), ports_again(stage), origin_gone(stage), bad_headers(stage), armed(stage)]
        .into_iter()
        .flatten()
        .collect()
}

fn seen(stage: &Stage, ours: u32, others: u32) -> World {
    let mut world = stage.world(0);
    for (tuple, flow) in &mut world.flows {
        flow.seen |= if *tuple == stage.from_client() { ours } else { others };
    }
    world
}

/// A packet of the client's without data.
pub fn control(stage: &Stage, flags: u8) -> TcpPacket {
    TcpPacket { flags, payload: vec![], ..stage.client_packet() }
}

fn first_and_later(stage: &Stage) -> Vec<Case> {
    let key = stage.from_client();
    let mut cases = vec![];
    for (name, flags, bit, kind) in [
        ("the first FIN", tcp::FIN | tcp::ACKED, Seen::FIN, EventKind::Fin),
        ("the first RST", tcp::RST, Seen::RST, EventKind::Rst),
        ("the first RST with ACK", tcp::RST | tcp::ACKED, Seen::RST, EventKind::Rst),
    ] {
        let packet = control(stage, flags);
        let expected = stage.at_origin(&packet);
        let case = spliced::to_origin(stage, name, stage.world(0), &packet, &expected);
        cases.push(case.marks(key, bit).tells(kind, key));
    }
    let data = TcpPacket { flags: tcp::FIN | tcp::ACKED | tcp::PSH, ..stage.client_packet() };
    let expected = stage.at_origin(&data);
    let case = spliced::to_origin(stage, "a FIN with data", stage.world(0), &data, &expected);
    cases.push(case.marks(key, Seen::FIN).tells(EventKind::Fin, key));

    for (name, flags, bit) in
        [("a later FIN", tcp::FIN | tcp::ACKED, Seen::FIN), ("a later RST", tcp::RST | tcp::ACKED, Seen::RST)]
    {
        let packet = control(stage, flags);
        let expected = stage.at_origin(&packet);
        cases.push(spliced::to_origin(stage, name, seen(stage, bit, 0), &packet, &expected));
    }
    cases
}

fn ports_again(stage: &Stage) -> Vec<Case> {
    let key = stage.from_client();
    let syn = control(stage, tcp::SYN).frame();
    let mut cases: Vec<Case> = [
        ("a SYN on a live flow", 0, 0),
        ("a SYN when one side has sent FIN", Seen::FIN, 0),
        ("a SYN when the other side has sent FIN", 0, Seen::FIN),
    ]
    .into_iter()
    .map(|(name, ours, others)| {
        Case::new(stage, name, seen(stage, ours, others), syn.clone()).drops(Reason::SynOnLiveFlow)
    })
    .collect();

    let reused = |name: &str, world: World| {
        Case::new(stage, name, world, syn.clone())
            .passes(Reason::Reused)
            .marks(key, Seen::CLOSED)
            .marks(stage.from_origin(), Seen::CLOSED)
            .tells(EventKind::Reused, key)
    };
    cases.push(reused("a SYN after both FINs", seen(stage, Seen::FIN, Seen::FIN)));
    cases.push(reused("a SYN after this side's RST", seen(stage, Seen::RST, 0)));
    cases.push(reused("a SYN after the other side's RST", seen(stage, 0, Seen::RST)));
    let mut alone = seen(stage, Seen::RST, 0);
    alone.flows.remove(&stage.from_origin());
    cases.push(reused("a SYN after RST, the other half is gone", alone));
    let mut down = stage.world(0);
    down.origins.insert(ORIGIN, (OriginState::Down as u32, GENERATION));
    cases.push(reused("a SYN when the origin is down", down));

    for (name, flags) in [
        ("data of a closed flow", tcp::ACKED),
        ("a SYN on a closed flow", tcp::SYN),
        ("a RST on a closed flow", tcp::RST),
    ] {
        let packet = TcpPacket { flags, ..stage.client_packet() };
        cases.push(Case::new(stage, name, seen(stage, Seen::CLOSED, 0), packet.frame()).passes(Reason::Closed));
    }
    cases
}

fn origin_gone(stage: &Stage) -> Vec<Case> {
    let state = |state: OriginState, generation: u32| {
        let mut world = stage.world(0);
        world.origins.insert(ORIGIN, (state as u32, generation));
        world
    };
    let mut missing = stage.world(0);
    missing.origins.clear();
    let data = stage.client_packet();
    let mut options = data.clone();
    options.options = vec![TcpOption::Nop, TcpOption::Nop, TcpOption::Timestamps(1, 2)];
    let ack = control(stage, tcp::ACKED);
    let fin = control(stage, tcp::ACKED | tcp::FIN);

    let mut cases: Vec<Case> = [
        ("data for an origin that is down", state(OriginState::Down, GENERATION), &data),
        ("data for an origin that was replaced", state(OriginState::Up, GENERATION + 1), &data),
        ("data for an origin that was cleared away", state(OriginState::Empty, GENERATION), &data),
        ("data for an origin that is missing", missing.clone(), &data),
        ("options are gone from the answer", state(OriginState::Down, GENERATION), &options),
        ("a bare ACK for an origin that is down", state(OriginState::Down, GENERATION), &ack),
        ("a FIN for an origin that is down", state(OriginState::Down, GENERATION), &fin),
    ]
    .into_iter()
    .map(|(name, world, packet)| {
        Case::new(stage, name, world, packet.frame()).leaves(Verdict::Tx, Reason::OriginDown, reset(packet).frame())
    })
    .collect();

    let upper_half = state(OriginState::Up, GENERATION ^ 0x7fff_0000);
    let expected = stage.at_origin(&data);
    cases.push(spliced::to_origin(stage, "only the low half of a generation counts", upper_half, &data, &expected));
    for (name, flags) in [
        ("a RST for an origin that is down", tcp::RST),
        ("a RST with ACK for an origin that is down", tcp::RST | tcp::ACKED),
        ("no ACK for an origin that is down", tcp::PSH),
    ] {
        let packet = TcpPacket { flags, ..stage.client_packet() };
        let world = state(OriginState::Down, GENERATION);
        cases.push(Case::new(stage, name, world, packet.frame()).drops(Reason::OriginDownNoAck));
    }
    cases
}

/// The exact RST for `packet`, back to its sender.
pub fn reset(packet: &TcpPacket) -> TcpPacket {
    let mut reset = packet.clone();
    (reset.lower.src, reset.lower.dst) = (packet.lower.dst, packet.lower.src);
    (reset.lower.src_mac, reset.lower.dst_mac) = (packet.lower.dst_mac, packet.lower.src_mac);
    (reset.src_port, reset.dst_port) = (packet.dst_port, packet.src_port);
    (reset.lower.hops, reset.lower.ip_id, reset.lower.fragment, reset.lower.class) = (64, 0, 0x4000, 0);
    (reset.seq, reset.ack, reset.flags, reset.window, reset.urgent) = (packet.ack, 0, tcp::RST, 0, 0);
    (reset.options, reset.payload) = (vec![], vec![]);
    reset
}

fn bad_headers(stage: &Stage) -> Vec<Case> {
    let packet = TcpPacket { payload: vec![7; 8], ..stage.client_packet() };
    let at = packet.frame().len() - packet.segment().len() + tcp::DATA_OFFSET;
    [("a TCP header of 16 bytes", 4u8), ("a TCP header of 0 bytes", 0), ("a TCP header longer than the packet", 8)]
        .into_iter()
        .map(|(name, words)| {
            let mut frame = packet.frame();
            frame[at] = words << 4;
            Case::new(stage, name, stage.world(0), frame).drops(Reason::BadTcpHeader)
        })
        .collect()
}

/// The balancer's sockets are still open: what passes is recorded as well.
fn armed(stage: &Stage) -> Vec<Case> {
    let key = stage.from_client();
    let mut packet = stage.client_packet();
    packet.options = vec![TcpOption::Nop, TcpOption::Nop, TcpOption::Timestamps(0x0a0b_0c0d, 2)];
    let expected = stage.at_origin(&packet);
    let mut world = seen(stage, Seen::ARMED, 0);
    world.tracks.insert(key, Track { control: 1, ..Track::default() });
    let track = super::hold::sighting(&packet);
    let recorded =
        spliced::to_origin(stage, "armed: forwarded and recorded", world, &packet, &expected).records(key, track);
    let mut let_go =
        spliced::to_origin(stage, "armed, but the sockets are gone", seen(stage, Seen::ARMED, 0), &packet, &expected);
    if let Some(flow) = let_go.world_after.flows.get_mut(&key) {
        flow.seen &= !Seen::ARMED;
    }
    let mut unarmed = stage.world(0);
    unarmed.tracks.insert(key, Track::default());
    let untouched = Case::new(stage, "not armed: a track is not looked at", unarmed, packet.frame())
        .leaves(Verdict::Redirect(REDIRECT_SLOT), Reason::ToOrigin, expected.frame())
        .counts(key, packet.payload.len());
    vec![recorded, let_go, untouched]
}
