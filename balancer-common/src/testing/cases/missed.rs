//! Packets of unknown flows where several balancers work together: asked about, unless a socket or an answer is there.

use std::{format, vec, vec::Vec};

use super::{Case, REDIRECT_SLOT, Stage, hold};
use crate::{
    abi::{Control, EventKind, Miss, Reason, SourcePorts, Track},
    packet::header::{proto, tcp},
    steer::Verdict,
    testing::{
        build::{TcpPacket, udp_frame},
        simulated::{Socket, Tuple, World},
    },
};

const FOREVER: u64 = i64::MAX as u64;
/// In the past of every clock.
const LONG_AGO: u64 = 4;

pub fn cases(stage: &Stage) -> Vec<Case> {
    [asked(stage), answered(stage), not_asked(stage), sources(stage), datagrams(stage), alone(stage)]
        .into_iter()
        .flatten()
        .collect()
}

impl Stage {
    /// No flow, but other balancers.
    fn world_of_several(&self) -> World {
        let mut world = self.bare_world();
        world.asks = true;
        for proto in [proto::TCP, proto::UDP] {
            let ports = SourcePorts { first: 10_000, last: 10_007 };
            world.sources.push((Tuple { proto, ..self.from_origin() }, ports));
        }
        world
    }

    fn world_with_socket(&self, tuple: Tuple, socket: Socket) -> World {
        let mut world = self.world_of_several();
        world.sockets.insert(tuple, socket);
        world
    }

    fn world_with_miss(&self, tuple: Tuple, miss: Miss) -> World {
        let mut world = self.world_of_several();
        world.misses.insert(tuple, miss);
        world
    }

    fn origin_datagram(&self, port: u16) -> (Tuple, Vec<u8>) {
        let tuple = Tuple { proto: proto::UDP, ..to_port(self.from_origin(), port) };
        let lower = self.origin_packet().lower;
        (tuple, udp_frame(&lower, tuple.src.port(), port, b"some of a datagram", true))
    }
}

fn to_port(mut tuple: Tuple, port: u16) -> Tuple {
    tuple.dst.set_port(port);
    tuple
}

impl Case {
    /// User space is asked, and the packet waits for its sender's next try.
    fn asks(mut self, tuple: Tuple) -> Self {
        self.world_after.misses.insert(tuple, Miss::default());
        self.drops(Reason::Asked).tells(EventKind::Missed, tuple)
    }
}

fn asked(stage: &Stage) -> Vec<Case> {
    let (data, tuple) = (stage.client_packet(), stage.from_client());
    let flags = |flags| TcpPacket { flags, payload: vec![], ..data.clone() }.frame();
    let case = |name: &str, frame| Case::new(stage, name, stage.world_of_several(), frame).asks(tuple);
    let mut others = stage.world(0);
    others.asks = true;
    let stranger = TcpPacket { src_port: 9, ..data.clone() };
    let mut strangers = tuple;
    strangers.src.set_port(9);
    vec![
        case("data of an unknown flow", data.frame()),
        case("an ACK of an unknown flow", flags(tcp::ACKED)),
        case("a FIN of an unknown flow", flags(tcp::FIN | tcp::ACKED)),
        case("a segment without any flag", flags(0)),
        Case::new(stage, "data of an unknown flow beside a known one", others, stranger.frame()).asks(strangers),
    ]
}

fn answered(stage: &Stage) -> Vec<Case> {
    let (data, tuple) = (stage.client_packet(), stage.from_client());
    let case = |name: &str, miss| Case::new(stage, name, stage.world_with_miss(tuple, miss), data.frame());
    let mut others = tuple;
    others.src.set_port(9);
    vec![
        case("data while user space is asked", Miss::asked(FOREVER)).drops(Reason::Asked),
        case("data that user space gave no answer about in time", Miss::asked(LONG_AGO)).asks(tuple),
        case("data of nobody's flow", Miss::nobodys(FOREVER)).passes(Reason::Nobodys),
        case("data of what was nobody's flow", Miss::nobodys(LONG_AGO)).asks(tuple),
        Case::new(
            stage,
            "an answer about another flow",
            stage.world_with_miss(others, Miss::nobodys(FOREVER)),
            data.frame(),
        )
        .asks(tuple),
    ]
}

