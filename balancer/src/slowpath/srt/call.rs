//! One caller, from its conclusion to the answer: may it have the stream, where is the stream, and what does the origin
//! say. A task of its own, so that an origin which stays silent keeps nobody else waiting.

use super::super::admission::Admitted;
use super::super::udp::{self, DialError, Flow, Leg, Listener, Spec};
use super::super::{Context, srt};
use super::approach::{Addresses, Answer, Approach, Heard};
use super::memory::CallId;
use super::refusal::Refusal;
use super::{Fixed, HANDSHAKE_BYTES_MAX, say};
use crate::auth::Question;
use crate::flow::Protocol;
use crate::placement::{PlaceError, PlaceRequest, Placement};
use crate::recognize::StreamKey;
use crate::recognize::srt::Asked;
use crate::registry::ConnectFailure;
use balancer_common::abi::Reason;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// An origin that has said nothing for so long, though asked four times, is silent: callers give up after 3 s.
const SILENT_AFTER: Duration = Duration::from_secs(1);
/// A first back-off takes 1 s: whoever could be served after that is not turned away. Longer, and callers give up before
/// they hear why.
const SECOND_CHANCE: Duration = Duration::from_millis(1500);
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// An origin that answered the induction, but not yet the conclusion: the next one must have time, too.
const UNDECIDED_AFTER: Duration = Duration::from_millis(1500);
/// From the caller's conclusion to our answer: libsrt's callers give up after 3 s, and have to hear it before that.
const GIVE_UP_AFTER: Duration = Duration::from_millis(2800);
/// Callers say their conclusion every 250 ms until it is answered: one that has not for so long is gone.
const GONE_AFTER: Duration = Duration::from_secs(1);

pub struct Call {
    pending: Pending,
    caller: Fixed,
    conclusion: Vec<u8>,
    key: Arc<StreamKey>,
    asked: Asked,
    /// Origins that failed this caller.
    excluded: Vec<u16>,
    began: Instant,
    _admitted: Admitted,
    /// For the flow, once there is one.
    place: Option<Admitted>,
}

/// A call that has not been answered. One that never is may be tried again.
struct Pending {
    ctx: Arc<Context>,
    listener: Arc<Listener>,
    id: CallId,
}

impl Pending {
    fn answer(&self, answer: &[u8]) {
        self.ctx.srt.memory().answered(self.id, answer, self.ctx.now());
        say(&self.listener, self.id.client, answer);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.ctx.srt.memory().gave_up(self.id);
    }
}

