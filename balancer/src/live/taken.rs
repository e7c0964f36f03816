//! Flows that another balancer has made: carried on because that one is gone, or forwarded as its guest because their
//! packets come here too.
//!
//! A guest's record, its stream's counts and its end are its owner's. The owner hears which of its flows were heard here,
//! so that it does not take them for silent.

use super::Live;
use super::spliced::{Spliced, silence};
use crate::flow::FlowRecord;
use crate::offload::SplicedFlow;
use crate::slowpath::PortLease;
use balancer_common::abi::{FlowKey, PROTO_UDP, Seen};
use std::sync::Arc;
use std::time::Duration;

/// Why a flow is this balancer's. Of two balancers that both say that a flow is theirs, the one with the lesser has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// This process has made it, or had nobody to share it with.
    #[default]
    Made,
    /// From a balancer that was dead, or had lost the address.
    Inherited,
    /// From an earlier process of this balancer's: others may have inherited it since.
    Adopted,
}

/// Whose a flow is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Ours(Claim),
    GuestOf(Arc<str>),
}

/// What a guest forwards for its owner.
#[derive(Debug)]
pub(super) struct Guest {
    pub owner: Arc<str>,
    /// Bits of [`Heard::bits`] that the owner has not been told.
    pub untold: u8,
    /// Those of ends that this owner has been told, or is about to be.
    pub ends: u8,
    pub told_at: Duration,
}

/// What other balancers have said of a flow.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// When either half was heard there, if ever.
    pub heard: [Option<Duration>; 2],
    /// [`Seen`] bits of either half there.
    pub seen: [u32; 2],
}

/// What was heard of a flow, for its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub owner: Arc<str>,
    pub client: FlowKey,
    pub bits: u8,
}

/// Less than half of the shortest time for which a flow may be silent: one message may be lost.
const TOLD_EVERY: Duration = Duration::from_secs(3);

/// A guest that is silent for so long is not kept: the next packet is asked about. Its owner may have ended it, and that
/// been told in vain.
pub(super) const GUEST_SILENCE_MAX: Duration = Duration::from_secs(15);

/// Packets to the origin, to the client; a FIN of the client's, of the origin's; a RST of either's.
pub const HEARD_TO_ORIGIN: u8 = 1;
pub const HEARD_TO_CLIENT: u8 = 2;
pub const HEARD_FIN_TO_ORIGIN: u8 = 4;
pub const HEARD_FIN_TO_CLIENT: u8 = 8;
pub const HEARD_RST: u8 = 16;

impl Live {
    /// Both halves are in the kernel: the flow is in this table from now on, as a guest of `guest_of` or as our own, whose
    /// record the caller writes. `false`: the client has a flow here already.
    pub fn take(
        &self,
        record: FlowRecord,
        keys: (FlowKey, FlowKey),
        port: PortLease,
        guest_of: Option<&Arc<str>>,
    ) -> bool {
        let (client, origin) = keys;
        let now = self.now();
        let ticket = super::ticket(&record);
        let mut state = self.state();
        if state.spliced.contains_key(&client) {
            return false;
        }
        let id = state.table.insert(record);
        let mut entry = Spliced::alone(id, origin, now, Some(port));
        entry.claim = Claim::Inherited;
        entry.guest = guest_of.map(|owner| Box::new(Guest::of(owner)));
        state.spliced.insert(client, Box::new(entry));
        drop(state);
        if guest_of.is_none() {
            self.store.flow_taken(ticket, now);
        }
        true
    }

    /// A guest becomes our own, whose record the caller writes, or somebody else's. `false`: it is no guest.
    pub fn give_guest(&self, client: FlowKey, owner: Option<&Arc<str>>) -> bool {
        let mut state = self.state();
        let Some(entry) = state.spliced.get_mut(&client) else { return false };
        let Some(guest) = &mut entry.guest else { return false };
        if let Some(owner) = owner {
            if guest.owner != *owner {
                // It has not been told what the last one has.
                **guest = Guest::of(owner);
            }
            return true;
        }
        (entry.guest, entry.claim) = (None, Claim::Inherited);
        let id = entry.id;
        let ticket = state.table.get(id).map(super::ticket);
        drop(state);
        if let Some(ticket) = ticket {
            self.store.flow_taken(ticket, self.now());
        }
        true
    }

