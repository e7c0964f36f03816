//! HTTP on the slow path: every request head of a connection is read here. Media is spliced, the rest goes to the
//! reverse proxy.
//!
//! A spliced connection belongs to one origin, and its next request may mean another one. Three things keep it from
//! getting there: the origin is told that this request is the connection's last (RFC 9112 section 9.6); the client's half
//! of the flow is mute, so that the fast path answers the first byte behind the request with a reset; and the relay, where
//! there is no fast path, does the same.

use super::admission::Admitted;
use super::connection::Connection;
use super::dialect::{Dialect, Joint, Refusal, Wish};
use super::legs::{self, TcpLeg};
use super::origin_leg::{ConnectError, OriginLeg, broken};
use super::relay::Relay;
use super::visitor::Visitor;
use super::{Context, socket};
use crate::flow::{Protocol, Role};
use crate::proxy::{Client, Handback, Intake, Judge, Refused, short_answer};
use crate::recognize::StreamKey;
use crate::recognize::http::{self as recognize, Body, Head, HttpError, Intent, Via};
use balancer_common::abi::{FlowFlags, Reason, ServiceKind};
use std::sync::Arc;
use std::time::Duration;
use tracing::debug;

/// A request for media.
pub struct Http {
    /// Bytes of the head as the client sent it.
    head_len: usize,
    /// The client wants to leave HTTP for a WebSocket.
    upgrade: bool,
    /// What it has said behind that wish already: for the origin once it has agreed, and for nobody if not.
    early: Vec<u8>,
}

/// How long an origin may take to agree to an upgrade.
const ANSWER_MAX: Duration = Duration::from_secs(5);

pub async fn serve(ctx: Arc<Context>, client: TcpLeg, visitor: Visitor, kind: ServiceKind, admitted: Admitted) {
    let mut admitted = Some(admitted);
    let mut place = None;
    let asking = Client { via: via(&visitor), service: kind, peer: client.peer, own: client.own };
    let mut intake = Intake::new(client, &[], ctx.proxy.limits(), judge(&ctx, kind));
    let mut next = intake.next().await;
    loop {
        let head = match next {
            Ok(head) => head,
            Err(refused) => return refuse(&ctx, &mut intake, refused, reason(refused)).await,
        };
        if let Some(media) = media(&ctx, kind, &head) {
            let (mut client, read) = intake.into_parts();
            let rest = read.get(head.len..).unwrap_or_default();
            drop(place);
            if client.track.is_none() && client.wire.is_plain() {
                client.track = legs::track(&ctx, client.peer, client.own);
            }
            return splice(ctx, client, visitor, admitted, media, &head, rest).await;
        }
        if place.is_none() {
            match ctx.proxied.admit(Some(visitor.client().ip())) {
                Ok(admitted) => place = Some(admitted),
                Err(reason) => return refuse(&ctx, &mut intake, Refused::Crowded, Some(reason)).await,
            }
        }
        // What it wants is known: it is no handshake any more, and nothing that the kernel has to watch.
        admitted = None;
        intake.stream_mut().track = None;
        next = match ctx.proxy.serve(&mut intake, &head, asking).await {
            Handback::Next(head) => Ok(head),
            Handback::Refuse(refused) => Err(refused),
            Handback::Closed => return,
        };
    }
}

async fn refuse(ctx: &Context, intake: &mut Intake<TcpLeg>, refused: Refused, reason: Option<Reason>) {
    if let Some(reason) = reason {
        ctx.counters.count(reason);
    }
    debug!(client = %intake.stream().peer, %refused, "HTTP connection refused");
    ctx.proxy.refuse(intake, refused).await;
}

fn via(visitor: &Visitor) -> Via {
    // Who passes on bytes behind a PROXY header passes on whatever the client claims in its requests, too.
    Via { client: visitor.client(), tls: visitor.tls, vip: visitor.dialled, trust_forwarded: false }
}

/// Which limit it has reached.
fn reason(refused: Refused) -> Option<Reason> {
    match refused {
        Refused::Head(HttpError::TooLarge | HttpError::UriTooLong) => Some(Reason::LimitHead),
        Refused::Slow => Some(Reason::LimitHeadTime),
        Refused::Idle => Some(Reason::LimitKeepAlive),
        Refused::Pipelined => Some(Reason::LimitPipelined),
        Refused::Head(_) | Refused::Key(_) | Refused::Crowded | Refused::Ended | Refused::Gone => None,
    }
}

/// Tells the proxy's requests from those that are spliced.
fn judge(ctx: &Arc<Context>, kind: ServiceKind) -> Judge {
    let ctx = ctx.clone();
    Arc::new(move |head| Ok(media(&ctx, kind, head).is_none()))
}

/// What a request that is spliced is for.
struct Media {
    key: StreamKey,
    protocol: Protocol,
    role: Role,
    upgrade: bool,
}

