//! A flow becomes a record and the same flow again.

use super::super::wire::{Sound, Unsound, key_text, parse_key, written};
use super::{Kernel, at};
use crate::cluster::record::{FlowRecord as Written, Record};
use crate::flow::splice::{Leg, Plan, Translation};
use crate::flow::{Counter, FlowRecord, FlowState, Path, Protocol, Role};
use crate::offload::NewHalf;
use balancer_common::abi::{FlowFlags, FlowKey, PROTO_TCP, PROTO_UDP, Splice, Track};
use proptest::prelude::*;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

fn record(addresses: [SocketAddr; 4], protocol: Protocol, role: Role) -> FlowRecord {
    let [client, vip, source, origin_address] = addresses;
    FlowRecord {
        client,
        announced: None,
        vip,
        origin: 3,
        origin_generation: 4,
        origin_id: "o1".into(),
        origin_address,
        source,
        protocol,
        role,
        stream: Arc::new("__defaultVhost__/live/a".parse().unwrap()),
        stream_index: 5,
        path: Path::Kernel,
        state: FlowState::Spliced,
        to_origin: Counter::default(),
        to_client: Counter::default(),
        made_at: Duration::ZERO,
        active_at: Duration::ZERO,
    }
}

/// As the hand-over makes the two halves of it.
fn splices(record: &FlowRecord, plan: &Plan, mute: Option<u32>) -> [Splice; 2] {
    let mut flags = record.protocol.number() << FlowFlags::SERVICE_SHIFT;
    if record.role == Role::Publish {
        flags |= FlowFlags::PUBLISH;
    }
    let mute = mute.map_or((0, 0), FlowFlags::mute);
    let half = |translation: Translation, mute: u32| {
        let key = FlowKey::tcp(record.client, record.vip).unwrap();
        let new = NewHalf {
            ingress: key,
            egress: key,
            translation,
            flags: flags | mute,
            origin: record.origin,
            origin_generation: record.origin_generation,
            stream: record.stream_index,
            way_out: Track::default(),
        };
        Kernel::half_of(&new).splice
    };
    [half(plan.to_origin, mute.0), half(plan.to_client, mute.1)]
}

fn translation(splice: &Splice) -> Translation {
    Translation {
        flags: splice.flags,
        seq_delta: splice.seq_delta,
        ack_delta: splice.ack_delta,
        tsval_delta: splice.tsval_delta,
        tsecr_delta: splice.tsecr_delta,
    }
}

fn any_leg() -> impl Strategy<Value = Leg> {
    (any::<[u32; 4]>(), 0u8..=14, 0u8..=14, any::<bool>(), any::<bool>()).prop_map(
        |([write_seq, copied_seq, own_timestamp, peer_timestamp], peer_scale, own_scale, timestamps, sack)| Leg {
            write_seq,
            copied_seq,
            peer_scale,
            own_scale,
            timestamps,
            sack,
            own_timestamp,
            peer_timestamp,
        },
    )
}

fn four() -> [SocketAddr; 4] {
    ["198.51.100.7:5000", "192.0.2.10:1935", "10.0.0.10:20000", "10.1.0.5:1935"].map(at)
}

fn four6() -> [SocketAddr; 4] {
    ["[2001:db8::7]:5000", "[2001:db8:1::10]:1935", "[2001:db8:2::10]:20000", "[2001:db8:3::5]:1935"].map(at)
}

proptest! {
    #[test]
    fn what_was_written_makes_the_same_halves(
        (client, origin) in (any_leg(), any_leg()),
        pending in 0u32..65_536,
        publishes: bool,
        mute in proptest::option::of(any::<u32>()),
        is_v6: bool,
        number in 0usize..4,
    ) {
        let protocol = [Protocol::Rtmp, Protocol::Flv, Protocol::Ts, Protocol::Rtsp][number];
        let role = if publishes { Role::Publish } else { Role::Play };
        let record = record(if is_v6 { four6() } else { four() }, protocol, role);
        let splices = splices(&record, &Plan::new(&client, &origin, pending), mute);
        let text = written(&record, PROTO_TCP, [&splices[0], &splices[1]], 9, 1_000).text();
        let read = Written::read(&text).unwrap();
        prop_assert_eq!((read.epoch, read.made_ms, read.origin.as_str()), (9, 1_000, "o1"));
        let sound = Sound::of(&read).unwrap();
        prop_assert_eq!((sound.to_origin, sound.to_client), (translation(&splices[0]), translation(&splices[1])));
        prop_assert_eq!((sound.protocol, sound.role), (protocol, role));
        let keys = (FlowKey::tcp(record.client, record.vip), FlowKey::tcp(record.origin_address, record.source));
        prop_assert_eq!(sound.keys(), keys.0.zip(keys.1));
    }

    #[test]
    fn keys_are_read_back(a: [u8; 4], b: [u8; 16], ports: (u16, u16), is_udp: bool, is_v6: bool) {
        let from = if is_v6 { SocketAddr::new(b.into(), ports.0) } else { SocketAddr::new(a.into(), ports.0) };
        let to = SocketAddr::new(if is_v6 { "2001:db8::1" } else { "192.0.2.1" }.parse().unwrap(), ports.1);
        let key = if is_udp { FlowKey::udp(from, to) } else { FlowKey::tcp(from, to) };
        if let Some(key) = key {
            prop_assert_eq!(parse_key(&key_text(key)), Some(key));
        }
    }

    /// Whoever writes anything: it is refused, or it makes halves that the fast path could have got from us.
    #[test]
    fn whatever_is_written_does_no_harm(proto: u8, halves: [[u32; 5]; 2], ports: [u16; 4]) {
        let mut read = sample(Protocol::Rtmp);
        read.proto = proto;
        (read.to_origin, read.to_client) = (halves[0], halves[1]);
        read.client.set_port(ports[0]);
        read.source.set_port(ports[1]);
        if let Ok(sound) = Sound::of(&read) {
            prop_assert!(sound.keys().is_some());
            prop_assert_eq!(sound.to_origin.flags & FlowFlags::TO_CLIENT, 0);
            prop_assert_ne!(sound.to_client.flags & FlowFlags::TO_CLIENT, 0);
        }
    }
}

