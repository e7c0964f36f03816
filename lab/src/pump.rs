//! Moves one connection's bytes both ways at once, checks every received byte against its pattern, and says how it
//! ended. Both synthetic endpoints use it once their preamble is over; the client's starts while the origin's status
//! is still to come.

use crate::plan::{Ending, Framing, Plan, Role};
use crate::rtmp_lite::{Amf, COMMAND, ChunkReader, ChunkWriter, VIDEO, parse_command};
use crate::transfer::{End, Endpoint, Progress, Style, Transfer};
use crate::{pattern, sys};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

const READ_MAX: usize = 256 * 1024;
/// Pace is kept this exactly; gates and the stop flag are looked at ever less often while nothing moves, so that a
/// thousand waiting connections cost nothing.
const TICK: Duration = Duration::from_millis(5);
const TICK_MAX: Duration = Duration::from_millis(300);
/// An end that is to reset the other keeps nothing in flight: the other holds this back until it has everything.
const HELD_BACK: u64 = 8;
const VIDEO_CHUNK_STREAM: u8 = 6;

enum Inbound {
    /// RTMP messages until the status has come.
    Preamble(ChunkReader),
    Raw,
    Messages(ChunkReader),
}

pub struct Pump {
    endpoint: Endpoint,
    plan: Plan,
    style: Style,
    inbound: Inbound,
    writer: ChunkWriter,
    message_stream: u32,
    /// A client that sends nothing before the status.
    patient: bool,
    out: Vec<u8>,
    out_payload: u64,
    result: Transfer,
    began: Instant,
    progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
    refused: Option<String>,
}

impl Pump {
    /// `reader` and `writer` are as the preamble left them.
    pub fn new(endpoint: Endpoint, plan: Plan, style: Style, reader: ChunkReader, writer: ChunkWriter) -> Self {
        let mut this = Self {
            endpoint,
            plan,
            style,
            inbound: Inbound::Raw,
            writer,
            message_stream: 1,
            patient: false,
            out: Vec::new(),
            out_payload: 0,
            result: Transfer { plan: Some(plan), ..Transfer::failed(String::new()) },
            began: Instant::now(),
            progress: Arc::default(),
            stop: Arc::default(),
            refused: None,
        };
        match endpoint {
            Endpoint::Client => this.inbound = Inbound::Preamble(reader),
            Endpoint::Origin => this.payload_begins(reader),
        }
        this
    }

    pub fn message_stream(mut self, stream: u32) -> Self {
        self.message_stream = stream;
        self
    }

    pub fn patient(mut self, patient: bool) -> Self {
        self.patient = patient;
        self
    }

    /// Payload that was sent together with the preamble.
    pub fn already_sent(mut self, bytes: u64) -> Self {
        self.result.sent = bytes;
        self
    }

    pub fn watched(mut self, progress: Arc<Progress>, stop: Arc<AtomicBool>) -> Self {
        (self.progress, self.stop) = (progress, stop);
        self
    }

    pub fn run(mut self, stream: TcpStream) -> Transfer {
        self.result.end = match self.transfer(&stream) {
            Ok(end) => end,
            Err(error) if is_reset(&error) => End::Reset,
            Err(error) => End::Failed(error.to_string()),
        };
        self.result
    }

