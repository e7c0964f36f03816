//! Signalling of WebRTC: WHIP (RFC 9725), WHEP and SRS's JSON, from a client's offer to the end of its session.
//!
//! The origin answers; what changes on the way back is where the client is told to send its media, and the URL by which
//! it comes back. [`crate::rtc::Sessions`] is told of the session before the client hears the answer, since its first
//! packet follows at once. What is no answer to an offer passes as it is.
//!
//! Nothing is remembered here: the session's URL names stream and origin, so that any balancer sends PATCH and DELETE to
//! the right one. It counts as the client's permission, as it does at the origin: the hook has been asked about the offer.

mod addresses;
mod answer;
mod location;
mod session;

use super::api::{self, negotiation};
use super::body::{Answer, Outgoing};
use super::exchange::{Exchange, Way};
use super::failure::Failure;
use super::origins::Asked;
use super::subject::{Subject, host};
use crate::flow::Role;
use crate::placement::Placement;
use crate::recognize::StreamKey;
use crate::recognize::http::{key_of_query, mark, origin_mark};
use crate::recognize::sdp::{self, Advertised, SdpError};
use crate::rtc::RtcError;
use answer::{Description, Form, Read};
use balancer_common::abi::{Reason, ServiceKind};
use http::header::{ACCEPT_ENCODING, ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue, LOCATION};
use http::{Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use location::{Base, Location};
use session::{Media, Owner, Place};
use std::net::SocketAddr;
use std::sync::Arc;
use tracing::{debug, info};

/// Pages of other sites read them only if they may.
const EXPOSED: HeaderValue = HeaderValue::from_static("Location, Link, ETag, Accept-Patch, Retry-After");

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A client wants a session.
    Offer { role: Role, form: Form },
    /// It has one, or says so.
    Session {
        /// As its URL names them. Without an origin it is none of ours.
        origin: Option<String>,
        key: Option<StreamKey>,
    },
}

/// What is wrong with an answer to an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("it is compressed, too large or no text")]
    Unreadable,
    #[error("it has no ice-ufrag")]
    NoName,
    #[error(transparent)]
    Sdp(#[from] SdpError),
    #[error("it has no candidate by UDP")]
    NoCandidate,
    #[error(
        "no origin may be at {0}, where it wants its media: it has to register its rtc endpoint, or origin_networks has to allow the address"
    )]
    Outside(SocketAddr),
}

impl Unusable {
    pub const fn reason(self) -> Reason {
        match self {
            Self::Unreadable | Self::NoName | Self::Sdp(SdpError::TooMuch | SdpError::Ufrag) => Reason::RtcNoName,
            Self::NoCandidate => Reason::RtcNoCandidate,
            Self::Outside(_) => Reason::RtcOutside,
            Self::Sdp(SdpError::RtcpApart) => Reason::RtcApart,
        }
    }
}

impl Call {
    /// `None`: it is answered as any other request.
    pub fn of(method: &Method, uri: &Uri, service: ServiceKind) -> Option<Self> {
        let name = negotiation(uri.path());
        match (method, name.as_deref()) {
            (&Method::POST, Some(name @ ("publish" | "whip" | "play" | "whep" | "whep-play" | "whip-play"))) => {
                let form = if matches!(name, "publish" | "play") { Form::Json } else { Form::Sdp };
                Some(Self::Offer { role: api::role(method, uri.path()), form })
            }
            (&Method::PATCH | &Method::DELETE, name) => {
                let origin = origin_mark(uri.query());
                // An origin may keep its sessions anywhere. On the port of streams, though, a path may be one.
                let is_elsewhere = service == ServiceKind::Api && origin.is_some() && !uri.path().starts_with("/api/");
                (name.is_some() || is_elsewhere).then(|| Self::Session { origin, key: mark(uri.query()) })
            }
            _ => None,
        }
    }
}

/// What a client has said.
struct Said {
    base: Base,
    /// Path and query as the origin gets them.
    uri: Uri,
}

