//! SRT handshakes against another implementation of them: the same fields read, and its caller gets through ours.

use std::{net::SocketAddr, time::Instant};

use balancer_common::{
    abi::Reason,
    packet::{
        header::proto,
        srt::{self, HANDSHAKE_LEN, Handshake, Header, kind, reject},
    },
    steer::Verdict,
    testing::{
        build::udp_frame,
        cases::{NOW_NS, Stage},
        simulated::run,
        world::{Tuple, World},
    },
};
use proptest::prelude::*;
use srt_protocol::{
    options::{PacketCount, PacketSize},
    packet::{
        ControlPacket, ControlTypes, CoreRejectReason, HandshakeControlInfo, HandshakeVsInfo, HsV5Info, Packet,
        RejectReason, SeqNumber, ShakeType, SocketId, SocketType, TimeStamp,
    },
    protocol::pending_connection::{ConnectionReject, ConnectionResult, connect::Connect},
    settings::ConnInitSettings,
};

fn encoded(packet: &Packet) -> Vec<u8> {
    let mut bytes = vec![];
    packet.serialize(&mut bytes);
    bytes
}

fn decoded(mut bytes: &[u8]) -> Packet {
    Packet::parse(&mut bytes, false).expect("the other implementation reads it")
}

fn handshake(packet: Packet) -> (u32, u32, HandshakeControlInfo) {
    match packet {
        Packet::Control(ControlPacket { dest_sockid, timestamp, control_type: ControlTypes::Handshake(info) }) => {
            (dest_sockid.0, timestamp.as_micros(), info)
        }
        other => panic!("no handshake: {other:?}"),
    }
}

fn shake_types() -> impl Strategy<Value = (ShakeType, u32)> {
    prop_oneof![
        Just((ShakeType::Waveahand, kind::WAVEAHAND)),
        Just((ShakeType::Induction, kind::INDUCTION)),
        Just((ShakeType::Conclusion, kind::CONCLUSION)),
        Just((ShakeType::Agreement, kind::AGREEMENT)),
        Just((ShakeType::Rejection(RejectReason::Core(CoreRejectReason::Peer)), reject::PEER)),
        Just((ShakeType::Rejection(RejectReason::Core(CoreRejectReason::Version)), reject::VERSION)),
    ]
}

proptest! {
    #[test]
    fn what_the_other_writes_is_read(
        (shake_type, kind) in shake_types(),
        (destination, socket_id, cookie, timestamp) in any::<(u32, u32, i32, u32)>(),
        (sequence, mtu, window) in (0..1u32 << 31, any::<u32>(), any::<u32>()),
        address: [u8; 4],
        is_legacy: bool,
    ) {
        let info = if is_legacy {
            HandshakeVsInfo::V4(SocketType::Datagram)
        } else {
            HandshakeVsInfo::V5(HsV5Info::default())
        };
        let info = HandshakeControlInfo {
            init_seq_num: SeqNumber::new_truncate(sequence),
            max_packet_size: PacketSize(mtu.into()),
            max_flow_size: PacketCount(window.into()),
            shake_type,
            socket_id: SocketId(socket_id),
            syn_cookie: cookie,
            peer_addr: address.into(),
            info,
        };
        let control_type = ControlTypes::Handshake(info);
        let timestamp = TimeStamp::from_micros(timestamp);
        let packet = Packet::Control(ControlPacket { dest_sockid: SocketId(destination), timestamp, control_type });
        let read = Handshake::read(&encoded(&packet)).unwrap();
        prop_assert_eq!(read.kind(), kind);
        prop_assert_eq!(read.is_rejection(), matches!(shake_type, ShakeType::Rejection(_)));
        prop_assert_eq!((read.destination(), read.socket_id(), read.cookie()), (destination, socket_id, cookie as u32));
        prop_assert_eq!(read.timestamp_us(), timestamp.as_micros());
        prop_assert_eq!((read.initial_sequence_number(), read.mtu(), read.flow_window()), (sequence, mtu, window));
        prop_assert_eq!(read.version(), if is_legacy { 4 } else { 5 });
        prop_assert_eq!(read.peer_address(), std::net::IpAddr::from(address));
    }

    #[test]
    fn what_is_written_the_other_reads(
        (shake_type, kind) in shake_types(),
        (destination, socket_id, cookie, timestamp) in any::<(u32, u32, u32, u32)>(),
        (sequence, mtu, window) in (0..1u32 << 31, any::<u32>(), any::<u32>()),
        address: [u8; 4],
    ) {
        let mut written = Handshake::new(kind);
        written.set_destination(destination);
        written.set_socket_id(socket_id);
        written.set_cookie(cookie);
        written.set_timestamp_us(timestamp);
        written.set_initial_sequence_number(sequence);
        written.set_mtu(mtu);
        written.set_flow_window(window);
        written.set_peer_address(address.into());
        let (to, at, info) = handshake(decoded(written.bytes()));
        prop_assert_eq!((to, at), (destination, timestamp));
        prop_assert_eq!(info.shake_type, shake_type);
        prop_assert_eq!((info.socket_id.0, info.syn_cookie as u32), (socket_id, cookie));
        prop_assert_eq!(info.init_seq_num.as_raw(), sequence);
        prop_assert_eq!((info.max_packet_size.0, info.max_flow_size.0), (mtu.into(), window.into()));
        prop_assert_eq!(info.peer_addr, std::net::IpAddr::from(address));
    }
}

