//! Whole messages from chunks, with the place of each in the byte stream. Obeys the two control messages that change
//! how chunks are read (Set Chunk Size, Abort) and interprets no other.

use super::RtmpError;
use super::chunk::{ChunkReader, Format, MessageHeader, Step};
use super::command::{self, kind};
use std::collections::BTreeMap;

/// A message and where it stood.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub chunk_stream: u32,
    /// Of its first chunk.
    pub format: Format,
    pub header: MessageHeader,
    pub payload: Vec<u8>,
    /// Offset of its first byte.
    pub start: usize,
}

/// What one call found.
#[derive(Debug, PartialEq)]
pub enum Found {
    Wait,
    /// A header or a piece of payload: ask again.
    Part,
    Message(Message),
}

#[derive(Clone, Debug)]
pub struct Assembler {
    reader: ChunkReader,
    partial: BTreeMap<u32, Message>,
    position: usize,
}

impl Assembler {
    pub fn new(length_max: u32) -> Self {
        Self { reader: ChunkReader::new(length_max), partial: BTreeMap::new(), position: 0 }
    }

    pub fn reader(&self) -> &ChunkReader {
        &self.reader
    }

    /// Messages begun and not ended.
    pub fn pending(&self) -> usize {
        self.reader.pending()
    }

    /// What has come of messages that are under way.
    pub fn partial(&self) -> impl Iterator<Item = &Message> {
        self.partial.values()
    }

    /// Bytes taken so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// `bytes` is the whole stream from its first byte: what was taken before is skipped.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Found, RtmpError> {
        let rest = bytes.get(self.position..).unwrap_or_default();
        match self.reader.next(rest)? {
            Step::Wait => Ok(Found::Wait),
            Step::Header { len, chunk_stream, format, first } => {
                if first {
                    self.begin(chunk_stream, format);
                }
                self.position += len;
                Ok(Found::Part)
            }
            Step::Payload { len, chunk_stream, last } => {
                self.position += len;
                self.extend(chunk_stream, &rest[..len], last)
            }
        }
    }

    fn begin(&mut self, chunk_stream: u32, format: Format) {
        let message = Message {
            chunk_stream,
            format,
            header: self.reader.header(chunk_stream),
            payload: Vec::new(),
            start: self.position,
        };
        self.partial.insert(chunk_stream, message);
    }

    fn extend(&mut self, chunk_stream: u32, piece: &[u8], last: bool) -> Result<Found, RtmpError> {
        if let Some(message) = self.partial.get_mut(&chunk_stream) {
            message.payload.extend(piece);
        }
        if !last {
            return Ok(Found::Part);
        }
        let Some(message) = self.partial.remove(&chunk_stream) else { return Ok(Found::Part) };
        match message.header.kind {
            kind::SET_CHUNK_SIZE => self.reader.set_size(command::control_word(&message)?)?,
            kind::ABORT => {
                let aborted = command::control_word(&message)?;
                self.reader.abort(aborted);
                self.partial.remove(&aborted);
            }
            _ => {}
        }
        Ok(Found::Message(message))
    }
}
