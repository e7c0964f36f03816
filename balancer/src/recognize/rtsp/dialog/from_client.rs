//! Requests of the client's: answered here, sent on, or the one that both legs are joined for.

use super::super::RtspError;
use super::super::answer::PUBLIC;
use super::super::message::{Framed, Message, Method, Start};
use super::super::names::Url;
use super::{Dialog, Event, Named, Phase, Wanted, What, transports};
use crate::flow::Role;

/// Requests before one that names a stream: clients send one OPTIONS, some two.
const EARLY_MAX: u32 = 16;

impl Dialog {
    /// Reads what the client sent as far as it may be read now.
    pub(super) fn run(&mut self) -> Result<(), RtspError> {
        while matches!(self.phase, Phase::Fresh | Phase::Talking) {
            let idle = self.asked.is_none() && self.setup.is_none();
            if idle
                && self.phase == Phase::Talking
                && let Some(message) = self.replay.pop_front()
            {
                self.ask(message, What::Replay);
                continue;
            }
            if idle && let Some(message) = self.held.take() {
                let done = self.request(message);
                self.end_with(done)?;
                continue;
            }
            if self.held.is_some() {
                break;
            }
            let next = self.client.read();
            match self.end_with(next)? {
                None => break,
                Some(Framed::Interleaved(frame)) => {
                    if !self.tracks.iter().any(|track| track.interleaved) {
                        return self
                            .end_with(Err(RtspError::Malformed("an interleaved frame before any was agreed on")));
                    }
                    self.to_origin.extend_from_slice(&frame);
                }
                Some(Framed::Message(message)) => match message.start {
                    Start::Request { .. } => self.held = Some(message),
                    Start::Response { .. } if self.origin_asks > 0 => {
                        self.origin_asks -= 1;
                        self.to_origin.extend_from_slice(&message.encode());
                    }
                    Start::Response { .. } => {
                        return self.end_with(Err(RtspError::Malformed("a response to nothing")));
                    }
                },
            }
        }
        Ok(())
    }

    fn request(&mut self, message: Message) -> Result<(), RtspError> {
        let Start::Request { method, url, .. } = &message.start else { return Ok(()) };
        let (method, url) = (*method, url.clone());
        self.last_cseq = message.cseq();
        if self.last_cseq.is_none() {
            return Err(RtspError::Malformed("a request without CSeq"));
        }
        // RFC 2326 section 12.27: what a proxy does not know it must not let pass.
        if let Some(option) = message.header("Proxy-Require") {
            let option = option.to_owned();
            self.answer(551, self.last_cseq, &[("Unsupported", &option)]);
            return self.count_early();
        }
        if url != "*" {
            Url::parse(&url)?;
        } else if method != Method::Options {
            return Err(RtspError::Url("is not absolute"));
        }
        match self.phase {
            Phase::Fresh => self.early(message, method, &url),
            _ => self.late(message, method, &url),
        }
    }

    /// Before the stream is named.
    fn early(&mut self, message: Message, method: Method, url: &str) -> Result<(), RtspError> {
        let cseq = message.cseq();
        let (key, role) = match method {
            Method::Describe => (Url::parse(url)?.key()?, Role::Play),
            Method::Announce => (Url::parse(url)?.key()?, Role::Publish),
            Method::Setup => (Url::parse(url)?.key_of_track()?, setup_role(&message)),
            Method::Options => {
                self.answer(200, cseq, &[("Public", PUBLIC)]);
                self.options.push(message);
                return self.count_early();
            }
            Method::Teardown => {
                self.answer(454, cseq, &[]);
                return self.count_early();
            }
            Method::Play | Method::Pause | Method::Record | Method::GetParameter | Method::SetParameter => {
                self.answer(455, cseq, &[]);
                return self.count_early();
            }
            Method::Redirect | Method::Other => {
                self.answer(501, cseq, &[]);
                return self.count_early();
            }
        };
        let parsed = Url::parse(url)?;
        let base = format!("{}://{}", parsed.scheme, parsed.authority);
        let wanted = Wanted { key: key.clone(), role, url: url.to_owned(), query: parsed.query.to_owned() };
        self.named = Some(Named { key, role, base, origin: None });
        self.first = Some(message.clone());
        self.held = Some(message);
        self.phase = Phase::Placing;
        self.events.push_back(Event::Recognized(Box::new(wanted)));
        Ok(())
    }

    fn count_early(&mut self) -> Result<(), RtspError> {
        if self.phase == Phase::Fresh {
            self.early += 1;
            if self.early > EARLY_MAX {
                return Err(RtspError::Early("too much"));
            }
        }
        Ok(())
    }

    /// The stream is named and its origin listens.
    fn late(&mut self, mut message: Message, method: Method, url: &str) -> Result<(), RtspError> {
        let Some(named) = &self.named else { return Ok(()) };
        if let Some(status) = misplaced(named, &message, method, url) {
            self.answer(status, message.cseq(), &[]);
            return Ok(());
        }
        self.plain(&mut message);
        match method {
            Method::Setup => self.set_up(message, url)?,
            Method::Play | Method::Record if self.may_join() => {
                let mut trigger = message.encode();
                trigger.extend_from_slice(&self.client.take_rest());
                self.to_client.extend_from_slice(&self.origin.take_rest());
                self.phase = Phase::Over;
                self.events.push_back(Event::Ready { trigger });
            }
            Method::Play | Method::Record => self.ask(message, What::Start),
            Method::Teardown => self.ask(message, What::Teardown { url: url.to_owned() }),
            _ => self.ask(message, What::Other),
        }
        Ok(())
    }

    /// Media come in the control connection alone, and nothing of ours or the origin's is under way in it. What stands
    /// behind the request goes with it unread: only media may.
    fn may_join(&self) -> bool {
        !self.tracks.is_empty() && !self.has_datagrams() && self.origin_asks == 0 && self.client.holds_media_only()
    }
}

/// One connection is one stream and one role: what was asked of placement and of the authority.
fn misplaced(named: &Named, message: &Message, method: Method, url: &str) -> Option<u16> {
    let parsed = Url::parse(url).ok().filter(|url| url.is_at(&named.key, &named.base));
    let within = parsed.is_some_and(|url| url.is_within(&named.key));
    let same = parsed.is_some_and(|url| url.is_stream(&named.key));
    let any = url == "*";
    let fits = |role| named.role == role;
    match method {
        Method::Describe if !same || !fits(Role::Play) => Some(455),
        Method::Announce if !same || !fits(Role::Publish) => Some(455),
        Method::Setup if !within => Some(459),
        // Only where a SETUP says that it records: the others may mean either.
        Method::Setup if setup_role(message) == Role::Publish && fits(Role::Play) => Some(455),
        Method::Play if !within || !fits(Role::Play) => Some(455),
        Method::Record if !within || !fits(Role::Publish) => Some(455),
        Method::Pause | Method::Teardown if !within => Some(455),
        Method::Options | Method::GetParameter | Method::SetParameter if !within && !any => Some(455),
        // An origin may know a method that nobody has checked here, or read this one without regard to case.
        Method::Redirect | Method::Other => Some(501),
        _ => None,
    }
}

fn setup_role(message: &Message) -> Role {
    let records = transports(message).is_ok_and(|list| list.iter().any(|transport| transport.records()));
    if records { Role::Publish } else { Role::Play }
}
