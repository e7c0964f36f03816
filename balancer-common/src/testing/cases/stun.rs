//! STUN binding requests of clients that have no flow yet.

use std::{format, string::String, vec, vec::Vec};

use super::{
    Case, REDIRECT_SLOT, Stage, l4_diff,
    stage::{CLIENT_MAC, GENERATION, HOP_TO_CLIENT, HOP_TO_ORIGIN, LO, ORIGIN, OWN_MAC},
};
use crate::{
    abi::{
        Arrival, EventKind, FlowFlags, IceKey, IceSession, OriginState, PORT_SLOTS, PortKey, Reason, ServiceKind,
        Splice,
    },
    packet::header::proto,
    steer::Verdict,
    testing::{
        build::{Lower, udp_frame},
        world::{Flow, Tuple, World},
    },
};

const USERNAME: u16 = 0x0006;
const INTEGRITY: u16 = 0x0008;
const SESSION: u32 = 77;
/// The fragment of the origin's that the session is known by.
const UFRAG: &[u8] = b"0rig+n/8";
const NAME: &[u8] = b"0rig+n/8:cl1e";
const FLAGS: u32 = (ServiceKind::WebRtc as u32) << FlowFlags::SERVICE_SHIFT | FlowFlags::PUBLISH;

pub fn cases(stage: &Stage) -> Vec<Case> {
    [made(stage), names(stage), missing(stage), lies(stage), others(stage)].into_iter().flatten().collect()
}

/// A message of STUN: its type, and attributes filled up to four bytes each.
pub fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = vec![];
    for (kind, value) in attributes {
        body.extend(kind.to_be_bytes());
        body.extend((value.len() as u16).to_be_bytes());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut message = kind.to_be_bytes().to_vec();
    message.extend((body.len() as u16).to_be_bytes());
    message.extend(0x2112_a442_u32.to_be_bytes());
    message.extend(b"transaction!");
    message.extend(body);
    message
}

/// A binding request of a browser's.
pub fn request(name: &[u8]) -> Vec<u8> {
    message(
        1,
        &[(USERNAME, name), (0xc057, &[0, 0, 3, 0xe7]), (0x802a, &[7; 8]), (0x0024, &[1; 4]), (INTEGRITY, &[9; 20])],
    )
}

