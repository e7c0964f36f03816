//! The slots of the `ORIGINS` map: which origin has which index, and the generation of each.
//!
//! A generation rises with everything that ends an origin's flows: death, a restart, a drain's deadline, deletion. The
//! kernel compares it with the one that a flow was placed on, so that nothing has to touch the flows. It belongs to the
//! slot, not to the origin: whoever has the slot next starts above it.

use super::endpoint::Endpoints;
use super::origin::{Origin, Source};
use super::origins::RegisterError;
use super::registration::SrsRegistration;
use balancer_common::abi::{OriginState, capacity};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Slot 0 is "no origin".
pub const ORIGINS_MAX: usize = capacity::ORIGINS as usize - 1;
/// A slot whose flows are gone is not given away before connections that were under way have ended too.
const SLOT_REST: Duration = Duration::from_secs(30);

/// What the `ORIGINS` map should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredOrigin {
    pub index: u16,
    pub state: OriginState,
    pub generation: u32,
    pub id: Arc<str>,
}

#[derive(Debug, Default)]
enum Body {
    #[default]
    Free,
    Live(Box<Origin>),
    /// Deleted or forgotten; its flows may not be gone yet.
    Leaving {
        id: Arc<str>,
        since: Duration,
    },
}

#[derive(Debug, Default)]
pub(super) struct Slot {
    pub generation: u32,
    /// Flows placed here, of whatever generation.
    pub flows: u32,
    body: Body,
}

#[derive(Debug)]
pub(super) struct Slots {
    /// By index, all of them.
    slots: Vec<Slot>,
    by_id: HashMap<Arc<str>, u16>,
    /// Whether [`Slots::desired`] says something new.
    pub changed: bool,
}

impl Default for Slots {
    fn default() -> Self {
        Self { slots: (0..=ORIGINS_MAX).map(|_| Slot::default()).collect(), by_id: HashMap::new(), changed: false }
    }
}

impl Slots {
    pub fn slot(&self, index: u16) -> Option<&Slot> {
        self.slots.get(usize::from(index))
    }

    pub fn get(&self, index: u16) -> Option<&Origin> {
        match &self.slot(index)?.body {
            Body::Live(origin) => Some(origin),
            Body::Free | Body::Leaving { .. } => None,
        }
    }

    pub fn get_mut(&mut self, index: u16) -> Option<&mut Origin> {
        match &mut self.slots.get_mut(usize::from(index))?.body {
            Body::Live(origin) => Some(origin),
            Body::Free | Body::Leaving { .. } => None,
        }
    }

    pub fn index_of(&self, id: &str) -> Option<u16> {
        self.by_id.get(id).copied()
    }

    /// In the order of their slots. Not by looking at every slot: this is asked for each HTTP request.
    pub fn live(&self) -> impl Iterator<Item = (u16, &Origin)> {
        let mut indexes: Vec<u16> = self.by_id.values().copied().collect();
        indexes.sort_unstable();
        indexes.into_iter().filter_map(|index| Some((index, self.get(index)?)))
    }

    pub fn live_mut(&mut self) -> impl Iterator<Item = (u16, &mut Origin)> {
        self.slots.iter_mut().enumerate().filter_map(|(index, slot)| match &mut slot.body {
            Body::Live(origin) => Some((index as u16, origin.as_mut())),
            Body::Free | Body::Leaving { .. } => None,
        })
    }

