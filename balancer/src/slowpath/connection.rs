//! A connection from its first byte to its end: carries out the steps of [`crate::flow::life`] and reports back.

use super::admission::Admitted;
use super::legs::TcpLeg;
use super::origin_leg::{self, OriginLeg};
use super::{Context, arm, handover, leave, relay, socket};
use crate::flow::life::{Input, State, Step};
use crate::flow::{FlowState, Protocol};
use crate::placement::PlaceRequest;
use crate::recognize::StreamKey;
use crate::recognize::rtmp::{Progress, Refusal, Request, RtmpError, ServerConfig, ServerSide};
use balancer_common::abi::Reason;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tracing::{debug, info};

/// The client, as long as user space holds it.
pub struct Connection {
    pub ctx: Arc<Context>,
    pub client: TcpLeg,
    pub server: ServerSide,
    /// Chunk size that the client was told.
    pub told_chunk_size: u32,
    pub request: Option<Box<Request>>,
    /// What it names.
    pub stream: Option<Arc<StreamKey>>,
    pub origin: Option<OriginLeg>,
    /// Origins that failed this client.
    pub excluded: Vec<u16>,
    pub relay: relay::Relay,
    pub admitted: Option<Admitted>,
    /// What to tell the client when it is refused.
    pub refusal: Refusal,
}

/// Serves one accepted RTMP connection.
pub async fn rtmp(ctx: Arc<Context>, client: TcpLeg, admitted: Admitted) {
    let told_chunk_size = ctx.usual_chunk_size.load(Relaxed);
    let config = ServerConfig { chunk_size: told_chunk_size, preamble_bytes_max: ctx.settings.preamble_bytes_max };
    let relay = relay::Relay::new(ctx.settings.relay_buffer_bytes);
    let mut connection = Connection {
        ctx,
        client,
        server: ServerSide::new(config),
        told_chunk_size,
        request: None,
        stream: None,
        origin: None,
        excluded: Vec::new(),
        relay,
        admitted: Some(admitted),
        refusal: Refusal::Refused,
    };
    connection.live().await;
}

impl Connection {
    async fn live(&mut self) {
        let mut state = State::Recognizing;
        let mut input = self.recognize().await;
        loop {
            let step;
            (state, step) = state.next(input);
            debug!(client = %self.client.peer, ?input, ?state, "flow");
            input = match step {
                Step::Place => self.place().await,
                Step::Connect => origin_leg::connect(self).await,
                Step::Arm => arm::arm(self).await,
                Step::Relay { for_good } => relay::relay(self, for_good).await,
                Step::Hold => handover::hold(self).await,
                Step::Leave => leave::leave(self).await,
                Step::Refuse => self.refuse().await,
                Step::Finish => break,
            };
        }
        if let Some(origin) = &self.origin
            && state == State::Closed
        {
            origin.finish(&self.ctx);
        }
    }

    /// Feeds the recognizer until it names a stream.
    async fn recognize(&mut self) -> Input {
        let limit = self.ctx.settings.preamble_timeout;
        match tokio::time::timeout(limit, self.read_preamble()).await {
            Ok(Ok(input)) => input,
            Ok(Err(error)) => {
                debug!(client = %self.client.peer, %error, "gone before it named a stream");
                Input::Ended
            }
            Err(_) => {
                self.ctx.counters.count(Reason::LimitPreambleTime);
                info!(client = %self.client.peer, limit_s = limit.as_secs(), "no stream named in time");
                self.refusal = Refusal::Limit;
                Input::Unrecognizable
            }
        }
    }

