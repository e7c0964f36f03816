//! What an answer means for the sessions: by which names clients will ask for the origin, and where its media are.

use super::Unusable;
use super::addresses::is_own;
use super::location::resource;
use crate::config::Settings;
use crate::flow::Role;
use crate::placement::Placement;
use crate::recognize::StreamKey;
use crate::recognize::sdp::{Answer, Candidate, CandidateKind};
use crate::rtc::{NewSession, RtcError, Sessions};
use crate::store::Store;
use balancer_common::abi::ServiceKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The origin of a session, as far as its media are concerned.
pub struct Place<'a> {
    pub settings: &'a Settings,
    pub store: &'a Store,
    pub placement: &'a Placement,
    /// That the client has dialled.
    pub vip: IpAddr,
    pub now: Duration,
}

/// Names that share one address: everything that is bundled, or all of an origin that has one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    pub address: SocketAddr,
    pub ufrags: Vec<String>,
}

impl Place<'_> {
    /// Of a whole answer: at least one, and somewhere for the client to send to.
    pub fn media(&self, answer: &Answer) -> Result<Vec<Media>, Unusable> {
        if answer.transports.is_empty() {
            return Err(Unusable::NoName);
        }
        if answer.transports.iter().all(|transport| transport.candidates.is_empty()) {
            return Err(Unusable::NoCandidate);
        }
        self.media_again(answer)
    }

    /// Of a fragment, too, which need not say where the media are if that is registered.
    pub fn media_again(&self, answer: &Answer) -> Result<Vec<Media>, Unusable> {
        let all: Vec<Candidate> = answer.transports.iter().flat_map(|t| &t.candidates).copied().collect();
        let origin = self.store.origin(&self.placement.origin_id, self.now);
        let registered = origin.map(|origin| origin.endpoints.get(ServiceKind::WebRtc).to_vec()).unwrap_or_default();
        let mut found: Vec<Media> = Vec::new();
        for transport in &answer.transports {
            let own = if transport.candidates.is_empty() { &all } else { &transport.candidates };
            let address = self.registered(&registered, own).map_or_else(|| self.named(own), Ok)?;
            match found.iter_mut().find(|media| media.address == address) {
                Some(media) => media.ufrags.push(transport.ufrag.clone()),
                None => found.push(Media { address, ufrags: vec![transport.ufrag.clone()] }),
            }
        }
        Ok(found)
    }

    /// The one that the answer means, where several are registered.
    fn registered(&self, registered: &[SocketAddr], candidates: &[Candidate]) -> Option<SocketAddr> {
        let is_meant = |address: &&SocketAddr| candidates.iter().any(|candidate| candidate.port == address.port());
        let is_near = |address: &&SocketAddr| address.is_ipv4() == self.vip.is_ipv4();
        let meant = || registered.iter().filter(is_meant);
        let usual = || self.store.endpoint(self.placement, ServiceKind::WebRtc);
        meant().find(is_near).or_else(|| meant().next()).copied().or_else(usual)
    }

    /// What the origin says itself, its own address before the one that others see.
    fn named(&self, candidates: &[Candidate]) -> Result<SocketAddr, Unusable> {
        let mut named: Vec<(bool, bool, SocketAddr)> = candidates
            .iter()
            .filter_map(|candidate| Some((candidate.kind, candidate.address()?)))
            .map(|(kind, address)| (address.is_ipv4() != self.vip.is_ipv4(), kind != CandidateKind::Host, address))
            .collect();
        named.sort();
        let may_be = |(_, _, address): &&(bool, bool, SocketAddr)| {
            self.store.admits(ServiceKind::WebRtc, *address) && !is_own(self.settings, *address)
        };
        match (named.iter().find(may_be), named.first()) {
            (Some((_, _, address)), _) => Ok(*address),
            (None, Some((_, _, address))) => Err(Unusable::Outside(*address)),
            (None, None) => Err(Unusable::NoCandidate),
        }
    }
}

/// Whose a session is.
pub struct Owner<'a> {
    pub sessions: &'a Sessions,
    pub placement: &'a Placement,
    pub key: &'a Arc<StreamKey>,
    pub role: Role,
    /// Who made the offer.
    pub client: IpAddr,
    /// `None`: nobody will ask for it again.
    pub resource: Option<&'a str>,
}

impl Owner<'_> {
    pub async fn register(&self, media: Vec<Media>) -> Result<(), RtcError> {
        for (nth, media) in media.into_iter().enumerate() {
            self.add(nth, media).await?;
        }
        Ok(())
    }

    /// ICE was restarted, and nothing is said of the media: they are where they were. [`RtcError::Unknown`]: nobody here
    /// knows where.
    pub async fn rename_only(&self, answer: &Answer) -> Result<(), RtcError> {
        let ufrags = answer.transports.iter().map(|transport| transport.ufrag.clone()).collect();
        self.sessions.rename(&self.name(0).unwrap_or_default(), ufrags, None).await
    }

    /// ICE was restarted. Whoever has not seen the session begin learns of it now.
    pub async fn rename(&self, media: Vec<Media>) -> Result<(), RtcError> {
        for (nth, media) in media.into_iter().enumerate() {
            let name = self.name(nth).unwrap_or_default();
            match self.sessions.rename(&name, media.ufrags.clone(), Some(media.address)).await {
                Err(RtcError::Unknown) => self.add(nth, media).await?,
                result => result?,
            }
        }
        Ok(())
    }

    async fn add(&self, nth: usize, media: Media) -> Result<(), RtcError> {
        let (key, placement) = (self.key.clone(), self.placement.clone());
        let Media { address, ufrags } = media;
        let (role, client, resource) = (self.role, Some(self.client), self.name(nth));
        let new = NewSession { ufrags, key, role, placement, media: address, client, resource };
        self.sessions.register(new).await
    }

    fn name(&self, nth: usize) -> Option<String> {
        Some(name_of(&self.placement.origin_id, self.resource?, nth))
    }
}

/// The origin has ended it, or knows nothing of it: then it says less of a session that we know by its number only.
pub fn end(sessions: &Sessions, origin: &str, (path, query): (&str, Option<&str>), was_known: bool) {
    let resource = resource(path, query);
    let ends = |name: &str| if was_known { sessions.end(name) } else { sessions.end_known(name) };
    let mut nth = 0;
    while ends(&name_of(origin, &resource, nth)) {
        nth += 1;
    }
}

/// By what a session is found again: two origins may name theirs alike, and one session may have media in several places.
fn name_of(origin: &str, resource: &str, nth: usize) -> String {
    match nth {
        0 => format!("{origin} {resource}"),
        nth => format!("{origin} {resource} {nth}"),
    }
}
