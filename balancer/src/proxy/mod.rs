//! HTTP request by request: HLS, DASH, players' files, the origins' API. What is spliced never comes here.
//!
//! A client's connection is an [`Intake`], which lets hyper see only what the recognizer has passed; each request is
//! answered by [`exchange`] from a folder, from the balancer itself, or by an origin ([`origins`]). Nothing here accepts
//! or closes connections, and nothing touches the kernel's maps.

pub mod api;
mod body;
mod exchange;
mod failure;
mod files;
mod headers;
mod intake;
mod link;
mod origins;
mod patience;
mod playing;
mod playlist;
mod refused;
mod rtc;
mod subject;
mod window;

#[cfg(test)]
mod tests;

pub use body::{Answer, BodyError, Outgoing};
pub use intake::{Intake, Judge, Limits, Traffic};
pub use origins::{Asked, Failed, OriginError, Origins, Target, Times};
pub use refused::{Refused, short_answer};

use crate::auth::Authorizer;
use crate::config::Settings;
use crate::goodbye::say_goodbye;
use crate::live::Live;
use crate::recognize::http::{Head, Via};
use crate::rtc::Sessions;
use crate::sources::Sources;
use crate::store::{Clock, Store};
use crate::telemetry::{HttpKind, Telemetry};
use balancer_common::abi::ServiceKind;
use exchange::Exchange;
use files::Files;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use playing::Playing;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tracing::debug;

/// From a request's last byte to the first of its answer. Playlists of low-latency HLS are held back for a few seconds.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// Without a byte of a body that a client sends, or of an answer that it takes. Shorter than what a flow may be idle for:
/// it holds one of the places that its origin has for all.
const CLIENT_TIME_MAX: Duration = Duration::from_secs(30);
/// Kept of an answer that its client is slow to take.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// What every connection works with.
pub struct Proxy {
    pub settings: Arc<Settings>,
    pub store: Arc<Store>,
    pub live: Arc<Live>,
    pub telemetry: Arc<Telemetry>,
    pub authorizer: Arc<Authorizer>,
    /// Told of what origins answer to offers.
    pub rtc: Arc<Sessions>,
    pub clock: Clock,
    pub origins: Arc<Origins>,
    files: Option<Files>,
    questions: Semaphore,
}

/// Whose requests these are.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    pub via: Via,
    /// What the port is for: [`ServiceKind::Http`] or [`ServiceKind::Api`].
    pub service: ServiceKind,
    /// Both ends of the connection, whoever may be behind it.
    pub peer: SocketAddr,
    pub own: SocketAddr,
}

/// What is to be done with a connection that the proxy has done with.
#[derive(Debug)]
pub enum Handback {
    /// Its next request, to be spliced. It stands in the intake's buffer.
    Next(Head),
    /// Its next request is none. Say so ([`Proxy::refuse`]) and close.
    Refuse(Refused),
    /// Nothing more will come of it, and all is said.
    Closed,
}

impl Proxy {
    pub fn new(
        settings: Arc<Settings>,
        store: Arc<Store>,
        live: Arc<Live>,
        telemetry: Arc<Telemetry>,
        authorizer: Arc<Authorizer>,
        rtc: Arc<Sessions>,
        clock: Clock,
    ) -> Arc<Self> {
        let times = Times { connect: settings.connect_timeout, answer: ANSWER_TIME_MAX, idle: settings.idle_timeout };
        let files = settings.static_files.as_deref().map(Files::new);
        let sources = Sources::new(&settings.source_addresses);
        let origins = Origins::new(times, sources, telemetry.clone());
        let questions = api::turns();
        Arc::new(Self { origins, files, settings, store, live, telemetry, authorizer, rtc, clock, questions })
    }

    /// What a client of these settings may take its time for.
    pub fn limits(&self) -> Limits {
        Limits {
            head_bytes_max: self.settings.http_head_bytes_max,
            head_time_max: self.settings.preamble_timeout,
            keep_alive: self.settings.keep_alive_timeout,
            idle: self.settings.idle_timeout.min(CLIENT_TIME_MAX),
        }
    }

    /// Answers `first`, which [`Intake::next`] gave, and what follows it on the connection.
    pub async fn serve<S>(self: &Arc<Self>, intake: &mut Intake<S>, first: &Head, client: Client) -> Handback
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        intake.give(first);
        let from = client.via.client;
        let playing = Playing::new(self.live.clone(), self.clock, client, intake.traffic());
        let reset = playing.reset.clone();
        let exchange = Exchange::new(self, client, playing);
        let mut builder = Builder::new();
        // A client that sends no more may still read: whether it is there is seen when it is written to.
        builder.half_close(true).title_case_headers(true).max_buf_size(ANSWER_BYTES_MAX);
        let service = service_fn(|request| exchange.answer(request));
        let connection = builder.serve_connection(TokioIo::new(&mut *intake), service);
        let ended = tokio::select! {
            ended = connection => ended,
            () = reset.given() => return Handback::Closed,
        };
        match (intake.take_handback(), ended) {
            (Some(Ok(head)), Ok(())) => return Handback::Next(head),
            (Some(Err(refused)), Ok(())) => return Handback::Refuse(refused),
            (_, Ok(())) => say_goodbye(intake.stream_mut(), &[]).await,
            (_, Err(error)) => debug!(client = %from, %error, "HTTP connection ended"),
        }
        Handback::Closed
    }

    /// Tells the client why, and says goodbye.
    pub async fn refuse<S>(&self, intake: &mut Intake<S>, refused: Refused)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if let Some(status) = refused.status() {
            self.telemetry.http_answered(HttpKind::Refused, status);
        }
        let answer = refused.answer().unwrap_or_default();
        say_goodbye(intake.stream_mut(), &answer).await;
    }
}
