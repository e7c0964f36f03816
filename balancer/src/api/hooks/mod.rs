//! Hooks: what media servers call when somebody publishes on them. So a stream that was published directly at an origin
//! is known and routable, and a server that registers nothing by itself keeps the stream table true.
//!
//! Two dialects, each read by a file of its own into a [`Hook`]. The answer allows the publisher, unless somebody else
//! publishes the stream through us on another origin, or what was said cannot be understood or believed.

mod nginx_rtmp;
mod srs;

use super::error::ApiError;
use super::fields::FieldError;
use super::handlers::read;
use super::{Api, Peer};
use crate::recognize::rtmp::host_of;
use crate::recognize::{StreamKey, StreamKeyError};
use crate::registry::{Caller, ClaimError, Name, NotWhose};
use crate::store::{Publication, TellError, Told};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::StatusCode;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

type Body = Result<Bytes, BytesRejection>;
type Answer = Result<Json<Value>, ApiError>;

/// What a media server says.
struct Hook {
    event: Event,
    server: Option<Name>,
    service: Option<Name>,
}

/// Players and connections change nothing here: they are counted where they pass.
enum Event {
    Published { place: Place, again: bool },
    Unpublished(Place),
    Other,
}

/// Who publishes what.
struct Place {
    publication: Publication,
    dialled: Option<SocketAddr>,
}

pub async fn srs(State(api): State<Arc<Api>>, peer: ConnectInfo<Peer>, query: RawQuery, body: Body) -> Answer {
    let hook = read(body).and_then(|body| Ok(srs::parse(&body)?));
    take(&api, peer.0.ip, query.0.as_deref(), hook).await
}

/// By `POST`, or by `GET` with everything in the URL (`notify_method get`).
pub async fn nginx_rtmp(State(api): State<Arc<Api>>, peer: ConnectInfo<Peer>, query: RawQuery, body: Body) -> Answer {
    let url = query.0.as_deref().unwrap_or_default();
    let hook = read(body).and_then(|body| Ok(nginx_rtmp::parse(&body, url)?));
    take(&api, peer.0.ip, Some(url), hook).await
}

async fn take(api: &Api, peer: IpAddr, query: Option<&str>, hook: Result<Hook, ApiError>) -> Answer {
    let hook = hook.inspect_err(|error| {
        tracing::warn!(%peer, error = error.error, "hook not understood");
        api.telemetry.hooked("malformed");
    })?;
    let (place, again) = match hook.event {
        Event::Other => {
            api.telemetry.hooked("nothing");
            return Ok(allowed());
        }
        Event::Published { place, again } => (place, Some(again)),
        Event::Unpublished(place) => (place, None),
    };
    let Hook { server, service, .. } = hook;
    let id = origin_in(query.unwrap_or_default());
    let caller = Caller { id, server, service, dialled: place.dialled, peer };
    let publication = &place.publication;
    let now = api.clock.now();
    let told = match again {
        Some(again) => api.store.claim(&caller, publication, again, now).await,
        None => api.store.unclaim(&caller, publication, now).await,
    };
    report(api, peer, publication, told)
}

fn report(api: &Api, peer: IpAddr, publication: &Publication, told: Result<(Arc<str>, Told), TellError>) -> Answer {
    let stream = &publication.own;
    match told {
        Ok((origin, told)) => {
            api.telemetry.hooked(told.label());
            match told {
                Told::Claimed(crate::registry::Claimed::Placed) => {
                    tracing::info!(%peer, %origin, ?stream, "published at the origin itself");
                }
                Told::Released => tracing::info!(%peer, %origin, ?stream, "no longer published at the origin"),
                Told::Claimed(_) | Told::HandedOn | Told::Copy | Told::Nothing => {
                    tracing::debug!(%peer, %origin, ?stream, told = told.label(), "hook");
                }
            }
            Ok(allowed())
        }
        Err(error) => {
            tracing::warn!(%peer, ?stream, %error, "hook refused: the origin will refuse the publisher");
            api.telemetry.hooked(match error {
                TellError::NotWhose(_) => "unknown_origin",
                TellError::Claim(ClaimError::Published) => "refused",
                TellError::Claim(ClaimError::TooMany | ClaimError::StreamsFull(_)) => "full",
            });
            Err(error.into())
        }
    }
}