    fn transfer(&mut self, mut stream: &TcpStream) -> std::io::Result<End> {
        stream.set_nonblocking(true)?;
        let (mut eof, mut closed) = (false, false);
        let mut last_moved = Instant::now();
        let mut tick = TICK;
        let mut buffer = vec![0u8; READ_MAX];
        loop {
            if let Some(code) = self.refused.take() {
                return Ok(End::Refused(code));
            }
            if self.all_sent() && !closed && (eof || !self.waits_for_the_end()) {
                match self.ending() {
                    Ending::Fin => {
                        stream.shutdown(Shutdown::Write)?;
                        closed = true;
                    }
                    _ if self.i_reset() && self.all_received() => {
                        socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
                        return Ok(End::OwnReset);
                    }
                    _ => {}
                }
            }
            if eof && (closed || self.ending() != Ending::Fin) {
                return Ok(End::Eof);
            }
            if self.stop.load(Relaxed) {
                return Ok(End::Stopped);
            }
            if self.out.is_empty() {
                self.produce();
            }
            let ready = sys::poll(stream.as_raw_fd(), !eof, !self.out.is_empty(), tick)?;
            let mut moved = false;
            if ready.write {
                moved |= self.send(stream)?;
            }
            if ready.read && !eof {
                match stream.read(&mut buffer) {
                    Ok(0) => eof = true,
                    Ok(n) => self.take_in(&buffer[..n]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(error),
                }
                moved = true;
            }
            tick = if moved || self.style.bytes_per_second.is_some() { TICK } else { TICK_MAX.min(tick * 2) };
            if moved {
                last_moved = Instant::now();
            } else if last_moved.elapsed() > self.style.silence_max {
                return Ok(End::Silence);
            }
        }
    }

    fn send(&mut self, mut stream: &TcpStream) -> std::io::Result<bool> {
        match stream.write(&self.out) {
            Ok(n) => {
                self.out.drain(..n);
                if self.out.is_empty() {
                    self.result.sent += std::mem::take(&mut self.out_payload);
                    self.progress.sent.store(self.result.sent, Relaxed);
                }
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts the next bytes to send into `out`, as far as gate, pace and ending allow.
    fn produce(&mut self) {
        let (total, _) = self.endpoint.totals(&self.plan);
        let mut limit = total.min(self.style.due(self.began));
        if self.patient && matches!(self.inbound, Inbound::Preamble(_)) {
            limit = 0;
        }
        if self.ending() != Ending::Fin && !self.i_reset() && !self.all_received() {
            limit = limit.min(total.saturating_sub(HELD_BACK));
        }
        let n = limit.saturating_sub(self.result.sent).min(self.style.write_bytes as u64);
        if n == 0 {
            return;
        }
        let mut payload = vec![0u8; n as usize];
        pattern::fill(&mut payload, self.send_seed(), self.result.sent);
        match self.plan.framing {
            Framing::Raw => self.out = payload,
            Framing::Messages => {
                self.writer.write(&mut self.out, VIDEO_CHUNK_STREAM, VIDEO, self.message_stream, &payload);
            }
        }
        self.out_payload = n;
    }

    fn take_in(&mut self, bytes: &[u8]) {
        match &mut self.inbound {
            Inbound::Raw => self.check(bytes),
            Inbound::Preamble(reader) | Inbound::Messages(reader) => {
                reader.push(bytes);
                self.read_messages();
            }
        }
    }

    fn read_messages(&mut self) {
        loop {
            let (Inbound::Preamble(reader) | Inbound::Messages(reader)) = &mut self.inbound else { return };
            match reader.next_message() {
                Ok(None) => return,
                Ok(Some(message)) if message.kind == VIDEO => self.check(&message.payload),
                Ok(Some(message)) if message.kind == COMMAND => self.take_command(&message.payload),
                Ok(Some(_)) => {}
                Err(_) => {
                    self.result.bad_at.get_or_insert(self.result.received);
                    self.inbound = Inbound::Raw;
                }
            }
        }
    }

    fn take_command(&mut self, payload: &[u8]) {
        let Ok(values) = parse_command(payload) else { return };
        let name = values.first();
        let status = name == Some(&"onStatus".into()) || name == Some(&"_error".into());
        if !status || !matches!(self.inbound, Inbound::Preamble(_)) {
            return;
        }
        let field = |wanted: &str| {
            let objects = values.iter().filter_map(|value| if let Amf::Object(f) = value { Some(f) } else { None });
            objects.flatten().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
        };
        if field("level") == Some("error".into()) || name == Some(&"_error".into()) {
            self.refused = Some(format!("{:?}", field("code")));
            return;
        }
        self.result.status_after = Some(self.began.elapsed());
        self.progress.started.store(true, Relaxed);
        if let Inbound::Preamble(reader) = std::mem::replace(&mut self.inbound, Inbound::Raw) {
            self.payload_begins(reader);
        }
    }

    fn payload_begins(&mut self, reader: ChunkReader) {
        match self.plan.framing {
            Framing::Raw => {
                self.inbound = Inbound::Raw;
                self.check(&reader.into_rest());
            }
            Framing::Messages => {
                self.inbound = Inbound::Messages(reader);
                self.read_messages();
            }
        }
    }

    fn check(&mut self, bytes: &[u8]) {
        let (_, total) = self.endpoint.totals(&self.plan);
        if self.result.bad_at.is_none() {
            let seed = match self.endpoint {
                Endpoint::Client => self.plan.down_seed(),
                Endpoint::Origin => self.plan.up_seed(),
            };
            self.result.bad_at = pattern::first_difference(bytes, seed, self.result.received);
            if self.result.received + bytes.len() as u64 > total {
                self.result.bad_at.get_or_insert(total);
            }
        }
        self.result.received += bytes.len() as u64;
        self.progress.received.store(self.result.received, Relaxed);
    }

    fn send_seed(&self) -> u64 {
        match self.endpoint {
            Endpoint::Client => self.plan.up_seed(),
            Endpoint::Origin => self.plan.down_seed(),
        }
    }

    fn ending(&self) -> Ending {
        self.plan.ending
    }

    fn i_reset(&self) -> bool {
        self.ending() == if self.endpoint == Endpoint::Client { Ending::ClientReset } else { Ending::OriginReset }
    }

    /// A player closes when it has seen everything; a publisher, when it has sent everything.
    fn waits_for_the_end(&self) -> bool {
        self.endpoint == Endpoint::Client && self.plan.role == Role::Play && !self.all_received()
    }

    fn all_sent(&self) -> bool {
        self.result.sent == self.endpoint.totals(&self.plan).0 && self.out.is_empty()
    }

    fn all_received(&self) -> bool {
        self.result.received >= self.endpoint.totals(&self.plan).1
    }
}

fn is_reset(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}
