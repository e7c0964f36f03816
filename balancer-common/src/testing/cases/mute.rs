//! Clients that have said all that they may: what is said again, and what is said beyond it.

use std::{vec, vec::Vec};

use super::{
    Case, Stage,
    ends::{control, reset},
    hold::sighting,
    spliced,
};
use crate::{
    abi::{EventKind, FlowFlags, OriginState, Reason, Seen, Track},
    packet::header::tcp,
    steer::Verdict,
    testing::{
        build::TcpPacket,
        cases::stage::{GENERATION, ORIGIN},
        simulated::World,
    },
};

pub fn cases(stage: &Stage) -> Vec<Case> {
    [further(stage), forged(stage), again(stage), controls(stage), armed(stage), refused(stage), others(stage)]
        .into_iter()
        .flatten()
        .collect()
}

/// What ends both halves.
const ENDED: u32 = Seen::REFUSED | Seen::RST;

/// `len` bytes of the client's, of which the first stands `before` the base.
fn data(stage: &Stage, base: u32, before: u32, len: usize) -> TcpPacket {
    TcpPacket { seq: base.wrapping_sub(before), payload: vec![b'G'; len], ..stage.client_packet() }
}

/// The client's half has these bits.
fn seen(stage: &Stage, mut world: World, bits: u32) -> World {
    if let Some(flow) = world.flows.get_mut(&stage.from_client()) {
        flow.seen |= bits;
    }
    world
}

fn answered(stage: &Stage, name: &str, world: World, packet: &TcpPacket) -> Case {
    Case::new(stage, name, world, packet.frame()).leaves(Verdict::Tx, Reason::AnotherRequest, reset(packet).frame())
}

/// Answered, and the end of both halves.
fn ends(stage: &Stage, name: &str, world: World, packet: &TcpPacket) -> Case {
    let key = stage.from_client();
    answered(stage, name, world, packet).marks(key, ENDED).marks(stage.from_origin(), ENDED).tells(EventKind::Rst, key)
}

fn further(stage: &Stage) -> Vec<Case> {
    // Base, how far before it the segment begins, length.
    let mut cases: Vec<Case> = [
        ("a further request", 0x1000_0000, 0, 42),
        ("a full segment of a further request", 0x1000_0000, 0, 1448),
        ("one byte at the base", 0x1000_0000, 0, 1),
        ("a further request behind old data", 0x1000_0000, 10, 42),
        ("the base is the last byte", 0x1000_0000, 41, 42),
        ("more than one segment's worth behind old data", 0x1000_0123, 1000, 1448),
        ("a further request across 2^12", 0x1000_0003, 10, 42),
        ("a further request across 2^24", 0x1100_0003, 10, 42),
        ("a further request across 2^32", 3, 10, 42),
        ("a further request at 2^32", 0, 0, 42),
    ]
    .into_iter()
    .map(|(name, base, before, len)| ends(stage, name, stage.mute_world(base), &data(stage, base, before, len)))
    .collect();
    let with_fin = TcpPacket { flags: tcp::ACKED | tcp::FIN, ..data(stage, 77, 0, 42) };
    cases.push(ends(stage, "a further request with FIN", stage.mute_world(77), &with_fin));
    cases
}

/// Nothing is forwarded, but the flow goes on: whoever sent this need not be the client.
fn forged(stage: &Stage) -> Vec<Case> {
    let base = 0x1234_5678;
    let key = stage.from_client();
    let mut cases: Vec<Case> = [("4096 bytes further on", base + 0x1000), ("4096 bytes before", base - 0x1000)]
        .into_iter()
        .map(|(name, seq)| answered(stage, name, stage.mute_world(base), &TcpPacket { seq, ..data(stage, 0, 0, 42) }))
        .collect();
    let far = TcpPacket { seq: base + 0x0100_0000, ..data(stage, 0, 0, 42) };
    cases.push(ends(stage, "24 bits are all that is known of the base", stage.mute_world(base), &far));

    let no_ack = TcpPacket { flags: tcp::PSH, ..data(stage, base, 0, 42) };
    cases.push(
        Case::new(stage, "a further request without ACK", stage.mute_world(base), no_ack.frame())
            .drops(Reason::OriginDownNoAck),
    );

    let packet = data(stage, base, 0, 42);
    let mut alone = stage.mute_world(base);
    alone.flows.remove(&stage.from_origin());
    cases.push(answered(stage, "a further request, the other half is gone", alone, &packet));
    let mut twelve = stage.mute_world(base);
    if let Some(flow) = twelve.flows.get_mut(&stage.from_origin()) {
        flow.splice.flags = FlowFlags::TO_CLIENT;
    }
    cases.push(ends(stage, "a further request, the other half knows no base", twelve, &packet));
    let was_reset = seen(stage, stage.mute_world(base), Seen::RST);
    let told = answered(stage, "a further request after a RST", was_reset, &packet);
    cases.push(told.marks(key, ENDED).marks(stage.from_origin(), ENDED));
    cases
}

fn again(stage: &Stage) -> Vec<Case> {
    [
        ("the request again", 0x1000_0000, 42, 42),
        ("a part of the request again", 0x1000_0000, 300, 42),
        ("the start of the longest request again", 0x1000_0000, FlowFlags::MUTE_REQUEST_MAX, 1448),
        ("the request again across 2^12", 0x1000_0003, 50, 42),
        ("the request again across 2^32", 3, 50, 42),
        ("the request again up to 2^32", 0, 42, 42),
        ("a keep-alive probe of one byte", 0x1000_0000, 1, 1),
        ("a keep-alive probe of one byte below 2^32", 0, 1, 1),
    ]
    .into_iter()
    .map(|(name, base, before, len)| {
        let packet = data(stage, base, before, len);
        spliced::to_origin(stage, name, stage.mute_world(base), &packet, &stage.at_origin(&packet))
    })
    .collect()
}

