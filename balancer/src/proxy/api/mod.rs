//! The origins' HTTP API, answered for the whole cluster.
//!
//! | call | goes to |
//! |---|---|
//! | `GET /api/v1/streams`, `clients`, `vhosts` | all origins; one list, each item with its `origin` |
//! | `GET /api/v1/summaries`, `versions` | all origins; sums, and what each said |
//! | `GET`, `DELETE /api/v1/streams/{id}`, `clients/{id}`, `vhosts/{id}` | the origin that knows it |
//! | `/api/v1/raw` | all origins: it controls the server |
//! | whatever names a stream | the stream's origin |
//! | anything else | one origin, always the same for the same path |

mod ask;
mod call;
mod merge;
#[cfg(test)]
mod tests;

pub use call::{names_stream, negotiation, query_of_body, role};

use super::body::Outgoing;
use super::headers::allow_reading;
use super::{Answer, Client, Proxy};
use crate::recognize::StreamKey;
use ask::Question;
use balancer_common::abi::Reason;
use bytes::Bytes;
use call::{Ambiguous, Call, List, Window, call};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Questions to all origins under way: the port is public, and one request here is many there.
const QUESTIONS_MAX: usize = 4;
const WAIT_MAX: Duration = Duration::from_secs(3);
/// An offer with many candidates has some 10 KiB.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// What becomes of a request to the API.
pub enum Answered {
    Here(Response<Answer>),
    /// To be sent to the origin of the stream that it names, or to any if it names none.
    Elsewhere {
        request: Request<Outgoing>,
        key: Option<StreamKey>,
    },
}

/// One for each question to all origins that may be under way.
pub fn turns() -> Semaphore {
    Semaphore::new(QUESTIONS_MAX)
}

/// What pages of other sites call. Everything else is for those who operate the origins, whom any page that they visit
/// could make do something: what an origin does not allow there, nobody does.
pub fn is_for_pages(path: &str) -> bool {
    path.starts_with("/rtc/v1/")
}

pub async fn answer(proxy: &Arc<Proxy>, client: &Client, request: Request<Incoming>) -> Answered {
    match call(request.method(), request.uri()) {
        Call::Other => match names_stream(&host(&request), request.uri(), &[]) {
            Ok(key) => Answered::Elsewhere { request: request.map(Outgoing::of), key },
            Err(ambiguous) => Answered::Here(two_streams(ambiguous)),
        },
        Call::Negotiation => match whole(request).await {
            Ok((request, body)) => match names_stream(&host(&request), request.uri(), &body) {
                Ok(key) => Answered::Elsewhere { request: request.map(|()| Outgoing::from(body)), key },
                Err(ambiguous) => Answered::Here(two_streams(ambiguous)),
            },
            Err(refusal) => Answered::Here(refusal),
        },
        call => Answered::Here(for_all(proxy, client, request, call).await.unwrap_or_else(|refusal| refusal)),
    }
}

async fn for_all(
    proxy: &Arc<Proxy>,
    client: &Client,
    request: Request<Incoming>,
    call: Call,
) -> Result<Response<Answer>, Response<Answer>> {
    // Before the turn: others need not wait for a client that sends slowly.
    let (request, body) = match call {
        Call::Raw => whole(request).await?,
        _ => (request.map(drop), Bytes::new()),
    };
    let Ok(_turn) = tokio::time::timeout(WAIT_MAX, proxy.questions.acquire()).await else {
        proxy.telemetry.limited(Reason::LimitQuestions);
        return Err(refusal(StatusCode::SERVICE_UNAVAILABLE, "too many questions to all origins at once"));
    };
    let ask = |path: String| {
        let question = Question::new(Method::GET, path, request.headers());
        ask::all(proxy, client, question, None)
    };
    let merged = match call {
        Call::List(list) => {
            let window = Window::of(request.uri().query());
            let replies = ask(format!("/api/v1/{}/?{}", list.name(), window.query())).await;
            merge::list(list, replies, window)
        }
        Call::Summaries => merge::summaries(&ask("/api/v1/summaries".into()).await),
        Call::Versions => merge::versions(&ask("/api/v1/versions".into()).await),
        Call::One { list, id } => merge::one(ask(path_of(list, &id)).await),
        // Asked first: an id may mean something to two of them.
        Call::Kick { list, id } => {
            let known = ask(path_of(list, &id)).await;
            match known.iter().find(|reply| reply.code() == Some(0)).map(|reply| reply.origin.clone()) {
                None => merge::one(known),
                Some(origin) => {
                    let question = Question::new(Method::DELETE, path_of(list, &id), request.headers());
                    tracing::info!(client = %client.via.client, %origin, what = list.name(), "kicked by the HTTP API");
                    merge::one(ask::all(proxy, client, question, Some(&origin)).await)
                }
            }
        }
        Call::Raw => {
            let path = request.uri().path_and_query().map_or("/api/v1/raw", |path| path.as_str()).to_owned();
            let question = Question { body, ..Question::new(request.method().clone(), path, request.headers()) };
            merge::raw(&ask::all(proxy, client, question, None).await)
        }
        Call::Negotiation | Call::Other => return Err(refusal(StatusCode::NOT_FOUND, "not for all origins")),
    };
    Ok(json_answer(StatusCode::OK, &merged))
}

fn path_of(list: List, id: &str) -> String {
    format!("/api/v1/{}/{id}", list.name())
}

fn host<B>(request: &Request<B>) -> String {
    let asked = |headers: &HeaderMap| Some(headers.get(HOST)?.to_str().ok()?.to_owned());
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    authority.or_else(|| asked(request.headers())).unwrap_or_default()
}

/// The request, and its body once it is there.
pub async fn whole(request: Request<Incoming>) -> Result<(Request<()>, Bytes), Response<Answer>> {
    let (head, body) = request.into_parts();
    match tokio::time::timeout(BODY_TIME_MAX, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => Ok((Request::from_parts(head, ()), body.to_bytes())),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"))
        }
        Ok(Err(_)) => Err(refusal(StatusCode::BAD_REQUEST, "the body is cut off")),
        Err(_) => Err(refusal(StatusCode::REQUEST_TIMEOUT, "the body takes too long")),
    }
}

fn two_streams(Ambiguous: Ambiguous) -> Response<Answer> {
    refusal(StatusCode::BAD_REQUEST, "the request may be read as one for another stream")
}

fn refusal(status: StatusCode, error: &str) -> Response<Answer> {
    json_answer(status, &json!({ "code": status.as_u16(), "error": error }))
}

fn json_answer(status: StatusCode, value: &Value) -> Response<Answer> {
    let mut response = Response::new(Answer::from(value.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    allow_reading(headers);
    response
}
