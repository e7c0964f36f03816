//! What the origin says: answers to what it was asked, and requests of its own.

use super::super::message::{Framed, Message, Start};
use super::super::rewrite::for_client;
use super::{Asked, Dialog, Event, RtspError, What};
use std::time::Duration;

/// Requests of an origin's that a client has not answered.
const ORIGIN_ASKS_MAX: u32 = 8;
/// What is believed of a session's time-out, seconds.
const TIMEOUT_MIN: u64 = 10;
const TIMEOUT_MAX: u64 = 3600;

impl Dialog {
    pub(super) fn read_origin(&mut self) -> Result<(), RtspError> {
        while let Some(framed) = self.origin.read()? {
            match framed {
                Framed::Interleaved(frame) => {
                    if !self.tracks.iter().any(|track| track.interleaved) {
                        return Err(RtspError::Unasked);
                    }
                    self.to_client.extend_from_slice(&frame);
                }
                Framed::Message(message) => self.heard(message)?,
            }
            // What waited for this answer goes on before anything else is heard: the order of answers must not depend on
            // how they are cut into segments.
            self.run()?;
        }
        Ok(())
    }

    fn heard(&mut self, mut message: Message) -> Result<(), RtspError> {
        match message.start {
            Start::Response { status, .. } => {
                if !self.response(&mut message, status)? {
                    return Ok(());
                }
            }
            Start::Request { .. } if self.origin_asks >= ORIGIN_ASKS_MAX => return Err(RtspError::Unasked),
            Start::Request { .. } => self.origin_asks += 1,
        }
        if let Some(timeout) = message.header("Session").and_then(timeout_of) {
            self.session_timeout = timeout;
        }
        // Whatever an origin has said, no other one can take its place.
        self.first = None;
        if let Some((base, origin)) = self.named.as_ref().and_then(|n| Some((&n.base, n.origin?))) {
            for_client(&mut message, base, origin);
        }
        self.to_client.extend_from_slice(&message.encode());
        Ok(())
    }

    /// False when nobody waits for it.
    fn response(&mut self, message: &mut Message, status: u16) -> Result<bool, RtspError> {
        let cseq = message.cseq();
        let answers = |asked: &Asked| cseq.is_none_or(|cseq| cseq == asked.cseq);
        // RFC 2326 section 7.1.1: 100 (Continue) is not the answer yet.
        if status < 200 {
            let asked = self.asked.as_ref().filter(|asked| answers(asked)).ok_or(RtspError::Unasked)?;
            return Ok(!matches!(asked.what, What::Replay));
        }
        let asked = self.asked.take_if(|asked| answers(asked)).ok_or(RtspError::Unasked)?;
        let ok = status < 300;
        match asked.what {
            What::Replay => return Ok(false),
            What::Setup(offered) => self.set_up_answered(message, offered, ok)?,
            What::Start if ok => self.events.push_back(Event::Started),
            // 454: there is no such session, which is what was wanted.
            What::Teardown { url } if ok || status == 454 => self.torn_down(&url),
            What::Start | What::Teardown { .. } | What::Other => {}
        }
        Ok(true)
    }

    /// RFC 2326 section 10.7: of one track, or of all.
    fn torn_down(&mut self, url: &str) {
        let of_track = self.tracks.iter().position(|track| track.url == url).filter(|_| self.tracks.len() > 1);
        match of_track {
            Some(at) => {
                let track = self.tracks.remove(at);
                if !track.interleaved {
                    self.events.push_back(Event::Unbound { track: track.id });
                }
            }
            None => {
                self.forget_tracks();
                self.events.push_back(Event::TornDown);
            }
        }
    }
}

/// `12345678;timeout=60`
fn timeout_of(session: &str) -> Option<Duration> {
    let mut parameters = session.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, seconds) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?;
    seconds.trim().parse().ok().map(|seconds: u64| Duration::from_secs(seconds.clamp(TIMEOUT_MIN, TIMEOUT_MAX)))
}
