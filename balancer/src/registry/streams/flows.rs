//! What flows that open and close, origins that end and an operator's word do to streams.

use super::group::Group;
use super::{FlowTicket, LINGER, Reset, Stream, Streams};
use crate::flow::Role;
use crate::recognize::StreamKey;
use std::time::Duration;

impl Streams {
    pub fn flow_opened(&mut self, ticket: FlowTicket) {
        let placed_on = (ticket.origin, ticket.generation);
        let Some(stream) = self.slot_mut(ticket.stream) else { return };
        let told = (ticket.role == Role::Publish || stream.groups.is_empty()).then(|| stream.key.clone());
        let group = match stream.groups.iter_mut().position(|g| g.placed_on == placed_on) {
            Some(at) => &mut stream.groups[at],
            None => {
                stream.groups.push(Group::new(placed_on));
                let last = stream.groups.len() - 1;
                &mut stream.groups[last]
            }
        };
        group.opened(ticket.role, ticket.protocol);
        let left_behind: Vec<Reset> = match stream.mapping {
            Some(m) if ticket.role == Role::Publish && m.placed_on() == placed_on => stream.elsewhere().collect(),
            // A viewer whose connection took longer than the publisher's, and went where the stream was before.
            // Or a publisher that took longer than one that went to its origin directly.
            Some(m)
                if (ticket.role == Role::Play || stream.is_claimed())
                    && m.confirmed
                    && m.placed_on() != placed_on
                    && !stream.carries(placed_on) =>
            {
                vec![Reset::all(ticket.stream, placed_on)]
            }
            _ => Vec::new(),
        };
        self.resets.extend(left_behind);
        if let Some(key) = told {
            self.touched.add(&key);
        }
    }

    pub fn flow_closed(&mut self, ticket: FlowTicket, now: Duration) {
        let placed_on = (ticket.origin, ticket.generation);
        let mut was_home = false;
        let Some(stream) = self.slot_mut(ticket.stream) else { return };
        if let Some(at) = stream.groups.iter().position(|g| g.placed_on == placed_on) {
            let group = &mut stream.groups[at];
            group.closed(ticket.role, ticket.protocol);
            let was_the_last = ticket.role == Role::Publish && group.publishers == 0;
            was_home = was_the_last && stream.mapping.is_some_and(|m| m.placed_on() == placed_on);
            if group.is_empty() {
                stream.groups.swap_remove(at);
            }
            if was_the_last && let Some(claim) = stream.claim.as_deref_mut().filter(|c| c.placed_on == placed_on) {
                claim.until = Some(now + LINGER);
            }
        }
        let told = (ticket.role == Role::Publish || stream.groups.is_empty()).then(|| stream.key.clone());
        if let Some(key) = told {
            self.touched.add(&key);
        }
        if was_home {
            self.take_over(ticket.stream, now);
        }
        self.renew(ticket.stream, now);
        self.remove_if_unused(ticket.stream, now);
    }

    /// The origin's flows have ended: its streams are free to be placed anew.
    pub fn free_origin(&mut self, origin: u16, now: Duration) {
        if self.on(origin) == 0 {
            return;
        }
        let on_it = |s: &Stream| s.mapping.is_some_and(|m| m.origin == origin);
        let indexes: Vec<u32> = self.iter().filter(|s| on_it(s)).map(|s| s.index).collect();
        self.drop_carriers_on(origin);
        for index in indexes {
            if self.take_over(index, now) {
                continue;
            }
            self.map(index, None);
            self.remove_if_unused(index, now);
        }
    }

    /// Takes a stream off its origin by an operator's word; its flows are to be reset.
    pub fn release(&mut self, key: &StreamKey, now: Duration) -> Option<u32> {
        let index = *self.by_key.get(key)?;
        self.map(index, None);
        self.drop_carriers_of(index);
        let resets: Vec<Reset> = self.by_index(index)?.elsewhere().collect();
        self.resets.extend(resets);
        self.remove_if_unused(index, now);
        Some(index)
    }
}