    /// Registered origins that can only be the process that listens on `endpoints`.
    pub fn at_place<'a>(&'a self, endpoints: &'a Endpoints) -> impl Iterator<Item = (u16, &'a Origin)> {
        self.live().filter(|(_, o)| o.source != Source::Default && o.endpoints.same_place(endpoints))
    }

    /// Whose beat this is. The same `server`, unless two device ids tell apart what shares it (servers started in one
    /// directory do); else whoever listens at the same place; else what was adopted under that name.
    pub fn find(&self, beat: &SrsRegistration) -> Option<u16> {
        let same_server = |o: &Origin| o.source != Source::Default && o.server.as_ref() == Some(&beat.server);
        // The usual case, without a search: a beat of an origin under the id that it had before.
        let ids = beat.device_id.iter().chain([&beat.server]);
        let usual = ids
            .filter_map(|id| self.index_of(id))
            .find(|index| self.get(*index).is_some_and(|o| same_server(o) && o.device_id == beat.device_id));
        let related = |o: &Origin| same_server(o) && (o.device_id.is_none() || beat.device_id.is_none());
        let adopted = |o: &Origin| {
            let named = |name: &str| *o.id == *name;
            o.source == Source::Adopted && (named(&beat.server) || beat.device_id.as_ref().is_some_and(|d| named(d)))
        };
        let first = |(index, _): (u16, &Origin)| index;
        usual
            .or_else(|| self.live().find(|(_, o)| same_server(o) && o.device_id == beat.device_id).map(first))
            .or_else(|| self.at_place(&beat.endpoints).next().map(first))
            .or_else(|| self.live().find(|(_, o)| related(o)).map(first))
            .or_else(|| self.live().find(|(_, o)| adopted(o)).map(first))
    }

    /// The device id where nobody else has it, else the server id.
    pub fn id_for(&self, beat: &SrsRegistration, index: Option<u16>) -> Result<Arc<str>, RegisterError> {
        let free = |id: &str| match self.index_of(id) {
            None => true,
            Some(holder) => Some(holder) == index || self.yields(holder),
        };
        let mut ids = beat.device_id.iter().chain([&beat.server]);
        ids.find(|id| free(id)).map(|id| id.shared()).ok_or(RegisterError::NoFreeId)
    }

    /// Whether an origin is listed only for an operator to see that it is gone: a container that comes back at another
    /// address, as another server, has its name then.
    fn yields(&self, index: u16) -> bool {
        self.get(index).is_some_and(|o| o.source == Source::Srs && o.health.is_expired() && o.draining.is_none())
    }

    /// Gives an origin that registers by beats the id that they say. An operator's id stays.
    pub fn rename(&mut self, index: u16, id: Arc<str>) -> Arc<str> {
        match self.get(index) {
            Some(origin) if origin.source != Source::Srs => origin.id.clone(),
            Some(_) | None => {
                self.set_id(index, id.clone());
                id
            }
        }
    }

    pub fn set_id(&mut self, index: u16, id: Arc<str>) {
        let Some(origin) = self.get_mut(index).filter(|o| o.id != id) else { return };
        let old = std::mem::replace(&mut origin.id, id.clone());
        self.by_id.remove(&old);
        self.by_id.insert(id, index);
        self.changed = true;
    }

    /// Puts a new origin into the first free slot.
    pub fn occupy(&mut self, origin: Origin) -> Option<u16> {
        let index = (1..=ORIGINS_MAX).find(|i| matches!(self.slots[*i].body, Body::Free))?;
        self.fill(index, origin);
        Some(index as u16)
    }

    /// The last slot is the default origin's, where there is one: adoption finds it where it was.
    pub fn reserve_last(&mut self, origin: Origin) {
        self.fill(ORIGINS_MAX, origin);
    }

    fn fill(&mut self, index: usize, origin: Origin) {
        self.by_id.insert(origin.id.clone(), index as u16);
        let slot = &mut self.slots[index];
        slot.generation = slot.generation.wrapping_add(1);
        slot.body = Body::Live(Box::new(origin));
        self.changed = true;
    }

    pub fn adopt(&mut self, index: u16, origin: Origin, generation: u32) -> bool {
        let holder = self.index_of(&origin.id);
        let Some(slot) = self.slots.get_mut(usize::from(index)).filter(|_| index != 0) else { return false };
        match (&slot.body, holder) {
            // The default origin, back in its place.
            (Body::Live(_), Some(holder)) if holder == index => {}
            (Body::Free, None) => {
                self.by_id.insert(origin.id.clone(), index);
                slot.body = Body::Live(Box::new(origin));
            }
            (Body::Live(_) | Body::Free | Body::Leaving { .. }, _) => return false,
        }
        slot.generation = generation;
        self.changed = true;
        true
    }

    /// Whatever was placed on the slot until now ends.
    pub fn end_flows(&mut self, index: u16) {
        if let Some(slot) = self.slots.get_mut(usize::from(index)) {
            slot.generation = slot.generation.wrapping_add(1);
            self.changed = true;
        }
    }

    pub fn leave(&mut self, index: u16, now: Duration) {
        let Some(origin) = self.get(index) else { return };
        let id = origin.id.clone();
        self.by_id.remove(&id);
        self.end_flows(index);
        self.slots[usize::from(index)].body = Body::Leaving { id, since: now };
    }

    pub fn count_flow(&mut self, index: u16, opened: bool) {
        if let Some(slot) = self.slots.get_mut(usize::from(index)) {
            slot.flows = if opened { slot.flows + 1 } else { slot.flows.saturating_sub(1) };
        }
    }

    pub fn free_rested(&mut self, now: Duration) {
        for slot in &mut self.slots {
            if slot.flows == 0 && matches!(slot.body, Body::Leaving { since, .. } if now >= since + SLOT_REST) {
                slot.body = Body::Free;
                self.changed = true;
            }
        }
    }

    pub fn desired(&self) -> Vec<DesiredOrigin> {
        let all = self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let (id, state) = match &slot.body {
                // Never used.
                Body::Free if slot.generation == 0 => return None,
                Body::Free => ("".into(), OriginState::Empty),
                Body::Live(origin) if !origin.health.is_dead() => (origin.id.clone(), OriginState::Up),
                Body::Live(origin) => (origin.id.clone(), OriginState::Down),
                Body::Leaving { id, .. } => (id.clone(), OriginState::Down),
            };
            Some(DesiredOrigin { index: index as u16, state, generation: slot.generation, id })
        });
        all.collect()
    }
}
