//! One function for each call of the system API.

use super::error::ApiError;
use super::json::{self, Flow, Origin, Stream};
use super::registration;
use super::{Api, Peer};
use crate::flow::FlowRecord;
use crate::recognize::StreamKey;
use crate::registry::{Name, RegisterError, RegisterKind, Registered};
use crate::telemetry::Form;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;

pub(super) type Shared = State<Arc<Api>>;
pub(super) type Answer = Result<Json<Value>, ApiError>;
pub(super) type Body = Result<Bytes, BytesRejection>;
pub(super) type Segment = Result<Path<String>, PathRejection>;

/// What `GET /api/v1/flows` answers with unless `limit` says otherwise, and at most.
const FLOWS_DEFAULT: usize = 10_000;
const FLOWS_MAX: usize = 1_000_000;

/// A beat of an SRS origin. The answer is the one that SRS's own proxy gives.
pub async fn register(State(api): Shared, ConnectInfo(Peer { ip: peer, .. }): ConnectInfo<Peer>, body: Body) -> Answer {
    let beat = registration::srs(&read(body)?).inspect_err(|error| {
        tracing::warn!(%peer, %error, "registration refused");
        api.telemetry.registered("refused");
    })?;
    let result = api.store.register(&beat, api.clock.now()).await;
    report(&api, peer, result)?;
    Ok(Json(json!({ "code": 0, "pid": std::process::id().to_string() })))
}

pub async fn put_origin(
    State(api): Shared,
    ConnectInfo(Peer { ip: peer, .. }): ConnectInfo<Peer>,
    id: Segment,
    body: Body,
) -> Result<Response, ApiError> {
    let id = Name::parse(&segment(id)?).map_err(|e| ApiError::new(StatusCode::BAD_REQUEST, format!("id: {e}")))?;
    let spec = registration::spec(&read(body)?)?;
    let result = api.store.put_origin(&id, &spec, api.clock.now()).await;
    report(&api, peer, result)?;
    show(&api, &id)
}

/// Logs and counts what became of a registration. A mere renewal is not worth a line.
fn report(api: &Api, peer: IpAddr, result: Result<Registered, RegisterError>) -> Result<(), ApiError> {
    match result {
        Ok(Registered { id, kind, .. }) => {
            api.telemetry.registered(kind.label());
            match kind {
                RegisterKind::Renewed => tracing::debug!(%peer, origin = %id, "origin renewed"),
                RegisterKind::New => tracing::info!(%peer, origin = %id, "origin registered"),
                RegisterKind::Replaced => tracing::info!(%peer, origin = %id, "origin restarted: its flows are reset"),
                RegisterKind::Returned => tracing::warn!(
                    %peer, origin = %id,
                    "origin is back after its lease ran out: does it beat less often than origin_ttl allows?"
                ),
            }
            Ok(())
        }
        Err(error) => {
            tracing::warn!(%peer, %error, "registration refused");
            api.telemetry.registered(if error == RegisterError::Full { "full" } else { "refused" });
            Err(error.into())
        }
    }
}

/// As SRS answers, so that its tools recognize us.
pub async fn versions() -> Json<Value> {
    let version = env!("CARGO_PKG_VERSION");
    let mut parts = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    let data = json!({ "major": part(), "minor": part(), "revision": part(), "version": version });
    Json(json!({ "code": 0, "pid": std::process::id().to_string(), "data": data }))
}

pub async fn origins(State(api): Shared) -> Result<Response, ApiError> {
    blocking(move || {
        let all = api.store.origins(api.clock.now());
        json_of(&json::Origins { origins: all.iter().map(Origin::new).collect() })
    })
    .await?
}

pub async fn origin(State(api): Shared, id: Segment) -> Result<Response, ApiError> {
    show(&api, &segment(id)?)
}

pub(super) fn show(api: &Api, id: &str) -> Result<Response, ApiError> {
    let origin = api.store.origin(id, api.clock.now()).ok_or_else(|| no_origin(id))?;
    json_of(&Origin::new(&origin))
}

pub(super) fn no_origin(id: &str) -> ApiError {
    ApiError::not_found(format!("there is no origin {id:?}; `balancer origins` lists them"))
}

pub async fn delete_origin(
    State(api): Shared,
    ConnectInfo(Peer { ip: peer, .. }): ConnectInfo<Peer>,
    id: Segment,
) -> Answer {
    let id = segment(id)?;
    api.store.delete_origin(&id, api.clock.now()).await?.ok_or_else(|| no_origin(&id))?;
    tracing::info!(%peer, origin = %id, "origin deleted: its flows are reset");
    Ok(Json(json!({ "code": 0 })))
}

pub async fn streams(State(api): Shared) -> Result<Response, ApiError> {
    blocking(move || {
        let all = api.store.streams();
        json_of(&json::Streams { streams: all.iter().map(Stream::new).collect() })
    })
    .await?
}

pub async fn stream(State(api): Shared, key: Segment) -> Result<Response, ApiError> {
    let key = stream_key(&segment(key)?)?;
    let stream = api.store.stream(&key).ok_or_else(no_stream)?;
    json_of(&Stream::new(&stream))
}

