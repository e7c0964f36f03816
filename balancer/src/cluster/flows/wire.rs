//! A flow in the kernel as a record, and a record as the two half-flows that another kernel needs. Pure.
//!
//! What differs from host to host is not written: the way out and the checksums' difference are found anew, and origin
//! and stream go by their names.

use crate::cluster::record::{FORMAT, FlowRecord as Written, HalfRecord};
use crate::flow::splice::Translation;
use crate::flow::{FlowRecord, Protocol, Role};
use balancer_common::abi::{FlowFlags, FlowKey, PROTO_TCP, PROTO_UDP, Splice};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A half's ingress key as text: how the shelf names flows.
pub fn key_text(key: FlowKey) -> Arc<str> {
    let (from, to) = key.addresses();
    format!("{}/{from}/{to}", key.proto()).into()
}

pub fn parse_key(text: &str) -> Option<FlowKey> {
    let mut parts = text.splitn(3, '/');
    let proto: u32 = parts.next()?.parse().ok()?;
    let (from, to) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    key_of(proto, from, to)
}

fn key_of(proto: u32, from: SocketAddr, to: SocketAddr) -> Option<FlowKey> {
    match proto {
        PROTO_TCP => FlowKey::tcp(from, to),
        PROTO_UDP => FlowKey::udp(from, to),
        _ => None,
    }
}

/// What is written of a flow. `made_ms` is by the common clock.
pub fn written(
    flow: &FlowRecord,
    proto: u32,
    [to_origin, to_client]: [&Splice; 2],
    epoch: u64,
    made_ms: u64,
) -> Written {
    Written {
        v: FORMAT,
        proto: proto as u8,
        client: flow.client,
        vip: flow.vip,
        source: flow.source,
        origin_address: flow.origin_address,
        origin: flow.origin_id.to_string(),
        epoch,
        stream: flow.stream.to_string(),
        made_ms,
        to_origin: half(to_origin),
        to_client: half(to_client),
        unknown: Default::default(),
    }
}

fn half(splice: &Splice) -> HalfRecord {
    [splice.flags, splice.seq_delta, splice.ack_delta, splice.tsval_delta, splice.tsecr_delta]
}

/// A record that says nothing that cannot be, whoever has written it. Whether origin, stream and addresses are any of
/// ours is another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    pub proto: u32,
    pub client: SocketAddr,
    pub vip: SocketAddr,
    pub source: SocketAddr,
    pub origin_address: SocketAddr,
    pub protocol: Protocol,
    pub role: Role,
    pub to_origin: Translation,
    pub to_client: Translation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    #[error("it is neither TCP nor UDP")]
    Protocol,
    #[error("its addresses are of different families, or nobody's")]
    Address,
    #[error("its flags contradict each other, or mean nothing")]
    Flags,
    #[error("its two halves do not belong together")]
    Halves,
}

impl Sound {
    pub fn of(written: &Written) -> Result<Self, Unsound> {
        let proto = u32::from(written.proto);
        let addresses = [written.client, written.vip, written.source, written.origin_address];
        let is_v4 = written.client.is_ipv4();
        if addresses.iter().any(|a| a.is_ipv4() != is_v4 || !is_somebodys(*a)) || written.client == written.vip {
            return Err(Unsound::Address);
        }
        let (forth, back) = (written.to_origin, written.to_client);
        let protocol = Protocol::from_number(FlowFlags::service(forth[0])).ok_or(Unsound::Flags)?;
        let is_udp = matches!(protocol, Protocol::Srt | Protocol::Webrtc);
        match proto {
            PROTO_TCP if !is_udp => tcp(&forth, &back)?,
            PROTO_UDP if is_udp => udp(&forth, &back)?,
            PROTO_TCP | PROTO_UDP => return Err(Unsound::Flags),
            _ => return Err(Unsound::Protocol),
        }
        Ok(Self {
            proto,
            client: written.client,
            vip: written.vip,
            source: written.source,
            origin_address: written.origin_address,
            protocol,
            role: if forth[0] & FlowFlags::PUBLISH != 0 { Role::Publish } else { Role::Play },
            to_origin: translation(forth),
            to_client: translation(back),
        })
    }

    /// Ingress keys of the client's half and of the origin's.
    pub fn keys(&self) -> Option<(FlowKey, FlowKey)> {
        let client = key_of(self.proto, self.client, self.vip)?;
        Some((client, key_of(self.proto, self.origin_address, self.source)?))
    }
}

/// An address that a peer or we can have, as it is written.
fn is_somebodys(address: SocketAddr) -> bool {
    let ip = address.ip();
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !is_broadcast && ip.to_canonical() == ip
}

fn translation([flags, seq_delta, ack_delta, tsval_delta, tsecr_delta]: HalfRecord) -> Translation {
    Translation { flags, seq_delta, ack_delta, tsval_delta, tsecr_delta }
}

/// Said by both halves alike.
const OPTIONS: u32 =
    FlowFlags::TIMESTAMPS | FlowFlags::TIMESTAMPS_STRIP | FlowFlags::SACK | FlowFlags::SACK_STRIP | FlowFlags::MUTE;
const WHOSE: u32 = FlowFlags::PUBLISH | 15 << FlowFlags::SERVICE_SHIFT;
const WINDOW: u32 = 15 << FlowFlags::WINDOW_LEFT_SHIFT | 15 << FlowFlags::WINDOW_RIGHT_SHIFT;
const BASE: u32 = !((1 << FlowFlags::BASE_SHIFT) - 1);
/// RFC 7323 section 2.3.
const SCALE_MAX: u32 = 14;

fn tcp(forth: &HalfRecord, back: &HalfRecord) -> Result<(), Unsound> {
    let (f, b) = (forth[0], back[0]);
    let known = OPTIONS | WHOSE | WINDOW | BASE | FlowFlags::TO_CLIENT;
    let both = |a: u32, b: u32| f & a != 0 && f & b != 0;
    let scales = [f, b].iter().flat_map(|f| [FlowFlags::window_left(*f), FlowFlags::window_right(*f)]).max();
    let is_bad = (f | b) & !known != 0
        || (f ^ b) & (OPTIONS | WHOSE) != 0
        || f & FlowFlags::TO_CLIENT != 0
        || b & FlowFlags::TO_CLIENT == 0
        || both(FlowFlags::TIMESTAMPS, FlowFlags::TIMESTAMPS_STRIP)
        || both(FlowFlags::SACK, FlowFlags::SACK_STRIP)
        || (f & FlowFlags::MUTE == 0 && (f | b) & BASE != 0)
        || scales > Some(SCALE_MAX);
    if is_bad {
        return Err(Unsound::Flags);
    }
    // What one half adds to a number, the other takes off its echo.
    let cancels = |a: u32, b: u32| a.wrapping_add(b) == 0;
    let belong = cancels(forth[1], back[2])
        && cancels(back[1], forth[2])
        && cancels(forth[3], back[4])
        && cancels(back[3], forth[4]);
    if belong { Ok(()) } else { Err(Unsound::Halves) }
}

fn udp(forth: &HalfRecord, back: &HalfRecord) -> Result<(), Unsound> {
    if (forth[0] | back[0]) & !(WHOSE | FlowFlags::TO_CLIENT) != 0 {
        return Err(Unsound::Flags);
    }
    let belong = back[0] == forth[0] | FlowFlags::TO_CLIENT && forth[0] & FlowFlags::TO_CLIENT == 0;
    let is_plain = forth[2..].iter().chain(&back[2..]).all(|delta| *delta == 0);
    if belong && is_plain { Ok(()) } else { Err(Unsound::Halves) }
}
