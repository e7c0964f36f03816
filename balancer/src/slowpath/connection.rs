//! A connection from its first byte to its end: carries out the steps of [`crate::flow::life`] and reports back.

use super::admission::Admitted;
use super::dialect::{self, Dialect, Refusal, Wish};
use super::legs::TcpLeg;
use super::origin_leg::{self, OriginLeg};
use super::visitor::Visitor;
use super::{Context, arm, handover, leave, relay};
use crate::auth::Question;
use crate::flow::FlowState;
use crate::flow::life::{Input, State, Step};
use crate::goodbye::say_goodbye;
use crate::placement::{PlaceError, PlaceRequest};
use balancer_common::abi::Reason;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{debug, info};

/// The client, as long as user space holds it.
pub struct Connection {
    pub ctx: Arc<Context>,
    pub client: TcpLeg,
    pub visitor: Visitor,
    pub dialect: Dialect,
    pub wish: Option<Wish>,
    /// What the origin is to hear of the client behind what the dialect has told it: the words that start the media.
    pub trigger: Vec<u8>,
    pub origin: Option<OriginLeg>,
    /// Origins that failed this client.
    pub excluded: Vec<u16>,
    pub relay: relay::Relay,
    pub admitted: Option<Admitted>,
    /// What to tell the client when it is refused.
    pub refusal: Refusal,
}

impl Connection {
    pub fn new(
        ctx: Arc<Context>,
        client: TcpLeg,
        visitor: Visitor,
        dialect: Dialect,
        admitted: Option<Admitted>,
    ) -> Self {
        let relay = relay::Relay::new(ctx.settings.relay_buffer_bytes);
        Self {
            ctx,
            client,
            visitor,
            dialect,
            wish: None,
            trigger: Vec::new(),
            origin: None,
            excluded: Vec::new(),
            relay,
            admitted,
            refusal: Refusal::Refused,
        }
    }

    /// Lives the connection to its end.
    pub async fn live(&mut self) {
        let mut state = State::Recognizing;
        let mut input = self.recognize().await;
        loop {
            let step;
            (state, step) = state.next(input);
            debug!(client = %self.client.peer, ?input, ?state, "flow");
            input = match step {
                Step::Authorize => self.authorize().await,
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
        match tokio::time::timeout(limit, dialect::recognize(self)).await {
            Ok(Ok(input)) => {
                if let (Input::Recognized, Some(wish)) = (input, &self.wish) {
                    let (client, protocol) = (self.visitor.client(), wish.protocol.label());
                    info!(%client, protocol, role = wish.role.label(), stream = ?wish.key, "recognized");
                }
                input
            }
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

    /// Asks the hook, where there is one.
    async fn authorize(&mut self) -> Input {
        let Some(wish) = &self.wish else { return Input::Ended };
        let question = Question {
            role: wish.role,
            protocol: wish.protocol,
            key: wish.key.clone(),
            client: self.visitor.client(),
            query: wish.query.clone(),
            url: wish.url.clone(),
        };
        let verdict = self.ctx.authorizer.ask(question).await;
        if verdict.is_allowed() {
            return Input::Allowed;
        }
        info!(client = %self.visitor.client(), stream = ?wish.key, ?verdict, "may not have the stream");
        self.refusal = Refusal::Denied;
        Input::Denied
    }

    /// Where every origin has failed, or none is there, the client waits for the first back-off to end: a lossy network
    /// or a restart must not turn a client away that could be served a second later.
    async fn place(&mut self) -> Input {
        let patience = Instant::now() + SECOND_CHANCE;
        loop {
            match self.place_now().await {
                // Who is full now is full in a second; to keep clients waiting would be one more load.
                Input::Unplaceable if self.refusal == Refusal::Overload => return Input::Unplaceable,
                Input::Unplaceable if self.refusal == Refusal::Taken => return Input::Unplaceable,
                Input::Unplaceable if Instant::now() < patience => self.excluded.clear(),
                input => return input,
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn place_now(&mut self) -> Input {
        let Some(wish) = &self.wish else { return Input::Ended };
        let request = PlaceRequest {
            key: &wish.key,
            role: wish.role,
            protocol: wish.protocol,
            vip: self.client.own.ip(),
            client: self.visitor.client(),
            exclude: &self.excluded,
        };
        match self.ctx.store.place(&request, self.ctx.now()).await {
            Ok(placement) => {
                info!(
                    client = %self.visitor.client(), stream = ?wish.key, origin = %placement.origin_id,
                    reason = placement.reason.label(), "placed"
                );
                if placement.reason == Reason::PublisherReplaced {
                    // The first one is gone before the origin hears of the second.
                    self.ctx.reconciler.run();
                }
                self.origin = Some(OriginLeg::placed(placement));
                Input::Placed
            }
            Err(error) => {
                info!(client = %self.visitor.client(), stream = ?wish.key, %error, "no origin");
                self.refusal = match &error {
                    PlaceError::Published => Refusal::Taken,
                    error if error.is_overload() => Refusal::Overload,
                    _ => Refusal::NoOrigin,
                };
                Input::Unplaceable
            }
        }
    }

    /// A proper answer and a clean close.
    async fn refuse(&mut self) -> Input {
        let words = dialect::last_words(self);
        say_goodbye(&mut self.client, &words).await;
        Input::Ended
    }

    /// Shows the flow's state in the API.
    pub fn show(&self, state: FlowState) {
        if let Some(id) = self.origin.as_ref().and_then(|o| o.flow) {
            self.ctx.live.update(id, |record| record.state = state);
        }
    }
}

/// A first back-off takes 1 s.
const SECOND_CHANCE: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(250);
