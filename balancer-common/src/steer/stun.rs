//! WebRTC clients without a flow: a STUN binding request that names a session makes one.
//!
//! A request never moves a flow. Whoever knows a session's user name gets a flow of its own, with a source port of its
//! own towards the origin, for as long as the session has ports granted: the origin alone can check the request's
//! integrity, and decides where it sends. Anything that is missing is left to user space.

use super::{
    Outcome, Received, Step, Tables,
    family::{Family, V4, V6},
    tcp::origin_is,
    udp::{self, Datagram},
};
use crate::{
    abi::{EventKind, FlowFlags, IceSession, PORT_SLOTS, PortKey, Reason, Seen, Splice, UFRAG_LEN_MAX},
    packet::{
        Frame,
        frame::unmerged,
        header::proto,
        stun::{self, Name, Payload, StunError},
    },
};

// Functions of their own, for the stack that they need; and within them, for the paths that the verifier walks.

#[inline(never)]
pub fn ipv4<T: Tables>(tables: &T, received: Received) -> Step {
    heard::<V4, T>(tables, &received)
}

#[inline(never)]
pub fn ipv6<T: Tables>(tables: &T, received: Received) -> Step {
    heard::<V6, T>(tables, &received)
}

#[inline(always)]
fn heard<F: Family, T: Tables>(tables: &T, received: &Received) -> Step {
    match make::<F, T>(tables, received) {
        Ok(()) => sent_on::<F, T>(tables, received),
        Err(reason @ (Reason::StunMalformed | Reason::UdpNoChecksum)) => Outcome::drop(reason).into(),
        Err(reason @ (Reason::Truncated | Reason::NoFlow)) => Outcome::pass(reason).into(),
        Err(reason) => passed_up::<F, T>(tables, received, reason),
    }
}

/// The request goes the ordinary way of its new flow.
#[inline(never)]
fn sent_on<F: Family, T: Tables>(tables: &T, received: &Received) -> Step {
    let step = udp::known::<F, T>(tables, received);
    if step.reason == Reason::ToOrigin { Step { reason: Reason::IceMade, ..step } } else { step }
}

#[inline(never)]
fn passed_up<F: Family, T: Tables>(tables: &T, received: &Received, reason: Reason) -> Step {
    match Datagram::<F>::read(received) {
        Ok(datagram) => received.pass_up::<F, T>(tables, &datagram.key, reason).into(),
        Err(reason) => Outcome::pass(reason).into(),
    }
}

/// Makes both halves of the flow that the request asks for.
#[inline(never)]
fn make<F: Family, T: Tables>(tables: &T, received: &Received) -> Result<(), Reason> {
    let found = find::<F>(received);
    if let Some(reason) = found.wrong {
        return Err(reason);
    }
    let session = session(tables, &received.frame, found.name())?;
    if session.family != F::NUMBER || !origin_is(tables, session.origin, session.origin_generation) {
        return Err(Reason::IceNoWay);
    }
    let back = neighbour(tables, received).ok_or(Reason::IceNoWay)?;
    let port = port::<F, T>(tables, session.session).ok_or(Reason::IceNoPort)?;
    insert::<F, T>(tables, received, session, port, back)
}

/// The user name, as offsets in the frame. In one register: a `Result` would be returned in memory.
struct Found {
    at: u16,
    len: u16,
    wrong: Option<Reason>,
}

impl Found {
    #[inline(always)]
    fn name(&self) -> Name {
        Name { at: self.at as usize & 0xfff, len: self.len as usize & 0x3ff }
    }
}

#[inline(never)]
fn find<F: Family>(received: &Received) -> Found {
    match name::<F>(received) {
        Ok(name) => Found { at: name.at as u16, len: name.len as u16, wrong: None },
        Err(reason) => Found { at: 0, len: 0, wrong: Some(reason) },
    }
}

#[inline(always)]
fn name<F: Family>(received: &Received) -> Result<Name, Reason> {
    let datagram = Datagram::<F>::read(received)?;
    datagram.check(&received.frame)?;
    let payload = Payload { frame: &received.frame, at: datagram.at };
    match stun::binding_request(&payload, datagram.len as usize) {
        Ok(name) => Ok(Name { at: datagram.at + name.at, len: name.len }),
        Err(StunError::Malformed | StunError::Crowded) => Err(Reason::StunMalformed),
        // The packets of a flow that user space relays, for one.
        Err(StunError::NotStun | StunError::NotRequest | StunError::Nameless) => Err(Reason::NoFlow),
    }
}

