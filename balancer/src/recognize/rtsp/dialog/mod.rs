//! One control connection, from both sides: what a client says, what its origin says, and what each of them hears.
//!
//! One request of the client's is with the origin at a time. That keeps the answers in order when some of them are ours,
//! and lets every answer be read for what it answers. Responses and interleaved frames are never held up by it.

mod from_client;
mod from_origin;
mod setup;

use super::answer::Refusal;
use super::message::{Message, Reader, Start};
use super::names::Url;
use super::rewrite::with_base;
use super::transport::{PortPair, Transport};
use super::{BODY_BYTES_MAX, RtspError};
use crate::flow::Role;
use crate::recognize::StreamKey;
use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// RFC 2326 section 12.37: of an origin that names none.
const SESSION_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
pub struct DialogConfig {
    pub head_bytes_max: usize,
    /// What the client dialled, and where it came from.
    pub vip: IpAddr,
    pub client: IpAddr,
    /// Media may travel as datagrams; else only inside the control connection.
    pub udp: bool,
}

/// What a client wants.
#[derive(Clone, PartialEq, Eq)]
pub struct Wanted {
    pub key: StreamKey,
    pub role: Role,
    /// The URL of the request that said so, whole, and its query: a token may be in it.
    pub url: String,
    pub query: String,
}

/// Redacted: the URL holds the stream's name and its tokens.
impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wanted").field("key", &self.key).field("role", &self.role).finish_non_exhaustive()
    }
}

/// Ports of ours for one track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// On the VIP.
    pub to_client: PortPair,
    /// On the address that the origin knows us by.
    pub to_origin: PortPair,
}

/// Where the datagrams of one track go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp {
    pub ports: Ports,
    pub client: PortPair,
    /// The address that the origin says it sends from, if it says one; its ports, if it names them.
    pub origin: Option<IpAddr>,
    pub server: Option<PortPair>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The stream is named: place it, connect, and say [`Dialog::connected`].
    Recognized(Box<Wanted>),
    /// A SETUP waits for [`Dialog::ports`].
    NeedPorts { track: u32 },
    /// Both ends agreed on the ports of a track.
    Bound { track: u32, udp: Udp },
    /// Whatever was bound for this track is not needed any more.
    Unbound { track: u32 },
    /// Every track is interleaved, and the client wants to begin: from these bytes on, which hold everything of the
    /// client's that was read and not sent on, both legs may be joined. The dialogue is over.
    Ready { trigger: Vec<u8> },
    /// The origin agreed to begin, and media travel as datagrams.
    Started,
    /// The origin agreed to end; no track is left.
    TornDown,
}

pub struct Dialog {
    config: DialogConfig,
    client: Reader,
    origin: Reader,
    to_client: Vec<u8>,
    to_origin: Vec<u8>,
    events: VecDeque<Event>,
    phase: Phase,
    named: Option<Named>,
    /// The client's next request, while it has to wait.
    held: Option<Message>,
    /// The request that named the stream, until an origin has said anything: another origin may get it too.
    first: Option<Message>,
    asked: Option<Asked>,
    /// OPTIONS that were answered here. Some origins (ffmpeg's listener) count a connection's requests from 1 and take no
    /// number that is out of turn: they hear these first, and their answers go nowhere.
    options: Vec<Message>,
    replay: VecDeque<Message>,
    /// A SETUP without its ports.
    setup: Option<setup::Waiting>,
    tracks: Vec<Track>,
    tracks_made: u32,
    /// Requests of the client's that were answered before one named a stream.
    early: u32,
    /// Requests of the origin's that the client has not answered.
    origin_asks: u32,
    last_cseq: Option<u32>,
    session_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No stream is named.
    Fresh,
    /// One is, and no origin is there.
    Placing,
    Talking,
    Over,
}

struct Named {
    key: StreamKey,
    role: Role,
    /// `rtsp://host:port`, as the client dialled.
    base: String,
    origin: Option<IpAddr>,
}

/// The request that the origin has and did not answer.
struct Asked {
    cseq: u32,
    what: What,
}

enum What {
    Setup(setup::Offered),
    /// What the client has had its answer to.
    Replay,
    Start,
    Teardown {
        url: String,
    },
    Other,
}

/// A track that was set up.
struct Track {
    id: u32,
    url: String,
    interleaved: bool,
}

impl Dialog {
    pub fn new(config: DialogConfig) -> Self {
        Self {
            client: Reader::new(config.head_bytes_max),
            origin: Reader::new(config.head_bytes_max),
            config,
            to_client: Vec::new(),
            to_origin: Vec::new(),
            events: VecDeque::new(),
            phase: Phase::Fresh,
            named: None,
            held: None,
            first: None,
            asked: None,
            options: Vec::new(),
            replay: VecDeque::new(),
            setup: None,
            tracks: Vec::new(),
            tracks_made: 0,
            early: 0,
            origin_asks: 0,
            last_cseq: None,
            session_timeout: SESSION_TIMEOUT,
        }
    }

    /// Bytes that the client sent. After an error nothing more is read; [`Dialog::refuse`] says it to the client.
    pub fn client(&mut self, bytes: &[u8]) -> Result<(), RtspError> {
        if self.phase == Phase::Over {
            return Err(RtspError::Over);
        }
        self.client.push(bytes);
        self.run()
    }