fn not_asked(stage: &Stage) -> Vec<Case> {
    let (data, tuple) = (stage.client_packet(), stage.from_client());
    let case = |name: &str, flags| {
        let packet = TcpPacket { flags, payload: vec![], ..data.clone() };
        Case::new(stage, name, stage.world_of_several(), packet.frame())
    };
    let socket = |name: &str, socket| Case::new(stage, name, stage.world_with_socket(tuple, socket), data.frame());
    // One of its own: it is there for a while.
    let rest = TcpPacket { src_port: 41_000 + stage.tags.len() as u16, ..data.clone() };
    let mut resting = tuple;
    resting.src.set_port(rest.src_port);
    let resting = stage.world_with_socket(resting, Socket::TimeWait);
    let mut tracked = stage.world_of_several();
    tracked.tracks.insert(tuple, Track { control: 5, ..Track::default() });
    tracked.controls.insert(5, Control::TRACK);
    let mut spliced = stage.world(0);
    spliced.asks = true;
    let elsewhere = TcpPacket { dst_port: data.dst_port + 1, ..data.clone() };
    vec![
        case("a SYN among several", tcp::SYN).passes(Reason::NewConnection),
        case("a SYN-ACK among several", tcp::SYN | tcp::ACKED).passes(Reason::NoFlow),
        case("a RST among several", tcp::RST | tcp::ACKED).passes(Reason::NoFlow),
        socket("data of a relayed connection", Socket::Established).passes(Reason::NoFlow),
        Case::new(stage, "data of a connection in TIME-WAIT", resting, rest.frame()).passes(Reason::NoFlow),
        socket("data at a listener", Socket::Listening).asks(tuple),
        Case::new(stage, "data of a tracked connection among several", tracked, data.frame())
            .passes(Reason::Tracked)
            .records(tuple, Track { control: 5, ..hold::sighting(&data) }),
        Case::new(stage, "data of a known flow among several", spliced, data.frame())
            .leaves(Verdict::Redirect(REDIRECT_SLOT), Reason::ToOrigin, stage.at_origin(&data).frame())
            .counts(tuple, data.payload.len()),
        Case::new(stage, "data for no service among several", stage.world_of_several(), elsewhere.frame())
            .passes(Reason::NotOurs),
    ]
}

/// Both ends of the range, and around.
const AT: [(u16, bool); 5] = [(9_999, false), (10_000, true), (10_003, true), (10_007, true), (10_008, false)];

fn sources(stage: &Stage) -> Vec<Case> {
    let data = stage.origin_packet();
    let tuple = stage.from_origin();
    let at = |(port, is_ours): (u16, bool)| {
        let packet = TcpPacket { dst_port: port, ..data.clone() };
        let name = format!("an origin's data at source port {port}");
        let case = Case::new(stage, &name, stage.world_of_several(), packet.frame());
        if is_ours { case.asks(to_port(tuple, port)) } else { case.passes(Reason::NotOurs) }
    };
    let mut at_vip = data.clone();
    at_vip.lower.dst = stage.vip().ip();
    let established = stage.world_with_socket(tuple, Socket::Established);
    let nobodys = stage.world_with_miss(tuple, Miss::nobodys(FOREVER));
    let mut cases: Vec<Case> = AT.map(at).into();
    cases.extend([
        Case::new(stage, "an origin's data at another address of ours", stage.world_of_several(), at_vip.frame())
            .passes(Reason::NotOurs),
        Case::new(stage, "an origin's data for a relayed connection", established, data.frame())
            .passes(Reason::NotOurs),
        Case::new(stage, "an origin's data of nobody's flow", nobodys, data.frame()).passes(Reason::Nobodys),
        Case::new(
            stage,
            "an origin's RST of an unknown flow",
            stage.world_of_several(),
            TcpPacket { flags: tcp::RST, payload: vec![], ..data.clone() }.frame(),
        )
        .passes(Reason::NotOurs),
    ]);
    cases
}

fn datagrams(stage: &Stage) -> Vec<Case> {
    let at = |(port, is_ours): (u16, bool)| {
        let (tuple, frame) = stage.origin_datagram(port);
        let name = format!("an origin's datagram at source port {port}");
        let case = Case::new(stage, &name, stage.world_of_several(), frame);
        if is_ours { case.asks(tuple) } else { case.passes(Reason::NotOurs) }
    };
    let (tuple, frame) = stage.origin_datagram(10_007);
    let client = stage.client_packet();
    let to_vip = udp_frame(&client.lower, client.src_port, client.dst_port, b"?", true);
    let mut only_tcp = stage.world_of_several();
    only_tcp.sources.retain(|(tuple, _)| tuple.proto == proto::TCP);
    let mut cases: Vec<Case> = AT.map(at).into();
    cases.extend([
        Case::new(
            stage,
            "an origin's datagram for a socket",
            stage.world_with_socket(tuple, Socket::Udp),
            frame.clone(),
        )
        .passes(Reason::NotOurs),
        Case::new(
            stage,
            "an origin's datagram of nobody's flow",
            stage.world_with_miss(tuple, Miss::nobodys(FOREVER)),
            frame.clone(),
        )
        .passes(Reason::Nobodys),
        Case::new(stage, "a datagram where only TCP leaves from", only_tcp, frame).passes(Reason::NotOurs),
        Case::new(stage, "a datagram for a service among several", stage.world_of_several(), to_vip)
            .passes(Reason::NoFlow),
    ]);
    cases
}

/// A balancer that works alone asks nobody, whatever stands in the maps.
fn alone(stage: &Stage) -> Vec<Case> {
    let mut world = stage.world_with_miss(stage.from_client(), Miss::asked(FOREVER));
    world.asks = false;
    let (_, datagram) = stage.origin_datagram(10_007);
    vec![
        Case::new(stage, "data of an unknown flow, alone", world.clone(), stage.client_packet().frame())
            .passes(Reason::NoFlow),
        Case::new(stage, "an origin's data, alone", world.clone(), stage.origin_packet().frame())
            .passes(Reason::NotOurs),
        Case::new(stage, "an origin's datagram, alone", world, datagram).passes(Reason::NotOurs),
    ]
}