impl Exchange<'_> {
    pub async fn signal(&self, request: Request<Incoming>, call: Call) -> Response<Answer> {
        self.playing.plays_nothing();
        let request = match api::whole(request).await {
            Ok((head, body)) => head.map(|()| body),
            Err(refusal) => return refusal,
        };
        let signalled = match call {
            Call::Offer { role, form } => self.offer(request, role, form).await,
            Call::Session { origin, key } => self.session(request, origin, key).await,
        };
        signalled.unwrap_or_else(|failure| {
            if let Failure::Unusable(unusable) = &failure {
                self.proxy.telemetry.limited(unusable.reason());
            }
            info!(client = %self.client.via.client, %failure, "no session of WebRTC");
            failure.answer()
        })
    }

    async fn offer(&self, request: Request<bytes::Bytes>, role: Role, form: Form) -> Result<Response<Answer>, Failure> {
        let body: &[u8] = if form == Form::Json { request.body() } else { &[] };
        let key = api::names_stream(host(&request), request.uri(), body).map_err(|_| Failure::Ambiguous)?;
        let mut subject = Subject::of_call(key.clone(), true);
        subject.query = api::query_of_body(body);
        let request = request.map(Outgoing::from);
        self.authorize(&request, &subject).await?;
        let key = Arc::new(key.ok_or(Failure::NoStream)?);
        let dialled = self.client.via.vip.ip();
        let to = addresses::advertised(&self.proxy.settings, dialled).ok_or(Failure::NoRtc)?;
        let (request, said) = self.said(request);
        let (placed, Asked { response, .. }) = self.carry(request, &Way::Stream { key: &key, role }).await?;
        if !matches!(response.status(), StatusCode::OK | StatusCode::CREATED) {
            return Ok(self.heard(response));
        }
        let mut description = match answer::read(response, form).await? {
            Read::Description(description) => description,
            Read::Other(response) => return Ok(self.heard(response)),
        };
        let origin = &placed.placement.origin_id;
        let location = located(&description, &said.base, origin, &key);
        let place = self.place_of(&placed.placement);
        let media = place.media(&sdp::read(&description.text).map_err(Unusable::from)?)?;
        let to = near(to, &media);
        let resource = location.as_ref().map(|location| location.resource.as_str());
        let (sessions, placement, client) = (&self.proxy.rtc, &placed.placement, self.client.via.client.ip());
        let owner = Owner { sessions, placement, key: &key, role, client, resource };
        owner.register(media).await?;
        debug!(client = %self.client.via.client, %origin, stream = ?key, "a session of WebRTC");
        if let Some(url) = location.and_then(|location| HeaderValue::from_str(&location.url).ok()) {
            description.head.headers.insert(LOCATION, url);
        }
        let text = sdp::rewrite(&description.text, &to);
        Ok(self.heard(description.with(text)))
    }

    async fn session(
        &self,
        request: Request<bytes::Bytes>,
        origin: Option<String>,
        key: Option<StreamKey>,
    ) -> Result<Response<Answer>, Failure> {
        let (method, role) = (request.method().clone(), api::role(request.method(), request.uri().path()));
        let key = match &origin {
            Some(_) => key.or_else(|| key_of_query(host(&request), request.uri().query())),
            None => api::names_stream(host(&request), request.uri(), &[]).map_err(|_| Failure::Ambiguous)?,
        };
        let request = request.map(Outgoing::from);
        let subject = Subject::of_call(key.clone(), origin.is_none());
        if origin.is_none() {
            self.authorize(&request, &subject).await?;
        }
        let (request, said) = self.said(request);
        let way = match &origin {
            Some(id) => Way::Origin { id, key: key.as_ref() },
            None => Way::Meaning(&subject, ServiceKind::Api),
        };
        let (placed, Asked { response, .. }) = self.carry(request, &way).await?;
        let (status, id) = (response.status(), &placed.placement.origin_id);
        let was_known = status.is_success() || status == StatusCode::GONE;
        if method == Method::DELETE && (was_known || status == StatusCode::NOT_FOUND) {
            session::end(&self.proxy.rtc, id, (said.uri.path(), said.uri.query()), was_known);
        }
        if method != Method::PATCH || status != StatusCode::OK {
            return Ok(self.heard(response));
        }
        let description = match answer::read(response, Form::Sdp).await? {
            Read::Description(description) => description,
            Read::Other(response) => return Ok(self.heard(response)),
        };
        let to = addresses::advertised(&self.proxy.settings, self.client.via.vip.ip()).ok_or(Failure::NoRtc)?;
        let answer = sdp::read(&description.text).map_err(Unusable::from)?;
        let resource = location::resource(said.uri.path(), said.uri.query());
        let (sessions, placement) = (&self.proxy.rtc, &placed.placement);
        let key = key.map(Arc::new);
        let client = self.client.via.client.ip();
        let owner = key.as_ref().map(|key| Owner { sessions, placement, key, role, client, resource: Some(&resource) });
        let to = near(to, &self.renamed(owner, &answer, placement).await?);
        let text = sdp::rewrite(&description.text, &to);
        Ok(self.heard(description.with(text)))
    }

    /// ICE was restarted. Where the media are if the answer says so, or if nobody knew the session.
    async fn renamed(
        &self,
        owner: Option<Owner<'_>>,
        answer: &sdp::Answer,
        placement: &Placement,
    ) -> Result<Vec<Media>, Failure> {
        // It need not repeat what has not changed (RFC 9725 section 4.3.3).
        let is_silent = answer.transports.iter().all(|transport| transport.candidates.is_empty());
        if let Some(owner) = owner.as_ref().filter(|_| is_silent && !answer.transports.is_empty()) {
            match owner.rename_only(answer).await {
                Err(RtcError::Unknown) => {}
                result => return Ok(result.map(|()| Vec::new())?),
            }
        }
        let media = self.place_of(placement).media_again(answer)?;
        if let Some(owner) = owner {
            owner.rename(media.clone()).await?;
        }
        Ok(media)
    }

    /// The request for the origin, and what has to be known of it afterwards.
    fn said(&self, request: Request<Outgoing>) -> (Request<Outgoing>, Said) {
        let asked = host(&request);
        let host = if asked.is_empty() { self.client.via.vip.to_string() } else { asked.to_owned() };
        let mut request = self.outgoing(request);
        request.headers_mut().remove(ACCEPT_ENCODING);
        let claimed = request.headers().get("x-forwarded-proto").and_then(|proto| proto.to_str().ok());
        let is_secure = claimed.and_then(|proto| proto.split(',').next()).is_some_and(|proto| proto.trim() == "https");
        let scheme = if is_secure { "https" } else { "http" };
        let uri = request.uri().clone();
        let base = Base { scheme, host, path: uri.path().to_owned() };
        (request, Said { base, uri })
    }

    fn place_of<'a>(&'a self, placement: &'a Placement) -> Place<'a> {
        let (settings, store) = (&*self.proxy.settings, &*self.proxy.store);
        Place { settings, store, placement, vip: self.client.via.vip.ip(), now: self.proxy.clock.now() }
    }

    fn heard(&self, mut response: Response<Answer>) -> Response<Answer> {
        response.headers_mut().entry(ACCESS_CONTROL_EXPOSE_HEADERS).or_insert(EXPOSED);
        self.finish(response, false)
    }
}

fn near(to: Advertised, media: &[Media]) -> Advertised {
    match media.first() {
        Some(media) => to.near(media.address.ip()),
        None => to,
    }
}

fn located(description: &Description, base: &Base, origin: &str, key: &StreamKey) -> Option<Location> {
    let written = description.head.headers.get(LOCATION)?.to_str().ok()?;
    Location::new(written, base, origin, key)
}