fn media(ctx: &Context, kind: ServiceKind, head: &Head) -> Option<Media> {
    if kind != ServiceKind::Http {
        return None;
    }
    match recognize::intent(head, |key| ctx.store.is_placed(key)) {
        Ok(Intent::Media { key, protocol, role, upgrade }) => Some(Media { key, protocol, role, upgrade }),
        // A path that can be no stream's is the proxy's to answer.
        Ok(Intent::Other) | Err(_) => None,
    }
}

async fn splice(
    ctx: Arc<Context>,
    client: TcpLeg,
    visitor: Visitor,
    admitted: Option<Admitted>,
    media: Media,
    head: &Head,
    rest: &[u8],
) {
    let Media { key, protocol, role, upgrade } = media;
    let mute = role == Role::Play && !upgrade && head.body == Body::None;
    // RFC 6455 section 4.1: a client says nothing behind its request until the origin has agreed.
    let early = if upgrade { rest.to_vec() } else { Vec::new() };
    let dialect = Dialect::Http(Box::new(Http { head_len: head.len, upgrade, early }));
    let mut trigger = recognize::forward(head, &via(&visitor));
    if !mute && !upgrade {
        trigger.extend_from_slice(rest);
    }
    let scheme = if visitor.tls { "https" } else { "http" };
    let url = format!("{scheme}://{}{}", head.host(), head.path());
    let query = head.query().unwrap_or_default().to_owned();
    let mut connection = Connection::new(ctx, client, visitor, dialect, admitted);
    connection.trigger = trigger;
    connection.wish = Some(Wish { key: Arc::new(key), role, protocol, url, query, mute });
    connection.live().await;
}

/// An origin that is asked for media waits for nothing but the request. One that is asked to leave HTTP has to agree
/// first: if it does not, the connection is still HTTP.
pub async fn converse(c: &mut Connection, origin: &mut OriginLeg) -> Result<Joint, ConnectError> {
    let Dialect::Http(http) = &c.dialect else { return Ok(Joint::Relayed) };
    let (head_len, upgrade) = (http.head_len, http.upgrade);
    let mute = c.wish.as_ref().is_some_and(|wish| wish.mute);
    if upgrade {
        let reset = origin.reset.clone();
        return tokio::select! {
            joint = tokio::time::timeout(ANSWER_MAX, change_protocol(c, origin)) => {
                joint.unwrap_or(Err(ConnectError::Silent(origin.placement.endpoint)))
            }
            () = reset.given() => Err(ConnectError::Reset),
        };
    }
    if mute && head_len > FlowFlags::MUTE_REQUEST_MAX as usize {
        c.ctx.counters.count(Reason::SpliceRequest);
        return Ok(Joint::Relayed);
    }
    Ok(if mute { Joint::Verbatim } else { Joint::Answered })
}

/// Sends the request and reads the answer's head.
async fn change_protocol(c: &mut Connection, origin: &mut OriginLeg) -> Result<Joint, ConnectError> {
    let endpoint = origin.placement.endpoint;
    let leg = origin.leg.as_mut().ok_or(ConnectError::Closed(endpoint))?;
    leg.wire.write_all(&c.trigger).await.map_err(|e| broken(endpoint, e))?;
    let mut bytes = Vec::new();
    let answer = loop {
        if leg.wire.read_some(&mut bytes).await.map_err(|e| broken(endpoint, e))? == 0 {
            return Err(ConnectError::Closed(endpoint));
        }
        socket::quick_ack(leg).map_err(|e| broken(endpoint, e))?;
        let limit = c.ctx.settings.http_head_bytes_max;
        match recognize::answer(&bytes, limit) {
            Ok(Some(answer)) => break answer,
            Ok(None) => {}
            Err(e) => return Err(ConnectError::Protocol(endpoint, e.to_string())),
        }
    };
    begin(&mut c.relay, &bytes).map_err(|e| broken(endpoint, e))?;
    if answer.status == SWITCHING_PROTOCOLS {
        if let Dialect::Http(http) = &c.dialect {
            c.relay.to_origin.push(&http.early).map_err(|e| broken(endpoint, e))?;
        }
        return Ok(Joint::Answered);
    }
    debug!(origin = %origin.placement.origin_id, status = answer.status, "no upgrade");
    c.ctx.counters.count(Reason::SpliceRequest);
    c.relay.to_origin.mute();
    Ok(Joint::Relayed)
}

const SWITCHING_PROTOCOLS: u16 = 101;

/// The origin has answered already: its words are the relay's first.
fn begin(relay: &mut Relay, answer: &[u8]) -> std::io::Result<()> {
    relay.trigger_sent = true;
    relay.to_client.push(answer)
}

impl Http {
    pub fn last_words(&mut self, why: Refusal) -> Vec<u8> {
        let (status, text) = match why {
            Refusal::NoOrigin => (503, "no origin serves this stream now"),
            Refusal::Overload => (503, "every origin has reached its capacity"),
            Refusal::OriginFailed => (502, "the stream's origin did not answer"),
            Refusal::Denied => (403, "this stream is not for you"),
            Refusal::Taken => (409, "the stream is being published already"),
            Refusal::Limit => (408, "the request took too long"),
            Refusal::BadName | Refusal::Refused => (400, "the path names no stream"),
        };
        short_answer(status, text)
    }
}
