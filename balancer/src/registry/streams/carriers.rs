//! Who carries a stream beside its own origin: copies (origins that say that they have it, edges that fetch it) and the
//! backup, an origin on which a second publisher waits. The balancer copies no media: a copy is somebody's word, or an
//! edge that fetches what it is asked for.
//!
//! A carrier that brings its viewers nothing while others get the stream is not asked for it for a while. What brings
//! something is told by [`crate::placement::Loads`].

use super::group::Group;
use super::{FlowTicket, Reset, Stream, StreamKey, Streams};
use crate::flow::Role;
use crate::registry::Name;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Of one stream. More servers than anybody has in one place; more are not used for it.
pub const CARRIERS_MAX: usize = 64;
/// How long an edge is one of a stream's carriers without a viewer, and a backup without its publisher's flow.
const CARRIER_LEASE: Duration = Duration::from_secs(10);
/// A publisher that has sent nothing for so long is gone, whatever its connection looks like: encoders send many frames
/// a second. An edge that has sent a viewer nothing for so long has nothing: fetching takes it a second or two.
pub const SILENT: Duration = Duration::from_secs(5);
/// Silence of a publisher that comes again from the same address: it has most likely lost its connection.
pub const SILENT_SAME: Duration = Duration::from_secs(2);
/// How long a carrier that could not deliver is not asked for the stream.
pub const BARRED: Duration = Duration::from_secs(30);
/// Viewers in a row that left with nothing: one may have gone by itself.
const LEFT_UNFED_MAX: u32 = 3;

/// The flows of one role of a stream (by its index) on an origin (with its generation).
pub type Serving = (u32, (u16, u16), Role);
/// For how long publishers have sent, or viewers got, nothing.
pub type Unfed = HashMap<Serving, Duration>;

#[derive(Clone, Debug)]
pub(super) struct Carrier {
    pub placed_on: (u16, u16),
    pub why: Why,
    pub until: Duration,
    /// Viewers in a row that left with nothing.
    left_unfed: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It says so by hooks about these clients, or an operator does. `own`: by a publisher of its own, not because
    /// another origin hands the stream on.
    Told { clients: Vec<Name>, set: bool, own: bool },
    /// An edge.
    Fetches,
    /// A second publisher is there, from this address.
    Backup { from: Option<IpAddr> },
    /// Another balancer says so.
    Heard { is_backup: bool },
}

/// Who was placed last to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publisher {
    /// `None`: not known, since an earlier process has placed it.
    pub from: Option<IpAddr>,
    pub since: Duration,
}

/// A second publisher, on another origin than the stream's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    pub placed_on: (u16, u16),
    /// `None`: not known.
    pub from: Option<IpAddr>,
    /// It has come.
    pub is_there: bool,
    /// Through this balancer.
    pub is_ours: bool,
}

impl Stream {
    /// Origins and edges that have the stream too, with the generation in which they got it.
    pub fn copies(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        let is_backup = |c: &&Carrier| matches!(c.why, Why::Backup { .. } | Why::Heard { is_backup: true });
        self.carriers.iter().filter(move |c| !is_backup(c)).map(|c| c.placed_on)
    }

    /// Those of them that were told of, in the order in which they were.
    pub fn told_copies(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        let is_told = |c: &&Carrier| matches!(c.why, Why::Told { .. } | Why::Heard { is_backup: false });
        self.carriers.iter().filter(is_told).map(|c| c.placed_on)
    }

    /// Where a second publisher waits.
    pub fn backup(&self) -> Option<Backup> {
        let backup = |c: &Carrier| match c.why {
            Why::Backup { from } => {
                let is_there = self.group(c.placed_on).is_some_and(|g| g.publishers > 0);
                Some(Backup { placed_on: c.placed_on, from, is_there, is_ours: true })
            }
            Why::Heard { is_backup: true } => {
                Some(Backup { placed_on: c.placed_on, from: None, is_there: true, is_ours: false })
            }
            Why::Told { .. } | Why::Fetches | Why::Heard { .. } => None,
        };
        let ours = self.carriers.iter().filter_map(backup).find(|b| b.is_ours && b.is_there);
        ours.or_else(|| self.carriers.iter().find_map(backup))
    }

    /// Whether it is, or is carried, there.
    pub fn is_on(&self, origin: u16) -> bool {
        self.mapping.is_some_and(|m| m.origin == origin) || self.carriers.iter().any(|c| c.placed_on.0 == origin)
    }

