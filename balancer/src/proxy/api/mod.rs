//! The origins' HTTP API, answered for the whole cluster.

use super::{Answer, Client, Proxy};
use http::{Request, Response};
use hyper::body::Incoming;
use std::sync::Arc;

/// What needs no single origin. Any other request comes back, to be sent to the origin of the stream that it names.
#[expect(clippy::unused_async, reason = "asks the origins")]
pub async fn answer(
    _proxy: &Arc<Proxy>,
    _client: &Client,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Request<Incoming>> {
    Err(request)
}
