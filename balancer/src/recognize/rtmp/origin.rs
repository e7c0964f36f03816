//! The balancer as the client of an origin, until the origin is ready for the trigger.
//!
//! It sends nothing of its own but the handshake: pings are left for the client to answer after the joining, since a
//! word of ours between the client's bytes would set chunk headers that the client knows nothing of.

use super::agreement::Agreement;
use super::amf::Value;
use super::assembler::{Assembler, Found, Message};
use super::chunk::{ChunkReader, Format};
use super::command::{Command, kind};
use super::handshake::{self, HELLO_LEN, PACKET_LEN};
use super::{CHUNK_SIZE_TOLD_MIN, Request, RtmpError};
use std::collections::BTreeSet;

/// Most that an origin may say before it has answered everything: SRS needs 500 bytes, Wowza some 5 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Control messages' own chunk stream.
const CONTROL: u32 = 2;

#[derive(Debug)]
pub enum OriginProgress {
    Wait,
    Ready(Box<Agreement>),
    /// The status code that the origin gave.
    Refused(String),
}

/// Faces the origin.
pub struct OriginSide {
    state: State,
    input: Vec<u8>,
    output: Vec<u8>,
    replay: Vec<u8>,
    chunks: Assembler,
    /// `connect`'s transaction id, until it is answered.
    connect: Option<f64>,
    /// `createStream`: transaction id, the client's number, the origin's.
    streams: Vec<(f64, u32, Option<u32>)>,
    trigger_stream: u32,
    fresh_headers: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Hello,
    Echo,
    Chunks,
    Over,
}

impl OriginSide {
    pub fn new(request: &Request) -> Self {
        let streams = request.calls.create_stream.iter().map(|(call, client)| (*call, *client, None)).collect();
        Self {
            state: State::Hello,
            input: Vec::new(),
            output: handshake::hello(),
            replay: request.replay.clone(),
            chunks: Assembler::new(ANSWER_BYTES_MAX as u32),
            connect: Some(request.calls.connect),
            streams,
            trigger_stream: request.stream_id,
            fresh_headers: true,
        }
    }

    /// Bytes to write to the origin now.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// What the origin sent, in pieces of any size. After anything but [`OriginProgress::Wait`] nothing more is read.
    pub fn feed(&mut self, input: &[u8]) -> Result<OriginProgress, RtmpError> {
        let progress = self.advance(input);
        if !matches!(progress, Ok(OriginProgress::Wait)) {
            self.state = State::Over;
        }
        progress
    }

    fn advance(&mut self, input: &[u8]) -> Result<OriginProgress, RtmpError> {
        if self.state == State::Over {
            return Err(RtmpError::Over);
        }
        self.input.extend(input);
        if self.state == State::Hello {
            if let Some(version) = self.input.first() {
                handshake::check_version(*version)?;
            }
            if self.input.len() < HELLO_LEN {
                return Ok(OriginProgress::Wait);
            }
            self.output.extend(&self.input[1..HELLO_LEN]);
            self.input.drain(..HELLO_LEN);
            self.state = State::Echo;
        }
        if self.state == State::Echo {
            if self.input.len() < PACKET_LEN {
                return Ok(OriginProgress::Wait);
            }
            // Section 5.2.1: nothing but C2 before S2 has come.
            self.input.drain(..PACKET_LEN);
            self.output.append(&mut self.replay);
            self.state = State::Chunks;
        }
        self.messages()
    }

    fn messages(&mut self) -> Result<OriginProgress, RtmpError> {
        while !self.answered() || self.chunks.pending() > 0 {
            let answered = self.answered();
            let found = self.chunks.next(&self.input)?;
            if self.chunks.position() > ANSWER_BYTES_MAX {
                return Err(RtmpError::Answer { max: ANSWER_BYTES_MAX });
            }
            let message = match found {
                Found::Message(message) => message,
                Found::Part => continue,
                Found::Wait => return Ok(OriginProgress::Wait),
            };
            if answered && !swallowed(&message) {
                // It began before the last answer ended and is the client's: it can neither be left out nor cut out.
                return Err(RtmpError::Interleaved);
            }
            self.note_header(&message);
            if let Some(refusal) = self.answer(&message)? {
                return Ok(OriginProgress::Refused(refusal));
            }
        }
        Ok(OriginProgress::Ready(Box::new(self.agreement()?)))
    }

    fn answered(&self) -> bool {
        self.connect.is_none() && self.streams.iter().all(|(_, _, origin)| origin.is_some())
    }

    /// Takes note of an answer; returns the code of a refusal.
    fn answer(&mut self, message: &Message) -> Result<Option<String>, RtmpError> {
        let Some(command) = Command::read(message)? else { return Ok(None) };
        match &command.name[..] {
            b"_result" => self.result(&command),
            b"_error" if self.awaited(command.transaction) => return Ok(Some(refusal(&command))),
            b"onStatus" if is_error(&command) => return Ok(Some(refusal(&command))),
            b"close" => return Ok(Some("close".to_owned())),
            _ => {}
        }
        Ok(None)
    }

