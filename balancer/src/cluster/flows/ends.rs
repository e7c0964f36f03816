//! Ends of other balancers' flows, as far as anybody has seen them.
//!
//! Behind a router that spreads packets, one balancer forwards a client's FIN, another one the origin's, and the owner may
//! be dead without anybody having noticed. So whoever sees an end tells all others, and whoever makes the flow from its
//! record afterwards, or has it already, knows that it is over.

use super::tell::{Message, NAMED_MAX};
use super::wire::{key_text, parse_key};
use super::{Flows, OVER_MAX};
use balancer_common::abi::{FlowKey, Reason};
use std::collections::HashMap;

/// Flows of which ends are remembered.
const ENDS_MAX: usize = 65_536;
/// Longer than it takes to notice that an owner is dead, and to read what it has left.
const REMEMBERED_MS: u64 = 120_000;

/// By a flow's ingress keys, the client's and the origin's.
pub(super) type Keys = (FlowKey, FlowKey);

#[derive(Default)]
pub(super) struct Ends {
    /// [`crate::live::Heard::bits`] of ends, and when the last one came by the common clock.
    seen: HashMap<Keys, (u8, u64)>,
    to_tell: Vec<(Keys, u8)>,
}

impl Ends {
    fn add(&mut self, flow: Keys, bits: u8, now_ms: u64) {
        if self.seen.len() >= ENDS_MAX && !self.seen.contains_key(&flow) {
            self.seen.retain(|_, (_, at)| now_ms.saturating_sub(*at) < REMEMBERED_MS);
        }
        if self.seen.len() < ENDS_MAX || self.seen.contains_key(&flow) {
            let (all, at) = self.seen.entry(flow).or_default();
            (*all, *at) = (*all | bits, now_ms);
        }
    }

    /// Of a flow that was made then: what came before was an earlier one's on the same ports.
    pub(super) fn of(&self, flow: Keys, made_ms: u64) -> u8 {
        self.seen.get(&flow).filter(|(_, at)| made_ms <= *at).map_or(0, |(bits, _)| *bits)
    }
}

impl Flows {
    /// A guest's end was seen here.
    pub(super) fn see_end(&self, flow: Keys, bits: u8) {
        let now_ms = self.common_ms();
        self.ends().add(flow, bits, now_ms);
        self.to_tell_end(flow, bits);
    }

    fn to_tell_end(&self, flow: Keys, bits: u8) {
        let mut ends = self.ends();
        if ends.to_tell.len() < OVER_MAX {
            ends.to_tell.push((flow, bits));
        } else {
            self.parts.counters.count(Reason::LimitFlowWords);
        }
    }

    pub(super) async fn tell_ends(&self) {
        let ends = std::mem::take(&mut self.ends().to_tell);
        for part in ends.chunks(NAMED_MAX) {
            let text = |((client, origin), bits): &(Keys, u8)| {
                (key_text(*client).to_string(), key_text(*origin).to_string(), *bits)
            };
            if !self.say(None, Message { ends: part.iter().map(text).collect(), ..Message::default() }).await {
                part.iter().for_each(|(flow, bits)| self.to_tell_end(*flow, *bits));
            }
        }
    }

    /// Another balancer has seen them.
    pub(super) fn ends_told(&self, told: &[(String, String, u8)]) {
        let now_ms = self.common_ms();
        for (client, origin, bits) in told {
            if let Some(flow) = parse_key(client).zip(parse_key(origin)) {
                self.ends().add(flow, *bits, now_ms);
                self.parts.live.end_told(flow, *bits);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::{HEARD_FIN_TO_CLIENT, HEARD_FIN_TO_ORIGIN};
    use std::net::SocketAddr;

    fn flow(number: usize) -> Keys {
        let client = SocketAddr::from(([198, 51, 100, (number >> 12) as u8], 1024 + (number & 4095) as u16));
        let key = |from: SocketAddr, to: &str| FlowKey::tcp(from, to.parse().unwrap()).unwrap();
        (key(client, "192.0.2.10:1935"), key("10.1.0.5:1935".parse().unwrap(), "10.0.0.10:20000"))
    }

    #[test]
    fn ends_add_up_and_are_not_a_later_flows() {
        let mut ends = Ends::default();
        ends.add(flow(1), HEARD_FIN_TO_ORIGIN, 1000);
        ends.add(flow(1), HEARD_FIN_TO_CLIENT, 2000);
        assert_eq!(ends.of(flow(1), 2000), HEARD_FIN_TO_ORIGIN | HEARD_FIN_TO_CLIENT);
        assert_eq!((ends.of(flow(1), 2001), ends.of(flow(2), 0)), (0, 0));
    }

    #[test]
    fn a_full_table_makes_room_of_what_is_old_only() {
        let mut ends = Ends::default();
        ends.add(flow(0), 1, 0);
        (1..ENDS_MAX).for_each(|other| ends.add(flow(other), 1, 60_000));
        let last = flow(ENDS_MAX);
        ends.add(last, 1, REMEMBERED_MS - 1);
        assert_eq!((ends.of(flow(0), 0), ends.of(last, 0)), (1, 0));
        ends.add(last, 1, REMEMBERED_MS);
        assert_eq!((ends.of(flow(0), 0), ends.of(last, 0)), (0, 1));
    }
}
