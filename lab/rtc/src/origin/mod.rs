//! The origin: one thread owns every session and is fed datagrams and requests through one channel. It does as SRS does
//! on the wire: ICE-lite, one UDP port, paths under `/rtc/v1/`; it forwards what a publisher sends to the players of
//! that stream, and requests for key frames the other way.
//!
//! Who may do what is nobody's concern here, nor is any codec.

mod api;
mod forward;
mod session;
mod stats;

use crate::http::{self, Request, Response};
use anyhow::{Context, Result};
use session::{Outcome, Session};
use stats::Strangers;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use str0m::media::KeyframeRequest;
use str0m::rtp::RtpPacket;

#[derive(clap::Args)]
pub struct Arguments {
    /// Addresses for media; each is named in every answer
    #[arg(long, required = true)]
    ip: Vec<IpAddr>,
    /// The port for all media
    #[arg(long, default_value_t = 8000)]
    rtc: u16,
    /// The port for signalling
    #[arg(long, default_value_t = 1985)]
    api: u16,
    /// A port where published streams are found by players of other protocols
    #[arg(long)]
    http: Option<u16>,
}

/// Nothing waits longer than this for its turn.
const IDLE: Duration = Duration::from_millis(100);
/// Datagrams and requests that wait for the thread; more of them wait in the sockets.
const QUEUE: usize = 1024;
const DATAGRAM_MAX: usize = 2000;

enum Input {
    Datagram { bytes: Vec<u8>, from: SocketAddr, to: SocketAddr },
    Request { request: Request, http: bool, reply: mpsc::Sender<Response> },
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let (inputs, queue) = mpsc::sync_channel(QUEUE);
    let mut sockets = Vec::new();
    for ip in &arguments.ip {
        let at = SocketAddr::new(*ip, arguments.rtc);
        let socket = Arc::new(UdpSocket::bind(at).with_context(|| format!("media on {at}"))?);
        sockets.push((at, socket.clone()));
        let inputs = inputs.clone();
        std::thread::spawn(move || read(&socket, at, &inputs));
    }
    let pages = arguments.http.map(|port| (port, true));
    for (port, http) in [(arguments.api, false)].into_iter().chain(pages) {
        let inputs = inputs.clone();
        http::serve(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), move |request| {
            let (reply, answer) = mpsc::channel();
            let asked = inputs.send(Input::Request { request, http, reply });
            asked.ok().and_then(|()| answer.recv().ok()).unwrap_or_else(|| Response::empty(500))
        })?;
    }
    let api = SocketAddr::new(arguments.ip[0], arguments.api);
    Origin { sockets, api: Some(api), ..Origin::default() }.serve(&queue);
    Ok(())
}

fn read(socket: &UdpSocket, at: SocketAddr, inputs: &mpsc::SyncSender<Input>) {
    let mut buffer = [0; DATAGRAM_MAX];
    loop {
        // An ICMP error shows up here; it belongs to nobody.
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let datagram = Input::Datagram { bytes: buffer[..length].to_vec(), from, to: at };
        if inputs.send(datagram).is_err() {
            return;
        }
    }
}

#[derive(Default)]
struct Origin {
    sockets: Vec<(SocketAddr, Arc<UdpSocket>)>,
    /// For a `Location` with an address.
    api: Option<SocketAddr>,
    sessions: BTreeMap<u64, Session>,
    /// Whose address it is, as far as that was proved.
    known: HashMap<SocketAddr, u64>,
    strangers: Strangers,
    /// Sessions that are no more, as they were at the end.
    ended: Vec<serde_json::Value>,
    made: u64,
}

impl Origin {
    fn serve(mut self, queue: &mpsc::Receiver<Input>) {
        loop {
            let now = Instant::now();
            let next = self.sessions.values().map(|session| session.deadline).min();
            let wait = next.map_or(IDLE, |next| next.saturating_duration_since(now)).min(IDLE);
            match queue.recv_timeout(wait) {
                Ok(Input::Datagram { bytes, from, to }) => self.datagram(&bytes, from, to),
                Ok(Input::Request { request, http, reply }) => {
                    // Whoever asked may have left.
                    let _ = reply.send(if http { self.page(&request) } else { self.answer(&request) });
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            let due: Vec<u64> =
                self.sessions.iter().filter(|(_, session)| session.deadline <= now).map(|(id, _)| *id).collect();
            for id in due {
                self.step(id, |session| session.tick(now));
            }
        }
    }

    fn datagram(&mut self, bytes: &[u8], from: SocketAddr, to: SocketAddr) {
        let now = Instant::now();
        let known = self.known.get(&from).copied().filter(|id| self.sessions.contains_key(id));
        let claimed = |session: &&u64| self.sessions.get(session).is_some_and(|s| s.accepts(bytes, from, to, now));
        let owner = known.filter(|id| claimed(&id)).or_else(|| self.sessions.keys().find(claimed).copied());
        let Some(id) = owner else { return self.strangers.note(bytes, from) };
        self.known.insert(from, id);
        self.step(id, |session| session.receive(bytes, from, to, now));
    }

    /// Lets one session do something, and does for others what comes of it.
    fn step(&mut self, id: u64, work: impl FnOnce(&mut Session)) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        work(session);
        let Outcome { packets, keyframes, over } = session.drain(&self.sockets);
        for packet in packets {
            self.forward(id, &packet);
        }
        for request in keyframes {
            self.ask_publisher(id, &request);
        }
        if over {
            self.end(id, "silence");
        }
    }

    fn end(&mut self, id: u64, why: &str) {
        let Some(mut session) = self.sessions.remove(&id) else { return };
        self.known.retain(|_, owner| *owner != id);
        session.close(&self.sockets);
        let mut report = session.report();
        report["ended"] = why.into();
        self.ended.push(report);
    }

    fn forward(&mut self, from: u64, packet: &RtpPacket) {
        let now = Instant::now();
        let Some(publisher) = self.sessions.get(&from).filter(|session| session.publishes) else { return };
        let Some(params) = publisher.codec(packet.header.payload_type) else { return };
        let stream = publisher.stream.clone();
        let players: Vec<u64> = self
            .sessions
            .iter()
            .filter(|(_, other)| !other.publishes && other.connected && other.stream == stream)
            .map(|(id, _)| *id)
            .collect();
        for id in players {
            self.step(id, |player| forward::write(player, packet, params, now));
        }
    }

    fn ask_publisher(&mut self, player: u64, request: &KeyframeRequest) {
        let Some(stream) = self.sessions.get(&player).map(|session| session.stream.clone()) else { return };
        let publisher = self.sessions.iter().find(|(_, other)| other.publishes && other.stream == stream);
        let Some(id) = publisher.map(|(id, _)| *id) else { return };
        self.step(id, |publisher| forward::ask(publisher, request.kind));
    }
}