/// SRS wants the code; nginx-rtmp looks at the status alone.
fn allowed() -> Json<Value> {
    Json(json!({ "code": 0 }))
}

impl From<TellError> for ApiError {
    fn from(error: TellError) -> Self {
        let status = match &error {
            TellError::NotWhose(NotWhose::NoSuchId { .. } | NotWhose::Unknown { .. }) => StatusCode::NOT_FOUND,
            TellError::NotWhose(NotWhose::Several { .. }) => StatusCode::CONFLICT,
            TellError::Claim(ClaimError::Published) => StatusCode::FORBIDDEN,
            TellError::Claim(ClaimError::TooMany | ClaimError::StreamsFull(_)) => StatusCode::INSUFFICIENT_STORAGE,
        };
        Self::new(status, error.to_string())
    }
}

#[derive(Debug, thiserror::Error)]
enum HookError {
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error(transparent)]
    Key(#[from] StreamKeyError),
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    #[error("{0}: missing")]
    Missing(&'static str),
    #[error("clientid: {0}")]
    Client(#[from] crate::registry::NameError),
}

impl From<HookError> for ApiError {
    fn from(error: HookError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

/// What a publisher of either dialect comes down to.
struct Said<'a> {
    client: Name,
    from: &'a str,
    vhost: &'a str,
    app: &'a str,
    stream: &'a str,
    url: &'a str,
    /// Of the stream's name.
    query: &'a str,
}

impl Said<'_> {
    fn place(&self) -> Result<Place, HookError> {
        let own = StreamKey::new(self.vhost, self.app, self.stream)?;
        let host = host_of(self.url, self.query);
        let dialled = StreamKey::new(host, self.app, self.stream).unwrap_or_else(|_| own.clone());
        let publication = Publication {
            dialled: Arc::new(dialled),
            own: Arc::new(own),
            client: self.client.clone(),
            from: self.from.parse().ok().map(|ip: IpAddr| ip.to_canonical()),
        };
        Ok(Place { publication, dialled: address_of(self.url) })
    }
}

/// Of an RTMP URL whose host is an address.
fn address_of(url: &str) -> Option<SocketAddr> {
    const RTMP_PORT: u16 = 1935;
    let host = url.strip_prefix("rtmp://")?.split(['/', '?']).next()?;
    let bare = |text: &str| IpAddr::from_str(text.trim_start_matches('[').trim_end_matches(']')).ok();
    SocketAddr::from_str(host).ok().or_else(|| Some(SocketAddr::new(bare(host)?, RTMP_PORT)))
}

/// `origin=` as whoever configured the hook wrote it. With `notify_method get` the publisher's own parameters come
/// behind those of the call, of which `app` is the first: there, they name nothing.
fn origin_in(query: &str) -> Option<String> {
    let mut configured = query.split(['&', '?']).take_while(|pair| !pair.starts_with("app="));
    let id = configured.find_map(|pair| pair.strip_prefix("origin=")).filter(|id| !id.is_empty())?;
    Some(percent_decode_str(id).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_configured_the_hook_names_the_origin() {
        for (query, id) in [
            ("origin=studio%2Fone", Some("studio/one")),
            ("a=b&origin=o1", Some("o1")),
            ("origin=", None),
            ("", None),
            ("app=live&name=a&origin=stolen", None),
            ("origin=o1?app=live&origin=stolen", Some("o1")),
        ] {
            assert_eq!(origin_in(query).as_deref(), id, "{query}");
        }
    }

    #[test]
    fn a_url_with_an_address_says_where_was_dialled() {
        for (url, address) in [
            ("rtmp://10.0.0.1/live", Some("10.0.0.1:1935")),
            ("rtmp://10.0.0.1:19350/live", Some("10.0.0.1:19350")),
            ("rtmp://[fd00::1]/live?x=y", Some("[fd00::1]:1935")),
            ("rtmp://a.b.com/live", None),
            ("webrtc://10.0.0.1/live", None),
            ("", None),
        ] {
            assert_eq!(address_of(url), address.map(|a| a.parse().unwrap()), "{url}");
        }
    }
}
