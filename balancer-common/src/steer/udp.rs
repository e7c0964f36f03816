//! UDP packets: other addresses and ports, the same datagram.

use super::{HalfFlow, Outcome, Received, Step, Tables, emit, family::Family, miss, srt, tcp};
use crate::{
    abi::{FlowFlags, Reason, Seen, ServiceKind},
    packet::{
        Frame,
        checksum::Difference,
        header::{proto, udp},
        parse::Ip,
    },
};

#[inline(always)]
pub fn steer<F: Family, T: Tables>(tables: &T, frame: Frame, ip: &Ip<F::Addr>, ingress: u32) -> Step {
    let key = match key::<F>(&frame, ip) {
        Ok(key) => key,
        Err(reason) => return Outcome::pass(reason).into(),
    };
    match F::flow(tables, &key) {
        Some(half) => hit::<F, T>(tables, frame, ip, &key, &half, ingress),
        None => miss::udp::<F, T>(tables, &key),
    }
}

/// The same beside the common path, for a flow that has just been made.
#[inline(always)]
pub fn known<F: Family, T: Tables>(tables: &T, received: &Received) -> Step {
    let Datagram { ip, key, .. } = match Datagram::<F>::read(received) {
        Ok(datagram) => datagram,
        Err(reason) => return Outcome::pass(reason).into(),
    };
    match F::flow(tables, &key) {
        Some(half) => hit::<F, T>(tables, received.frame.reborrow(), &ip, &key, &half, received.ingress),
        None => Outcome::pass(Reason::NoFlow).into(),
    }
}

/// A datagram that the common path has not found a flow for, read once more.
pub struct Datagram<F: Family> {
    pub ip: Ip<F::Addr>,
    pub key: F::Key,
    /// Where its payload lies in the frame, and how long it is by the IP header; all of it is in the frame.
    pub at: usize,
    pub len: u32,
}

impl<F: Family> Datagram<F> {
    #[inline(always)]
    pub fn read(received: &Received) -> Result<Self, Reason> {
        let ip = F::parse(&received.frame, received.l3)?;
        let key = key::<F>(&received.frame, &ip)?;
        Ok(Self { at: ip.l4 + udp::LEN, len: ip.payload_len - udp::LEN as u32, ip, key })
    }

    /// The stack would take the datagram, at the length that it has here.
    #[inline(always)]
    pub fn check(&self, frame: &Frame) -> Result<(), Reason> {
        let header = frame.view::<{ udp::LEN }>(self.ip.l4).ok_or(Reason::Truncated)?;
        if u16::from_be(header.u16::<{ udp::LENGTH }>()) as u32 != self.ip.payload_len {
            return Err(Reason::Truncated);
        }
        if F::UDP_CHECKSUM && !has_checksum(frame, self.ip.l4) {
            return Err(Reason::UdpNoChecksum);
        }
        Ok(())
    }
}

#[inline(always)]
fn key<F: Family>(frame: &Frame, ip: &Ip<F::Addr>) -> Result<F::Key, Reason> {
    match frame.view::<{ udp::LEN }>(ip.l4) {
        Some(header) if ip.payload_len >= udp::LEN as u32 => {
            Ok(F::key(ip.src, ip.dst, header.u32::<{ udp::PORTS }>(), proto::UDP))
        }
        _ => Err(Reason::Truncated),
    }
}

#[inline(always)]
fn hit<F: Family, T: Tables>(
    tables: &T,
    frame: Frame,
    ip: &Ip<F::Addr>,
    key: &F::Key,
    half: &F::Half<'_>,
    ingress: u32,
) -> Step {
    if half.seen() & Seen::CLOSED != 0 {
        return Outcome::pass(Reason::Closed).into();
    }
    let flags = half.splice().flags;
    let (is_srt, to_client) = (FlowFlags::service(flags) == ServiceKind::Srt as u32, flags & FlowFlags::TO_CLIENT != 0);
    if is_srt && !to_client && srt::begins(&frame, ip) {
        return miss::udp::<F, T>(tables, key);
    }
    if !tcp::origin_lives(tables, &half.splice()) {
        // Nothing in UDP itself could tell the sender.
        return Outcome::drop(Reason::OriginDownNoAck).into();
    }
    let hop = match emit::next_hop(tables, half.splice().next_hop) {
        Ok(hop) => hop,
        Err(reason) => return Outcome::drop(reason).into(),
    };
    if hop.mtu != 0 && F::IP_LEN as u32 + ip.payload_len > hop.mtu {
        return match F::may_be_cut(&frame, ip.l3) {
            true => Outcome::pass(Reason::ToFragment).into(),
            false => Step { how: hop.mtu, reason: Reason::TooBig },
        };
    }
    if F::UDP_CHECKSUM && !has_checksum(&frame, ip.l4) {
        return Outcome::drop(Reason::UdpNoChecksum).into();
    }
    if let Err(reason) = F::readdress(&frame, ip.l3, half.src(), half.dst()) {
        return Outcome::drop(reason).into();
    }
    if is_srt {
        srt::mark_end::<F, T>(tables, &frame, ip, key, half);
    }
    rewrite(&frame, ip.l4, half.ports(), half.splice().l4_diff);
    half.count(ip.payload_len - udp::LEN as u32, tables.now_ns());
    emit::forward(&frame, hop, ingress, if to_client { Reason::ToClient } else { Reason::ToOrigin }).into()
}

#[inline(always)]
fn has_checksum(frame: &Frame, l4: usize) -> bool {
    frame.view::<{ udp::LEN }>(l4).is_some_and(|header| header.u16::<{ udp::CHECKSUM }>() != 0)
}

#[inline(always)]
fn rewrite(frame: &Frame, l4: usize, ports: u32, l4_diff: u16) {
    let Some(header) = frame.view::<{ udp::LEN }>(l4) else { return };
    header.set_u32::<{ udp::PORTS }>(ports);
    let old = header.u16::<{ udp::CHECKSUM }>();
    // 0 says that there is no checksum; one that comes out as 0 is sent as its other representation (RFC 768).
    if old != 0 {
        let new = Difference::folded(l4_diff).update(old);
        header.set_u16::<{ udp::CHECKSUM }>(if new == 0 { 0xffff } else { new });
    }
}
