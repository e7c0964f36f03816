//! The handshake with an origin on a caller's behalf, without a socket and without a clock: what to say and when, and what
//! the origin's words mean for the caller.

use super::Fixed;
use balancer_common::packet::srt::{HANDSHAKE_LEN, Handshake, VERSION, VERSION_LEGACY, kind};
use std::net::IpAddr;
use std::time::Duration;

/// As often as libsrt asks.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// The type of a socket that carries messages, where later versions name their extensions.
const DATAGRAMS: u16 = 2;

pub struct Approach {
    caller: Fixed,
    /// The caller's, extensions and all, to be said with the origin's cookie.
    conclusion: Vec<u8>,
    addresses: Addresses,
    state: State,
    say_at: Duration,
}

/// What each end believes to speak with.
#[derive(Clone, Copy)]
pub struct Addresses {
    pub client: IpAddr,
    /// Ours, towards the origin.
    pub source: IpAddr,
    pub origin: IpAddr,
}

enum State {
    Inducing([u8; HANDSHAKE_LEN]),
    Concluding { cookie: u32 },
}

#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing that concerns us.
    Nothing,
    /// There is something to say at once.
    Cookie,
    Answer(Answer),
    /// It cannot be this caller's.
    Unfit(&'static str),
}

/// What the caller is to hear.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub to_client: Vec<u8>,
    /// The origin's socket, if it took the caller.
    pub socket_id: Option<u32>,
}

impl Approach {
    /// `conclusion` is a whole datagram, and `caller` its fixed part.
    pub fn new(caller: Fixed, conclusion: &[u8], addresses: Addresses) -> Self {
        let induction = State::Inducing(*induction(caller, addresses.origin).bytes());
        Self { caller, conclusion: conclusion.to_vec(), addresses, state: induction, say_at: Duration::ZERO }
    }

    /// What to say now.
    pub fn due(&mut self, now: Duration) -> Option<&[u8]> {
        if now < self.say_at {
            return None;
        }
        self.say_at = now + AGAIN_AFTER;
        Some(match &self.state {
            State::Inducing(induction) => induction,
            State::Concluding { .. } => &self.conclusion,
        })
    }

    /// When there is something to say again.
    pub fn wakes_at(&self) -> Duration {
        self.say_at
    }

    /// It has said anything at all.
    pub fn is_answered(&self) -> bool {
        matches!(self.state, State::Concluding { .. })
    }

    pub fn hear(&mut self, datagram: &[u8]) -> Heard {
        let Some(handshake) = Handshake::read(datagram) else { return Heard::Nothing };
        if handshake.destination() != self.caller.socket_id() {
            return Heard::Nothing;
        }
        match (&self.state, handshake.kind()) {
            (_, _) if handshake.is_rejection() => Heard::Answer(self.answer(handshake, datagram, None)),
            (State::Inducing(_), kind::INDUCTION) if handshake.version() < VERSION => {
                Heard::Unfit("knows SRT's handshake of version 4 only")
            }
            (State::Inducing(_), kind::INDUCTION) => self.conclude(handshake.cookie()),
            (State::Concluding { .. }, kind::CONCLUSION) => {
                Heard::Answer(self.answer(handshake, datagram, Some(handshake.socket_id())))
            }
            // What it has said before, once more.
            _ => Heard::Nothing,
        }
    }

    fn conclude(&mut self, cookie: u32) -> Heard {
        let mut handshake = self.caller;
        handshake.set_cookie(cookie);
        handshake.set_peer_address(self.addresses.origin);
        self.conclusion[..HANDSHAKE_LEN].copy_from_slice(handshake.bytes());
        self.state = State::Concluding { cookie };
        self.say_at = Duration::ZERO;
        Heard::Cookie
    }

    /// The origin's words, with what was changed for it changed back.
    fn answer(&self, mut handshake: Fixed, datagram: &[u8], socket_id: Option<u32>) -> Answer {
        if matches!(self.state, State::Concluding { cookie } if cookie == handshake.cookie()) {
            handshake.set_cookie(self.caller.cookie());
        }
        match handshake.peer_address() {
            // It says where it sees its peer.
            seen if seen == self.addresses.source => handshake.set_peer_address(self.addresses.client),
            // A refusal repeats what it was told.
            told if told == self.addresses.origin => handshake.set_peer_address(self.caller.peer_address()),
            _ => {}
        }
        let mut to_client = datagram.to_vec();
        to_client[..HANDSHAKE_LEN].copy_from_slice(handshake.bytes());
        Answer { to_client, socket_id }
    }
}

/// As the caller's own would have been, had the origin heard it.
fn induction(caller: Fixed, origin: IpAddr) -> Fixed {
    let mut induction = caller;
    induction.set_kind(kind::INDUCTION);
    induction.set_version(VERSION_LEGACY);
    induction.set_encryption_extension(0, DATAGRAMS);
    induction.set_cookie(0);
    induction.set_peer_address(origin);
    induction
}