    /// A flow of ours turns out to be another balancer's. Not one that user space still has to do with.
    pub fn become_guest(&self, client: FlowKey, owner: &Arc<str>) {
        let mut state = self.state();
        let Some(entry) = state.spliced.get_mut(&client).filter(|entry| entry.alone && entry.guest.is_none()) else {
            return;
        };
        entry.guest = Some(Box::new(Guest::of(owner)));
        let (id, origin) = (entry.id, entry.origin);
        let ticket = state.table.get(id).map(super::ticket);
        drop(state);
        if let Some(ticket) = ticket {
            self.store.flow_closed(ticket, self.now());
        }
        self.touch(client, origin);
    }

    /// The flow is another balancer's, and so are its packets: its peers are told of no end.
    pub fn let_go(&self, client: FlowKey) {
        self.end(client, "taken by another balancer", false);
    }

    /// The same for guests whose owner has ended them.
    pub fn guests_over(&self, clients: &[FlowKey], owner: &str) {
        let state = self.state();
        let is_its = |client: &&FlowKey| {
            state.spliced.get(client).and_then(|entry| entry.guest.as_ref()).is_some_and(|guest| *guest.owner == *owner)
        };
        let over: Vec<FlowKey> = clients.iter().filter(is_its).copied().collect();
        drop(state);
        over.into_iter().for_each(|client| self.end(client, "ended by its owner", false));
    }

    pub fn is_guest(&self, client: FlowKey) -> bool {
        matches!(self.standing(client), Some(Standing::GuestOf(_)))
    }

    /// `None`: it is not here, or part of another flow.
    pub fn standing(&self, client: FlowKey) -> Option<Standing> {
        let state = self.state();
        let entry = state.spliced.get(&client).filter(|entry| !entry.is_channel)?;
        Some(match &entry.guest {
            Some(guest) => Standing::GuestOf(guest.owner.clone()),
            None => Standing::Ours(entry.claim),
        })
    }

    /// The other key of a flow that is here, whosever it is.
    pub fn origin_key(&self, client: FlowKey) -> Option<FlowKey> {
        self.state().spliced.get(&client).map(|entry| entry.origin)
    }

    #[cfg(test)]
    pub fn set_claim(&self, client: FlowKey, claim: Claim) {
        if let Some(entry) = self.state().spliced.get_mut(&client) {
            entry.claim = claim;
        }
    }

    /// [`Seen`] bits of both halves elsewhere.
    #[cfg(test)]
    pub fn ends_told(&self, client: FlowKey) -> [u32; 2] {
        let state = self.state();
        state.spliced.get(&client).and_then(|entry| entry.told.as_ref()).map_or([0; 2], |told| told.seen)
    }

    /// Both keys of every guest, and whose it is.
    pub fn guests(&self) -> Vec<(FlowKey, FlowKey, Arc<str>)> {
        let state = self.state();
        let owners = state.spliced.iter().map(|(client, entry)| (client, entry.origin, entry.guest.as_ref()));
        owners.filter_map(|(client, origin, guest)| Some((*client, origin, guest?.owner.clone()))).collect()
    }

    /// What was heard of guests that their owners have not been told, or not for a while.
    pub fn take_heard(&self) -> Vec<Heard> {
        let now = self.now();
        let mut state = self.state();
        let heard = |(client, entry): (&FlowKey, &mut Box<Spliced>)| {
            let guest = entry.guest.as_mut().filter(|guest| guest.is_worth_telling(now))?;
            guest.told_at = now;
            Some(Heard { owner: guest.owner.clone(), client: *client, bits: std::mem::take(&mut guest.untold) })
        };
        state.spliced.iter_mut().filter_map(heard).collect()
    }

    /// Another balancer has heard a flow of ours.
    pub fn heard_elsewhere(&self, client: FlowKey, bits: u8) {
        let now = self.now();
        let mut state = self.state();
        let Some(entry) = state.spliced.get_mut(&client).filter(|entry| entry.guest.is_none()) else { return };
        // A caller by SRT may begin anew from its port at once. Its end is told with both keys.
        let bits = if client.proto() == PROTO_UDP { bits & (HEARD_TO_ORIGIN | HEARD_TO_CLIENT) } else { bits };
        entry.told.get_or_insert_default().hear(bits, now);
    }