/// Ends a stream: its flows are reset, and who comes next is placed anew.
pub async fn delete_stream(
    State(api): Shared,
    ConnectInfo(Peer { ip: peer, .. }): ConnectInfo<Peer>,
    key: Segment,
) -> Answer {
    let key = stream_key(&segment(key)?)?;
    if !api.store.delete_stream(&key, api.clock.now()).await {
        return Err(no_stream());
    }
    tracing::info!(%peer, stream = ?key, "stream ended by the system API: its flows are reset");
    Ok(Json(json!({ "code": 0 })))
}

/// `vhost/app/stream`, its slashes percent-encoded or not; `app/stream` is in the default vhost.
pub(super) fn stream_key(text: &str) -> Result<StreamKey, ApiError> {
    let key = text.parse().or_else(|error| match text.split('/').count() {
        2 => StreamKey::from_path("", text),
        _ => Err(error),
    });
    key.map_err(|e| ApiError::new(StatusCode::BAD_REQUEST, e.to_string()))
}

/// The key is a secret: an error does not repeat it.
fn no_stream() -> ApiError {
    ApiError::not_found("there is no such stream; `balancer streams` lists them")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowsQuery {
    limit: Option<usize>,
    origin: Option<String>,
    stream: Option<String>,
    protocol: Option<String>,
}

pub async fn flows(State(api): Shared, query: Result<Query<FlowsQuery>, QueryRejection>) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|e| ApiError::new(e.status(), e.body_text()))?;
    let stream = query.stream.as_deref().map(stream_key).transpose()?;
    let limit = query.limit.unwrap_or(FLOWS_DEFAULT).min(FLOWS_MAX);
    let wanted = move |flow: &FlowRecord| {
        query.origin.as_deref().is_none_or(|o| o == &*flow.origin_id)
            && query.protocol.as_deref().is_none_or(|p| p == flow.protocol.label())
            && stream.as_ref().is_none_or(|s| s == &*flow.stream)
    };
    blocking(move || {
        let now = api.clock.now();
        let mut all = api.facts.flows();
        all.retain(wanted);
        all.sort_by_key(|flow| flow.made_at);
        let flows = all.iter().take(limit).map(|flow| Flow::new(flow, now)).collect();
        json_of(&json::Flows { total: all.len(), flows })
    })
    .await?
}

pub async fn status(State(api): Shared) -> Answer {
    blocking(move || {
        let now = api.clock.now();
        let origins = api.store.origins(now);
        let in_state = |label| origins.iter().filter(|o| o.status.label() == label).count();
        let counts = api.facts.flow_counts();
        let on_path = |label| counts.iter().filter(|((.., p), _)| p.label() == label).map(|(_, n)| n).sum::<u64>();
        let maps = api.facts.map_usage().into_iter();
        let (ready, drain) = (api.facts.ready(), api.readiness.state().drain);
        Json(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime_s": json::seconds(now),
            "ready": ready.is_ok(),
            "problem": ready.err(),
            "drain": drain.map(|d| json::drain(&d, now)),
            "announced": api.facts.announced().as_ref().map(json::announced),
            "interfaces": json::interfaces(&api.facts.interfaces()),
            "origins": {
                "healthy": in_state("healthy"), "draining": in_state("draining"), "down": in_state("down"),
            },
            "store": json::store(api.store.shelf_view().as_ref()),
            "streams": api.store.stream_count(),
            "flows": { "kernel": on_path("kernel"), "relay": on_path("relay") },
            "maps": maps.map(|m| (m.name.to_owned(), json!({ "entries": m.entries, "capacity": m.capacity })))
                .collect::<serde_json::Map<_, _>>(),
            "reasons": json::reasons(&api.facts.reasons(), &api.counters),
        }))
    })
    .await
}

pub async fn metrics(State(api): Shared, headers: HeaderMap) -> Result<Response, ApiError> {
    let accept = headers.get(header::ACCEPT).and_then(|a| a.to_str().ok()).unwrap_or_default();
    let form = Form::accepted(accept);
    let text = blocking(move || api.telemetry.render(form)).await?;
    Ok(([(header::CONTENT_TYPE, form.content_type())], text).into_response())
}

/// The process answers.
pub async fn healthz() -> Json<Value> {
    Json(json!({ "code": 0 }))
}

/// Clients are served.
pub async fn readyz(State(api): Shared) -> Answer {
    let ready = blocking(move || api.facts.ready()).await?;
    ready.map_err(|why| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, why))?;
    Ok(Json(json!({ "code": 0 })))
}

fn json_of(value: &impl Serialize) -> Result<Response, ApiError> {
    let failed = |e: serde_json::Error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string());
    let text = serde_json::to_string(value).map_err(failed)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

pub(super) fn read(body: Body) -> Result<Bytes, ApiError> {
    body.map_err(|rejection| ApiError::new(rejection.status(), rejection.body_text()))
}

/// Percent signs decoded; what they hid may not be text.
pub(super) fn segment(segment: Segment) -> Result<String, ApiError> {
    segment.map(|Path(text)| text).map_err(|e| ApiError::new(e.status(), e.body_text()))
}

/// Runs what may take long, such as a walk over the maps, where it delays no connection.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    let failed = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "it failed; see the log");
    tokio::task::spawn_blocking(work).await.map_err(failed)
}