fn controls(stage: &Stage) -> Vec<Case> {
    let base = stage.client_packet().seq;
    let key = stage.from_client();
    let forwarded = |name, packet: &TcpPacket| {
        spliced::to_origin(stage, name, stage.mute_world(base), packet, &stage.at_origin(packet))
    };
    let ack = control(stage, tcp::ACKED);
    let probe = TcpPacket { seq: base - 1, ..ack.clone() };
    let fin = control(stage, tcp::ACKED | tcp::FIN);
    let rst = control(stage, tcp::RST);
    let explained = TcpPacket { flags: tcp::RST | tcp::ACKED, ..data(stage, base, 0, 9) };
    vec![
        forwarded("a mute client's bare ACK", &ack),
        forwarded("a mute client's keep-alive probe", &probe),
        forwarded("a mute client's FIN", &fin).marks(key, Seen::FIN).tells(EventKind::Fin, key),
        forwarded("a mute client's RST", &rst).marks(key, Seen::RST).tells(EventKind::Rst, key),
        forwarded("a mute client's RST with data", &explained).marks(key, Seen::RST).tells(EventKind::Rst, key),
    ]
}

/// The balancer's sockets are still open.
fn armed(stage: &Stage) -> Vec<Case> {
    let base = 0x2000_0010;
    let key = stage.from_client();
    let without_track = || seen(stage, stage.mute_world(base), Seen::ARMED);
    let world = || {
        let mut world = without_track();
        world.tracks.insert(key, Track { control: 1, ..Track::default() });
        world
    };
    let again = data(stage, base, 42, 42);
    let with_fin = TcpPacket { flags: tcp::ACKED | tcp::FIN, ..again.clone() };
    let further = data(stage, base, 3, 42);
    let ack = TcpPacket { seq: base, ..control(stage, tcp::ACKED) };
    let fin = TcpPacket { seq: base, ..control(stage, tcp::ACKED | tcp::FIN) };
    let forwarded =
        |name, world, packet: &TcpPacket| spliced::to_origin(stage, name, world, packet, &stage.at_origin(packet));
    let disarmed = |mut case: Case| {
        if let Some(flow) = case.world_after.flows.get_mut(&key) {
            flow.seen &= !Seen::ARMED;
        }
        case
    };
    vec![
        Case::new(stage, "armed: the request again", world(), again.frame())
            .passes(Reason::BeforeBase)
            .records(key, sighting(&again)),
        Case::new(stage, "armed: the request again with FIN", world(), with_fin.frame())
            .drops(Reason::Held)
            .records(key, sighting(&with_fin)),
        ends(stage, "armed: a further request", world(), &further).records(key, sighting(&further)),
        forwarded("armed: a mute client's bare ACK", world(), &ack).records(key, sighting(&ack)),
        forwarded("armed: a mute client's FIN", world(), &fin)
            .records(key, sighting(&fin))
            .marks(key, Seen::FIN)
            .tells(EventKind::Fin, key),
        disarmed(forwarded("the sockets are gone: the request again", without_track(), &again)),
        disarmed(ends(stage, "the sockets are gone: a further request", without_track(), &further)),
    ]
}

/// Both ends have been given up.
fn refused(stage: &Stage) -> Vec<Case> {
    let base = stage.client_packet().seq;
    let world = || {
        let mut world = stage.mute_world(base);
        world.flows.values_mut().for_each(|flow| flow.seen |= ENDED);
        world
    };
    let rst = control(stage, tcp::RST);
    let armed_key = stage.from_origin();
    let mut armed = world();
    armed.tracks.insert(armed_key, Track::default());
    if let Some(flow) = armed.flows.get_mut(&armed_key) {
        flow.seen |= Seen::ARMED;
    }
    let origin = stage.origin_packet();
    let noted = sighting(&origin);
    let noted = Track { control: 0, peer_mac: origin.lower.src_mac, ..noted };
    vec![
        answered(stage, "refused: the further request again", world(), &stage.client_packet()),
        answered(stage, "refused: the client's ACK", world(), &control(stage, tcp::ACKED)),
        answered(stage, "refused: the client's FIN", world(), &control(stage, tcp::ACKED | tcp::FIN)),
        answered(stage, "refused: the origin's data", world(), &origin),
        answered(stage, "refused and armed: what the origin acknowledges is recorded", armed, &origin)
            .records(armed_key, noted),
        spliced::to_origin(stage, "refused: the client's RST", world(), &rst, &stage.at_origin(&rst)),
    ]
}

fn others(stage: &Stage) -> Vec<Case> {
    // The bits of the other half are no base of the origin's data.
    let origin = TcpPacket { seq: 0x1234 << 12, ..stage.origin_packet() };
    let to_client = spliced::to_client(
        stage,
        "the origin may go on talking to a mute client",
        stage.mute_world(0x1234 << 12),
        &origin,
        &stage.at_client(&origin),
    );
    let packet = stage.client_packet();
    let mut down = stage.mute_world(packet.seq);
    down.origins.insert(ORIGIN, (OriginState::Down as u32, GENERATION));
    let dead = Case::new(stage, "a further request for an origin that is down", down, packet.frame());
    vec![to_client, dead.leaves(Verdict::Tx, Reason::OriginDown, reset(&packet).frame())]
}
