//! The sessions by number, by name and by resource. Pure.

use super::session::{Session, UNCONFIRMED_PER_CLIENT_MAX};
use super::shared::Directory;
use super::{NewSession, RtcError};
use balancer_common::abi::capacity;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Of a fragment, in characters (RFC 8839 section 5.4).
const UFRAG_LENS: std::ops::RangeInclusive<usize> = 4..=256;
/// One for each transport, and those from before as many restarts of ICE as fit.
const NAMES_PER_SESSION_MAX: usize = 16;
/// What `ICE` holds.
const NAMES_MAX: usize = capacity::ICE as usize;

#[derive(Default)]
pub struct Table {
    sessions: HashMap<u32, Session>,
    by_name: HashMap<String, u32>,
    by_resource: HashMap<String, u32>,
    /// Those that other balancers know of, by the name of their record.
    by_share: HashMap<Arc<str>, u32>,
    /// What the others say.
    pub elsewhere: Directory,
}

impl Table {
    /// A session, and what it replaces: an origin that gives a name again has no other session of that name.
    pub fn add(&mut self, new: NewSession, now: Duration) -> Result<(u32, Vec<(u32, Session)>), RtcError> {
        check(&new.ufrags)?;
        if self.by_name.len() + new.ufrags.len() > NAMES_MAX {
            return Err(RtcError::Full(NAMES_MAX));
        }
        if let Some(client) = new.client {
            let waiting = self.sessions.values().filter(|session| session.waits_for == Some(client)).count();
            if waiting >= UNCONFIRMED_PER_CLIENT_MAX {
                return Err(RtcError::Unconfirmed(waiting));
            }
        }
        let mut replaced = Vec::new();
        for ufrag in &new.ufrags {
            let Some(earlier) = self.by_name.get(ufrag).copied() else { continue };
            let place = |media, origin, generation| (media, origin, generation);
            let p = &new.placement;
            let is_same = self.sessions.get(&earlier).is_some_and(|s| {
                place(s.media, s.placement.origin, s.placement.generation) == place(new.media, p.origin, p.generation)
            });
            if !is_same {
                return Err(RtcError::Taken);
            }
            replaced.push(earlier);
        }
        let replaced = replaced.into_iter().filter_map(|id| Some((id, self.remove(id)?))).collect();
        let id = self.number(new.resource.as_deref().unwrap_or(&new.ufrags[0]));
        self.insert(id, Session::new(new, now));
        Ok((id, replaced))
    }

    /// A session that others know by this number. Under another one, if that is another session's here.
    pub fn take(&mut self, number: u32, new: NewSession, now: Duration) -> Result<u32, RtcError> {
        if self.by_name.len() + new.ufrags.len() > NAMES_MAX {
            return Err(RtcError::Full(NAMES_MAX));
        }
        if new.ufrags.iter().any(|ufrag| self.by_name.contains_key(ufrag)) {
            return Err(RtcError::Taken);
        }
        let mut id = number;
        while id == 0 || self.sessions.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        self.insert(id, Session::new(new, now));
        Ok(id)
    }

