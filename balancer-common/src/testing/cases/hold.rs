//! Connections in user space: recorded, held back, let go.

use std::{format, vec, vec::Vec};

use super::{
    Case, Stage,
    stage::{CLIENT_MAC, LO, OWN_MAC},
};
use crate::{
    abi::{Control, Reason, Track},
    packet::header::tcp,
    testing::{
        build::{TcpOption, TcpPacket},
        simulated::World,
    },
};

/// Longer than any test runs; 62 bits hold it.
const FAR_FUTURE_NS: u64 = 1 << 60;
const SLOT: u32 = 17;

pub fn cases(stage: &Stage) -> Vec<Case> {
    [tracked(stage), held(stage), expired(stage)].into_iter().flatten().collect()
}

fn world(stage: &Stage, control: Control, track: Track) -> World {
    let mut world = stage.bare_world();
    world.controls.insert(SLOT, control);
    world.tracks.insert(stage.from_client(), Track { control: SLOT, ..track });
    world
}

/// What a fresh track with control 1 says after this packet.
pub fn sighting(packet: &TcpPacket) -> Track {
    let mut track = Track {
        control: 1,
        seen: Track::SEEN_L2 | Track::SEEN_END,
        max_end: packet.seq.wrapping_add(packet.payload.len() as u32),
        ifindex: LO,
        peer_mac: CLIENT_MAC,
        own_mac: OWN_MAC,
        ..Track::default()
    };
    for (flag, bit) in [(tcp::SYN, Track::SEEN_SYN), (tcp::FIN, Track::SEEN_FIN)] {
        if packet.flags & flag != 0 {
            track.max_end = track.max_end.wrapping_add(1);
            track.seen |= bit;
        }
    }
    if packet.flags & tcp::RST != 0 {
        track.seen |= Track::SEEN_RST;
    }
    if packet.flags & tcp::ACKED != 0 {
        track.max_ack = packet.ack;
        track.seen |= Track::SEEN_ACK;
    }
    if let [TcpOption::Nop, TcpOption::Nop, TcpOption::Timestamps(value, _), ..] = packet.options[..] {
        track.last_tsval = value;
        track.seen |= Track::SEEN_TIMESTAMP;
    }
    track
}

fn tracked(stage: &Stage) -> Vec<Case> {
    let key = stage.from_client();
    let with_times = vec![TcpOption::Nop, TcpOption::Nop, TcpOption::Timestamps(0xffff_fff0, 1)];
    let data = TcpPacket { options: with_times, ..stage.client_packet() };
    let mut cases: Vec<Case> = [
        ("tracked data", data.clone()),
        ("tracked SYN", TcpPacket { flags: tcp::SYN, payload: vec![], ..stage.client_packet() }),
        ("tracked FIN", TcpPacket { flags: tcp::FIN | tcp::ACKED, ..stage.client_packet() }),
        ("tracked RST", TcpPacket { flags: tcp::RST, payload: vec![], ..stage.client_packet() }),
        ("tracked numbers wrap", TcpPacket { seq: u32::MAX - 3, ack: u32::MAX, ..stage.client_packet() }),
    ]
    .into_iter()
    .map(|(name, packet)| {
        Case::new(stage, name, world(stage, Control::TRACK, Track::default()), packet.frame())
            .passes(Reason::Tracked)
            .records(key, Track { control: SLOT, ..sighting(&packet) })
    })
    .collect();

    cases.extend(syn_layouts(stage));
    let later = Track {
        seen: Track::SEEN_END | Track::SEEN_ACK,
        max_end: data.seq.wrapping_add(0x7000_0000),
        max_ack: data.ack.wrapping_add(0x7000_0000),
        ..Track::default()
    };
    let old = Case::new(stage, "an old packet lowers nothing", world(stage, Control::TRACK, later), data.frame())
        .passes(Reason::Tracked)
        .records(key, Track { control: SLOT, max_end: later.max_end, max_ack: later.max_ack, ..sighting(&data) });
    cases.push(old);

    let at = data.frame().len() - data.segment().len() + tcp::DATA_OFFSET;
    let mut bad = data.frame();
    bad[at] = 0x10;
    let bad = Case::new(stage, "a tracked TCP header of 4 bytes", world(stage, Control::TRACK, later), bad);
    cases.push(bad.passes(Reason::Truncated));
    cases
}

