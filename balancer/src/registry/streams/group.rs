//! Flows of a stream that were placed on one generation of one origin, counted.

use crate::flow::{Protocol, Role};
use std::time::Duration;

const PROTOCOLS: [Protocol; 8] = [
    Protocol::Rtmp,
    Protocol::Flv,
    Protocol::Ts,
    Protocol::Hls,
    Protocol::Http,
    Protocol::Srt,
    Protocol::Webrtc,
    Protocol::Rtsp,
];

#[derive(Clone, Debug)]
pub(super) struct Group {
    pub placed_on: (u16, u16),
    pub publishers: u32,
    pub players: u32,
    by_protocol: [u32; PROTOCOLS.len()],
    /// For how long its publishers have sent, and its players got, nothing.
    pub unfed: [Option<Duration>; 2],
}

impl Group {
    pub fn new(placed_on: (u16, u16)) -> Self {
        Self { placed_on, publishers: 0, players: 0, by_protocol: [0; PROTOCOLS.len()], unfed: [None; 2] }
    }

    pub fn opened(&mut self, role: Role, protocol: Protocol) {
        *self.of_role(role) += 1;
        *self.of_protocol(protocol) += 1;
    }

    pub fn closed(&mut self, role: Role, protocol: Protocol) {
        let count = self.of_role(role);
        *count = count.saturating_sub(1);
        let count = self.of_protocol(protocol);
        *count = count.saturating_sub(1);
    }

    /// `None`: not measured yet.
    pub fn unfed(&self, role: Role) -> Option<Duration> {
        match role {
            Role::Publish => self.unfed[0],
            Role::Play => self.unfed[1],
        }
    }

    pub fn is_empty(&self) -> bool {
        self.publishers == 0 && self.players == 0
    }

    pub fn protocols(&self) -> Vec<Protocol> {
        PROTOCOLS.into_iter().zip(self.by_protocol).filter(|(_, n)| *n > 0).map(|(p, _)| p).collect()
    }

    fn of_role(&mut self, role: Role) -> &mut u32 {
        match role {
            Role::Publish => &mut self.publishers,
            Role::Play => &mut self.players,
        }
    }

    fn of_protocol(&mut self, protocol: Protocol) -> &mut u32 {
        // Every protocol is in the list; the first stands in for one that is not.
        let at = PROTOCOLS.iter().position(|p| *p == protocol).unwrap_or(0);
        &mut self.by_protocol[at]
    }
}
