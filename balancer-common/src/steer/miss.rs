//! Packets without a flow: the balancer's own connections, its services, and everything else.

use super::{Outcome, Tables, family::Family, hold};
use crate::{
    abi::Reason,
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
    let is_new = segment.has(tcp::SYN) && !segment.has(tcp::ACKED);
    service::<F, T>(tables, key, is_new)
}

#[inline(always)]
pub fn service<F: Family, T: Tables>(tables: &T, key: &F::Key, is_new: bool) -> Outcome {
    if !tables.is_service(&F::service(key)) {
        return Outcome::pass(Reason::NotOurs);
    }
    Outcome::pass(if is_new { Reason::NewConnection } else { Reason::NoFlow })
}