#[test]
fn a_shutdown_is_one_to_both() {
    let Packet::Control(control) = decoded(&srt::shutdown(77)) else { panic!("data") };
    assert!(control.dest_sockid.0 == 77 && control.control_type == ControlTypes::Shutdown);
    let bytes = encoded(&Packet::Control(control));
    assert!(Header::read(&bytes).unwrap().is_shutdown());
    assert_eq!(bytes, srt::shutdown(77));
}

/// A caller of the other implementation, and the wire between it and the VIP.
struct Call {
    stage: Stage,
    world: World,
    connect: Connect,
}

impl Call {
    fn new(stage: &Stage) -> Self {
        let settings = ConnInitSettings { local_sockid: SocketId(0x1234_5678), ..ConnInitSettings::default() };
        let sequence = SeqNumber::new_truncate(99);
        let name = Some("#!::r=live/stream,m=request".into());
        let connect = Connect::new(stage.vip(), stage.client().ip(), settings, name, sequence);
        Self { stage: stage.clone(), world: stage.srt_world(), connect }
    }

    fn frame(&self, datagram: &[u8]) -> Vec<u8> {
        let (client, vip) = (self.stage.client(), self.stage.vip());
        udp_frame(&self.stage.lower(client, vip), client.port(), vip.port(), datagram, true)
    }

    /// What the fast path answers.
    fn ask(&self, packet: &Packet, reason: Reason) -> Packet {
        let (outcome, frame, _) = run(&self.world, &self.frame(&encoded(packet)), NOW_NS);
        assert_eq!((outcome.verdict, outcome.reason), (Verdict::Tx, reason));
        decoded(&frame[frame.len() - HANDSHAKE_LEN..])
    }

    fn start(&mut self) -> Packet {
        sent(self.connect.handle_tick(Instant::now()))
    }

    fn hear(&mut self, packet: Packet) -> ConnectionResult {
        let from: SocketAddr = self.stage.vip();
        self.connect.handle_packet(Ok((packet, from)), Instant::now())
    }
}

fn sent(result: ConnectionResult) -> Packet {
    match result {
        ConnectionResult::SendPacket((packet, _)) => packet,
        _ => panic!("the caller says nothing"),
    }
}

#[test]
fn its_caller_gets_a_cookie_from_the_fast_path_and_passes_with_it() {
    for stage in Stage::all() {
        let mut call = Call::new(&stage);
        let induction = call.start();
        let answer = call.ask(&induction, Reason::SrtAnswered);
        let conclusion = encoded(&sent(call.hear(answer)));
        assert!(conclusion.len() > HANDSHAKE_LEN, "it has a stream id");
        let frame = call.frame(&conclusion);
        let (outcome, after, tables) = run(&call.world, &frame, NOW_NS);
        assert_eq!((outcome.verdict, outcome.reason), (Verdict::Pass, Reason::SrtConclusion));
        assert_eq!(after, frame);
        let caller = Tuple { src: stage.client(), dst: stage.vip(), proto: proto::UDP };
        assert!(tables.world().arrivals.contains_key(&caller));
        // And with nothing of anybody else's.
        let mut forged = Handshake::read(&conclusion).unwrap();
        forged.set_cookie(forged.cookie() ^ 4);
        let (outcome, ..) = run(&call.world, &call.frame(forged.bytes()), NOW_NS);
        assert_eq!(outcome.reason, Reason::SrtBadCookie);
    }
}

#[test]
fn its_caller_understands_a_rejection() {
    let stage = &Stage::all()[0];
    let mut call = Call::new(stage);
    let induction = call.start();
    let answer = call.ask(&induction, Reason::SrtAnswered);
    let mut conclusion = Handshake::read(&encoded(&sent(call.hear(answer)))).unwrap();
    conclusion.reject(reject::PEER);
    let result = call.hear(decoded(conclusion.bytes()));
    let expected = RejectReason::Core(CoreRejectReason::Peer);
    assert!(matches!(result, ConnectionResult::Reject(None, ConnectionReject::Rejected(reason)) if reason == expected));
}
