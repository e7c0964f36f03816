//! Whether a client may have a stream: asked of the operator's own service (`auth_hook`) before a stream is placed, in
//! the form of SRS's callbacks. This owns the question, its limits and the memory of answers; what a refused client is
//! told is its protocol's business.
//!
//! Status 200 with `0` or `{"code":0}` allows; any other answer denies, and no answer is what `auth_failure` says it is.
//! Who asks for a stream of its own connection asks each time ([`Authorizer::ask`]). A player of HLS makes a request
//! every few seconds: [`Authorizer::ask_cached`] remembers what was said of its playlist, and [`Authorizer::ask_for_segment`]
//! lends that to segments, which carry no token.

mod hook;
mod memory;
#[cfg(test)]
mod tests;

use crate::config::{AuthFailure, Settings};
use crate::counters::Counters;
use crate::flow::{Protocol, Role};
use crate::recognize::StreamKey;
use balancer_common::abi::Reason;
use hook::{Hook, Reply};
use memory::{ALLOWED_FOR, DENIED_FOR, Entry, Memory, Remembered, UNKNOWN_FOR};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::MutexGuard;

/// Who wants what.
#[derive(Clone, Debug)]
pub struct Question {
    pub role: Role,
    pub protocol: Protocol,
    pub key: Arc<StreamKey>,
    pub client: SocketAddr,
    /// `?token=…` as the client sent it, with or without the question mark; empty if there is none.
    pub query: String,
    /// `tcUrl`, or the URL.
    pub url: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// The hook has said no. The text is for the log.
    Denied(String),
    /// Nobody knows, and `auth_failure` says that this is a no.
    Unavailable(String),
}

impl Verdict {
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed)
    }

    /// Under which a refusal is counted. The authorizer has done so.
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Allowed => None,
            Self::Denied(_) => Some(Reason::Denied),
            Self::Unavailable(_) => Some(Reason::AuthFailed),
        }
    }
}

pub struct Authorizer {
    hook: Option<Hook>,
    failure: AuthFailure,
    timeout: Duration,
    memory: Memory,
    counters: Arc<Counters>,
    /// It did not answer the last time: that is said once, not for every client.
    is_failing: AtomicBool,
}

impl Authorizer {
    pub fn new(settings: &Settings, counters: Arc<Counters>) -> Self {
        let hook = settings.auth_hook.as_ref().map(|url| Hook::new(url, settings.auth_timeout));
        Self { hook, failure: settings.auth_failure, timeout: settings.auth_timeout, counters, ..Self::default() }
    }

    /// Whether there is anybody to ask.
    pub const fn asks(&self) -> bool {
        self.hook.is_some()
    }

    /// Asks every time. Waits no longer than `auth_timeout`.
    pub async fn ask(&self, question: Question) -> Verdict {
        let Some(hook) = &self.hook else { return Verdict::Allowed };
        let (verdict, _) = self.judge(hook.ask(&question).await);
        self.count(&verdict);
        verdict
    }

    /// For requests of which a viewer makes many: one question for each client address, stream and query, its answer
    /// remembered for a while.
    pub async fn ask_cached(&self, question: Question) -> Verdict {
        let Some(hook) = &self.hook else { return Verdict::Allowed };
        // Whoever else wants to know the same waits for the one answer.
        let remembered = self.memory.of_query(&question);
        let Some(mut remembered) = self.turn(&remembered).await else { return self.too_many() };
        if let Some(verdict) = remembered.verdict("") {
            self.count(&verdict);
            return verdict;
        }
        let (verdict, for_how_long) = self.judge(hook.ask(&question).await);
        self.count(&verdict);
        remembered.remember(String::new(), verdict.clone(), for_how_long);
        drop(remembered);
        let for_segments = self.memory.of_segments(&question);
        if let Some(mut for_segments) = self.turn(&for_segments).await {
            for_segments.remember(question.query, verdict.clone(), for_how_long);
        }
        verdict
    }

    /// Segments name no token, or one of their own making: whoever has a playlist has its segments too.
    pub async fn ask_for_segment(&self, mut question: Question) -> Verdict {
        let Some(hook) = &self.hook else { return Verdict::Allowed };
        let remembered = self.memory.of_segments(&question);
        let Some(mut remembered) = self.turn(&remembered).await else { return self.too_many() };
        if let Some(verdict) = remembered.verdict(&question.query) {
            self.count(&verdict);
            return verdict;
        }
        if question.query.is_empty() {
            question.query = remembered.query().to_owned();
        }
        let (verdict, for_how_long) = self.judge(hook.ask(&question).await);
        self.count(&verdict);
        remembered.remember(question.query, verdict.clone(), for_how_long);
        verdict
    }

    /// `None` when those before have taken all the time there is.
    async fn turn<'a>(&self, entry: &'a Entry) -> Option<MutexGuard<'a, Remembered>> {
        tokio::time::timeout(self.timeout, entry.lock()).await.ok()
    }

    fn too_many(&self) -> Verdict {
        let (verdict, _) = self.judge(Reply::None("too many questions about one client at once".to_owned()));
        self.count(&verdict);
        verdict
    }

    /// And for how long that may be taken for granted.
    fn judge(&self, reply: Reply) -> (Verdict, Duration) {
        let why = match reply {
            Reply::Allowed => return self.answered(Verdict::Allowed, ALLOWED_FOR),
            Reply::Denied(why) => return self.answered(Verdict::Denied(why), DENIED_FOR),
            Reply::None(why) => why,
        };
        if !self.is_failing.swap(true, Relaxed) {
            tracing::warn!(why, auth_failure = ?self.failure, "auth_hook does not answer");
        }
        let verdict = match self.failure {
            AuthFailure::Deny => Verdict::Unavailable(why),
            AuthFailure::Allow => {
                self.counters.count(Reason::AuthFailed);
                Verdict::Allowed
            }
        };
        (verdict, UNKNOWN_FOR)
    }

    fn answered(&self, verdict: Verdict, for_how_long: Duration) -> (Verdict, Duration) {
        if self.is_failing.swap(false, Relaxed) {
            tracing::info!("auth_hook answers again");
        }
        (verdict, for_how_long)
    }

    fn count(&self, verdict: &Verdict) {
        if let Some(reason) = verdict.reason() {
            self.counters.count(reason);
        }
    }
}

impl Default for Authorizer {
    /// Without a hook: everybody may have everything.
    fn default() -> Self {
        Self {
            hook: None,
            failure: AuthFailure::Deny,
            timeout: Duration::ZERO,
            memory: Memory::default(),
            counters: Arc::default(),
            is_failing: false.into(),
        }
    }
}
