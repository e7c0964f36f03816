//! `PUT /api/v1/streams/{key}/copies`: which origins have a stream beside its own, by an operator's word.

use super::error::ApiError;
use super::handlers::{Answer, Segment, read, segment, stream_key};
use super::{Api, Peer};
use crate::store::CopiesError;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Copies {
    /// Ids of origins.
    copies: Vec<String>,
}

pub async fn put(
    State(api): State<Arc<Api>>,
    ConnectInfo(Peer { ip: peer, .. }): ConnectInfo<Peer>,
    path: Segment,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let wrong = |e: String| ApiError::new(StatusCode::BAD_REQUEST, e);
    let path = segment(path)?;
    let key = path.strip_suffix("/copies");
    let key = stream_key(key.ok_or_else(|| wrong("say PUT /api/v1/streams/{key}/copies".into()))?)?;
    let Copies { copies } = serde_json::from_slice(&read(body)?).map_err(|e| wrong(format!("the body: {e}")))?;
    let copies: Vec<Arc<str>> = copies.into_iter().map(Arc::from).collect();
    api.store.set_copies(&key, &copies, api.clock.now()).await?;
    tracing::info!(%peer, stream = ?key, ?copies, "copies set by the system API");
    Ok(Json(json!({ "code": 0 })))
}

impl From<CopiesError> for ApiError {
    fn from(error: CopiesError) -> Self {
        let status = match &error {
            CopiesError::NoStream => StatusCode::NOT_FOUND,
            CopiesError::NoOrigin(_) => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}