    /// There is room for one more to carry it, or it does already.
    pub fn may_be_carried_by(&self, placed_on: (u16, u16)) -> bool {
        self.carriers.len() < CARRIERS_MAX || self.carries(placed_on)
    }

    pub fn publisher(&self) -> Option<Publisher> {
        self.publisher.filter(|_| self.is_published())
    }

    /// Somebody publishes it on its origin and has not left as far as anybody knows.
    pub fn is_taken(&self) -> bool {
        let is_claimed = self.claim.as_ref().is_some_and(|claim| claim.until.is_none());
        self.publishers() > 0 || is_claimed || self.is_published_elsewhere()
    }

    /// For how long the publisher has sent nothing.
    pub fn publisher_unfed(&self, now: Duration) -> Duration {
        match self.publisher_elsewhere() {
            Some(publisher) => publisher.quiet_since.map_or(Duration::ZERO, |since| now.saturating_sub(since)),
            None => self.serving().and_then(|g| g.unfed(Role::Publish)).unwrap_or_default(),
        }
    }

    /// The publisher whose flow we carry has sent nothing for long enough to tell others.
    pub fn is_quiet(&self) -> bool {
        self.publishers() > 0 && self.publisher_unfed(Duration::ZERO) >= SILENT_SAME
    }

    /// Whether a carrier has failed its viewers lately.
    pub fn is_barred(&self, origin: u16, now: Duration) -> bool {
        self.barred.iter().any(|(barred, until)| *barred == origin && *until > now)
    }

    pub(super) fn carries(&self, placed_on: (u16, u16)) -> bool {
        self.carriers.iter().any(|c| c.placed_on == placed_on)
    }

    /// Its own origin sends it on, or gets it.
    pub(super) fn is_fed(&self) -> bool {
        let fed = |g: &Group, role| g.unfed(role).is_some_and(|unfed| unfed < SILENT_SAME);
        self.serving().is_some_and(|g| fed(g, Role::Publish) || fed(g, Role::Play))
    }

    pub(super) fn group(&self, placed_on: (u16, u16)) -> Option<&Group> {
        self.groups.iter().find(|g| g.placed_on == placed_on)
    }
}

impl Streams {
    /// A publisher was placed on the stream's origin.
    pub fn publishes(&mut self, index: u32, from: Option<IpAddr>, now: Duration) {
        if let Some(stream) = self.slot_mut(index) {
            stream.publisher = Some(Publisher { from, since: now });
        }
    }

    /// Its publishers on this origin give way to one that comes now.
    pub fn replace_publishers(&mut self, index: u32, (origin, generation): (u16, u16), now: Duration) {
        let publishers_before = Some(now);
        self.resets.insert(Reset { stream: index, origin, generation, publishers_before });
    }

    /// A viewer is sent to a copy. An edge becomes one by this.
    pub fn fetches(&mut self, index: u32, placed_on: (u16, u16), now: Duration) {
        self.carry(index, placed_on, now, || Why::Fetches);
    }

    /// A second publisher is sent there.
    pub fn backs_up(&mut self, index: u32, placed_on: (u16, u16), from: Option<IpAddr>, now: Duration) {
        let earlier = self.by_index(index).and_then(|s| s.carriers.iter().position(|c| is_backup(c, placed_on.0)));
        if let Some(at) = earlier {
            self.uncarry(index, at);
        }
        self.carry(index, placed_on, now, || Why::Backup { from });
    }

    /// An origin says that it has the stream, about `client`. `own`: who publishes it there, directly. Answers whether
    /// there is such a stream, and it is somewhere else.
    pub fn tell_copy(&mut self, key: &StreamKey, placed_on: (u16, u16), about: (&Name, bool), now: Duration) -> bool {
        let (client, is_own) = about;
        let Some(stream) = self.get(key).filter(|s| s.mapping.is_some_and(|m| m.origin != placed_on.0)) else {
            return false;
        };
        let index = stream.index;
        self.carry(index, placed_on, now, || Why::Told { clients: Vec::new(), set: false, own: is_own });
        let carrier = self.slot_mut(index).and_then(|s| s.carriers.iter_mut().find(|c| c.placed_on == placed_on));
        if let Some(Why::Told { clients, own, .. }) = carrier.map(|c| &mut c.why) {
            *own |= is_own;
            if !clients.contains(client) && clients.len() < super::claims::CLIENTS_MAX {
                clients.push(client.clone());
            }
        }
        true
    }

