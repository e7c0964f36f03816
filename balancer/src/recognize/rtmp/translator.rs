//! One direction of a flow whose two connections cannot be joined as they are: rewrites chunk headers, message stream
//! ids and chunk sizes. Understands no media and changes no timestamp.
//!
//! Every message leaves with a full header, so nothing that was sent before matters. A message leaves in pieces, as its
//! chunks become whole; only control messages and short commands are held until they are complete, because they may
//! name a message stream.

use super::RtmpError;
use super::amf::{self, Value, write_all};
use super::assembler::{Assembler, Found};
use super::chunk::{self, ChunkReader, MessageHeader, Step, write_first_header, write_message, write_next_header};
use super::command::{command_body, kind};
use std::collections::BTreeMap;

/// Payload held back on all chunk streams: one message of the greatest length, in a chunk as great.
const HELD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Commands up to this length are looked into; `deleteStream` has about 40 bytes.
const COMMAND_BYTES_MAX: u32 = 4096;
/// User Control events that begin with a message stream id: the protocol's (section 7.1.7) and FMS's buffer events.
const STREAM_EVENTS: [u16; 7] = [0, 1, 2, 3, 4, 31, 32];

pub struct Translator {
    reader: ChunkReader,
    /// The chunk size that the receiver knows.
    size_told: u32,
    /// Message stream ids, the sender's and the receiver's. Any other stays.
    streams: Vec<(u32, u32)>,
    /// A chunk header cut short.
    input: Vec<u8>,
    output: Vec<u8>,
    held: BTreeMap<u32, Held>,
    held_bytes: usize,
}

/// What came of a message and has not left yet.
struct Held {
    header: MessageHeader,
    payload: Vec<u8>,
    /// Bytes of the message that have not left.
    left: u32,
    opened: bool,
    whole: bool,
}

impl Translator {
    /// For a stream of bytes that goes on where `reader` stands, between two messages.
    pub(super) fn new(mut reader: ChunkReader, size_told: u32, streams: Vec<(u32, u32)>) -> Self {
        reader.set_length_max(chunk::MESSAGE_LENGTH_MAX);
        Self {
            reader,
            size_told: size_told.max(1),
            streams,
            input: Vec::new(),
            output: Vec::new(),
            held: BTreeMap::new(),
            held_bytes: 0,
        }
    }

    /// For the bytes that follow `sent`, which the receiver got as it is.
    pub(super) fn behind(sent: &[u8], streams: Vec<(u32, u32)>) -> Result<Self, RtmpError> {
        let mut chunks = Assembler::new(chunk::MESSAGE_LENGTH_MAX);
        while chunks.next(sent)? != Found::Wait {}
        if chunks.pending() > 0 || chunks.position() != sent.len() {
            return Err(RtmpError::Interleaved);
        }
        let reader = chunks.reader().clone();
        let size_told = reader.size();
        Ok(Self::new(reader, size_told, streams))
    }

    /// Bytes of the sender, in pieces of any size.
    pub fn feed(&mut self, input: &[u8]) -> Result<(), RtmpError> {
        let mut pending = std::mem::take(&mut self.input);
        pending.extend(input);
        let mut at = 0;
        loop {
            let rest = &pending[at..];
            match self.reader.next(rest)? {
                Step::Wait => break,
                Step::Header { len, chunk_stream, first, .. } => {
                    if first {
                        self.begin(chunk_stream);
                    }
                    at += len;
                }
                Step::Payload { len, chunk_stream, last } => {
                    self.extend(chunk_stream, &rest[..len], last)?;
                    at += len;
                }
            }
        }
        // Payload is always taken: what stays is less than one chunk header.
        pending.drain(..at);
        self.input = pending;
        Ok(())
    }