pub fn ice_key(ufrag: &[u8]) -> IceKey {
    let mut bytes = [0; 32];
    bytes[..ufrag.len()].copy_from_slice(ufrag);
    let mut key = IceKey::default();
    key.ufrag.iter_mut().zip(bytes.chunks(4)).for_each(|(to, b)| *to = u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    key
}

impl Stage {
    fn udp(&self, tuple: Tuple) -> Tuple {
        Tuple { proto: proto::UDP, ..tuple }
    }

    fn session(&self) -> IceSession {
        let key = (Tuple { src: self.source(), dst: self.origin(), proto: proto::UDP }).wide().unwrap_or_default();
        IceSession {
            flags: FLAGS,
            session: SESSION,
            origin: ORIGIN,
            origin_generation: GENERATION as u16,
            stream: 99,
            family: if self.is_v6 { 6 } else { 4 },
            origin_port: u16::from_ne_bytes(self.origin().port().to_be_bytes()),
            next_hop: HOP_TO_ORIGIN,
            origin_addr: key.dst,
            source: key.src,
            expires_ns: u64::MAX,
        }
    }

    /// One session with all its ports, whose client's way back is known.
    pub fn rtc_world(&self) -> World {
        let mut world = self.bare_world();
        world.services = vec![(self.udp(self.from_client()), ServiceKind::WebRtc)];
        world.ice.insert(ice_key(UFRAG), self.session());
        world.neighbours.insert(arrival(), HOP_TO_CLIENT);
        for slot in 0..PORT_SLOTS {
            world
                .ports
                .insert((self.is_v6, PortKey { session: SESSION, slot }), port(self.source().port() + slot as u16));
        }
        world
    }

    fn request_frame(&self, payload: &[u8]) -> Vec<u8> {
        self.datagram(&self.lower(self.client(), self.vip()), payload, true)
    }

    fn datagram(&self, lower: &Lower, payload: &[u8], has_checksum: bool) -> Vec<u8> {
        udp_frame(lower, self.client().port(), self.vip().port(), payload, has_checksum)
    }
}

fn port(port: u16) -> u16 {
    u16::from_ne_bytes(port.to_be_bytes())
}

fn arrival() -> Arrival {
    Arrival { ifindex: LO, peer_mac: CLIENT_MAC, own_mac: OWN_MAC }
}

/// The request makes a flow by the port of this slot, and gets to the origin.
fn makes(stage: &Stage, name: &str, world: World, payload: &[u8], slot: u32) -> Case {
    let lower = stage.lower(stage.client(), stage.vip());
    makes_of(stage, name, world, (&lower, payload, true), slot)
}

fn makes_of(stage: &Stage, name: &str, world: World, sent: (&Lower, &[u8], bool), slot: u32) -> Case {
    let (lower, payload, has_checksum) = sent;
    let session = world.ice.values().find(|session| session.expires_ns > 1).copied().unwrap_or_default();
    let mut source = stage.source();
    source.set_port(source.port() + slot as u16);
    let from_client = stage.udp(stage.from_client());
    let to_origin = Tuple { src: source, ..stage.udp(stage.from_origin().reversed()) };
    let splice = Splice {
        flags: session.flags,
        next_hop: HOP_TO_ORIGIN,
        origin: ORIGIN,
        origin_generation: GENERATION as u16,
        stream: 99,
        seq_delta: session.session,
        l4_diff: l4_diff(&from_client, &to_origin),
        ..Splice::default()
    };
    let back = Splice {
        flags: session.flags | FlowFlags::TO_CLIENT,
        next_hop: HOP_TO_CLIENT,
        l4_diff: l4_diff(&to_origin.reversed(), &from_client.reversed()),
        ..splice
    };
    let flow = |splice, new| Flow { splice, new, seen: 0, packets: 0, bytes: 0, last_seen: 0 };

    let packet = stage.at_origin(&stage.client_packet());
    let at_origin = Lower { class: lower.class, ..packet.lower };
    let expected = udp_frame(&at_origin, source.port(), stage.origin().port(), payload, has_checksum);
    let mut case = Case::new(stage, &format!("STUN: {name}"), world, stage.datagram(lower, payload, has_checksum))
        .leaves(Verdict::Redirect(REDIRECT_SLOT), Reason::IceMade, expected)
        .tells(EventKind::Made, from_client);
    case.world_after.ports.remove(&(stage.is_v6, PortKey { session: SESSION, slot }));
    case.world_after.flows.insert(from_client, flow(splice, to_origin));
    case.world_after.flows.insert(to_origin.reversed(), flow(back, from_client.reversed()));
    case.counts(from_client, payload.len())
}

/// The request goes to user space, which is told by which way it came.
fn goes_up(stage: &Stage, name: &str, world: World, payload: &[u8], reason: Reason) -> Case {
    let mut case = Case::new(stage, &format!("STUN: {name}"), world, stage.request_frame(payload)).passes(reason);
    case.world_after.arrivals.insert(stage.udp(stage.from_client()), arrival());
    case
}

fn made(stage: &Stage) -> Vec<Case> {
    let world = || stage.rtc_world();
    let lower = stage.lower(stage.client(), stage.vip());
    let mut cases = vec![makes(stage, "a request of a browser's", world(), &request(NAME), 0)];
    for before in 0..8usize {
        let others: [(u16, &[u8]); 7] = [
            (0x0024, &[1; 4]),
            (0x8029, &[2; 8]),
            (0x0025, &[]),
            (0xc057, &[3; 3]),
            (0x8022, &[b's'; 9]),
            (0xffff, &[0; 1]),
            (0x0013, &[5; 40]),
        ];
        let mut attributes = others.to_vec();
        attributes.insert(before, (USERNAME, NAME));
        attributes.push((INTEGRITY, &[9; 20]));
        let name = format!("{before} attributes before the user name");
        cases.push(makes(stage, &name, world(), &message(1, &attributes), 0));
    }
    let taken = |first: u32| {
        let mut world = world();
        world.ports.retain(|(_, key), _| key.slot >= first);
        world
    };
    cases.push(makes(stage, "the first two ports are taken", taken(2), &request(NAME), 2));
    cases.push(makes(stage, "the last port", taken(3), &request(NAME), 3));

    let mut flagged = world();
    flagged.ice.values_mut().for_each(|session| session.flags |= FlowFlags::mute(0x0012_3456).0);
    cases.push(makes(stage, "a session's flags are taken over", flagged, &request(NAME), 0));
    let marked = Lower { class: 0xb9, ..lower.clone() };
    cases.push(makes_of(stage, "marked for low delay", world(), (&marked, &request(NAME), true), 0));
    if stage.is_v6 {
        let frame = stage.datagram(&lower, &request(NAME), false);
        cases.push(Case::new(stage, "STUN: without checksum", world(), frame).drops(Reason::UdpNoChecksum));
    } else {
        cases.push(makes_of(stage, "without checksum", world(), (&lower, &request(NAME), false), 0));
    }
    cases
}

fn names(stage: &Stage) -> Vec<Case> {
    let known = |ufrag: &[u8]| {
        let mut world = stage.rtc_world();
        world.ice = [(ice_key(ufrag), stage.session())].into();
        world
    };
    let name = |a: &[u8], b: &[u8]| [a, b":", b].concat();
    let long = [b'l'; 256];
    let mut cases = vec![];
    for len in [1, 2, 3, 4, 5, 7, 8, 15, 16, 29, 30, 31, 32usize] {
        let ufrag: Vec<u8> = (0..len).map(|i| b'A' + i as u8).collect();
        // As the last attribute: nothing stands behind the fragment but its padding.
        for (order, name) in [("first", name(&ufrag, b"peer")), ("second", name(b"peer", &ufrag))] {
            let payload = message(1, &[(0x0024, &[1; 4]), (USERNAME, &name)]);
            cases.push(makes(stage, &format!("{len} bytes, {order}"), known(&ufrag), &payload, 0));
        }
    }
    cases.push(makes(stage, "the other fragment is long", known(UFRAG), &request(&name(UFRAG, &long)), 0));
    let two = name(&[b'a'; 32], &[b'b'; 32]);
    cases.push(makes(stage, "two fragments of 32 bytes", known(&[b'b'; 32]), &request(&two), 0));
    let mut both = known(UFRAG);
    both.ice.insert(ice_key(b"old"), IceSession { expires_ns: 1, ..stage.session() });
    cases.push(makes(stage, "the first is of an expired session", both, &request(&name(b"old", UFRAG)), 0));
    for (what, name) in [
        ("33 bytes first", name(&[b'a'; 33], UFRAG)),
        ("33 bytes second", name(b"nobody", &[b'b'; 33])),
        ("256 bytes each", name(&long, &long)),
    ] {
        cases.push(goes_up(stage, what, known(UFRAG), &request(&name), Reason::IceNoWay));
    }
    cases
}

fn missing(stage: &Stage) -> Vec<Case> {
    let case = |name: &str, change: &dyn Fn(&mut World), reason| {
        let mut world = stage.rtc_world();
        change(&mut world);
        goes_up(stage, name, world, &request(NAME), reason)
    };
    let session = |world: &mut World, change: &dyn Fn(&mut IceSession)| world.ice.values_mut().for_each(change);
    let mut raced = case("the port's half is there already", &|_| (), Reason::IceRaced);
    let other = Tuple { src: stage.stranger(), ..stage.udp(stage.from_client()) };
    let new = Flow { splice: Splice::default(), new: other.reversed(), seen: 0, packets: 0, bytes: 0, last_seen: 0 };
    for world in [&mut raced.world, &mut raced.world_after] {
        world.flows.insert(stage.udp(stage.from_origin()), new);
    }
    raced.world_after.ports.remove(&(stage.is_v6, PortKey { session: SESSION, slot: 0 }));
    vec![
        raced,
        case("nobody's name", &|world| world.ice.clear(), Reason::IceUnknown),
        case("an expired session", &|world| session(world, &|s| s.expires_ns = 1), Reason::IceUnknown),
        case("no port is left", &|world| world.ports.clear(), Reason::IceNoPort),
        case(
            "ports of the other family",
            &|world| world.ports = world.ports.iter().map(|((v6, key), port)| ((!v6, *key), *port)).collect(),
            Reason::IceNoPort,
        ),
        case("another session's ports", &|world| session(world, &|s| s.session += 1), Reason::IceNoPort),
        case("no neighbour", &|world| world.neighbours.clear(), Reason::IceNoWay),
        case(
            "the neighbour on another interface",
            &|world| world.neighbours = [(Arrival { ifindex: LO + 1, ..arrival() }, HOP_TO_CLIENT)].into(),
            Reason::IceNoWay,
        ),
        case("an origin of the other family", &|world| session(world, &|s| s.family = 10 - s.family), Reason::IceNoWay),
        case(
            "an origin that is down",
            &|world| world.origins = [(ORIGIN, (OriginState::Down as u32, GENERATION))].into(),
            Reason::IceNoWay,
        ),
        case("an origin that was replaced", &|world| session(world, &|s| s.origin_generation ^= 1), Reason::IceNoWay),
    ]
}

/// Lengths that contradict each other, and names that are none.
fn lies(stage: &Stage) -> Vec<Case> {
    let case = |name: &str, payload: &[u8]| {
        let frame = stage.request_frame(payload);
        Case::new(stage, &format!("STUN: {name}"), stage.rtc_world(), frame).drops(Reason::StunMalformed)
    };
    let with = |at: usize, bytes: &[u8]| {
        let mut payload = request(NAME);
        payload[at..at + bytes.len()].copy_from_slice(bytes);
        payload
    };
    let len = request(NAME).len() as u16 - 20;
    let said = |len: u16| with(2, &len.to_be_bytes());
    let named = |name: &[u8]| request(name);
    let many = |count| {
        let mut attributes: Vec<(u16, &[u8])> = vec![(0x0025, b""); count];
        attributes.push((USERNAME, NAME));
        message(1, &attributes)
    };
    let mut longer = request(NAME);
    longer.extend([0; 4]);
    let behind = [&request(NAME)[..], &[0; 3]].concat();
    let cut: Vec<u8> = message(1, &[(0x0024, &[1; 4])]).into_iter().chain([0, 6]).collect();
    let cases: Vec<(String, Vec<u8>)> = vec![
        ("longer than the datagram".into(), said(len + 4)),
        ("shorter than the datagram".into(), said(len - 4)),
        ("an empty message in a longer datagram".into(), said(0)),
        ("a length of 65535".into(), said(u16::MAX)),
        ("a length that is no multiple of four".into(), said(len + 1)),
        ("four bytes behind it".into(), longer),
        ("three bytes behind it".into(), behind),
        ("a cut-off attribute header".into(), cut),
        ("an attribute longer than the message".into(), with(22, &200u16.to_be_bytes())),
        ("an attribute of 65535 bytes".into(), with(22, &u16::MAX.to_be_bytes())),
        ("a user name of 0 bytes".into(), named(b"")),
        ("a user name of 600 bytes".into(), named(&[b'n'; 600])),
        ("a user name of 514 bytes".into(), named(&[&[b'n'; 257][..], b":", &[b'm'; 256]].concat())),
        ("no colon in 32 bytes".into(), named(&[b'n'; 32])),
        ("only a colon".into(), named(b":")),
        ("nothing before the colon".into(), named(b":0rig+n/8")),
        ("nothing behind the colon".into(), named(b"0rig+n/8:")),
        ("the user name is the ninth".into(), many(8)),
        ("hundreds of attributes".into(), many(340)),
    ];
    cases.iter().map(|(name, payload)| case(name, payload)).collect()
}

/// What belongs to flows that user space relays, for one.
fn others(stage: &Stage) -> Vec<Case> {
    let up = |name: &str, payload: &[u8]| {
        let frame = stage.request_frame(payload);
        Case::new(stage, &format!("STUN: {name}"), stage.rtc_world(), frame).passes(Reason::NoFlow)
    };
    let of = |kind| message(kind, &[(USERNAME, NAME)]);
    let mut no_cookie = request(NAME);
    no_cookie[4] = 0;
    let mut cases = vec![
        up("a response", &of(0x0101)),
        up("an error response", &of(0x0111)),
        up("an indication", &of(0x0011)),
        up("another method", &of(0x0003)),
        up("STUN of old, without cookie", &no_cookie),
        up("a request without a user name", &message(1, &[(0x0024, &[1; 4])])),
        up("a request without attributes", &message(1, &[])),
        up("the user name behind the integrity", &message(1, &[(INTEGRITY, &[9; 20]), (USERNAME, NAME)])),
        up("DTLS instead", &[&[22, 254, 253][..], &[0; 60]].concat()),
        up("RTP instead", &[&[0x80, 96][..], &[0; 40]].concat()),
        up("nothing at all", b""),
        up("less than a header", &request(NAME)[..19]),
    ];
    let at = 14 + 4 * stage.tags.len() + if stage.is_v6 { 40 } else { 20 } + 4;
    for (name, change) in
        [("a UDP length too short", -4i16), ("a UDP length too long", 4), ("a UDP length of 0", i16::MIN)]
    {
        let mut frame = stage.request_frame(&request(NAME));
        let len = i16::from_be_bytes([frame[at], frame[at + 1]]);
        let len = if change == i16::MIN { 0 } else { len + change };
        frame[at..at + 2].copy_from_slice(&len.to_be_bytes());
        let case = Case::new(stage, &format!("STUN: {name}"), stage.rtc_world(), frame);
        cases.push(case.passes(Reason::Truncated));
    }
    cases
}