/// An origin that waits for the client's request has sent nothing but its SYN when its connection is handed over.
fn syn_layouts(stage: &Stage) -> Vec<Case> {
    use TcpOption::{Nop, Raw, Timestamps};
    const TSVAL: u32 = 0x1020_3040;
    let size = || Raw(vec![2, 4, 5, 180]);
    let scale = || Raw(vec![3, 3, 7]);
    let layouts = [
        ("Linux", true, vec![size(), Raw(vec![4, 2]), Timestamps(TSVAL, 9), Nop, scale()]),
        ("Linux without SACK", true, vec![size(), Nop, Nop, Timestamps(TSVAL, 9), Nop, scale()]),
        ("BSD", true, vec![size(), Nop, scale(), Nop, Nop, Timestamps(TSVAL, 9), Raw(vec![4, 2])]),
        ("Windows", false, vec![size(), Nop, scale(), Nop, Nop, Raw(vec![4, 2])]),
        ("a segment size like timestamps", false, vec![Raw(vec![2, 4, 8, 10]), Nop, scale(), Nop, Nop, Nop, Nop]),
        ("cut short", false, vec![size(), Raw(vec![4, 2, 8, 10])]),
    ];
    let case = |(name, has_times, options): (&str, bool, Vec<TcpOption>)| {
        let syn = TcpPacket { flags: tcp::SYN | tcp::ACKED, payload: vec![], options, ..stage.client_packet() };
        let mut seen = Track { control: SLOT, ..sighting(&syn) };
        if has_times {
            seen.last_tsval = TSVAL;
            seen.seen |= Track::SEEN_TIMESTAMP;
        }
        Case::new(
            stage,
            &format!("tracked SYN as of {name}"),
            world(stage, Control::TRACK, Track::default()),
            syn.frame(),
        )
        .passes(Reason::Tracked)
        .records(stage.from_client(), seen)
    };
    layouts.into_iter().map(case).collect()
}

fn held(stage: &Stage) -> Vec<Case> {
    let key = stage.from_client();
    let control = Control::hold_until(FAR_FUTURE_NS);
    let before = Track { seen: Track::SEEN_END, max_end: 0x0fff_0000, ..Track::default() };
    // Held data does not count as arrived, but what it acknowledges does.
    let noted =
        |packet: &TcpPacket, held: u32| Track { control: SLOT, max_end: before.max_end, held, ..sighting(packet) };
    let case = |name: &str, packet: &TcpPacket, held: u32| {
        Case::new(stage, name, world(stage, control, before), packet.frame()).records(key, noted(packet, held))
    };

    let times = vec![TcpOption::Nop, TcpOption::Nop, TcpOption::Timestamps(77, 78)];
    let data = stage.client_packet();
    let ack = TcpPacket { flags: tcp::ACKED, payload: vec![], ..data.clone() };
    let full: Vec<TcpOption> = [&times[..], &[TcpOption::Sack(vec![(1, 2), (3, 4), (5, 6)])]].concat();
    let mut cases = vec![
        case("held: a bare ACK passes", &ack, 0).passes(Reason::HoldAck),
        case("held: a RST passes", &TcpPacket { flags: tcp::RST, payload: vec![], ..data.clone() }, 0)
            .passes(Reason::Tracked),
    ];
    for (name, options, len) in [
        ("held: data is trimmed", vec![], 42),
        ("held: one byte is trimmed", vec![], 1),
        ("held: a full segment is trimmed", vec![], 1448),
        ("held: data with timestamps is trimmed", times, 1000),
        ("held: data with a full header is trimmed", full, 77),
    ] {
        let packet = TcpPacket { options, payload: vec![0xa5; len], ..data.clone() };
        let trimmed = TcpPacket { flags: tcp::ACKED, payload: vec![], ..packet.clone() };
        let case = case(name, &packet, 1).passes(Reason::HoldTrimmed);
        cases.push(Case { frame_after: trimmed.frame(), ..case });
    }
    for (name, flags, payload) in [
        ("held: a FIN", tcp::FIN | tcp::ACKED, vec![]),
        ("held: a FIN with data", tcp::FIN | tcp::ACKED, vec![1]),
        ("held: a SYN", tcp::SYN, vec![]),
        ("held: urgent data", tcp::URG | tcp::ACKED, vec![1]),
        ("held: data without ACK", tcp::PSH, vec![1]),
    ] {
        let packet = TcpPacket { flags, payload, ..data.clone() };
        cases.push(case(name, &packet, 1).drops(Reason::Held));
    }
    cases
}

fn expired(stage: &Stage) -> Vec<Case> {
    let packet = stage.client_packet();
    let case = Case::new(
        stage,
        "a hold past its deadline lets data through",
        world(stage, Control::hold_until(1), Track::default()),
        packet.frame(),
    );
    let key = stage.from_client();
    let track = sighting(&packet);
    let track = Track { control: SLOT, seen: track.seen | Track::SEEN_HOLD_EXPIRED, ..track };
    vec![case.passes(Reason::HoldExpired).records(key, track)]
}