    /// Bytes for the receiver.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    fn begin(&mut self, chunk_stream: u32) {
        let header = self.reader.header(chunk_stream);
        let whole = match header.kind {
            kind::SET_CHUNK_SIZE | kind::ABORT | kind::USER_CONTROL => true,
            kind::COMMAND_AMF0 | kind::COMMAND_AMF3 => header.length <= COMMAND_BYTES_MAX,
            _ => false,
        };
        let header = MessageHeader { stream_id: self.mapped(header.stream_id), ..header };
        let held = Held { header, payload: Vec::new(), left: header.length, opened: false, whole };
        self.held.insert(chunk_stream, held);
    }

    fn extend(&mut self, chunk_stream: u32, piece: &[u8], last: bool) -> Result<(), RtmpError> {
        let Some(held) = self.held.get_mut(&chunk_stream) else { return Ok(()) };
        if self.held_bytes + piece.len() > HELD_BYTES_MAX {
            return Err(RtmpError::Held { max: HELD_BYTES_MAX });
        }
        held.payload.extend(piece);
        self.held_bytes += piece.len();
        if held.whole && !last {
            return Ok(());
        }
        if !held.whole {
            self.held_bytes -= held.send_chunks(chunk_stream, self.size_told, &mut self.output);
        }
        if last && let Some(held) = self.held.remove(&chunk_stream) {
            self.held_bytes -= held.payload.len();
            if held.whole {
                self.send_whole(chunk_stream, held)?;
            }
        }
        Ok(())
    }

    fn send_whole(&mut self, chunk_stream: u32, held: Held) -> Result<(), RtmpError> {
        let Held { header, mut payload, .. } = held;
        match header.kind {
            kind::USER_CONTROL => self.map_event(&mut payload),
            kind::COMMAND_AMF0 | kind::COMMAND_AMF3 => self.map_command(header.kind, &mut payload),
            _ => {}
        }
        write_message(&mut self.output, self.size_told, chunk_stream, header, &payload);
        match (header.kind, payload.first_chunk::<4>()) {
            (kind::SET_CHUNK_SIZE, Some(word)) => {
                self.reader.set_size(u32::from_be_bytes(*word))?;
                self.size_told = self.reader.size();
            }
            (kind::ABORT, Some(word)) => {
                let aborted = u32::from_be_bytes(*word);
                self.reader.abort(aborted);
                if let Some(held) = self.held.remove(&aborted) {
                    self.held_bytes -= held.payload.len();
                }
            }
            (kind::SET_CHUNK_SIZE | kind::ABORT, None) => return Err(RtmpError::Control(header.kind)),
            _ => {}
        }
        Ok(())
    }

    fn map_event(&self, payload: &mut [u8]) {
        let Some((event, rest)) = payload.split_first_chunk_mut::<2>() else { return };
        if STREAM_EVENTS.contains(&u16::from_be_bytes(*event))
            && let Some(stream) = rest.first_chunk_mut::<4>()
        {
            *stream = self.mapped(u32::from_be_bytes(*stream)).to_be_bytes();
        }
    }

    /// `deleteStream` names a stream by its number.
    fn map_command(&self, kind: u8, payload: &mut [u8]) {
        let Some(body) = command_body(kind, payload) else { return };
        let Ok(mut values) = amf::read_first(body, 4) else { return };
        let before = write_all(&values);
        let [Value::Text(name), _, _, Value::Number(stream)] = &mut values[..] else { return };
        let known = self.streams.iter().find(|(from, _)| f64::from(*from) == *stream);
        let (b"deleteStream", Some((_, to))) = (&name[..], known) else { return };
        *stream = f64::from(*to);
        let after = write_all(&values);
        let at = payload.len() - body.len();
        // Written back only where the sender's spelling is ours: then the length is the same too.
        if payload[at..].starts_with(&before) {
            payload[at..at + after.len()].copy_from_slice(&after);
        }
    }

    fn mapped(&self, stream_id: u32) -> u32 {
        self.streams.iter().find(|(from, _)| *from == stream_id).map_or(stream_id, |(_, to)| *to)
    }
}

impl Held {
    /// Sends what makes whole chunks for the receiver; returns the bytes that left.
    fn send_chunks(&mut self, chunk_stream: u32, size: u32, out: &mut Vec<u8>) -> usize {
        let mut sent = 0;
        loop {
            let len = size.min(self.left) as usize;
            if self.payload.len() - sent < len || (len == 0 && self.opened) {
                break;
            }
            if self.opened {
                write_next_header(out, chunk_stream, &self.header);
            } else {
                write_first_header(out, chunk_stream, &self.header);
                self.opened = true;
            }
            out.extend(&self.payload[sent..sent + len]);
            sent += len;
            self.left -= len as u32;
        }
        self.payload.drain(..sent);
        sent
    }
}
