//! Who may ask what of the system API. Pure: an address and a few headers in, a verdict out.
//!
//! | request | on a loopback listener | on any other |
//! |---|---|---|
//! | `/healthz`, `/readyz`, `/metrics`, `/api/v1/versions` | everybody | everybody |
//! | reading the rest (stream keys are secrets) | everybody | the token; without one configured: this host |
//! | registering an SRS origin, hooks | `allow_register` (this host if empty), or the token | the same |
//! | changing anything else | the token; without one configured: this host | the same |
//!
//! A listener that is not loopback, with neither token nor `allow_register`, does not start.
//!
//! A web page may make its reader's browser send requests to loopback, or to a name of its own that it has pointed
//! there. So a browser (it sends `Origin`) registers nothing and changes only what it was served from, and where being
//! on this host is enough, we answer to addresses and `localhost`, not to names; except to a beat, whose sender may know
//! us by one.

use super::Peer;
use crate::config::{Secret, Settings};
use axum::http::{HeaderMap, Method, StatusCode, header};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

#[derive(Clone, Debug)]
pub struct Access {
    listens_on_loopback: bool,
    token: Option<Secret>,
    allow_register: Vec<IpNet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Nothing,
    Read,
    Register,
    Change,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the system API would be open to everybody at {0}: set a token, or the networks that origins register from \
     (allow_register), or let it listen on loopback (system_api)"
)]
pub struct WouldBeOpen(SocketAddr);

#[derive(Debug, PartialEq, Eq)]
pub struct Denied {
    pub status: StatusCode,
    pub error: &'static str,
}

const NO_TOKEN: Denied =
    Denied { status: StatusCode::UNAUTHORIZED, error: "this needs the token: Authorization: Bearer <token>" };
const WRONG_TOKEN: Denied = Denied { status: StatusCode::UNAUTHORIZED, error: "the token differs" };
const NOT_FROM_HERE: Denied = Denied {
    status: StatusCode::FORBIDDEN,
    error: "no token is configured, so this is for the balancer's own host alone: configure a token",
};
const NOT_ALLOWED_TO_REGISTER: Denied = Denied {
    status: StatusCode::FORBIDDEN,
    error: "origins do not register from this address: add its network to allow_register",
};
const FROM_A_WEB_PAGE: Denied =
    Denied { status: StatusCode::FORBIDDEN, error: "a web page of another origin may not do this" };
const FOREIGN_NAME: Denied = Denied {
    status: StatusCode::FORBIDDEN,
    error: "without a token, ask by address or as localhost, not by another name",
};

impl Access {
    pub fn of(settings: &Settings) -> Result<Self, WouldBeOpen> {
        Self::new(settings.system_api, settings.token.clone(), settings.allow_register.clone())
    }

    pub fn new(system_api: SocketAddr, token: Option<Secret>, allow_register: Vec<IpNet>) -> Result<Self, WouldBeOpen> {
        // An empty secret is none: everybody could say it.
        let token = token.filter(|t| !t.0.is_empty());
        let listens_on_loopback = system_api.ip().to_canonical().is_loopback();
        if !listens_on_loopback && token.is_none() && allow_register.is_empty() {
            return Err(WouldBeOpen(system_api));
        }
        Ok(Self { listens_on_loopback, token, allow_register })
    }

    pub fn check(&self, need: Need, peer: Peer, headers: &HeaderMap) -> Result<(), Denied> {
        self.check_browser(need, headers)?;
        match need {
            Need::Nothing => Ok(()),
            Need::Read if self.listens_on_loopback => Ok(()),
            Need::Read | Need::Change => self.check_token_or_local(peer, headers),
            Need::Register if self.may_register(peer) => Ok(()),
            Need::Register => match &self.token {
                Some(_) if headers.contains_key(header::AUTHORIZATION) => self.check_token_or_local(peer, headers),
                Some(_) | None => Err(NOT_ALLOWED_TO_REGISTER),
            },
        }
    }

    fn may_register(&self, peer: Peer) -> bool {
        match self.allow_register.as_slice() {
            [] => peer.is_local,
            networks => networks.iter().any(|network| network.contains(&peer.ip)),
        }
    }

    fn check_token_or_local(&self, peer: Peer, headers: &HeaderMap) -> Result<(), Denied> {
        let Some(token) = &self.token else {
            return if peer.is_local { Ok(()) } else { Err(NOT_FROM_HERE) };
        };
        let given = headers.get(header::AUTHORIZATION).ok_or(NO_TOKEN)?.as_bytes();
        let (scheme, given) = given.split_at_checked(7).ok_or(WRONG_TOKEN)?;
        let matches = scheme.eq_ignore_ascii_case(b"bearer ") && same(given.trim_ascii(), token.0.as_bytes());
        if matches { Ok(()) } else { Err(WRONG_TOKEN) }
    }

    fn check_browser(&self, need: Need, headers: &HeaderMap) -> Result<(), Denied> {
        let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
        let origin = headers.get(header::ORIGIN).map(|o| o.to_str().unwrap_or_default());
        match (need, origin) {
            (Need::Register, Some(_)) => return Err(FROM_A_WEB_PAGE),
            (Need::Change, Some(origin)) if origin.split_once("://").is_none_or(|(_, at)| at != host) => {
                return Err(FROM_A_WEB_PAGE);
            }
            (Need::Nothing | Need::Read | Need::Register | Need::Change, _) => {}
        }
        let asks = matches!(need, Need::Read | Need::Change);
        let trusts_the_host = self.listens_on_loopback || self.token.is_none();
        if asks && trusts_the_host && !is_address(host) { Err(FOREIGN_NAME) } else { Ok(()) }
    }
}

/// What a request for `path` needs. The path decides, not the handler, so that a new handler is closed until it is
/// named here.
pub fn need(method: &Method, path: &str) -> Need {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match path {
        "/healthz" | "/readyz" | "/metrics" | "/api/v1/versions" if reads => Need::Nothing,
        "/api/v1/srs/register" | "/api/v1/hooks/srs" if *method == Method::POST => Need::Register,
        // `notify_method get` changes as much as a POST does.
        "/api/v1/hooks/nginx-rtmp" if reads || *method == Method::POST => Need::Register,
        _ if reads => Need::Read,
        _ => Need::Change,
    }
}

/// Compares without telling by its duration where the first difference is.
fn same(given: &[u8], token: &[u8]) -> bool {
    let differences = given.iter().zip(token).fold(0, |all, (a, b)| all | (a ^ b));
    given.len() == token.len() && std::hint::black_box(differences) == 0
}

/// A literal address or `localhost`, with or without a port. HTTP/1.0 clients name no host at all.
fn is_address(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.is_empty() || name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}