    /// Origins answer in the order of the calls; a number tells createStream's answer from one to `FCPublish`, should a
    /// client use one transaction id twice.
    fn result(&mut self, command: &Command) {
        if self.connect == Some(command.transaction) {
            self.connect = None;
            return;
        }
        let Some(number) = command.argument().as_number() else { return };
        let waiting =
            |(call, _, origin): &&mut (f64, u32, Option<u32>)| *call == command.transaction && origin.is_none();
        if let Some(stream) = self.streams.iter_mut().find(waiting) {
            stream.2 = Some(number as u32);
        }
    }

    fn awaited(&self, transaction: f64) -> bool {
        self.connect == Some(transaction)
            || self.streams.iter().any(|(call, _, origin)| *call == transaction && origin.is_none())
    }

    fn note_header(&mut self, message: &Message) {
        // Control messages stand on message stream 0 and have no use for time: one that spells out length and type
        // says the same whatever stood before it.
        let control = message.chunk_stream == CONTROL && message.header.kind <= kind::SET_PEER_BANDWIDTH;
        self.fresh_headers &= message.format == Format::Full || (control && message.format == Format::SameStream);
    }

    /// The client sees these headers itself: shortened ones may lean on full ones among them, on none before.
    fn note_leftover(&mut self, mut left: Vec<Message>) {
        left.sort_by_key(|message| message.start);
        let mut spelled_out = BTreeSet::new();
        for message in left {
            if message.format == Format::Full {
                spelled_out.insert(message.chunk_stream);
            } else if !spelled_out.contains(&message.chunk_stream) {
                self.note_header(&message);
            }
        }
    }

    /// All is answered and no message is under way. Swallows what else is here and concerns only us; the rest is the
    /// client's.
    fn agreement(&mut self) -> Result<Agreement, RtmpError> {
        let too_small = |chunks: &Assembler| chunks.reader().size() < CHUNK_SIZE_TOLD_MIN;
        if too_small(&self.chunks) {
            return Err(RtmpError::ChunkSize(self.chunks.reader().size()));
        }
        let mut end = self.chunks.clone();
        let mut ahead = self.chunks.clone();
        let mut left = Vec::new();
        // What is broken behind this point is between the origin and the client.
        while let Ok(Found::Message(message)) = next_message(&mut ahead, &self.input) {
            if left.is_empty() && swallowed(&message) {
                self.note_header(&message);
                if ahead.pending() == 0 && !too_small(&ahead) {
                    end = ahead.clone();
                    continue;
                }
            }
            left.push(message);
        }
        left.extend(ahead.partial().cloned());
        self.note_leftover(left);
        let leftover = self.input.split_off(end.position().min(self.input.len()));
        let stream_id = self.origin_stream();
        let mut streams = vec![(self.trigger_stream, stream_id)];
        streams.extend(self.streams.iter().map(|(_, client, origin)| (*client, origin.unwrap_or(*client))));
        let reader: ChunkReader = end.reader().clone();
        Ok(Agreement {
            chunk_size: reader.size(),
            stream_id,
            fresh_headers: self.fresh_headers,
            leftover,
            streams,
            reader,
        })
    }

    /// The origin's number of the stream that the client uses: of the last one created under the client's number.
    fn origin_stream(&self) -> u32 {
        let created = self.streams.iter().rev().find(|(_, client, _)| *client == self.trigger_stream);
        created.and_then(|(_, _, origin)| *origin).unwrap_or(self.trigger_stream)
    }
}

fn next_message(chunks: &mut Assembler, input: &[u8]) -> Result<Found, RtmpError> {
    loop {
        match chunks.next(input)? {
            Found::Part => {}
            found => return Ok(found),
        }
    }
}

/// What the client has had from us or has no use for. Everything else is the client's, a status above all.
fn swallowed(message: &Message) -> bool {
    match message.header.kind {
        kind::SET_CHUNK_SIZE
        | kind::ABORT
        | kind::ACKNOWLEDGEMENT
        | kind::WINDOW_ACKNOWLEDGEMENT_SIZE
        | kind::SET_PEER_BANDWIDTH => true,
        _ => Command::read(message).ok().flatten().is_some_and(|command| {
            matches!(&command.name[..], b"_result" | b"_error" | b"onBWDone" | b"onFCPublish" | b"onFCSubscribe")
        }),
    }
}

fn is_error(command: &Command) -> bool {
    command.argument().property("level").and_then(Value::as_text) == Some(b"error")
}

/// The code alone: descriptions hold stream names.
fn refusal(command: &Command) -> String {
    let code = command.argument().property("code").and_then(Value::as_text).unwrap_or(&command.name);
    String::from_utf8_lossy(&code[..code.len().min(128)]).into_owned()
}
