//! Claims: what origins say by hooks about who publishes on them. A claim keeps a stream where it is, with or without a
//! flow of ours, until the origin takes it back or ends itself.
//!
//! Hook and flow of one publisher may come in either order, and an origin calls the hook for a publisher, too, that it
//! then refuses because the stream is taken, and calls again when that one has left. So a claim counts its publishers
//! by the ids that the origin gives them. A claim is always on the origin that the stream is mapped to: whatever moves
//! the stream ends it.

use super::{Mapping, StreamKey, Streams, StreamsFull};
use crate::registry::Name;
use std::sync::Arc;
use std::time::Duration;

/// An eighth of all streams: more direct publishers than one server has ever carried.
pub const CLAIMS_PER_ORIGIN_MAX: u32 = 16 * 1024;
/// Publishers of one stream on one origin: the one, and those that are being refused meanwhile.
pub(super) const CLIENTS_MAX: usize = 8;

#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub placed_on: (u16, u16),
    /// Never empty.
    clients: Vec<Name>,
    /// Its publisher came through us and has left; the origin should have said so by then.
    pub until: Option<Duration>,
}

/// What a claim has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The stream was there already.
    Known,
    /// The stream is there because of this.
    Placed,
    /// It was said again what another origin has said differently since: nothing.
    Elsewhere,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("the stream is being published on another origin")]
    Published,
    #[error("the origin has claimed {CLAIMS_PER_ORIGIN_MAX} streams already")]
    TooMany,
    #[error(transparent)]
    StreamsFull(#[from] StreamsFull),
}

impl Streams {
    /// An origin says that `client` publishes there. The newest word wins, unless it is only said `again`, but not
    /// against a publisher whose flow we carry.
    pub fn claim(
        &mut self,
        key: &Arc<StreamKey>,
        placed_on: (u16, u16),
        client: &Name,
        again: bool,
        now: Duration,
    ) -> Result<Claimed, ClaimError> {
        let known = self.get(key).and_then(|stream| Some((stream, stream.mapping?)));
        let is_there = known.is_some_and(|(_, m)| m.placed_on() == placed_on);
        let is_claimed = known.is_some_and(|(stream, _)| stream.is_claimed());
        if let Some((stream, _)) = known.filter(|_| !is_there) {
            if stream.publishers() > 0 {
                return Err(ClaimError::Published);
            }
            if again && is_claimed {
                return Ok(Claimed::Elsewhere);
            }
        }
        let is_new = !(is_there && is_claimed);
        if is_new && self.claims_on(placed_on.0) >= CLAIMS_PER_ORIGIN_MAX {
            // What came through us needs no claim to be found.
            return if is_there { Ok(Claimed::Known) } else { Err(ClaimError::TooMany) };
        }
        let (origin, generation) = placed_on;
        let index = self.assign(key, Mapping { origin, generation, confirmed: true }, now)?;
        self.add_client(index, placed_on, client);
        if !is_there && let Some(stream) = self.by_index(index) {
            let left_behind: Vec<_> = stream.elsewhere().collect();
            self.resets.extend(left_behind);
        }
        Ok(if is_there { Claimed::Known } else { Claimed::Placed })
    }

    /// An origin says that `client` publishes no more. Answers whether that was the last it had claimed the stream for.
    pub fn unclaim(&mut self, key: &StreamKey, origin: u16, client: &Name, now: Duration) -> bool {
        let Some(index) = self.by_key.get(key).copied() else { return false };
        let Some(stream) = self.slot_mut(index) else { return false };
        let Some(claim) = stream.claim.as_deref_mut().filter(|claim| claim.placed_on.0 == origin) else { return false };
        claim.clients.retain(|known| known != client);
        if !claim.clients.is_empty() {
            return false;
        }
        self.end_claim(index);
        self.renew(index, now);
        true
    }

    /// Streams that are claimed by an origin.
    pub fn claims_on(&self, origin: u16) -> u32 {
        self.claims_per_origin.get(&origin).copied().unwrap_or(0)
    }

    pub(super) fn add_client(&mut self, index: u32, placed_on: (u16, u16), client: &Name) {
        let Some(stream) = self.slot_mut(index) else { return };
        match stream.claim.as_deref_mut() {
            Some(claim) => {
                claim.until = None;
                if !claim.clients.contains(client) {
                    // The oldest has most likely left without a word.
                    if claim.clients.len() == CLIENTS_MAX {
                        claim.clients.remove(0);
                    }
                    claim.clients.push(client.clone());
                }
            }
            None => {
                let clients = vec![client.clone()];
                let key = stream.key.clone();
                stream.claim = Some(Box::new(Claim { placed_on, clients, until: None }));
                self.touched.add(&key);
                *self.claims_per_origin.entry(placed_on.0).or_default() += 1;
            }
        }
    }

    /// The one place where a claim ends.
    pub(super) fn end_claim(&mut self, index: u32) {
        let Some(stream) = self.slot_mut(index) else { return };
        let key = stream.key.clone();
        let Some(claim) = stream.claim.take() else { return };
        self.touched.add(&key);
        if let Some(count) = self.claims_per_origin.get_mut(&claim.placed_on.0) {
            *count = count.saturating_sub(1);
        }
    }

    /// Claims of publishers that came through us, have left, and whose origin has forgotten to say so.
    pub(super) fn end_stale_claims(&mut self, now: Duration) {
        let is_stale = |until: Option<Duration>| until.is_some_and(|until| until <= now);
        let stale = self.iter().filter(|s| s.claim.as_ref().is_some_and(|claim| is_stale(claim.until)));
        let stale: Vec<u32> = stale.map(|stream| stream.index).collect();
        for index in stale {
            self.end_claim(index);
        }
    }
}

const _: () = assert!(CLAIMS_PER_ORIGIN_MAX < super::STREAMS_MAX as u32);
