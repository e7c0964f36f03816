//! Packets without a flow: the balancer's own connections, its services, and everything else.
//!
//! Where several balancers work together, such a packet may be of a flow that another one has made. The stack would
//! answer it with a RST, so user space is asked first, and the packet is dropped meanwhile: its sender sends it again. What
//! belongs to a socket of this host is not asked about.

use super::{
    Outcome, Received, Step, Tables,
    family::{Family, V4, V6},
    hold,
};
use crate::{
    abi::{EventKind, Miss, Reason, ServiceKey, ServiceKind},
    packet::{
        Frame,
        frame::unmerged,
        header::tcp,
        parse::{Ip, Tcp},
    },
};

#[inline(always)]
pub fn tcp<F: Family, T: Tables>(
    tables: &T,
    frame: Frame,
    ip: &Ip<F::Addr>,
    segment: &Tcp,
    key: &F::Key,
    ingress: u32,
) -> Step {
    if let Some(track) = F::track(tables, key) {
        return hold::tracked::<F, T>(tables, frame, ip, segment, track, ingress).into();
    }
    // A connection begins and ends where it is, or nowhere.
    if !segment.has(tcp::SYN | tcp::RST) && tables.asks() {
        return Step::MISSED;
    }
    if tables.service(&F::service(key)).is_none() {
        return Outcome::pass(Reason::NotOurs).into();
    }
    let is_new = segment.has(tcp::SYN) && !segment.has(tcp::ACKED);
    Outcome::pass(if is_new { Reason::NewConnection } else { Reason::NoFlow }).into()
}

/// What comes for a service is user space's, which knows whether it has to ask.
#[inline(always)]
pub fn udp<F: Family, T: Tables>(tables: &T, key: &F::Key) -> Step {
    match tables.service(&F::service(key)) {
        Some(SRT) => Step::SRT,
        Some(WEB_RTC) => Step::WEB_RTC,
        Some(_) => Outcome::pass(Reason::NoFlow).into(),
        None if tables.asks() => Step::MISSED,
        None => Outcome::pass(Reason::NotOurs).into(),
    }
}

const SRT: u32 = ServiceKind::Srt as u32;
const WEB_RTC: u32 = ServiceKind::WebRtc as u32;

// Functions of their own, for the stack that they need.

#[inline(never)]
pub fn ipv4<T: Tables>(tables: &T, received: Received) -> Step {
    missed::<V4, T>(tables, &received).into()
}

#[inline(never)]
pub fn ipv6<T: Tables>(tables: &T, received: Received) -> Step {
    missed::<V6, T>(tables, &received).into()
}

/// A packet that the common path has not found a flow for, where that is asked about.
#[inline(always)]
fn missed<F: Family, T: Tables>(tables: &T, received: &Received) -> Outcome {
    let key = match key::<F>(received) {
        Ok(key) => key,
        Err(reason) => return Outcome::pass(reason),
    };
    let service = F::service(&key);
    let reason = match tables.service(&service) {
        Some(_) => Reason::NoFlow,
        None if is_source(tables, service) => Reason::NotOurs,
        None => return Outcome::pass(Reason::NotOurs),
    };
    if F::has_socket(tables, &key) {
        return Outcome::pass(reason);
    }
    let (wide, now_ns) = (F::wide(&key), tables.now_ns());
    match tables.miss(&wide) {
        Some(miss) if miss.holds(now_ns) && miss.is_nobodys() => return Outcome::pass(Reason::Nobodys),
        Some(miss) if miss.holds(now_ns) => return Outcome::drop(Reason::Asked),
        _ => {}
    }
    // Before the question, or it might overwrite the answer.
    tables.set_miss(&wide, Miss::asked(now_ns + Miss::ASKED_NS));
    let is_asked = tables.ask(F::event(EventKind::Missed, &key));
    Outcome::drop(if is_asked { Reason::Asked } else { Reason::LimitQuestionsOfFlows })
}

/// Read once more; the common path has seen that all of it is there.
#[inline(always)]
fn key<F: Family>(received: &Received) -> Result<F::Key, Reason> {
    let ip = F::parse(&received.frame, received.l3)?;
    let ports = received.frame.view::<PORTS_LEN>(ip.l4).ok_or(Reason::Truncated)?;
    Ok(F::key(ip.src, ip.dst, ports.u32::<0>(), ip.proto))
}

/// TCP and UDP begin with them.
const PORTS_LEN: usize = 4;

/// The packet is for one of the ports that connections to origins leave from.
#[inline(always)]
fn is_source<T: Tables>(tables: &T, service: ServiceKey) -> bool {
    let port = u16::from_be(service.port as u16) as u32;
    let ports = tables.source(&ServiceKey { port: unmerged(0), ..service });
    ports.is_some_and(|ports| port >= ports.first && port <= ports.last)
}
