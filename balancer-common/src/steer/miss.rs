//! Packets without a flow: the balancer's own connections, its services, and everything else.

use super::{Outcome, Step, Tables, family::Family, hold};
use crate::{
    abi::{Reason, ServiceKind},
    packet::{
        Frame,
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
) -> Outcome {
    if let Some(track) = F::track(tables, key) {
        return hold::tracked::<F, T>(tables, frame, ip, segment, track, ingress);
    }
    if tables.service(&F::service(key)).is_none() {
        return Outcome::pass(Reason::NotOurs);
    }
    let is_new = segment.has(tcp::SYN) && !segment.has(tcp::ACKED);
    Outcome::pass(if is_new { Reason::NewConnection } else { Reason::NoFlow })
}

#[inline(always)]
pub fn udp<F: Family, T: Tables>(tables: &T, key: &F::Key) -> Step {
    match tables.service(&F::service(key)) {
        Some(SRT) => Step::SRT,
        Some(WEB_RTC) => Step::WEB_RTC,
        Some(_) => Outcome::pass(Reason::NoFlow).into(),
        None => Outcome::pass(Reason::NotOurs).into(),
    }
}

const SRT: u32 = ServiceKind::Srt as u32;
const WEB_RTC: u32 = ServiceKind::WebRtc as u32;