    /// An origin says that it has lost `client`, and so perhaps the stream. Its viewers there come again then.
    pub fn untell_copy(&mut self, key: &StreamKey, origin: u16, client: &Name) -> bool {
        let Some(index) = self.by_key.get(key).copied() else { return false };
        let Some(stream) = self.slot_mut(index) else { return false };
        let Some(at) = stream.carriers.iter().position(|c| c.placed_on.0 == origin) else { return false };
        let Why::Told { clients, set, .. } = &mut stream.carriers[at].why else { return false };
        let known = clients.len();
        clients.retain(|c| c != client);
        if clients.len() == known || !clients.is_empty() || *set {
            return false;
        }
        self.uncarry(index, at);
        true
    }

    /// What an operator, or another balancer, says: these have the stream, and others that were told of do not.
    pub fn set_copies(&mut self, index: u32, copies: &[(u16, u16)], now: Duration) {
        let home = self.by_index(index).and_then(|s| s.mapping).map(|m| m.origin);
        let told: Vec<(u16, u16)> = self.by_index(index).map(|s| s.told_copies().collect()).unwrap_or_default();
        for gone in told.iter().filter(|t| !copies.contains(t)) {
            if let Some(at) = self.by_index(index).and_then(|s| s.carriers.iter().position(|c| c.placed_on == *gone)) {
                self.uncarry(index, at);
            }
        }
        for copy in copies.iter().filter(|c| Some(c.0) != home) {
            self.carry(index, *copy, now, || Why::Told { clients: Vec::new(), set: true, own: false });
        }
    }

    /// A flow that was carried before this process knew of it: where it is not on the stream's own origin, somebody had
    /// sent it to a copy, or to the backup.
    pub fn flow_adopted(&mut self, ticket: FlowTicket, now: Duration) {
        let placed_on = (ticket.origin, ticket.generation);
        let elsewhere = self.by_index(ticket.stream).and_then(|s| s.mapping).is_some_and(|m| m.origin != placed_on.0);
        match ticket.role {
            Role::Play if elsewhere => self.fetches(ticket.stream, placed_on, now),
            Role::Publish if elsewhere => self.backs_up(ticket.stream, placed_on, None, now),
            Role::Play | Role::Publish => {}
        }
        self.flow_opened(ticket);
    }

    /// A measurement; groups that are not in it are not known to have been fed, or not.
    pub fn set_unfed(&mut self, unfed: &Unfed) {
        for stream in self.slots.iter_mut().flatten() {
            let was_quiet = stream.is_quiet();
            for group in &mut stream.groups {
                let of = |role| unfed.get(&(stream.index, group.placed_on, role)).copied();
                group.unfed = [of(Role::Publish), of(Role::Play)];
                let carrier = stream.carriers.iter_mut().find(|c| c.placed_on == group.placed_on);
                if let Some(carrier) = carrier.filter(|_| of(Role::Play).is_some_and(|d| d < SILENT_SAME)) {
                    carrier.left_unfed = 0;
                }
            }
            if stream.is_quiet() != was_quiet {
                self.touched.add(&stream.key);
            }
        }
    }

    /// A viewer has left that got nothing.
    pub fn left_unfed(&mut self, ticket: FlowTicket, now: Duration) {
        let placed_on = (ticket.origin, ticket.generation);
        let Some(stream) = self.slot_mut(ticket.stream).filter(|s| s.is_fed()) else { return };
        // Others get it there: this one did not wait for it.
        if stream.group(placed_on).and_then(|g| g.unfed(Role::Play)).is_some_and(|unfed| unfed < SILENT_SAME) {
            return;
        }
        let Some(carrier) = stream.carriers.iter_mut().find(|c| c.placed_on == placed_on) else { return };
        carrier.left_unfed += 1;
        if carrier.left_unfed >= LEFT_UNFED_MAX {
            self.bar(ticket.stream, placed_on, now);
        }
    }

    /// A carrier could not deliver: it is not asked for a while, and its viewers come again.
    pub fn bar(&mut self, index: u32, placed_on: (u16, u16), now: Duration) {
        let Some(stream) = self.slot_mut(index) else { return };
        if stream.mapping.is_some_and(|m| m.placed_on() == placed_on) {
            return;
        }
        stream.barred.retain(|(origin, until)| *until > now && *origin != placed_on.0);
        if stream.barred.len() < CARRIERS_MAX {
            stream.barred.push((placed_on.0, now + BARRED));
        }
        let viewers = stream.group(placed_on).map_or(0, |g| g.players);
        let fetches = stream.carriers.iter().position(|c| c.placed_on == placed_on && matches!(c.why, Why::Fetches));
        match fetches {
            Some(at) => self.uncarry(index, at),
            None if viewers > 0 => self.reset_all(index, placed_on),
            None => {}
        }
    }

