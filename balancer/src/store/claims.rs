//! What origins say by hooks about who publishes on them, made claims of streams.

use super::{State, Store};
use crate::recognize::StreamKey;
use crate::registry::{Caller, ClaimError, Claimed, Name, NotWhose, OriginRole};
use balancer_common::abi::Reason;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Somebody publishes at an origin, or does no more.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Under which name we know the stream if its publisher came through us: the host that it dialled counts.
    pub dialled: Arc<StreamKey>,
    /// Under which name the origin knows it.
    pub own: Arc<StreamKey>,
    /// The origin's id of the publisher.
    pub client: Name,
    /// Where the origin sees the publisher.
    pub from: Option<IpAddr>,
}

/// What became of what an origin has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Claimed(Claimed),
    /// Another origin hands its stream on, or an edge has fetched it: the stream stays where it is published.
    HandedOn,
    /// It is published on another origin as well, which may be: this one is a copy.
    Copy,
    /// The last publisher has left.
    Released,
    /// Nothing that was known.
    Nothing,
}

impl Told {
    /// One of a few constant words.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Claimed(Claimed::Placed) => "placed",
            Self::Claimed(Claimed::Known) => "known",
            Self::Claimed(Claimed::Elsewhere) => "elsewhere",
            Self::HandedOn => "handed_on",
            Self::Copy => "copy",
            Self::Released => "released",
            Self::Nothing => "nothing",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TellError {
    #[error(transparent)]
    NotWhose(#[from] NotWhose),
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

impl Store {
    /// An origin has a publisher. `again`: as it has said before. Answers who the origin is, too.
    pub async fn claim(
        &self,
        caller: &Caller,
        publication: &Publication,
        again: bool,
        now: Duration,
    ) -> Result<(Arc<str>, Told), TellError> {
        let result = self.change(|state| {
            let (origin, id) = state.whose(caller)?;
            let is_edge = state.registry.get(origin).is_some_and(|o| o.role == OriginRole::Edge);
            let placed_on = (origin, state.registry.generation(origin) as u16);
            if is_edge || publication.from.is_some_and(|from| state.registry.is_another(origin, from)) {
                let about = (&publication.client, false);
                if !is_edge && !state.streams.tell_copy(&publication.dialled, placed_on, about, now) {
                    state.streams.tell_copy(&publication.own, placed_on, about, now);
                }
                return Ok((id, Told::HandedOn));
            }
            let copies = state.placer.sharing().copies;
            for name in [&publication.dialled, &publication.own] {
                let Some(stream) = state.streams.get(name) else { continue };
                // Its publisher waits there: through us, so that it needs no claim.
                if stream.backup().is_some_and(|backup| backup.placed_on == placed_on) {
                    return Ok((id, Told::Claimed(Claimed::Known)));
                }
                let mirrors = copies > 1 && stream.is_taken();
                if mirrors && state.streams.tell_copy(name, placed_on, (&publication.client, true), now) {
                    return Ok((id, Told::Copy));
                }
            }
            let key = state.name_of(publication, origin);
            let claimed = state.streams.claim(key, placed_on, &publication.client, again, now)?;
            Ok((id, Told::Claimed(claimed)))
        });
        match &result {
            Ok((_, Told::Claimed(Claimed::Placed))) => self.counters.count(Reason::Claimed),
            Err(TellError::Claim(ClaimError::TooMany | ClaimError::StreamsFull(_))) => {
                self.counters.count(Reason::LimitStreams);
            }
            Ok(_) | Err(_) => {}
        }
        result
    }

    /// An origin's publisher has left.
    pub async fn unclaim(
        &self,
        caller: &Caller,
        publication: &Publication,
        now: Duration,
    ) -> Result<(Arc<str>, Told), TellError> {
        self.change(|state| {
            let (origin, id) = state.whose(caller)?;
            let Publication { dialled, own, client, .. } = publication;
            let names = [dialled, own];
            let mut released = names.iter().filter(|key| state.streams.unclaim(key, origin, client, now)).count();
            released += names.iter().filter(|key| state.streams.untell_copy(key, origin, client)).count();
            Ok((id, if released > 0 { Told::Released } else { Told::Nothing }))
        })
    }
}

impl State {
    fn whose(&self, caller: &Caller) -> Result<(u16, Arc<str>), NotWhose> {
        let origin = self.registry.whose(caller)?;
        let unknown = NotWhose::Unknown { peer: caller.peer };
        Ok((origin, self.registry.get(origin).ok_or(unknown)?.id.clone()))
    }

    /// By the name that was dialled if that is on this origin: then the publisher came through us.
    fn name_of<'a>(&self, publication: &'a Publication, origin: u16) -> &'a Arc<StreamKey> {
        let mapping = self.streams.get(&publication.dialled).and_then(|stream| stream.mapping);
        let came_through_us = mapping.is_some_and(|m| m.confirmed && m.origin == origin);
        if came_through_us { &publication.dialled } else { &publication.own }
    }
}
