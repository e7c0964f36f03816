//! The sessions by number, by name and by resource. Pure.

use super::{NewSession, RtcError};
use std::collections::HashMap;

/// Of a fragment, in characters (RFC 8839 section 5.4).
const UFRAG_LENS: std::ops::RangeInclusive<usize> = 4..=256;

#[derive(Default)]
pub struct Table {
    sessions: HashMap<u32, NewSession>,
    by_ufrag: HashMap<String, u32>,
    by_resource: HashMap<String, u32>,
    last: u32,
}

impl Table {
    pub fn add(&mut self, new: NewSession) -> Result<(), RtcError> {
        if new.ufrags.is_empty() || !new.ufrags.iter().all(|ufrag| is_ufrag(ufrag)) {
            return Err(RtcError::Ufrag);
        }
        self.last += 1;
        let id = self.last;
        for ufrag in &new.ufrags {
            self.by_ufrag.insert(ufrag.clone(), id);
        }
        if let Some(resource) = &new.resource {
            self.by_resource.insert(resource.clone(), id);
        }
        self.sessions.insert(id, new);
        Ok(())
    }

    pub fn rename(&mut self, resource: &str, ufrags: Vec<String>) -> Result<(), RtcError> {
        let id = *self.by_resource.get(resource).ok_or(RtcError::Unknown)?;
        for ufrag in ufrags {
            self.by_ufrag.insert(ufrag, id);
        }
        Ok(())
    }

    pub fn take(&mut self, resource: &str) -> Option<NewSession> {
        let id = self.by_resource.remove(resource)?;
        self.by_ufrag.retain(|_, of| *of != id);
        self.sessions.remove(&id)
    }

    pub fn knows(&self, ufrag: &str) -> bool {
        self.by_ufrag.contains_key(ufrag)
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }
}

/// `ice-char` of RFC 8839 section 5.4.
fn is_ufrag(text: &str) -> bool {
    UFRAG_LENS.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}
