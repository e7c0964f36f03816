//! What the kernel is told of a session: an entry of `ICE` for each name, and the ports that it may take.

use super::session::{Session, Slot, UNCONFIRMED_PORTS};
use super::sessions::Sessions;
use crate::flow::{Protocol, Role};
use crate::offload::{Offload, kernel_now};
use balancer_common::abi::{FlowFlags, FlowKey, IceKey, IceSession, PortKey, Reason, addr4, addr6};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tracing::warn;

impl Sessions {
    /// Grants ports and writes every name: from now on the kernel makes the flows.
    pub(super) fn enter(&self, id: u32, session: &mut Session) {
        self.fill_free(id, session);
        self.write_names(id, session);
    }

    /// Fills every slot that is free, but not all of a session of which nothing has come yet.
    pub(super) fn fill_free(&self, id: u32, session: &mut Session) {
        let slots = if session.is_confirmed { session.slots.len() } else { UNCONFIRMED_PORTS };
        for slot in 0..slots {
            if matches!(session.slots[slot], Slot::Free) {
                self.fill(id, session, slot);
            }
        }
    }

    /// One more flow may be made.
    pub(super) fn fill(&self, id: u32, session: &mut Session, slot: usize) {
        session.slots[slot] = self.grant(id, session, slot).unwrap_or(Slot::Free);
    }

    fn grant(&self, id: u32, session: &Session, slot: usize) -> Option<Slot> {
        let (offload, way) = (self.parts.offload.as_ref()?, session.way?);
        let Some(port) = self.parts.ports.reserve(way.source, session.media, Instant::now()) else {
            self.parts.counters.count(Reason::LimitSourcePorts);
            return None;
        };
        let granted = offload.grant(session.family(), port_key(id, slot), port.source().port());
        granted.inspect_err(|error| warn!(%error, "a session gets no port: user space makes its flows")).ok()?;
        Some(Slot::Granted { port, is_missed: false })
    }

    /// Writes the names anew, with the deadline that the session has now. A kernel whose balancer has died makes no more
    /// flows after it.
    pub(super) fn write_names(&self, id: u32, session: &Session) {
        let Some(offload) = &self.parts.offload else { return };
        let Some(value) = self.value(id, session) else { return };
        for name in &session.names {
            // A longer one is user space's.
            let Some(key) = IceKey::new(&name.ufrag) else { continue };
            if let Err(error) = offload.set_ice(key, &value) {
                warn!(%error, "a session stays unknown to the kernel: user space makes its flows");
            }
        }
    }

    fn value(&self, id: u32, session: &Session) -> Option<IceSession> {
        let way = session.way?;
        let left = session.expires_at.saturating_sub(self.now());
        let publishes = if session.role == Role::Publish { FlowFlags::PUBLISH } else { 0 };
        Some(IceSession {
            flags: (Protocol::Webrtc.number() << FlowFlags::SERVICE_SHIFT) | publishes,
            session: id,
            origin: session.placement.origin,
            origin_generation: session.placement.generation,
            stream: session.placement.stream,
            family: session.family(),
            origin_port: u16::from_ne_bytes(session.media.port().to_be_bytes()),
            next_hop: way.next_hop,
            origin_addr: words(session.media.ip()),
            source: words(way.source),
            expires_ns: (kernel_now() + left).as_nanos() as u64,
        })
    }

    /// Takes everything back: the names first, so that no port is taken any more.
    pub(super) fn leave(&self, id: u32, session: &mut Session) {
        let Some(offload) = &self.parts.offload else { return };
        for key in session.names.iter().filter_map(|name| IceKey::new(&name.ufrag)) {
            offload.remove_ice(key);
        }
        for (slot, held) in session.slots.iter_mut().enumerate() {
            if let Slot::Granted { mut port, .. } = std::mem::take(held)
                && !offload.revoke(family(session.media), port_key(id, slot))
            {
                port.use_up();
                self.drop_unknown(offload, session.media, port.source());
            }
        }
    }

    /// A flow that the kernel has just made, for a session that is over.
    fn drop_unknown(&self, offload: &Offload, media: SocketAddr, source: SocketAddr) {
        let Some((origin, client)) = flow_on(offload, media, source) else { return };
        if !self.parts.live.carries(client) {
            offload.count_made(client);
            offload.remove(client, origin);
        }
    }

    /// Nobody has the name any more.
    pub(super) fn withdraw(&self, ufrag: &str) {
        if let (Some(offload), Some(key)) = (&self.parts.offload, IceKey::new(ufrag)) {
            offload.remove_ice(key);
        }
    }

    /// Takes a port that user space needs for itself; `false` when the kernel was faster.
    pub(super) fn reclaim(&self, id: u32, session: &Session, slot: usize) -> bool {
        let offload = self.parts.offload.as_ref();
        offload.is_some_and(|offload| offload.revoke(session.family(), port_key(id, slot)))
    }

    /// Looks for ports that are gone without a flow: the kernel took them, and then found no room or was not alone.
    pub(super) fn look_for_ports(&self, id: u32, session: &mut Session) {
        let Some(offload) = &self.parts.offload else { return };
        let (media, family) = (session.media, session.family());
        for (slot, held) in session.slots.iter_mut().enumerate() {
            let Slot::Granted { port, is_missed } = held else { continue };
            if offload.granted(family, port_key(id, slot)).is_some() || flow_on(offload, media, port.source()).is_some()
            {
                *is_missed = false;
            } else if *is_missed {
                // Half a flow, if user space wrote its own in the same moment.
                let half = FlowKey::udp(media, port.source());
                half.into_iter().for_each(|half| offload.remove(half, half));
                port.use_up();
                *held = Slot::Empty;
            } else {
                *is_missed = true;
            }
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.parts.clock.now()
    }
}

/// Keys of the origin's and of the client's half of the flow that has this port, if there is one.
fn flow_on(offload: &Offload, media: SocketAddr, source: SocketAddr) -> Option<(FlowKey, FlowKey)> {
    let origin = FlowKey::udp(media, source)?;
    let client = offload.flow(origin)?.egress.reversed();
    offload.flow(client).filter(|half| half.egress.reversed() == origin).map(|_| (origin, client))
}

fn family(address: SocketAddr) -> u32 {
    if address.is_ipv4() { 4 } else { 6 }
}

pub fn port_key(session: u32, slot: usize) -> PortKey {
    PortKey { session, slot: slot as u32 }
}

fn words(ip: IpAddr) -> [u32; 4] {
    match ip {
        IpAddr::V4(ip) => [addr4(ip), 0, 0, 0],
        IpAddr::V6(ip) => addr6(ip),
    }
}
