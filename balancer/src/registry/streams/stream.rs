//! One stream: where it is, and who carries it.

use super::carriers::Carrier;
use super::claims::Claim;
use super::group::Group;
use super::{Elsewhere, Mapping, Publisher, Reset};
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
    pub(super) publisher: Option<Publisher>,
    /// At most [`super::CARRIERS_MAX`], one on an origin, none on the stream's own.
    pub(super) carriers: Vec<Carrier>,
    /// Origins that are not asked for it, and until when.
    pub(super) barred: Vec<(u16, Duration)>,
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
            publisher: None,
            carriers: Vec::new(),
            barred: Vec::new(),
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

    /// Viewers where the stream is.
    pub fn players(&self) -> u32 {
        self.groups_that_serve().map(|g| g.players).sum()
    }

    /// What they, and its publishers, speak.
    pub fn protocols(&self) -> Vec<Protocol> {
        let mut all: Vec<Protocol> = Vec::new();
        for protocol in self.groups_that_serve().flat_map(Group::protocols) {
            if !all.contains(&protocol) {
                all.push(protocol);
            }
        }
        all
    }

    fn groups_that_serve(&self) -> impl Iterator<Item = &Group> {
        let home = self.mapping.map(|m| m.placed_on());
        self.groups.iter().filter(move |g| Some(g.placed_on) == home || self.carries(g.placed_on))
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
        self.elsewhere_says.publisher.is_some()
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

    /// Flows that are neither on the stream's origin nor on one that carries it too. Those of an earlier generation of
    /// it end with that.
    pub(super) fn elsewhere(&self) -> impl Iterator<Item = Reset> + '_ {
        let home = self.mapping.map(|m| m.origin);
        let left = self.groups.iter().filter(move |g| Some(g.placed_on.0) != home && !self.carries(g.placed_on));
        left.map(|g| Reset::all(self.index, g.placed_on))
    }
}