    /// From now on the others know it by this name.
    pub fn share(&mut self, id: u32, name: Arc<str>) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.name = Some(name.clone());
            self.elsewhere.forget_end(&name);
            self.by_share.insert(name, id);
        }
    }

    pub fn resource_is(&mut self, id: u32, resource: Option<String>) {
        if let Some((session, resource)) = self.sessions.get_mut(&id).zip(resource) {
            self.by_resource.insert(resource.clone(), id);
            session.resource = Some(resource);
        }
    }

    /// The session of a record.
    pub fn shared(&self, name: &str) -> Option<u32> {
        self.by_share.get(name).copied()
    }

    /// Names of all that others know of.
    pub fn shared_names(&self) -> Vec<Arc<str>> {
        self.by_share.keys().cloned().collect()
    }

    /// Under a number that is its own.
    pub fn insert(&mut self, id: u32, session: Session) {
        for name in &session.names {
            self.by_name.insert(name.ufrag.clone(), id);
        }
        if let Some(resource) = &session.resource {
            self.by_resource.insert(resource.clone(), id);
        }
        self.sessions.insert(id, session);
    }

    /// These are the session's names from now on; the old ones stay for a while.
    pub fn rename(&mut self, id: u32, ufrags: Vec<String>, now: Duration) -> Result<(), RtcError> {
        check(&ufrags)?;
        if ufrags.iter().any(|ufrag| self.by_name.get(ufrag).is_some_and(|of| *of != id)) {
            return Err(RtcError::Taken);
        }
        let session = self.sessions.get_mut(&id).ok_or(RtcError::Unknown)?;
        if session.names.len() + ufrags.len() > NAMES_PER_SESSION_MAX || self.by_name.len() >= NAMES_MAX {
            return Err(RtcError::Full(NAMES_PER_SESSION_MAX));
        }
        for ufrag in &ufrags {
            self.by_name.insert(ufrag.clone(), id);
        }
        session.rename(ufrags, now);
        Ok(())
    }

    /// The session of a resource. One that an earlier process knew has forgotten its resource, but not its number, which
    /// was made of it.
    pub fn of_resource(&self, resource: &str) -> Option<u32> {
        let by_number = || {
            let number = number(resource);
            self.sessions.get(&number).filter(|session| session.resource.is_none()).map(|_| number)
        };
        self.of_known_resource(resource).or_else(by_number)
    }

    /// By its resource only: its number may be another's by chance, or by somebody's choice.
    pub fn of_known_resource(&self, resource: &str) -> Option<u32> {
        self.by_resource.get(resource).copied()
    }

    pub fn named(&self, ufrag: &str) -> Option<u32> {
        self.by_name.get(ufrag).copied()
    }

    pub fn get(&self, id: u32) -> Option<&Session> {
        self.sessions.get(&id)
    }

    pub fn get_mut(&mut self, id: u32) -> Option<&mut Session> {
        self.sessions.get_mut(&id)
    }

    pub fn remove(&mut self, id: u32) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        for name in &session.names {
            self.forget_name(&name.ufrag, id);
        }
        // A later session may have the same resource.
        if let Some(resource) = session.resource.as_deref().filter(|of| self.by_resource.get(*of) == Some(&id)) {
            self.by_resource.remove(resource);
        }
        if let Some(name) = session.name.as_deref().filter(|of| self.by_share.get(*of) == Some(&id)) {
            self.by_share.remove(name);
        }
        Some(session)
    }

    pub fn forget_name(&mut self, ufrag: &str, id: u32) {
        if self.by_name.get(ufrag) == Some(&id) {
            self.by_name.remove(ufrag);
        }
    }

    pub fn ids(&self) -> Vec<u32> {
        self.sessions.keys().copied().collect()
    }

    /// The sessions that `which` picks.
    pub fn picked(&self, which: impl Fn(&Session) -> bool) -> Vec<u32> {
        self.sessions.iter().filter(|(_, session)| which(session)).map(|(id, _)| *id).collect()
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// A free number, if possible the one that stands for `text`.
    fn number(&self, text: &str) -> u32 {
        let mut number = number(text);
        let is_others = |number| self.elsewhere.numbered(number).is_some_and(|name| **name != *text);
        while number == 0 || self.sessions.contains_key(&number) || is_others(number) {
            number = number.wrapping_add(1);
        }
        number
    }
}

/// FNV-1a, folded. It has to be the same in every process.
fn number(text: &str) -> u32 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    (hash >> 32) as u32 ^ hash as u32
}

pub fn check(ufrags: &[String]) -> Result<(), RtcError> {
    let is_well = !ufrags.is_empty() && ufrags.len() <= NAMES_PER_SESSION_MAX / 2;
    if is_well && ufrags.iter().all(|ufrag| is_ufrag(ufrag)) { Ok(()) } else { Err(RtcError::Ufrag) }
}

/// Not only the `ice-char`s of RFC 8839 section 5.4: whatever a client can repeat in front of a colon.
fn is_ufrag(text: &str) -> bool {
    UFRAG_LENS.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b':')
}
