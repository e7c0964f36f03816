//! What an origin, or its operator, says about it: registrations as values that cannot be wrong. Reading them from JSON
//! is the API's business.

use super::endpoint::Endpoints;
use super::health::ProbeSpec;
use crate::recognize::proxy_header::ProxyVersion;
use balancer_common::abi::ORIGIN_ID_LEN_MAX;
use std::fmt;
use std::net::IpAddr;
use std::ops::{Deref, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

/// What an origin calls itself: an id, a device, a server, a service, a process. Not empty, fits the `ORIGINS` map, and
/// can be written to a log or a terminal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("must not be empty")]
    Empty,
    #[error("is longer than {ORIGIN_ID_LEN_MAX} bytes")]
    TooLong,
    #[error("holds a control character")]
    ControlCharacter,
}

impl Name {
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text {
            "" => Err(NameError::Empty),
            t if t.len() > ORIGIN_ID_LEN_MAX => Err(NameError::TooLong),
            t if t.chars().any(char::is_control) => Err(NameError::ControlCharacter),
            t => Ok(Self(t.into())),
        }
    }

    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// One run of a media server: a new one means that every connection to the old one is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incarnation {
    pub service: Name,
    pub pid: Name,
}

/// A beat of an SRS origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrsRegistration {
    pub device_id: Option<Name>,
    pub server: Name,
    pub incarnation: Incarnation,
    pub ip: IpAddr,
    pub endpoints: Endpoints,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OriginRole {
    #[default]
    Origin,
    /// Pulls streams from elsewhere: viewers only.
    Edge,
}

impl OriginRole {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Edge => "edge",
        }
    }
}

/// What an origin may carry before it gets no new streams. Viewers of the streams it has are not turned away: nobody
/// else could serve them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    pub bits_per_second: Option<u64>,
    pub flows: Option<u32>,
    pub streams: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// The registry's default.
    Default,
    /// Gone this long after the last registration.
    For(Duration),
    /// Stays until it is deleted.
    Never,
}

pub const WEIGHT_DEFAULT: u32 = 100;
pub const WEIGHTS: RangeInclusive<u32> = 1..=1000;
/// A longer silence than this is no lease: say that it never expires.
pub const LEASE_MAX: Duration = Duration::from_secs(86_400);

/// What `PUT /api/v1/origins/{id}` says. What is `None` stays as it is, or has its default at a new origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginSpec {
    pub device_id: Option<Name>,
    pub server: Option<Name>,
    pub incarnation: Option<Incarnation>,
    pub ip: Option<IpAddr>,
    pub endpoints: Option<Endpoints>,
    /// Within [`WEIGHTS`].
    pub weight: Option<u32>,
    pub capacity: Option<Capacity>,
    pub role: Option<OriginRole>,
    /// `Some(None)`: no longer.
    pub proxy_protocol: Option<Option<ProxyVersion>>,
    /// Instead of what was said before.
    pub probe: Option<ProbeSpec>,
    pub lease: Option<Lease>,
}
