//! One question to the hook and its answer, within limits: of time, of what is read, of how many are asked at once.

use super::Question;
use crate::config::HttpUrl;
use crate::flow::Role;
use crate::identity::Identity;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Others wait, within their time: a hook that is slow is not helped by more questions.
const QUESTIONS_MAX: usize = 256;
const ANSWER_BYTES_MAX: usize = 16 * 1024;
const IDLE_CONNECTIONS_MAX: usize = 32;
/// Shorter than what servers keep idle connections for.
const IDLE_TIME_MAX: Duration = Duration::from_secs(4);

pub enum Reply {
    Allowed,
    Denied(String),
    /// There is no answer, or only somebody's word that there is none.
    None(String),
}

pub struct Hook {
    url: Uri,
    timeout: Duration,
    client: Client<HttpConnector, Full<Bytes>>,
    questions: Semaphore,
    asked: AtomicU64,
}

impl Hook {
    pub fn new(url: &HttpUrl, timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeout));
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_max_idle_per_host(IDLE_CONNECTIONS_MAX).pool_idle_timeout(IDLE_TIME_MAX);
        builder.pool_timer(TokioTimer::new());
        Self {
            // The settings have found it to be one.
            url: url.0.parse().unwrap_or_default(),
            timeout,
            client: builder.build(connector),
            questions: Semaphore::new(QUESTIONS_MAX),
            asked: AtomicU64::new(0),
        }
    }

    pub async fn ask(&self, question: &Question) -> Reply {
        match tokio::time::timeout(self.timeout, self.exchange(question)).await {
            Ok(reply) => reply,
            Err(_) => Reply::None(format!("no answer within {} ms", self.timeout.as_millis())),
        }
    }

    async fn exchange(&self, question: &Question) -> Reply {
        // Never closed.
        let Ok(_permit) = self.questions.acquire().await else { return Reply::None("shutting down".into()) };
        let body = Full::from(self.body(question).to_string());
        let request = Request::post(self.url.clone()).header(header::CONTENT_TYPE, "application/json").body(body);
        let request = match request {
            Ok(request) => request,
            Err(error) => return Reply::None(error.to_string()),
        };
        let answer = match self.client.request(request).await {
            Ok(answer) => answer,
            Err(error) => return Reply::None(with_causes(&error)),
        };
        let status = answer.status();
        match status {
            StatusCode::OK => read(answer.into_body()).await,
            // Whoever stands before the hook says that it does not answer.
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Reply::None(format!("status {}", status.as_u16()))
            }
            _ => Reply::Denied(format!("denied by auth_hook: status {}", status.as_u16())),
        }
    }

    /// As SRS says it, and the protocol besides.
    fn body(&self, question: &Question) -> Value {
        let Question { role, protocol, key, client, query, url } = question;
        let param = match query.as_str() {
            "" => String::new(),
            query if query.starts_with('?') => query.to_owned(),
            query => format!("?{query}"),
        };
        let action = match role {
            Role::Publish => "on_publish",
            Role::Play => "on_play",
        };
        let identity = Identity::get();
        let number = self.asked.fetch_add(1, Relaxed);
        json!({
            "server_id": identity.server, "service_id": identity.service, "action": action,
            "client_id": format!("{}-{number}", identity.service), "ip": client.ip().to_canonical(),
            "vhost": key.vhost(), "app": key.app(), "stream": key.stream(), "param": param,
            "tcUrl": url, "stream_url": key.to_string(), "pageUrl": "", "protocol": protocol.label(),
        })
    }
}

async fn read(body: Incoming) -> Reply {
    match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(body) => match allows(&body.to_bytes()) {
            true => Reply::Allowed,
            false => Reply::Denied("denied by auth_hook".into()),
        },
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Reply::Denied(format!("denied by auth_hook: an answer of more than {ANSWER_BYTES_MAX} bytes"))
        }
        Err(error) => Reply::None(error.to_string()),
    }
}

fn allows(body: &[u8]) -> bool {
    match serde_json::from_slice(body.trim_ascii()) {
        Ok(Value::Number(code)) => code.as_i64() == Some(0),
        Ok(Value::Object(fields)) => fields.get("code").and_then(Value::as_i64) == Some(0),
        Ok(_) | Err(_) => false,
    }
}

/// "client error" alone helps nobody.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zero_allows() {
        for body in ["0", " 0\n", r#"{"code":0}"#, r#"{"code": 0, "data": null}"#] {
            assert!(allows(body.as_bytes()), "{body}");
        }
        for body in ["", "1", "-1", "00", "0x0", "ok", "true", "null", "\"0\"", "[0]", "{}", r#"{"code":1}"#, "0 0"] {
            assert!(!allows(body.as_bytes()), "{body}");
        }
    }
}