    /// The carrier is gone, or is the stream's own origin now.
    pub(super) fn drop_carrier(&mut self, index: u32, placed_on: (u16, u16)) {
        let at = self.by_index(index).and_then(|s| s.carriers.iter().position(|c| c.placed_on == placed_on));
        if let Some(at) = at {
            self.remove_carrier(index, at);
        }
    }

    pub(super) fn drop_carriers_of(&mut self, index: u32) {
        while self.by_index(index).is_some_and(|s| !s.carriers.is_empty()) {
            self.remove_carrier(index, 0);
        }
    }

    /// What an origin carried for others has ended with its flows.
    pub(super) fn drop_carriers_on(&mut self, origin: u16) {
        let on_it = |s: &&Stream| s.carriers.iter().any(|c| c.placed_on.0 == origin);
        let indexes: Vec<u32> = self.iter().filter(on_it).map(|s| s.index).collect();
        for index in indexes {
            while let Some(at) =
                self.by_index(index).and_then(|s| s.carriers.iter().position(|c| c.placed_on.0 == origin))
            {
                self.remove_carrier(index, at);
            }
        }
    }

    /// The one place where a carrier comes. One that is there already stays what it is, for longer.
    pub(super) fn carry(&mut self, index: u32, placed_on: (u16, u16), now: Duration, why: impl FnOnce() -> Why) {
        let Some(stream) = self.slot_mut(index) else { return };
        if stream.mapping.is_some_and(|m| m.placed_on() == placed_on) {
            return;
        }
        let until = now + CARRIER_LEASE;
        if let Some(at) = stream.carriers.iter().position(|c| c.placed_on.0 == placed_on.0) {
            if stream.carriers[at].placed_on == placed_on {
                let known = &mut stream.carriers[at];
                known.until = until;
                let why = why();
                // A word says more than an edge's being asked, and a publisher more than both.
                // What is known here needs no other balancer's word.
                if !matches!(
                    (&known.why, &why),
                    (_, Why::Fetches) | (Why::Told { .. } | Why::Backup { .. }, Why::Told { .. } | Why::Heard { .. })
                ) && known.why != why
                {
                    known.why = why;
                    self.carriers_changed(index);
                }
                return;
            }
            self.remove_carrier(index, at);
        }
        let Some(stream) = self.slot_mut(index).filter(|s| s.carriers.len() < CARRIERS_MAX) else { return };
        stream.carriers.push(Carrier { placed_on, why: why(), until, left_unfed: 0 });
        *self.per_origin.entry(placed_on.0).or_default() += 1;
        self.carriers_changed(index);
    }

    /// The carrier has the stream no more: who is there comes again.
    pub(super) fn uncarry(&mut self, index: u32, at: usize) {
        let Some(placed_on) = self.by_index(index).and_then(|s| s.carriers.get(at)).map(|c| c.placed_on) else {
            return;
        };
        self.remove_carrier(index, at);
        if self.by_index(index).is_some_and(|s| s.group(placed_on).is_some()) {
            self.reset_all(index, placed_on);
        }
    }

    /// The one place where a carrier goes.
    fn remove_carrier(&mut self, index: u32, at: usize) {
        let Some(stream) = self.slot_mut(index).filter(|s| at < s.carriers.len()) else { return };
        let carrier = stream.carriers.remove(at);
        if let Some(count) = self.per_origin.get_mut(&carrier.placed_on.0) {
            *count = count.saturating_sub(1);
        }
        self.carriers_changed(index);
    }

    fn carriers_changed(&mut self, index: u32) {
        if let Some(stream) = self.slots.get(index as usize).and_then(Option::as_ref) {
            self.touched.add(&stream.key);
        }
    }

    pub(super) fn reset_all(&mut self, index: u32, placed_on: (u16, u16)) {
        self.resets.insert(Reset::all(index, placed_on));
    }
}

fn is_backup(carrier: &Carrier, other_than: u16) -> bool {
    matches!(carrier.why, Why::Backup { .. }) && carrier.placed_on.0 != other_than
}