fn sample(protocol: Protocol) -> Written {
    let leg = super::leg(1_000, 2_000);
    let record = record(four(), protocol, Role::Play);
    let is_udp = matches!(protocol, Protocol::Srt | Protocol::Webrtc);
    let mut splices = splices(&record, &Plan::new(&leg, &leg, 0), None);
    if is_udp {
        let flags = protocol.number() << FlowFlags::SERVICE_SHIFT;
        splices = [
            Splice { flags, seq_delta: 7, ..Splice::default() },
            Splice { flags: flags | FlowFlags::TO_CLIENT, seq_delta: 8, ..Splice::default() },
        ];
    }
    let proto = if is_udp { PROTO_UDP } else { PROTO_TCP };
    written(&record, proto, [&splices[0], &splices[1]], 9, 1_000)
}

#[test]
fn each_thing_that_cannot_be_is_refused() {
    let refused = |what: &str, expected: Unsound, spoil: fn(&mut Written)| {
        let mut read = sample(Protocol::Rtmp);
        assert!(Sound::of(&read).is_ok());
        spoil(&mut read);
        assert_eq!(Sound::of(&read), Err(expected), "{what}");
    };
    refused("ICMP", Unsound::Protocol, |r| r.proto = 1);
    refused("RTMP by UDP", Unsound::Flags, |r| r.proto = 17);
    refused("two families", Unsound::Address, |r| r.source = at("[2001:db8::1]:20000"));
    refused("port 0", Unsound::Address, |r| r.client.set_port(0));
    refused("nobody", Unsound::Address, |r| r.client = at("0.0.0.0:5000"));
    refused("everybody", Unsound::Address, |r| r.origin_address = at("224.0.0.1:1935"));
    refused("itself", Unsound::Address, |r| r.client = r.vip);
    refused("a flag that is none", Unsound::Flags, |r| r.to_origin[0] |= 1 << 7);
    refused("both ways the same", Unsound::Flags, |r| r.to_client[0] &= !FlowFlags::TO_CLIENT);
    refused("two protocols", Unsound::Flags, |r| r.to_client[0] ^= 3 << FlowFlags::SERVICE_SHIFT);
    refused("two roles", Unsound::Flags, |r| r.to_client[0] |= FlowFlags::PUBLISH);
    refused("both of two", Unsound::Flags, |r| {
        r.to_origin[0] |= FlowFlags::SACK_STRIP;
        r.to_client[0] |= FlowFlags::SACK_STRIP;
    });
    refused("a base without a mute client", Unsound::Flags, |r| r.to_origin[0] |= 1 << FlowFlags::BASE_SHIFT);
    refused("too large a window", Unsound::Flags, |r| r.to_origin[0] |= 15 << FlowFlags::WINDOW_LEFT_SHIFT);
    refused("deltas that do not cancel", Unsound::Halves, |r| r.to_origin[1] ^= 1);
    refused("times that do not cancel", Unsound::Halves, |r| r.to_client[4] ^= 1);
}

#[test]
fn datagrams_have_neither_numbers_nor_options() {
    let spoiled = |spoil: fn(&mut Written)| {
        let mut read = sample(Protocol::Srt);
        assert_eq!(Sound::of(&read).map(|s| (s.to_origin.seq_delta, s.to_client.seq_delta)), Ok((7, 8)));
        spoil(&mut read);
        Sound::of(&read)
    };
    assert_eq!(spoiled(|r| r.proto = 6), Err(Unsound::Flags));
    assert_eq!(spoiled(|r| r.to_origin[0] |= FlowFlags::TIMESTAMPS), Err(Unsound::Flags));
    assert_eq!(spoiled(|r| r.to_origin[0] |= FlowFlags::MUTE), Err(Unsound::Flags));
    assert_eq!(spoiled(|r| r.to_client[2] = 1), Err(Unsound::Halves));
}
