//! The balancer as an RTMP server, up to the trigger: answers what clients wait for and keeps every byte they send.

use super::amf::Value;
use super::answers::{self, Refusal};
use super::assembler::{Assembler, Found, Message};
use super::chunk::{SIZE_DEFAULT, SIZE_MAX};
use super::command::Command;
use super::handshake::{self, HELLO_LEN, PACKET_LEN};
use super::location::Location;
use super::{CHUNK_SIZE_TOLD_MIN, Calls, Request, RtmpError, STREAMS_MAX};
use crate::flow::Role;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Announced to the client with the answer to `connect`. The nearer to what the origins use the better: where it is
    /// the same nothing more need be said.
    pub chunk_size: u32,
    /// Most that a client may send between its handshake and the end of its trigger.
    pub preamble_bytes_max: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        // 60 000 is SRS's chunk size.
        Self { chunk_size: 60_000, preamble_bytes_max: 64 * 1024 }
    }
}

#[derive(Debug)]
pub enum Progress {
    Wait,
    Recognized(Box<Request>),
}

/// Faces the client. After an error: write [`ServerSide::take_output`], which may hold the reason, and close.
pub struct ServerSide {
    config: ServerConfig,
    state: State,
    /// What the client sent: while shaking hands the part not yet read, then all of it.
    input: Vec<u8>,
    output: Vec<u8>,
    chunks: Assembler,
    connection: Option<Connection>,
    refused: Option<Refusal>,
    /// Where the last command before the trigger began.
    last_call_start: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Hello,
    Echo,
    Chunks,
    Recognized { role: Role, stream_id: u32 },
    Over,
}

/// Made by `connect`.
struct Connection {
    location: Location,
    calls: Calls,
    /// Streams that were not deleted again.
    streams: Vec<u32>,
}

impl ServerSide {
    pub fn new(config: ServerConfig) -> Self {
        let length_max = u32::try_from(config.preamble_bytes_max).unwrap_or(u32::MAX);
        Self {
            config: ServerConfig { chunk_size: config.chunk_size.clamp(CHUNK_SIZE_TOLD_MIN, SIZE_MAX), ..config },
            state: State::Hello,
            input: Vec::new(),
            output: Vec::new(),
            chunks: Assembler::new(length_max),
            connection: None,
            refused: None,
            last_call_start: 0,
        }
    }

    /// What the client sent, in pieces of any size. At most one call returns [`Progress::Recognized`].
    pub fn feed(&mut self, input: &[u8]) -> Result<Progress, RtmpError> {
        let progress = self.advance(input);
        if progress.is_err() {
            self.state = State::Over;
        }
        progress
    }

    /// Bytes to write to the client now.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Says why, in the way a client understands at this point. One that has not yet sent `connect` is told when it
    /// does: go on feeding until the error.
    pub fn refuse(&mut self, why: Refusal) {
        let (out, chunk_size) = (&mut self.output, self.config.chunk_size);
        match self.state {
            State::Recognized { role, stream_id } => answers::stream_status(out, chunk_size, stream_id, role, why),
            State::Chunks if self.connection.is_some() => answers::connection_status(out, chunk_size, why),
            State::Hello | State::Echo | State::Chunks => {
                self.refused = Some(why);
                return;
            }
            State::Over => {}
        }
        self.state = State::Over;
    }

    fn advance(&mut self, input: &[u8]) -> Result<Progress, RtmpError> {
        if matches!(self.state, State::Recognized { .. } | State::Over) {
            return Err(RtmpError::Over);
        }
        self.input.extend(input);
        if self.state == State::Hello {
            if let Some(version) = self.input.first() {
                handshake::check_version(*version)?;
            }
            if self.input.len() < HELLO_LEN {
                return Ok(Progress::Wait);
            }
            self.output.extend(handshake::hello());
            self.output.extend(&self.input[1..HELLO_LEN]);
            self.input.drain(..HELLO_LEN);
            self.state = State::Echo;
        }
        if self.state == State::Echo {
            if self.input.len() < PACKET_LEN {
                return Ok(Progress::Wait);
            }
            self.input.drain(..PACKET_LEN);
            self.state = State::Chunks;
        }
        self.messages()
    }

