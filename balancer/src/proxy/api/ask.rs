//! The same question to every origin that has an HTTP API, at once, each with its own deadline.

use super::super::body::Outgoing;
use super::super::headers::Forwarded;
use super::super::origins::Target;
use super::super::{Answer, Client, Proxy};
use super::merge::Reply;
use crate::recognize::http::FORWARDED;
use crate::registry::Why;
use crate::store::OriginView;
use balancer_common::abi::ServiceKind;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HOST, HeaderMap, HeaderValue};
use http::{Method, Request};
use http_body_util::BodyExt;
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
const ANSWERS_BYTES_MAX: usize = 32 << 20;
/// Origins asked at once for one question; others wait their turn.
const AT_ONCE_MAX: usize = 128;

/// What goes to each.
pub struct Question {
    pub method: Method,
    pub path_and_query: String,
    pub body: Bytes,
    /// SRS may want a password for its API.
    pub authorization: Option<HeaderValue>,
    /// The client's claims about whom it speaks for.
    pub claims: HeaderMap,
}

impl Question {
    pub fn new(method: Method, path_and_query: String, headers: &HeaderMap) -> Self {
        let authorization = headers.get(AUTHORIZATION).cloned();
        let mut claims = HeaderMap::new();
        for name in FORWARDED {
            headers.get_all(name).iter().for_each(|claim| _ = claims.append(name, claim.clone()));
        }
        Self { method, path_and_query, body: Bytes::new(), authorization, claims }
    }
}

/// Everybody's answer, in the order of their ids. `only` one, if it is said which.
pub async fn all(proxy: &Arc<Proxy>, client: &Client, question: Question, only: Option<&str>) -> Vec<Reply> {
    let mut question = question;
    // An origin may allow its API to some addresses alone, and ours is not the one that asks.
    Forwarded::new(client.via).request(&mut question.claims);
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
    let body = whole(asked.response.into_body(), taken).await?;
    match serde_json::from_slice(&body) {
        Ok(Value::Object(said)) if said.contains_key("code") => Ok(said),
        Ok(_) | Err(_) => Err(format!("its answer (status {}) is none of SRS's", status.as_u16())),
    }
}

/// The body, if neither it nor all answers together are too large: whoever finds that out stops reading at once.
async fn whole(mut body: Answer, taken: &AtomicUsize) -> Result<Vec<u8>, String> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(part) = frame.map_err(|error| error.to_string())?.into_data() else { continue };
        if whole.len() + part.len() > ANSWER_BYTES_MAX {
            return Err(format!("its answer is larger than {} MiB", ANSWER_BYTES_MAX >> 20));
        }
        if taken.fetch_add(part.len(), Relaxed) + part.len() > ANSWERS_BYTES_MAX {
            return Err(format!("all answers together are larger than {} MiB: ask for less", ANSWERS_BYTES_MAX >> 20));
        }
        whole.extend_from_slice(&part);
    }
    Ok(whole)
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
    let mut request = request.body(Outgoing::from(question.body.clone())).map_err(|error| error.to_string())?;
    request.headers_mut().extend(question.claims.clone());
    Ok(request)
}
