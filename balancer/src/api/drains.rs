//! To let an origin run empty, or this balancer.

use super::error::ApiError;
use super::handlers::{Answer, Body, Segment, Shared, no_origin, read, segment, show};
use super::{Api, Peer};
use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// What may stand in the body of a drain.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Drain {
    /// After which what is left is reset.
    deadline_s: Option<u64>,
}

/// A drain that outlasts a month is a deletion that somebody forgot.
const DEADLINE_S_MAX: u64 = 31 * 86_400;

pub async fn drain(
    State(api): Shared,
    ConnectInfo(Peer { ip: peer, .. }): ConnectInfo<Peer>,
    id: Segment,
    body: Body,
) -> Result<Response, ApiError> {
    let deadline_s = deadline(body)?;
    let id = segment(id)?;
    api.store.drain(&id, at(&api, deadline_s), api.clock.now()).await.ok_or_else(|| no_origin(&id))?;
    tracing::info!(%peer, origin = %id, deadline_s, "origin drains: no new streams");
    show(&api, &id)
}

pub async fn undrain(
    State(api): Shared,
    ConnectInfo(Peer { ip: peer, .. }): ConnectInfo<Peer>,
    id: Segment,
) -> Result<Response, ApiError> {
    let id = segment(id)?;
    api.store.undrain(&id, api.clock.now()).await.ok_or_else(|| no_origin(&id))?;
    tracing::info!(%peer, origin = %id, "origin takes new streams again");
    show(&api, &id)
}

/// This balancer is not ready any more. Who still comes is served: he was sent here, and to be refused would not help him.
pub async fn drain_self(
    State(api): Shared,
    ConnectInfo(Peer { ip: peer, .. }): ConnectInfo<Peer>,
    body: Body,
) -> Answer {
    let deadline_s = deadline(body)?;
    api.readiness.drain(at(&api, deadline_s), api.clock.now());
    tracing::info!(%peer, deadline_s, "this balancer drains: clients are to go to others");
    Ok(Json(json!({ "code": 0 })))
}

pub async fn undrain_self(State(api): Shared, ConnectInfo(Peer { ip: peer, .. }): ConnectInfo<Peer>) -> Answer {
    api.readiness.undrain();
    tracing::info!(%peer, "this balancer wants clients again");
    Ok(Json(json!({ "code": 0 })))
}

fn deadline(body: Body) -> Result<Option<u64>, ApiError> {
    let body = read(body)?;
    let wrong = |e: String| ApiError::new(StatusCode::BAD_REQUEST, e);
    let drain: Drain = if body.trim_ascii().is_empty() {
        Drain::default()
    } else {
        serde_json::from_slice(&body).map_err(|e| wrong(format!("the body: {e}")))?
    };
    match drain.deadline_s {
        Some(s) if s > DEADLINE_S_MAX => Err(wrong(format!("deadline_s: must be at most {DEADLINE_S_MAX}"))),
        deadline_s => Ok(deadline_s),
    }
}

fn at(api: &Api, deadline_s: Option<u64>) -> Option<Duration> {
    deadline_s.map(|s| api.clock.now() + Duration::from_secs(s))
}