    fn messages(&mut self) -> Result<Progress, RtmpError> {
        let max = self.config.preamble_bytes_max;
        loop {
            let found = self.chunks.next(&self.input)?;
            // By position, not by what was read: the outcome must not depend on how the bytes were cut.
            if self.chunks.position() > max {
                return Err(RtmpError::Preamble { max });
            }
            let message = match found {
                Found::Message(message) => message,
                Found::Part => continue,
                Found::Wait => return Ok(Progress::Wait),
            };
            let Some(command) = Command::read(&message)? else { continue };
            if let Some(role) = trigger(&command) {
                return self.recognized(role, &message, &command);
            }
            self.answer(&command)?;
            self.last_call_start = message.start;
        }
    }

    /// Before the trigger. Whoever calls with a transaction id waits for a result, so unknown calls get an empty one.
    fn answer(&mut self, command: &Command) -> Result<(), RtmpError> {
        let (transaction, chunk_size) = (command.transaction, self.config.chunk_size);
        let Some(connection) = &mut self.connection else {
            return match &command.name[..] {
                b"connect" => self.connect(command),
                _ => Ok(()),
            };
        };
        let out = &mut self.output;
        match &command.name[..] {
            b"createStream" => {
                let stream_id = connection.create_stream(transaction)?;
                answers::result(out, chunk_size, transaction, Value::Number(stream_id.into()));
            }
            b"deleteStream" => connection.delete_stream(command.argument()),
            // Players send it right before `play` and do not wait. An answer would stay unacknowledged for a delayed
            // ACK's 40 ms, and keep the legs from being joined for as long; the origin hears the call and may answer.
            b"getStreamLength" => {}
            // Answers to us, and a status nobody asked for.
            b"_result" | b"_error" | b"onStatus" => {}
            name => {
                if transaction != 0.0 {
                    answers::result(out, chunk_size, transaction, Value::Null);
                }
                if name == b"FCPublish" {
                    answers::fc_published(out, chunk_size);
                }
            }
        }
        Ok(())
    }

    fn connect(&mut self, connect: &Command) -> Result<(), RtmpError> {
        if let Some(why) = self.refused {
            // Nothing was announced yet: the default chunk size is in force.
            answers::connect_error(&mut self.output, SIZE_DEFAULT, connect.transaction, why);
            return Err(RtmpError::Refused);
        }
        let location = Location::read(connect)?;
        let object_encoding =
            connect.object().property("objectEncoding").and_then(|value| value.as_number()).unwrap_or(0.0);
        answers::connected(&mut self.output, self.config.chunk_size, connect.transaction, object_encoding);
        let calls = Calls { connect: connect.transaction, create_stream: Vec::new() };
        self.connection = Some(Connection { location, calls, streams: Vec::new() });
        Ok(())
    }

    fn recognized(&mut self, role: Role, message: &Message, command: &Command) -> Result<Progress, RtmpError> {
        let what = role.label();
        let Some(connection) = self.connection.take() else { return Err(RtmpError::BeforeConnect(what)) };
        if message.start < self.last_call_start {
            // A call inside the trigger: the origin would hear it only with the trigger, and could not answer before.
            return Err(RtmpError::Interleaved);
        }
        let stream_id = message.header.stream_id;
        self.state = State::Recognized { role, stream_id };
        let name = command.argument().as_text().unwrap_or_default();
        let key = connection.location.key(name).inspect_err(|_| self.refuse(Refusal::BadName))?;
        let (url, query) = connection.location.credentials(name);
        let mut replay = std::mem::take(&mut self.input);
        let trigger = replay.split_off(message.start);
        let chunk_size_told = self.config.chunk_size;
        let calls = connection.calls;
        let request = Request { key, role, url, query, stream_id, replay, trigger, chunk_size_told, calls };
        Ok(Progress::Recognized(Box::new(request)))
    }
}

impl Connection {
    /// The lowest free number: 1 for the first, and 1 again after a deletion, as origins give them.
    fn create_stream(&mut self, transaction: f64) -> Result<u32, RtmpError> {
        if self.calls.create_stream.len() >= STREAMS_MAX {
            return Err(RtmpError::Streams);
        }
        let stream_id = (1..).find(|id| !self.streams.contains(id)).unwrap_or(1);
        self.streams.push(stream_id);
        self.calls.create_stream.push((transaction, stream_id));
        Ok(stream_id)
    }

    fn delete_stream(&mut self, argument: &Value) {
        self.streams.retain(|id| argument.as_number() != Some(f64::from(*id)));
    }
}

/// `publish(false)` and `play(false)` end what never began: only a name triggers.
fn trigger(command: &Command) -> Option<Role> {
    command.argument().as_text()?;
    match &command.name[..] {
        b"publish" => Some(Role::Publish),
        b"play" => Some(Role::Play),
        _ => None,
    }
}