/// The session that one of the two fragments names: ours is the first in what a client sends, but whoever has it the
/// other way round means the same.
#[inline(always)]
fn session<'t, T: Tables>(tables: &'t T, frame: &Frame, name: Name) -> Result<&'t IceSession, Reason> {
    let colon = colon(frame, name.at, name.len);
    if colon >= FRAGMENT_LONG {
        // All of a short name was looked through.
        return Err(if name.len > FRAGMENT_LONG { Reason::IceNoWay } else { Reason::StunMalformed });
    }
    let rest = name.len.wrapping_sub(colon + 1);
    if colon == 0 || rest == 0 || rest > name.len {
        return Err(Reason::StunMalformed);
    }
    if let Some(session) = live(tables, frame, name.at, colon) {
        return Ok(session);
    }
    if rest > UFRAG_LEN_MAX {
        return Err(Reason::IceNoWay);
    }
    live(tables, frame, name.at + colon + 1, rest).ok_or(Reason::IceUnknown)
}

/// What [`colon`] says of a first fragment that is no key of `ICE`.
const FRAGMENT_LONG: usize = UFRAG_LEN_MAX + 1;

/// The length of the first fragment.
#[inline(never)]
fn colon(frame: &Frame, at: usize, len: usize) -> usize {
    stun::first_fragment(&Payload { frame, at: 0 }, Name { at, len }).unwrap_or(FRAGMENT_LONG)
}

/// The session of the fragment that begins `at` in the frame, unless it has expired.
#[inline(never)]
fn live<'t, T: Tables>(tables: &'t T, frame: &Frame, at: usize, len: usize) -> Option<&'t IceSession> {
    let key = stun::ice_key(&Payload { frame, at: 0 }, Name { at, len })?;
    tables.ice(&key).filter(|session| tables.now_ns() < session.expires_ns)
}

/// The next hop back to where the frame came from.
#[inline(never)]
fn neighbour<T: Tables>(tables: &T, received: &Received) -> Option<u16> {
    tables.neighbour(&received.arrival()?)
}

/// One of the ports that are granted to the session.
#[inline(never)]
fn port<F: Family, T: Tables>(tables: &T, session: u32) -> Option<u16> {
    for slot in 0..PORT_SLOTS {
        if let Some(port) = F::take_port(tables, &PortKey { session, slot: unmerged(slot) }) {
            return Some(port);
        }
    }
    None
}

/// The origin's half first: a packet of the client's that is forwarded can be answered.
///
/// A port whose half is there already is not given back: it would be there again. Nor is that of a request that another
/// CPU was quicker with; user space finds it granted, taken and without a flow.
#[inline(never)]
fn insert<F: Family, T: Tables>(
    tables: &T,
    received: &Received,
    session: &IceSession,
    port: u16,
    back: u16,
) -> Result<(), Reason> {
    let Some(key) = key::<F>(received) else { return Err(Reason::Truncated) };
    let ([a, b], [c, d]) = (session.origin_port.to_ne_bytes(), port.to_ne_bytes());
    let ports = u32::from_ne_bytes([a, b, c, d]);
    let inward = F::key(F::addr(&session.origin_addr), F::addr(&session.source), ports, proto::UDP);
    // The sum over a key is the same the other way round, and what one half adds to a checksum, the other takes away.
    let l4_diff = F::difference(&key, &inward).fold();
    let made_at = tables.boot_s() << Seen::MADE_AT_SHIFT;
    let way = Way { flags: FlowFlags::TO_CLIENT, next_hop: back, l4_diff: !l4_diff, made_at };
    if !half::<F, T>(tables, &inward, &key, session, &way) {
        return Err(Reason::IceRaced);
    }
    let way = Way { flags: 0, next_hop: session.next_hop, l4_diff, made_at };
    if !half::<F, T>(tables, &key, &inward, session, &way) {
        F::remove(tables, &inward);
        return Err(Reason::IceRaced);
    }
    tables.event(F::event(EventKind::Made, &key));
    Ok(())
}

#[inline(never)]
fn key<F: Family>(received: &Received) -> Option<F::Key> {
    Datagram::<F>::read(received).ok().map(|datagram| datagram.key)
}

/// What is different in the two halves.
struct Way {
    flags: u32,
    next_hop: u16,
    l4_diff: u16,
    made_at: u32,
}

/// The half under `key`, to where the packets under `partner` come from. False when there is one.
#[inline(never)]
fn half<F: Family, T: Tables>(tables: &T, key: &F::Key, partner: &F::Key, session: &IceSession, way: &Way) -> bool {
    let splice = Splice {
        flags: session.flags | way.flags,
        l4_diff: way.l4_diff,
        next_hop: way.next_hop,
        origin: session.origin,
        origin_generation: session.origin_generation,
        stream: session.stream,
        seq_delta: session.session,
        // The compiler would merge what lies behind an odd word into 8 bytes.
        ack_delta: unmerged(0),
        ..Splice::default()
    };
    F::insert(tables, key, partner, splice, way.made_at)
}
