//! The system API: registration of origins, their hooks, what there is, drains, metrics, health. It changes the registry through the
//! store and nothing else; whatever follows for sockets and maps, the reconciler does.
//!
//! Lists are objects with one list (`{"origins": […]}`). Errors are `{"code": <status>, "error": "…"}`. Bodies are
//! JSON whatever their Content-Type. Who may ask what: [`access`].

pub mod access;
mod copies;
mod drains;
mod error;
mod fields;
mod handlers;
mod hooks;
mod json;
mod listener;
mod registration;
#[cfg(test)]
mod tests;

use crate::counters::Counters;
use crate::readiness::Readiness;
use crate::store::{Clock, Store};
use crate::telemetry::{Facts, Telemetry};
use access::{Access, Need};
use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use error::ApiError;
use listener::Bounded;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// The body of an SRS beat is some 300 bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// For a request, its body and the work. Tests do not wait so long.
const REQUEST_TIME_MAX: Duration = if cfg!(test) { Duration::from_secs(1) } else { Duration::from_secs(15) };

/// What the handlers work with.
pub struct Api {
    pub store: Arc<Store>,
    pub facts: Arc<dyn Facts>,
    pub readiness: Arc<Readiness>,
    pub telemetry: Arc<Telemetry>,
    pub counters: Arc<Counters>,
    pub clock: Clock,
    pub access: Access,
}

/// Who asks, from the socket; no header can say otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub ip: IpAddr,
    /// From this host: by loopback, or from the very address that was dialled, which no other host can have.
    pub is_local: bool,
}

impl Peer {
    fn new(from: IpAddr, dialled: Option<IpAddr>) -> Self {
        let ip = from.to_canonical();
        Self { ip, is_local: ip.is_loopback() || dialled.is_some_and(|d| d.to_canonical() == ip) }
    }
}

impl Api {
    /// Serves until `stop`, then finishes what is being answered.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let service = router(Arc::new(self)).into_make_service_with_connect_info::<Peer>();
        axum::serve(Bounded::new(listener), service).with_graceful_shutdown(stop).await
    }
}

fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/api/v1/srs/register", post(handlers::register))
        .route("/api/v1/hooks/srs", post(hooks::srs))
        .route("/api/v1/hooks/nginx-rtmp", post(hooks::nginx_rtmp).get(hooks::nginx_rtmp))
        .route("/api/v1/versions", get(handlers::versions))
        .route("/api/v1/status", get(handlers::status))
        .route("/api/v1/origins", get(handlers::origins))
        .route("/api/v1/origins/{id}", get(handlers::origin).put(handlers::put_origin).delete(handlers::delete_origin))
        .route("/api/v1/origins/{id}/drain", post(drains::drain))
        .route("/api/v1/origins/{id}/undrain", post(drains::undrain))
        .route("/api/v1/drain", post(drains::drain_self))
        .route("/api/v1/undrain", post(drains::undrain_self))
        .route("/api/v1/streams", get(handlers::streams))
        .route("/api/v1/streams/{*key}", get(handlers::stream).put(copies::put).delete(handlers::delete_stream))
        .route("/api/v1/flows", get(handlers::flows))
        .route("/metrics", get(handlers::metrics))
        .route("/healthz", get(handlers::healthz))
        .route("/readyz", get(handlers::readyz))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(api.clone(), guard))
        .layer(from_fn(limit_time))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

/// Before any handler, and before the body is read.
async fn guard(
    State(api): State<Arc<Api>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (method, path) = (request.method(), request.uri().path());
    let need = access::need(method, path);
    if let Err(denied) = api.access.check(need, peer, request.headers()) {
        // An origin that may not register is what somebody will look for. Not the path: it may hold a stream key.
        match need {
            Need::Register => tracing::warn!(peer = %peer.ip, why = denied.error, "registration or hook refused"),
            Need::Nothing | Need::Read | Need::Change => {
                tracing::debug!(peer = %peer.ip, %method, why = denied.error, "system API: refused");
            }
        }
        api.telemetry.denied();
        return Err(denied.into());
    }
    Ok(next.run(request).await)
}

async fn limit_time(request: Request, next: Next) -> Result<Response, ApiError> {
    let late = |_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "the request took too long");
    tokio::time::timeout(REQUEST_TIME_MAX, next.run(request)).await.map_err(late)
}

async fn unknown() -> ApiError {
    ApiError::not_found("there is nothing here; the system API is under /api/v1, /metrics, /healthz and /readyz")
}

async fn wrong_method(method: Method) -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not for this path"))
}
