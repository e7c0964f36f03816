//! Sessions that an earlier process left in the kernel.
//!
//! `ICE` says everything but the resource. That is found again by the session's number, which is made of it.

use super::NewSession;
use super::kernel::port_key;
use super::session::{KernelWay, LINGER, Member, Session, Slot};
use super::sessions::Sessions;
use crate::flow::{Protocol, Role};
use crate::live::adopt::Known;
use crate::offload::{Offload, kernel_now};
use crate::placement::Placement;
use balancer_common::abi::{FlowFlags, IceKey, IceSession, PORT_SLOTS, Reason, ServiceKind, ip6};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

impl Sessions {
    /// After the flows. How many there are; those whose stream or origin nobody knows any more are removed.
    pub fn adopt(&self, known: &Known) -> usize {
        let Some(offload) = &self.parts.offload else { return 0 };
        let mut found: BTreeMap<u32, (IceSession, Vec<IceKey>)> = BTreeMap::new();
        for (key, ice) in offload.ice() {
            found.entry(ice.session).or_insert((ice, Vec::new())).1.push(key);
        }
        let mut flows: BTreeMap<u32, Vec<Member>> = BTreeMap::new();
        for (key, id) in self.parts.live.in_kernel(Protocol::Webrtc) {
            let session = offload.flow(key).map_or(0, |half| half.splice.seq_delta);
            flows.entry(session).or_default().push(Member { id, key });
        }
        let current: Vec<_> =
            self.parts.store.desired_origins().iter().map(|o| (o.index, o.generation as u16)).collect();
        let mut adopted = 0;
        let mut table = self.table();
        for (id, (ice, keys)) in found {
            let left = Duration::from_nanos(ice.expires_ns).saturating_sub(kernel_now());
            let flows = flows.remove(&id).unwrap_or_default();
            let is_alive = !flows.is_empty() || !left.is_zero();
            let is_current = current.contains(&(ice.origin, ice.origin_generation));
            let session = self.session(known, &ice, &keys).filter(|_| is_alive && is_current);
            let Some(mut session) = session else {
                remove(offload, id, &ice, &keys);
                continue;
            };
            session.expires_at = self.now() + if flows.is_empty() { left } else { LINGER };
            session.flows = flows;
            session.is_confirmed = true;
            session.slots = self.slots(offload, id, &session);
            let is_alone = session.flows.is_empty();
            self.count_as_flow(&mut session, is_alone);
            self.write_names(id, &session);
            table.insert(id, session);
            adopted += 1;
        }
        adopted
    }

    fn session(&self, known: &Known, ice: &IceSession, keys: &[IceKey]) -> Option<Session> {
        let media = SocketAddr::new(ip(ice.family, ice.origin_addr), u16::from_be_bytes(ice.origin_port.to_ne_bytes()));
        let publishes = ice.flags & FlowFlags::PUBLISH != 0;
        let placement = Placement {
            origin: ice.origin,
            generation: ice.origin_generation,
            origin_id: known.origins.get(&ice.origin)?.clone(),
            endpoint: media,
            service: ServiceKind::WebRtc,
            proxy_protocol: None,
            stream: ice.stream,
            reason: Reason::PlacedSticky,
            placed_at: self.now(),
        };
        let ufrag = |key: &IceKey| String::from_utf8(key.bytes().collect()).ok();
        let new = NewSession {
            ufrags: keys.iter().filter_map(ufrag).collect(),
            key: known.streams.get(&ice.stream)?.clone(),
            role: if publishes { Role::Publish } else { Role::Play },
            placement,
            media,
            client: None,
            resource: None,
        };
        let mut session = Session::new(new, self.now());
        session.way = Some(KernelWay { source: ip(ice.family, ice.source), next_hop: ice.next_hop });
        Some(session)
    }

    /// The ports that are granted still. Those that were taken meanwhile are granted again one by one.
    fn slots(&self, offload: &Offload, id: u32, session: &Session) -> [Slot; PORT_SLOTS as usize] {
        std::array::from_fn(|slot| {
            let port = offload.granted(session.family(), port_key(id, slot)).zip(session.way);
            port.map_or(Slot::Empty, |(port, way)| {
                let port = self.parts.ports.adopt(SocketAddr::new(way.source, port), session.media);
                Slot::Granted { port, is_missed: false }
            })
        })
    }
}

fn remove(offload: &Offload, id: u32, ice: &IceSession, keys: &[IceKey]) {
    for key in keys {
        offload.remove_ice(*key);
    }
    for slot in 0..PORT_SLOTS as usize {
        offload.revoke(ice.family, port_key(id, slot));
    }
}

fn ip(family: u32, words: [u32; 4]) -> IpAddr {
    if family == 4 { IpAddr::from(words[0].to_ne_bytes()) } else { ip6(words).into() }
}