    /// Bytes that the origin sent.
    pub fn origin(&mut self, bytes: &[u8]) -> Result<(), RtspError> {
        if self.phase != Phase::Talking {
            return Err(RtspError::Over);
        }
        self.origin.push(bytes);
        let heard = self.read_origin();
        self.end_with(heard)
    }

    /// An origin took the connection. The request that named the stream goes there, behind what came
    /// before it.
    pub fn connected(&mut self, origin: IpAddr) -> Result<(), RtspError> {
        if self.phase != Phase::Placing {
            return Err(RtspError::Over);
        }
        if let Some(named) = &mut self.named {
            named.origin = Some(origin);
        }
        self.phase = Phase::Talking;
        self.replay = self.options.iter().cloned().collect();
        self.run()
    }

    /// The origin is gone. True if another one may take its place: this one had said nothing yet.
    pub fn disconnected(&mut self) -> bool {
        let Some(first) = self.first.clone().filter(|_| matches!(self.phase, Phase::Talking | Phase::Placing)) else {
            return false;
        };
        let waiting = self.setup.is_some();
        let sent = self.asked.as_ref().is_some_and(|asked| !matches!(asked.what, What::Replay));
        self.forget_tracks();
        if let Some(setup) = self.setup.take() {
            self.events.push_back(Event::Unbound { track: setup.track });
        }
        if let Some(Asked { what: What::Setup(offered), .. }) = self.asked.take() {
            self.events.push_back(Event::Unbound { track: offered.track });
        }
        self.origin.take_rest();
        self.to_origin.clear();
        // What is held is the first request itself, as long as that was not sent. Afterwards it is one that came behind
        // it, and goes back to where it was read from.
        if (sent || waiting)
            && let Some(later) = self.held.replace(first)
        {
            let rest = self.client.take_rest();
            self.client.push(&later.encode());
            self.client.push(&rest);
        }
        self.phase = Phase::Placing;
        true
    }

    /// The answer to [`Event::NeedPorts`]; `None` when there are no ports to be had.
    pub fn ports(&mut self, track: u32, ports: Option<Ports>) -> Result<(), RtspError> {
        let Some(waiting) = self.setup.take_if(|setup| setup.track == track) else { return Ok(()) };
        self.offer(waiting, ports);
        self.run()
    }

    /// The last answer: nothing is read afterwards.
    pub fn refuse(&mut self, refusal: Refusal) {
        let cseq = self.first.as_ref().and_then(Message::cseq).or(self.last_cseq);
        self.to_client.extend_from_slice(&refusal.encode(cseq));
        self.phase = Phase::Over;
    }

    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub fn take_to_client(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.to_client)
    }

    pub fn take_to_origin(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.to_origin)
    }

    /// May more be read from the client? Not while a request waits behind one that the origin has.
    pub fn wants_client(&self) -> bool {
        let most = self.config.head_bytes_max + BODY_BYTES_MAX;
        self.phase != Phase::Over && self.held.is_none() && self.client.len() < most
    }

    /// The origin has said nothing yet: another one may take its place.
    pub fn is_replaceable(&self) -> bool {
        self.first.is_some()
    }

    /// After so long without a word of the client's the origin may end the session.
    pub fn session_timeout(&self) -> Duration {
        self.session_timeout
    }

    /// Tracks whose media travel as datagrams.
    pub fn has_datagrams(&self) -> bool {
        self.tracks.iter().any(|track| !track.interleaved)
    }

    fn forget_tracks(&mut self) {
        let tracks = std::mem::take(&mut self.tracks);
        self.events.extend(tracks.iter().filter(|t| !t.interleaved).map(|t| Event::Unbound { track: t.id }));
    }

    fn end_with<T>(&mut self, result: Result<T, RtspError>) -> Result<T, RtspError> {
        if result.is_err() {
            self.phase = Phase::Over;
        }
        result
    }

    fn answer(&mut self, status: u16, cseq: Option<u32>, headers: &[(&str, &str)]) {
        // An answer of ours must not be followed by another origin's.
        self.first = None;
        let answer = super::answer::answer(status, cseq, headers);
        self.to_client.extend_from_slice(&answer);
    }

    /// For an origin nothing is a secure URL: TLS ends here.
    fn plain(&self, message: &mut Message) {
        let secure = self.named.as_ref().is_some_and(|named| named.base.to_ascii_lowercase().starts_with("rtsps:"));
        if let Start::Request { url, .. } = &message.start
            && secure
            && let Ok(parsed) = Url::parse(url)
        {
            message.set_url(with_base(url, &format!("rtsp://{}", parsed.authority)));
        }
    }

    fn ask(&mut self, mut message: Message, what: What) {
        self.plain(&mut message);
        // Every request was found to have one when it was read.
        let cseq = message.cseq().unwrap_or_default();
        self.asked = Some(Asked { cseq, what });
        self.to_origin.extend_from_slice(&message.encode());
    }
}

/// All alternatives of a message's `Transport` headers, which may be several (RFC 2326 section 4.2 of HTTP's rules).
fn transports(message: &Message) -> Result<Vec<Transport>, RtspError> {
    let joined = message.all("Transport").collect::<Vec<_>>().join(",");
    if joined.is_empty() { Err(RtspError::Malformed("no Transport")) } else { Transport::parse_list(&joined) }
}