    /// Ends of the flow of these two keys were seen by other balancers, whosever it is.
    pub fn end_told(&self, (client, origin): (FlowKey, FlowKey), bits: u8) {
        let ends = bits & (HEARD_FIN_TO_ORIGIN | HEARD_FIN_TO_CLIENT | HEARD_RST);
        let now = self.now();
        let mut state = self.state();
        let entry = state.spliced.get_mut(&client).filter(|entry| entry.origin == origin && ends != 0);
        if let Some(entry) = entry {
            entry.told.get_or_insert_default().hear(ends, now);
        }
    }
}

impl Told {
    fn hear(&mut self, bits: u8, now: Duration) {
        for (half, (bit, fin)) in
            [(HEARD_TO_ORIGIN, HEARD_FIN_TO_ORIGIN), (HEARD_TO_CLIENT, HEARD_FIN_TO_CLIENT)].into_iter().enumerate()
        {
            if bits & bit != 0 {
                self.heard[half] = Some(now);
            }
            if bits & fin != 0 {
                self.seen[half] |= Seen::FIN;
            }
            if bits & HEARD_RST != 0 {
                self.seen[half] |= Seen::RST;
            }
        }
    }
}

impl Spliced {
    /// How long nothing was heard of either half, here or by another balancer.
    pub(super) fn silences(&self, flow: &SplicedFlow, coarse: u32, now: Duration) -> [Duration; 2] {
        let here = [&flow.to_origin, &flow.to_client].map(|half| silence(half, coarse));
        let Some(told) = &self.told else { return here };
        let anywhere = |half: usize| told.heard[half].map_or(here[half], |at| here[half].min(now.saturating_sub(at)));
        [anywhere(0), anywhere(1)]
    }

    /// What was seen of either half, likewise.
    pub(super) fn seen(&self, flow: &SplicedFlow) -> [u32; 2] {
        let elsewhere = self.told.as_ref().map_or([0; 2], |told| told.seen);
        [flow.to_origin.seen | elsewhere[0], flow.to_client.seen | elsewhere[1]]
    }
}

impl Guest {
    fn of(owner: &Arc<str>) -> Self {
        Self { owner: owner.clone(), untold: 0, ends: 0, told_at: Duration::ZERO }
    }

    fn is_worth_telling(&self, now: Duration) -> bool {
        let is_end = self.untold & (HEARD_FIN_TO_ORIGIN | HEARD_FIN_TO_CLIENT | HEARD_RST) != 0;
        is_end || (self.untold != 0 && now.saturating_sub(self.told_at) >= TOLD_EVERY)
    }

    /// `moved`: packets came since the last look; `seen` of both halves. Bits of ends that are new.
    pub fn hear(&mut self, moved: [bool; 2], seen: [u32; 2]) -> u8 {
        let bit = |is_so: bool, bit: u8| if is_so { bit } else { 0 };
        self.untold |= bit(moved[0], HEARD_TO_ORIGIN) | bit(moved[1], HEARD_TO_CLIENT);
        let ends = bit(seen[0] & Seen::FIN != 0, HEARD_FIN_TO_ORIGIN)
            | bit(seen[1] & Seen::FIN != 0, HEARD_FIN_TO_CLIENT)
            | bit((seen[0] | seen[1]) & (Seen::RST | Seen::CLOSED) != 0, HEARD_RST);
        let new = ends & !self.ends;
        // Said again with what comes after it: the first time may have been lost.
        self.untold |= if moved[0] || moved[1] { ends } else { new };
        self.ends |= ends;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_owner_is_told_of_ends_that_the_last_one_was_told_of() {
        let mut guest = Guest::of(&"a".into());
        guest.hear([true, false], [Seen::FIN, 0]);
        assert_eq!(std::mem::take(&mut guest.untold), HEARD_TO_ORIGIN | HEARD_FIN_TO_ORIGIN);
        guest.hear([false; 2], [Seen::FIN, 0]);
        assert_eq!(guest.untold, 0);
        guest.hear([false, true], [Seen::FIN, 0]);
        assert_eq!(std::mem::take(&mut guest.untold), HEARD_TO_CLIENT | HEARD_FIN_TO_ORIGIN);
        guest = Guest::of(&"b".into());
        guest.hear([false; 2], [Seen::FIN, 0]);
        assert_eq!(guest.untold, HEARD_FIN_TO_ORIGIN);
    }
}
