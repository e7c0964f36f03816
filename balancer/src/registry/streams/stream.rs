//! One stream: where it is, and who carries it.

use super::claims::Claim;
use super::group::Group;
use super::{Elsewhere, Mapping, Reset};
use crate::flow::Protocol;
use crate::placement::Rate;
use crate::recognize::StreamKey;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Stream {
    pub key: Arc<StreamKey>,
    pub index: u32,
    pub mapping: Option<Mapping>,
    pub rate: Rate,
    pub(super) groups: Vec<Group>,
    /// What its origin says of it by hooks.
    pub(super) claim: Option<Box<Claim>>,
    /// Stays until then even without a flow.
    pub(super) lease_until: Duration,
    pub(super) elsewhere_says: Elsewhere,
}

impl Stream {
    pub(super) fn new(key: &Arc<StreamKey>, index: u32) -> Self {
        Self {
            key: key.clone(),
            index,
            mapping: None,
            rate: Rate::default(),
            groups: Vec::new(),
            claim: None,
            lease_until: Duration::ZERO,
            elsewhere_says: Elsewhere::default(),
        }
    }

    pub(super) fn serving(&self) -> Option<&Group> {
        let placed_on = self.mapping?.placed_on();
        self.groups.iter().find(|g| g.placed_on == placed_on)
    }

    /// Publishers on the stream's origin.
    pub fn publishers(&self) -> u32 {
        self.serving().map_or(0, |g| g.publishers)
    }

    /// Viewers on the stream's origin.
    pub fn players(&self) -> u32 {
        self.serving().map_or(0, |g| g.players)
    }

    /// What they speak.
    pub fn protocols(&self) -> Vec<Protocol> {
        self.serving().map(Group::protocols).unwrap_or_default()
    }

    /// Its origin says that somebody publishes it there, through us or not.
    pub fn is_claimed(&self) -> bool {
        self.claim.is_some()
    }

    /// Somebody publishes it on its origin.
    pub fn is_published(&self) -> bool {
        self.publishers() > 0 || self.is_claimed() || self.is_published_elsewhere()
    }

    /// By way of another balancer.
    pub fn is_published_elsewhere(&self) -> bool {
        self.elsewhere_says.is_published
    }

    pub fn lease_until(&self) -> Duration {
        self.lease_until
    }

    /// Nothing is left of it: no flow, no claim, and no mapping that a lease still keeps.
    pub(super) fn is_unused(&self, now: Duration) -> bool {
        !self.elsewhere_says.is_known
            && self.groups.is_empty()
            && self.claim.is_none()
            && (self.mapping.is_none() || self.lease_until <= now)
    }

    /// Flows that are not on the stream's origin. Those of an earlier generation of it end with that.
    pub(super) fn elsewhere(&self) -> impl Iterator<Item = Reset> + '_ {
        let home = self.mapping.map(|m| m.origin);
        self.groups.iter().filter(move |g| Some(g.placed_on.0) != home).map(|g| {
            let (origin, generation) = g.placed_on;
            Reset { stream: self.index, origin, generation }
        })
    }
}