#[derive(Debug, thiserror::Error)]
enum ApproachError {
    #[error("{0} has no SRT there: its host refused the datagram")]
    Refused(SocketAddr),
    #[error("{0} did not answer in time")]
    Silent(SocketAddr),
    #[error("{0} was asked too late: the caller gives up")]
    Late(SocketAddr),
    #[error("{0} {1}")]
    Unfit(SocketAddr, &'static str),
    #[error("towards {0}: {1}")]
    Io(SocketAddr, io::Error),
    #[error(transparent)]
    Dial(#[from] DialError),
}

impl Call {
    pub fn new(
        ctx: &Arc<Context>,
        listener: &Arc<Listener>,
        id: CallId,
        (caller, conclusion): (Fixed, &[u8]),
        asked: Asked,
        (admitted, place): (Admitted, Admitted),
    ) -> Self {
        Self {
            pending: Pending { ctx: ctx.clone(), listener: listener.clone(), id },
            caller,
            conclusion: conclusion.to_vec(),
            key: Arc::new(asked.key.clone()),
            asked,
            excluded: Vec::new(),
            began: Instant::now(),
            _admitted: admitted,
            place: Some(place),
        }
    }

    pub async fn live(mut self) {
        let role = self.asked.role.label();
        info!(client = %self.client(), protocol = Protocol::Srt.label(), role, stream = ?self.key, "recognized");
        if let Err(refusal) = self.set_up().await {
            info!(client = %self.client(), stream = ?self.key, ?refusal, "refused");
            self.pending.answer(&refusal.of(self.caller));
        }
    }

    fn client(&self) -> SocketAddr {
        self.pending.id.client
    }

    fn ctx(&self) -> &Arc<Context> {
        &self.pending.ctx
    }

    async fn set_up(&mut self) -> Result<(), Refusal> {
        self.authorize().await?;
        loop {
            let placement = self.place().await?;
            if self.began.elapsed() >= GIVE_UP_AFTER {
                return Err(Refusal::OriginFailed);
            }
            match self.approach(placement.endpoint).await {
                Ok((leg, answer)) => {
                    self.settle(placement, leg, answer);
                    return Ok(());
                }
                Err(error) => self.failed(&placement, &error),
            }
        }
    }

    /// Asks the hook, where there is one.
    async fn authorize(&self) -> Result<(), Refusal> {
        let question = Question {
            role: self.asked.role,
            protocol: Protocol::Srt,
            key: self.key.clone(),
            client: self.client(),
            query: self.asked.query.clone(),
            url: format!("srt://{}/{}", self.pending.listener.address, self.key.app()),
        };
        let verdict = self.ctx().authorizer.ask(question).await;
        if verdict.is_allowed() { Ok(()) } else { Err(Refusal::Denied) }
    }

    async fn place(&mut self) -> Result<Placement, Refusal> {
        loop {
            let request = PlaceRequest {
                key: &self.key,
                role: self.asked.role,
                protocol: Protocol::Srt,
                vip: self.pending.listener.address.ip(),
                client: self.client(),
                exclude: &self.excluded,
            };
            let error = match self.ctx().store.place(&request, self.ctx().now()).await {
                Ok(placement) => {
                    let (origin, reason) = (&placement.origin_id, placement.reason.label());
                    info!(client = %self.client(), stream = ?self.key, %origin, reason, "placed");
                    if placement.reason == Reason::PublisherReplaced {
                        // The first one is gone before the origin hears of the second.
                        self.ctx().reconciler.run();
                    }
                    return Ok(placement);
                }
                Err(error) => error,
            };
            if error == PlaceError::Published || error.is_overload() || self.began.elapsed() >= SECOND_CHANCE {
                info!(client = %self.client(), stream = ?self.key, %error, "no origin");
                return Err(self.without_origin(&error));
            }
            self.excluded.clear();
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn without_origin(&self, error: &PlaceError) -> Refusal {
        match error {
            error if error.is_overload() => Refusal::Overload,
            PlaceError::Unreachable { .. } => Refusal::OriginFailed,
            PlaceError::Published => Refusal::Taken,
            _ => Refusal::NoOrigin,
        }
    }

    /// The origin's answer, and the socket that it came to.
    async fn approach(&self, origin: SocketAddr) -> Result<(Leg, Answer), ApproachError> {
        match self.approach_once(origin).await {
            // Anybody can say so who guesses a port: ICMP knows no sequence numbers. From another port it is believed.
            Err(ApproachError::Refused(_)) => self.approach_once(origin).await,
            result => result,
        }
    }

    async fn approach_once(&self, origin: SocketAddr) -> Result<(Leg, Answer), ApproachError> {
        let leg = udp::dial(self.ctx(), origin)?;
        let (client, source) = (self.client().ip(), leg.port.source().ip());
        let addresses = Addresses { client, source, origin: origin.ip() };
        let mut approach = Approach::new(self.caller, &self.conclusion, addresses);
        // A full one may hold less than there was.
        let mut buffer = vec![0; HANDSHAKE_BYTES_MAX + 1];
        let (began, gives_up_at) = (Instant::now(), self.began + GIVE_UP_AFTER);
        let timeout = self.ctx().settings.connect_timeout;
        loop {
            let limit = timeout.min(if approach.is_answered() { UNDECIDED_AFTER } else { SILENT_AFTER });
            let now = began.elapsed();
            if now >= limit {
                return Err(silent(origin, &approach));
            }
            if Instant::now() >= gives_up_at {
                return Err(ApproachError::Late(origin));
            }
            if let Some(words) = approach.due(now) {
                leg.socket.send(words).await.map_err(|error| failed(origin, &approach, error))?;
            }
            let until = (began + approach.wakes_at().min(limit)).min(gives_up_at);
            let Ok(received) = tokio::time::timeout_at(until, leg.socket.recv(&mut buffer)).await else { continue };
            let len = received.map_err(|error| failed(origin, &approach, error))?;
            if len > HANDSHAKE_BYTES_MAX {
                continue;
            }
            match approach.hear(&buffer[..len]) {
                Heard::Nothing | Heard::Cookie => {}
                Heard::Answer(answer) => return Ok((leg, answer)),
                Heard::Unfit(why) => return Err(ApproachError::Unfit(origin, why)),
            }
        }
    }

    /// The flow is there before the caller can know, so that nothing of its is a stray.
    fn settle(&mut self, placement: Placement, leg: Leg, answer: Answer) {
        let place = self.place.take();
        let ctx = self.ctx();
        ctx.store.connect_succeeded(&placement);
        // An origin that was dead until now, or registered just now, must be up in the kernel before it gets flows.
        ctx.reconciler.run();
        match answer.socket_id.zip(place) {
            Some((socket_id, place)) => {
                if self.is_gone() {
                    info!(client = %self.client(), stream = ?self.key, "the caller is gone: it gets no flow");
                    // Lost, the origin finds out by itself.
                    let _ = leg.socket.try_send(&srt::last_word(socket_id));
                    return;
                }
                let spec = Spec {
                    client: self.client(),
                    key: self.key.clone(),
                    role: self.asked.role,
                    protocol: Protocol::Srt,
                    placement,
                    tags: (socket_id, self.caller.socket_id()),
                    is_last: srt::is_last,
                    idle_timeout: ctx.settings.srt_idle_timeout,
                    place,
                };
                Flow::open(ctx, &self.pending.listener, spec, leg);
            }
            None => {
                info!(client = %self.client(), stream = ?self.key, origin = %placement.origin_id, "the origin refused");
                ctx.counters.count(Reason::SrtRefused);
            }
        }
        self.pending.answer(&answer.to_client);
    }

    /// A flow would be a publisher that nobody is.
    fn is_gone(&self) -> bool {
        let heard_at = self.ctx().srt.memory().heard_at(self.pending.id);
        heard_at.is_some_and(|at| self.ctx().now().saturating_sub(at) > GONE_AFTER)
    }

    fn failed(&mut self, placement: &Placement, error: &ApproachError) {
        warn!(origin = %placement.origin_id, %error, client = %self.client(), "origin failed");
        let ctx = self.ctx();
        ctx.counters.count(Reason::SrtOriginFailed);
        let failure = match error {
            ApproachError::Refused(_) => Some(ConnectFailure::Refused),
            ApproachError::Silent(_) | ApproachError::Io(..) => Some(ConnectFailure::TimedOut),
            // It lives.
            ApproachError::Unfit(..) => {
                ctx.store.connect_succeeded(placement);
                ctx.store.copy_failed(placement, ctx.now());
                None
            }
            ApproachError::Late(_) | ApproachError::Dial(_) => None,
        };
        if let Some(failure) = failure {
            ctx.store.connect_failed(placement, failure, ctx.now());
        }
        self.excluded.push(placement.origin);
    }
}

/// One that has answered anything lives: what it does not like may be this caller's.
fn silent(origin: SocketAddr, approach: &Approach) -> ApproachError {
    if approach.is_answered() {
        ApproachError::Unfit(origin, "did not answer the caller's conclusion")
    } else {
        ApproachError::Silent(origin)
    }
}

fn failed(origin: SocketAddr, approach: &Approach, error: io::Error) -> ApproachError {
    match error.kind() {
        _ if approach.is_answered() => ApproachError::Unfit(origin, "answered, and then the network failed"),
        io::ErrorKind::ConnectionRefused => ApproachError::Refused(origin),
        _ => ApproachError::Io(origin, error),
    }
}
