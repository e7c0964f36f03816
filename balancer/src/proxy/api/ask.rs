//! The same question to every origin that has an HTTP API, at once, each with its own deadline.

use super::super::body::Outgoing;
use super::super::origins::Target;
use super::super::{Answer, Client, Proxy};
use super::merge::Reply;
use crate::registry::Why;
use crate::store::OriginView;
use balancer_common::abi::ServiceKind;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HOST, HeaderMap, HeaderValue};
use http::{Method, Request};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// For the whole of one origin's answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Of all answers to one question.
const ANSWERS_BYTES_MAX: usize = 64 << 20;
/// Origins asked at once for one question; others wait their turn.
const AT_ONCE_MAX: usize = 128;

/// What goes to each.
pub struct Question {
    pub method: Method,
    pub path_and_query: String,
    pub body: Bytes,
    /// SRS may want a password for its API.
    pub authorization: Option<HeaderValue>,
}

impl Question {
    pub fn new(method: Method, path_and_query: String, headers: &HeaderMap) -> Self {
        Self { method, path_and_query, body: Bytes::new(), authorization: headers.get(AUTHORIZATION).cloned() }
    }
}

/// Everybody's answer, in the order of their ids. `only` one, if it is said which.
pub async fn all(proxy: &Arc<Proxy>, client: &Client, question: Question, only: Option<&str>) -> Vec<Reply> {
    let question = Arc::new(question);
    let (turns, taken) = (Arc::new(Semaphore::new(AT_ONCE_MAX)), Arc::new(AtomicUsize::new(0)));
    let mut asked = JoinSet::new();
    let mut replies = Vec::new();
    for origin in proxy.store.origins(proxy.clock.now()) {
        if only.is_some_and(|only| only != &*origin.id) {
            continue;
        }
        match target(&origin, client) {
            Err(error) => replies.push(Reply { origin: origin.id, said: Err(error) }),
            Ok(target) => {
                let (proxy, question) = (proxy.clone(), question.clone());
                let (turns, taken) = (turns.clone(), taken.clone());
                asked.spawn(async move {
                    // Never closed.
                    let _turn = turns.acquire().await;
                    let said = tokio::time::timeout(ANSWER_TIME_MAX, one(&proxy, &target, &question, &taken)).await;
                    let late = |_| format!("no answer within {} s", ANSWER_TIME_MAX.as_secs());
                    Reply { origin: origin.id, said: said.map_err(late).and_then(|said| said) }
                });
            }
        }
    }
    while let Some(reply) = asked.join_next().await {
        replies.extend(reply.ok());
    }
    replies.sort_by(|a, b| a.origin.cmp(&b.origin));
    replies
}

/// Where an origin's API is, or why it is not asked.
fn target(origin: &OriginView, client: &Client) -> Result<Target, String> {
    let all = origin.endpoints.get(ServiceKind::Api);
    let vip = client.via.vip;
    let same = all.iter().find(|address| address.is_ipv4() == vip.is_ipv4());
    let address = *same.or(all.first()).ok_or("it has registered no API")?;
    // Whoever does not answer would cost every question two seconds.
    if let Some(why) = origin.why {
        return Err(format!("down: {}", Why::text(why)));
    }
    let opening = origin.proxy_protocol.map(|version| version.write(client.via.client, vip).into());
    Ok(Target { address, opening })
}

async fn one(
    proxy: &Arc<Proxy>,
    target: &Target,
    question: &Question,
    taken: &AtomicUsize,
) -> Result<serde_json::Map<String, Value>, String> {
    let request = request(target.address, question)?;
    let asked = proxy.origins.ask(target, request).await.map_err(|failed| failed.error.to_string())?;
    let status = asked.response.status();
    let body: Limited<Answer> = Limited::new(asked.response.into_body(), ANSWER_BYTES_MAX);
    let too_large = || format!("its answer is larger than {} MiB", ANSWER_BYTES_MAX >> 20);
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => return Err(too_large()),
        Err(error) => return Err(error.to_string()),
    };
    if taken.fetch_add(body.len(), Relaxed) + body.len() > ANSWERS_BYTES_MAX {
        return Err(format!("all answers together are larger than {} MiB: ask for less", ANSWERS_BYTES_MAX >> 20));
    }
    match serde_json::from_slice(&body) {
        Ok(Value::Object(said)) if said.contains_key("code") => Ok(said),
        Ok(_) | Err(_) => Err(format!("its answer (status {}) is none of SRS's", status.as_u16())),
    }
}

fn request(address: SocketAddr, question: &Question) -> Result<Request<Outgoing>, String> {
    let mut request = Request::builder()
        .method(question.method.clone())
        .uri(&question.path_and_query)
        .header(HOST, address.to_string())
        .header(ACCEPT, "application/json");
    if let Some(authorization) = &question.authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    request.body(Outgoing::from(question.body.clone())).map_err(|error| error.to_string())
}
