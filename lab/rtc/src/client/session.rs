//! One session: full ICE over one socket at a time, what it sends or gets, and the orders that it obeys in the middle
//! of it.

use super::media::{Beat, FRAME, Frames, SILENCE, SOUND, SOUND_TICKS, VIDEO_TICKS};
use super::signal::{self, Signal};
use super::{Arguments, Order, Role};
use crate::tally::Tally;
use crate::words;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};
use str0m::change::SdpAnswer;
use str0m::media::{Direction, Frequency, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc};

const DATAGRAM_MAX: usize = 2000;
/// Orders are looked for that often.
const TICK: Duration = Duration::from_millis(20);
const WAIT_MIN: Duration = Duration::from_millis(1);

#[derive(Clone, Default)]
pub struct Report {
    pub error: Option<String>,
    connected: bool,
    disconnected: bool,
    connect_ms: u64,
    local: Option<SocketAddr>,
    location: Option<String>,
    etag: Option<String>,
    candidates: Vec<String>,
    ufrag: String,
    received: u64,
    lost: u64,
    frames: u64,
    sent_frames: u64,
    unsent: u64,
    keyframes_asked: u64,
    moves: u64,
    restarts: u64,
    deleted: Option<u16>,
}

#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Report>>);

impl Shared {
    pub fn change(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub fn json(&self) -> Value {
        let report = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        json!({
            "error": report.error, "connected": report.connected, "disconnected": report.disconnected,
            "connect_ms": report.connect_ms, "local": report.local.map(|local| local.to_string()),
            "location": report.location, "etag": report.etag, "candidates": report.candidates, "ufrag": report.ufrag,
            "received": report.received, "lost": report.lost, "frames": report.frames,
            "sent_frames": report.sent_frames, "unsent": report.unsent, "keyframes_asked": report.keyframes_asked,
            "moves": report.moves, "restarts": report.restarts, "deleted": report.deleted,
        })
    }
}

pub struct Session {
    rtc: Rtc,
    socket: UdpSocket,
    /// What ICE believes to be the socket's address.
    local: SocketAddr,
    signal: Signal,
    role: Role,
    frames: Frames,
    mids: Vec<(Mid, MediaKind)>,
    tallies: BTreeMap<u32, Tally>,
    start: Instant,
    connected: bool,
    shared: Shared,
}

impl Session {
    /// From the offer to the answer.
    pub fn start(role: Role, arguments: &Arguments, shared: Shared) -> Result<Self> {
        let frames = arguments.ivf.as_deref().map_or_else(|| Ok(Frames::made()), Frames::of_ivf)?;
        let start = Instant::now();
        let (socket, local) = bind(&arguments.url)?;
        // A player counts packets; a publisher has frames.
        let config = Rtc::builder().clear_codecs().enable_vp8(true).enable_opus(true, false);
        let mut rtc = config.set_rtp_mode(role == Role::Play).build(start);
        rtc.add_local_candidate(Candidate::host(local, "udp")?);
        let direction = if role == Role::Publish { Direction::SendOnly } else { Direction::RecvOnly };
        let mut change = rtc.sdp_api();
        let mids = [MediaKind::Video, MediaKind::Audio]
            .map(|kind| (change.add_media(kind, direction, None, None, None), kind))
            .to_vec();
        let (offer, pending) = change.apply().context("nothing to offer")?;
        let signal = signal::offer(&arguments.url, &offer.to_sdp_string())?;
        rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&signal.answer)?)?;
        let tallies = BTreeMap::new();
        let this = Self { rtc, socket, local, signal, role, frames, mids, tallies, start, connected: false, shared };
        this.tell();
        Ok(this)
    }

    /// Until it is told to end.
    pub fn run(mut self, orders: &mpsc::Receiver<Order>) -> Result<()> {
        let mut video = Beat::new(self.start, FRAME);
        let mut sound = Beat::new(self.start, SOUND);
        let mut buffer = [0; DATAGRAM_MAX];
        loop {
            let mut next = self.drain()?;
            match orders.try_recv() {
                Ok(Order::End) => return self.end(),
                Ok(Order::Vanish) => return Ok(()),
                Ok(order) => {
                    self.obey(order)?;
                    continue;
                }
                Err(_) => {}
            }
            if self.role == Role::Publish && self.connected {
                if let Some(number) = video.tick(Instant::now()) {
                    self.send(MediaKind::Video, number, VIDEO_TICKS)?;
                    continue;
                }
                if let Some(number) = sound.tick(Instant::now()) {
                    self.send(MediaKind::Audio, number, SOUND_TICKS)?;
                    continue;
                }
                next = next.min(video.due).min(sound.due);
            }
            let wait = next.saturating_duration_since(Instant::now()).clamp(WAIT_MIN, TICK);
            self.socket.set_read_timeout(Some(wait))?;
            match self.socket.recv_from(&mut buffer) {
                Ok((length, source)) => self.receive(&buffer[..length], source),
                Err(_) => self.rtc.handle_input(Input::Timeout(Instant::now()))?,
            }
        }
    }

    fn receive(&mut self, bytes: &[u8], source: SocketAddr) {
        let Ok(contents) = bytes.try_into() else { return };
        let receive = Receive { proto: Protocol::Udp, source, destination: self.local, contents };
        let input = Input::Receive(Instant::now(), receive);
        if self.rtc.accepts(&input)
            && let Err(error) = self.rtc.handle_input(input)
        {
            self.shared.change(|report| report.error = Some(error.to_string()));
        }
    }

    fn drain(&mut self) -> Result<Instant> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(at) => return Ok(at),
                Output::Transmit(transmit) => {
                    // From an address that it has left nothing can be sent any more.
                    let sent = transmit.source == self.local
                        && self.socket.send_to(&transmit.contents, transmit.destination).is_ok();
                    self.shared.change(|report| report.unsent += u64::from(!sent));
                }
                Output::Event(event) => self.note(event),
            }
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Connected => {
                self.connected = true;
                let took = self.start.elapsed().as_millis() as u64;
                self.shared.change(|report| (report.connected, report.connect_ms) = (true, took));
            }
            Event::RtpPacket(packet) => {
                let tally = self.tallies.entry(*packet.header.ssrc).or_default();
                let new = tally.note(*packet.seq_no);
                let codec = self.rtc.codec_config().find(|params| params.pt() == packet.header.payload_type);
                let video = codec.is_some_and(|params| params.spec().codec.is_video());
                let received = self.tallies.values().map(|tally| tally.received).sum();
                let lost = self.tallies.values().map(Tally::lost).sum();
                self.shared.change(|report| {
                    (report.received, report.lost) = (received, lost);
                    report.frames += u64::from(new && video && packet.header.marker);
                });
            }
            Event::KeyframeRequest(_) => self.shared.change(|report| report.keyframes_asked += 1),
            Event::IceConnectionStateChange(state) => {
                let gone = state == IceConnectionState::Disconnected;
                self.shared.change(|report| report.disconnected = gone);
            }
            Event::Closed => self.shared.change(|report| report.disconnected = true),
            _ => {}
        }
    }

    fn send(&mut self, kind: MediaKind, number: u64, ticks: u64) -> Result<()> {
        let (data, frequency) = match kind {
            MediaKind::Video => (self.frames.get(number), Frequency::NINETY_KHZ),
            MediaKind::Audio => (SILENCE.into(), Frequency::FORTY_EIGHT_KHZ),
        };
        let mid = self.mids.iter().find(|(_, other)| *other == kind).map(|(mid, _)| *mid);
        let writer = mid.and_then(|mid| self.rtc.writer(mid)).context("the session has ended")?;
        let pt = writer.payload_params().next().context("no codec in common")?.pt();
        writer.write(pt, Instant::now(), MediaTime::new(number * ticks, frequency), data)?;
        self.shared.change(|report| report.sent_frames += u64::from(kind == MediaKind::Video));
        Ok(())
    }

    fn obey(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Rebind => {
                self.socket = UdpSocket::bind(SocketAddr::new(self.local.ip(), 0))?;
            }
            Order::Move => {
                self.socket = UdpSocket::bind(SocketAddr::new(self.local.ip(), 0))?;
                let (old, new) = (self.local, self.socket.local_addr()?);
                self.local = new;
                self.rtc.add_local_candidate(Candidate::host(new, "udp")?);
                self.drain()?;
                self.rtc.direct_api().invalidate_candidate(&Candidate::host(old, "udp")?);
            }
            Order::Restart => {
                let mut change = self.rtc.sdp_api();
                let creds = change.ice_restart(true);
                let (_, pending) = change.apply().context("nothing to restart")?;
                self.signal.restart(&creds.ufrag, &creds.pass)?;
                let answer = SdpAnswer::from_sdp_string(&self.signal.answer)?;
                self.rtc.sdp_api().accept_answer(pending, answer)?;
            }
            Order::End | Order::Vanish => bail!("{order:?} is no order for a session that goes on"),
        }
        self.shared.change(|report| {
            report.moves += u64::from(order != Order::Restart);
            report.restarts += u64::from(order == Order::Restart);
        });
        self.tell();
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        let status = self.signal.end()?;
        self.shared.change(|report| report.deleted = status);
        self.rtc.close()?;
        self.drain()?;
        Ok(())
    }

    /// What only changes with orders.
    fn tell(&self) {
        let answer = &self.signal.answer;
        self.shared.change(|report| {
            report.local = self.socket.local_addr().ok();
            report.location = self.signal.location.clone();
            report.etag = self.signal.etag.clone();
            report.candidates = words::attributes(answer, "candidate").map(str::to_owned).collect();
            report.ufrag = words::attribute(answer, "ice-ufrag").unwrap_or_default().to_owned();
        });
    }
}

/// A socket with the address that the host uses towards where the offer goes.
fn bind(url: &str) -> Result<(UdpSocket, SocketAddr)> {
    let authority = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let to = authority.to_socket_addrs().with_context(|| url.to_owned())?.next().with_context(|| url.to_owned())?;
    let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse()?;
    let probe = UdpSocket::bind(any)?;
    probe.connect(to)?;
    let ip = probe.local_addr()?.ip();
    let socket = UdpSocket::bind(SocketAddr::new(ip, 0))?;
    let local = socket.local_addr()?;
    Ok((socket, local))
}