    async fn read_preamble(&mut self) -> io::Result<Input> {
        let mut bytes = Vec::new();
        loop {
            self.client.stream.readable().await?;
            bytes.clear();
            match self.client.stream.try_read_buf(&mut bytes) {
                Ok(0) => return Ok(Input::Ended),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                Err(e) => return Err(e),
            }
            let progress = self.server.feed(&bytes);
            let out = self.server.take_output();
            if !out.is_empty() {
                self.client.stream.write_all(&out).await?;
            } else {
                // Nothing to piggyback the ACK on: a client that waits for it (Nagle) must not wait for 40 ms.
                socket::quick_ack(&self.client)?;
            }
            match progress {
                Ok(Progress::Wait) => {}
                Ok(Progress::Recognized(request)) => {
                    info!(client = %self.client.peer, role = request.role.label(), stream = ?request.key, "recognized");
                    self.stream = Some(Arc::new(request.key.clone()));
                    self.request = Some(request);
                    return Ok(Input::Recognized);
                }
                Err(error) => {
                    if matches!(error, RtmpError::Preamble { .. }) {
                        self.ctx.counters.count(Reason::LimitPreambleBytes);
                    }
                    info!(client = %self.client.peer, %error, "not a stream");
                    self.refusal = refusal_for(error);
                    return Ok(Input::Unrecognizable);
                }
            }
        }
    }

    /// Where every origin has failed, or none is there, the client waits for the first back-off to end: a lossy network
    /// or a restart must not turn a client away that could be served a second later.
    async fn place(&mut self) -> Input {
        let patience = Instant::now() + SECOND_CHANCE;
        loop {
            match self.place_now().await {
                Input::Unplaceable if Instant::now() < patience => self.excluded.clear(),
                input => return input,
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn place_now(&mut self) -> Input {
        let (Some(request), Some(key)) = (&self.request, &self.stream) else { return Input::Ended };
        let wish = PlaceRequest {
            key,
            role: request.role,
            protocol: Protocol::Rtmp,
            vip: self.client.own.ip(),
            exclude: &self.excluded,
        };
        match self.ctx.store.place(&wish, self.ctx.now()).await {
            Ok(placement) => {
                info!(
                    client = %self.client.peer, stream = ?request.key, origin = %placement.origin_id,
                    reason = placement.reason.label(), "placed"
                );
                self.origin = Some(OriginLeg::placed(placement));
                Input::Placed
            }
            Err(error) => {
                info!(client = %self.client.peer, stream = ?request.key, %error, "no origin");
                self.refusal = Refusal::NoOrigin;
                Input::Unplaceable
            }
        }
    }

    /// A proper answer and a clean close.
    async fn refuse(&mut self) -> Input {
        if let Some(origin) = self.origin.take() {
            origin.finish(&self.ctx);
        }
        self.server.refuse(self.refusal);
        let out = self.server.take_output();
        let last_words = async {
            self.client.stream.write_all(&out).await?;
            self.client.stream.shutdown().await?;
            // Until the client has closed too: unread bytes of its would turn our FIN into a RST that overtakes them.
            let mut rest = Vec::new();
            loop {
                self.client.stream.readable().await?;
                rest.clear();
                match self.client.stream.try_read_buf(&mut rest) {
                    Ok(0) => return io::Result::Ok(()),
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(e) => return Err(e),
                }
            }
        };
        // Whether the client listens is its own affair; the place is given back either way.
        let _ = tokio::time::timeout(LAST_WORDS_MAX, last_words).await;
        Input::Ended
    }

    /// Shows the flow's state in the API.
    pub fn show(&self, state: FlowState) {
        if let Some(id) = self.origin.as_ref().and_then(|o| o.flow) {
            self.ctx.live.update(id, |record| record.state = state);
        }
    }
}

fn refusal_for(error: RtmpError) -> Refusal {
    match error {
        RtmpError::Key(_) | RtmpError::NotUtf8 => Refusal::BadName,
        RtmpError::Preamble { .. } | RtmpError::Streams | RtmpError::ChunkStreams => Refusal::Limit,
        _ => Refusal::Refused,
    }
}

/// A first back-off takes 1 s.
const SECOND_CHANCE: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How long a refused client may take to close its end.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);
