//! One client's requests, each with its answer: where it goes, what is changed on the way, and what is said when nobody
//! answers.

use super::api::Answered;
use super::body::{Answer, Outgoing};
use super::failure::Failure;
use super::headers::{self, Forwarded};
use super::origins::{Asked, Failed, OriginError, Target};
use super::playing::Playing;
use super::subject::{Subject, host};
use super::{Client, Proxy, api, playlist, rtc};
use crate::auth::Question;
use crate::flow::{Protocol, Role};
use crate::placement::{PlaceRequest, Placement, RequestPlace, RequestPlaced};
use crate::recognize::StreamKey;
use crate::recognize::http::{self as recognizer, Kind};
use crate::registry::ConnectFailure;
use crate::telemetry::{HttpKind, OriginResult};
use balancer_common::abi::ServiceKind;
use http::header::{ACCEPT_ENCODING, CONNECTION, HOST, HeaderValue, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use tracing::debug;

pub struct Exchange<'a> {
    pub(super) proxy: &'a Arc<Proxy>,
    pub(super) client: Client,
    pub(super) playing: Arc<Playing>,
    forwarded: Forwarded,
}

/// By what a request finds its origin.
pub(super) enum Way<'a> {
    /// What it means, and the listener that it is for.
    Meaning(&'a Subject, ServiceKind),
    /// A stream that is to be published there, or played.
    Stream { key: &'a Arc<StreamKey>, role: Role },
    /// It says which, and the stream in case that nobody has that name.
    Origin { id: &'a str, key: Option<&'a StreamKey> },
}

/// Origins that are tried for one request.
const ORIGINS_MAX: usize = 3;

impl<'a> Exchange<'a> {
    pub fn new(proxy: &'a Arc<Proxy>, client: Client, playing: Arc<Playing>) -> Self {
        Self { proxy, forwarded: Forwarded::new(client.via), client, playing }
    }

    pub async fn answer(&self, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
        self.playing.show(false);
        // Whatever follows a body whose end only its own bytes tell is not read as a request.
        let is_last = request.headers().contains_key(TRANSFER_ENCODING);
        let preflight = headers::is_preflight(request.method(), request.headers()).then(|| request.headers().clone());
        let is_for_pages = self.client.service != ServiceKind::Api || api::is_for_pages(request.uri().path());
        let (kind, mut response) = self.dispatch(request).await;
        if let Some(asked) = preflight
            && !headers::knows_preflight(response.status(), response.headers())
        {
            response = if is_for_pages {
                headers::preflight(&asked, Answer::empty())
            } else {
                headers::no_preflight(Answer::empty())
            };
        }
        if is_last {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.proxy.telemetry.http_answered(kind, response.status().as_u16());
        Ok(response)
    }

    async fn dispatch(&self, request: Request<Incoming>) -> (HttpKind, Response<Answer>) {
        let is_api = self.client.service == ServiceKind::Api;
        if let Some(call) = rtc::Call::of(request.method(), request.uri(), self.client.service) {
            return (HttpKind::Api, self.signal(request, call).await);
        }
        let negotiates = api::negotiation(request.uri().path()).is_some();
        let own = if is_api { None } else { Some(Subject::of(&request, &self.proxy.store)) };
        // SRS may serve negotiations on its HTTP port: they name their stream in their bodies there, too.
        let (request, subject) = match own {
            Some(Ok(subject)) if !negotiates => (request.map(Outgoing::of), subject),
            Some(Err(failure)) => return (HttpKind::Other, failure.answer()),
            _ => match api::answer(self.proxy, &self.client, request).await {
                Answered::Here(response) => return (HttpKind::Api, response),
                Answered::Elsewhere { request, key } => (request, Subject::of_call(key, negotiates)),
            },
        };
        let kind = if is_api { HttpKind::Api } else { counted_as(subject.kind) };
        if let Some(files) = &self.proxy.files
            && !is_api
            && !subject.keys.iter().any(|key| self.proxy.store.is_placed(key))
            && let Some(response) = files.answer(&request).await
        {
            self.playing.plays_nothing();
            return (HttpKind::File, response);
        }
        match self.proxied(request, &subject).await {
            Ok(response) => (kind, response),
            Err(failure) => {
                debug!(client = %self.client.via.client, %failure, "request not answered");
                (kind, failure.answer())
            }
        }
    }

    async fn proxied(&self, request: Request<Outgoing>, subject: &Subject) -> Result<Response<Answer>, Failure> {
        let is_preflight = headers::is_preflight(request.method(), request.headers());
        if !is_preflight {
            self.authorize(&request, subject).await?;
        }
        let mut request = self.outgoing(request);
        let playlist = (subject.kind == Kind::Playlist).then(|| {
            request.headers_mut().remove(ACCEPT_ENCODING);
            (host(&request).to_owned(), request.uri().path().to_owned())
        });
        let (placed, asked) = self.carry(request, &Way::Meaning(subject, self.client.service)).await?;
        let Asked { mut response, own, .. } = asked;
        let is_good = response.status().is_success() && !is_preflight;
        let stream = self.show(&placed, subject, is_good, own).await;
        if let (Some((host, path)), Some(key)) = (&playlist, stream) {
            response = playlist::led_back(response, (host, path), &key).await?;
        }
        Ok(self.finish(response, is_preflight))
    }

    /// Asks one origin after the other, until one has got the request.
    pub(super) async fn carry(
        &self,
        request: Request<Outgoing>,
        way: &Way<'_>,
    ) -> Result<(RequestPlaced, Asked), Failure> {
        let (mut request, mut exclude) = (request, Vec::new());
        let tries_max = if matches!(way, Way::Origin { .. }) { 1 } else { ORIGINS_MAX };
        loop {
            let placed = self.place(request.uri().path(), way, &exclude).await?;
            match self.ask(&placed.placement, request).await {
                Ok(asked) => return Ok((placed, asked)),
                Err(Failed { error, request: Some(unsent) })
                    if exclude.len() + 1 < tries_max && !matches!(error, OriginError::Local(_)) =>
                {
                    exclude.push(placed.placement.origin);
                    request = *unsent;
                }
                Err(Failed { error, .. }) => return Err(error.into()),
            }
        }
    }

    /// Asks the hook about every stream that the request may be for. What can be none is everybody's.
    pub(super) async fn authorize(&self, request: &Request<Outgoing>, subject: &Subject) -> Result<(), Failure> {
        let authorizer = &self.proxy.authorizer;
        if !authorizer.asks() {
            return Ok(());
        }
        let (uri, via) = (request.uri(), &self.client.via);
        let scheme = if via.tls { "https" } else { "http" };
        let role = api::role(request.method(), uri.path());
        let negotiates = api::negotiation(uri.path()).is_some();
        let mut query = uri.query().map(recognizer::without_mark).unwrap_or_default().into_owned();
        if let Some(said) = subject.query.as_ref().filter(|said| !said.is_empty()) {
            query = if query.is_empty() { said.clone() } else { format!("{query}&{said}") };
        }
        // SRS has sent its player on from the playlist that had the token: this is a part of that.
        let is_sent_on = is_context(&query);
        if is_sent_on {
            query.clear();
        }
        for key in subject.judged(&self.proxy.store)? {
            let question = Question {
                role,
                protocol: if negotiates { Protocol::Webrtc } else { subject.protocol().unwrap_or(Protocol::Http) },
                key,
                client: via.client,
                query: query.clone(),
                url: format!("{scheme}://{}{}", host(request), uri.path()),
            };
            let verdict = match (role, subject.kind) {
                // Each offer is a client, each request of HLS is not.
                (Role::Publish, _) => authorizer.ask(question).await,
                (Role::Play, _) if negotiates => authorizer.ask(question).await,
                (Role::Play, Kind::Segment) => authorizer.ask_for_segment(question).await,
                (Role::Play, Kind::Playlist) if is_sent_on => authorizer.ask_for_segment(question).await,
                (Role::Play, _) => authorizer.ask_cached(question).await,
            };
            if !verdict.is_allowed() {
                return Err(Failure::Denied);
            }
        }
        Ok(())
    }

    async fn place(&self, path: &str, way: &Way<'_>, exclude: &[u16]) -> Result<RequestPlaced, Failure> {
        let (store, now, vip) = (&self.proxy.store, self.proxy.clock.now(), self.client.via.vip.ip());
        let client = self.client.via.client;
        let meaning = |keys, service| RequestPlace { keys, path, service, vip, client: client.ip(), exclude };
        Ok(match *way {
            Way::Meaning(subject, service) => store.place_request(&meaning(&subject.keys, service), now).await?,
            Way::Stream { key, role } => {
                let request = PlaceRequest { key, role, protocol: Protocol::Webrtc, vip, client, exclude };
                RequestPlaced { placement: store.place(&request, now).await?, stream: Some(key.clone()) }
            }
            Way::Origin { id, key } => match store.place_on((id, key), (ServiceKind::Api, vip), now).await {
                Ok(placed) => placed,
                // It may go by another name by now.
                Err(gone) => match key.map(std::slice::from_ref) {
                    Some(key) if store.meant(key).is_some() => {
                        store.place_request(&meaning(key, ServiceKind::Api), now).await?
                    }
                    _ => return Err(gone.into()),
                },
            },
        })
    }

    async fn ask(&self, placement: &Placement, request: Request<Outgoing>) -> Result<Asked, Failed> {
        let (proxy, now) = (self.proxy, self.proxy.clock.now());
        let via = &self.client.via;
        let opening = placement.proxy_protocol.map(|version| version.write(via.client, via.vip).into());
        let target = Target { address: placement.endpoint, opening };
        let asked = proxy.origins.ask(&target, request).await;
        let (result, failure) = match &asked {
            Ok(asked) if asked.connected => {
                proxy.store.connect_succeeded(placement);
                (OriginResult::Connected, None)
            }
            Ok(_) => (OriginResult::Reused, None),
            Err(Failed { error, .. }) => match error {
                OriginError::Refused => (OriginResult::ConnectFailed, Some(ConnectFailure::Refused)),
                OriginError::Unreachable | OriginError::Connect(_) => {
                    (OriginResult::ConnectFailed, Some(ConnectFailure::TimedOut))
                }
                // It lives, and did not like this request: that must not cost the others their origin.
                OriginError::Broken => (OriginResult::Broken, None),
                OriginError::Slow => (OriginResult::Slow, None),
                OriginError::Busy | OriginError::Local(_) => (OriginResult::Busy, None),
            },
        };
        proxy.telemetry.http_asked(result);
        if let Some(failure) = failure {
            proxy.store.connect_failed(placement, failure, now);
        }
        asked
    }

    /// Shows who plays what, and answers what that is.
    async fn show(
        &self,
        placed: &RequestPlaced,
        subject: &Subject,
        is_good: bool,
        own: SocketAddr,
    ) -> Option<Arc<StreamKey>> {
        let is_media = subject.kind != Kind::Other && self.client.service == ServiceKind::Http;
        if !is_media || !is_good {
            self.playing.plays_nothing();
            return None;
        }
        let mut placement = placed.placement.clone();
        let stream = match &placed.stream {
            Some(stream) => stream.clone(),
            // Only what an origin really has gets an entry, and only by what every player asks for first.
            None => {
                let key = Arc::new(subject.keys.first().filter(|_| is_first(subject.kind))?.clone());
                placement.stream = self.proxy.store.lease_stream(&key, &placement, self.proxy.clock.now()).await?;
                key
            }
        };
        self.playing.plays(&stream, &placement, subject.protocol(), own);
        Some(stream)
    }

    /// The client's request as its origin gets it: the same words for the same thing, but for what concerns the
    /// connection, and for the mark that a rewritten playlist has put there.
    pub(super) fn outgoing(&self, request: Request<Outgoing>) -> Request<Outgoing> {
        let (mut head, body) = request.into_parts();
        // RFC 9112 section 3.2.2: where the target has an authority, that is the host.
        if let Some(authority) = head.uri.authority()
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            head.headers.insert(HOST, host);
        }
        self.forwarded.request(&mut head.headers);
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.uri_mut() = origin_form(head.uri);
        *request.headers_mut() = head.headers;
        request
    }

    pub(super) fn finish(&self, mut response: Response<Answer>, is_preflight: bool) -> Response<Answer> {
        headers::response(response.headers_mut(), is_preflight);
        *response.version_mut() = http::Version::HTTP_11;
        if let Answer::Origin(relayed) = response.body_mut() {
            relayed.witness = Some(self.playing.clone());
        }
        response
    }
}

/// What a player begins with.
fn is_first(kind: Kind) -> bool {
    matches!(kind, Kind::Playlist | Kind::Manifest)
}

const fn counted_as(kind: Kind) -> HttpKind {
    match kind {
        Kind::Playlist => HttpKind::Playlist,
        Kind::Manifest => HttpKind::Manifest,
        Kind::Segment => HttpKind::Segment,
        Kind::Other => HttpKind::Other,
    }
}

fn origin_form(uri: Uri) -> Uri {
    let unmarked = uri.query().map(recognizer::without_mark).filter(|query| Some(&**query) != uri.query());
    let path_and_query = match unmarked {
        Some(query) if query.is_empty() => uri.path().parse().ok(),
        Some(query) => format!("{}?{query}", uri.path()).parse().ok(),
        None if uri.authority().is_none() => return uri,
        None => uri.path_and_query().cloned(),
    };
    Uri::from(path_and_query.unwrap_or(PathAndQuery::from_static("/")))
}

/// The parameter with which SRS tells the players of a playlist apart, and nothing else.
fn is_context(query: &str) -> bool {
    query.strip_prefix("hls_ctx=").is_some_and(|value| !value.contains('&'))
}
