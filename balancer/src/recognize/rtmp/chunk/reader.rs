//! Chunks in sequence: restores the headers that later chunks leave out. Holds no payload.

use super::header::{Format, MessageHeader, RawHeader};
use super::{MESSAGE_LENGTH_MAX, SIZE_DEFAULT, SIZE_MAX};
use crate::recognize::rtmp::{CHUNK_STREAMS_MAX, RtmpError};
use std::collections::BTreeMap;

/// The state of one direction of a connection.
#[derive(Clone, Debug)]
pub struct ChunkReader {
    size: u32,
    length_max: u32,
    streams: BTreeMap<u32, ChunkStream>,
    /// The chunk whose payload comes next, and how much of it.
    current: Option<(u32, u32)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct ChunkStream {
    header: MessageHeader,
    delta: u32,
    /// What the last extended timestamp field said, if the last header had one.
    extended: Option<u32>,
    /// Payload still to come of the message that is under way.
    left: Option<u32>,
}

/// The next thing found. Each takes `len` bytes of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Not enough bytes.
    Wait,
    /// A chunk header; `first` when it begins a message.
    Header { len: usize, chunk_stream: u32, format: Format, first: bool },
    /// Payload; `last` when it ends its message.
    Payload { len: usize, chunk_stream: u32, last: bool },
}

impl ChunkReader {
    pub fn new(length_max: u32) -> Self {
        Self { size: SIZE_DEFAULT, length_max, streams: BTreeMap::new(), current: None }
    }

    /// The chunk size in force.
    pub fn size(&self) -> u32 {
        self.size
    }

    pub fn set_size(&mut self, size: u32) -> Result<(), RtmpError> {
        if !(1..=SIZE_MAX).contains(&size) {
            return Err(RtmpError::ChunkSize(size));
        }
        self.size = size;
        Ok(())
    }

    pub fn set_length_max(&mut self, length_max: u32) {
        self.length_max = length_max.min(MESSAGE_LENGTH_MAX);
    }

    /// The header of the message that is or was last under way there.
    pub fn header(&self, chunk_stream: u32) -> MessageHeader {
        self.streams.get(&chunk_stream).map(|stream| stream.header).unwrap_or_default()
    }

    /// Messages begun and not ended.
    pub fn pending(&self) -> usize {
        self.streams.values().filter(|stream| stream.left.is_some()).count()
    }

    /// Abort Message (section 5.4.2): forget what has come of a message.
    pub fn abort(&mut self, chunk_stream: u32) {
        if let Some(stream) = self.streams.get_mut(&chunk_stream) {
            stream.left = None;
        }
    }

    /// The next step at the start of `bytes`; the caller drops what it took and asks again.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Step, RtmpError> {
        match self.current {
            Some((chunk_stream, left)) => Ok(self.payload(chunk_stream, left, bytes)),
            None => self.chunk_header(bytes),
        }
    }

    fn payload(&mut self, chunk_stream: u32, left: u32, bytes: &[u8]) -> Step {
        let taken = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(left);
        if taken == 0 && left > 0 {
            return Step::Wait;
        }
        self.current = if taken == left { None } else { Some((chunk_stream, left - taken)) };
        let mut last = false;
        if let Some(stream) = self.streams.get_mut(&chunk_stream) {
            let message_left = stream.left.unwrap_or(0).saturating_sub(taken);
            last = message_left == 0;
            stream.left = if last { None } else { Some(message_left) };
        }
        Step::Payload { len: taken as usize, chunk_stream, last }
    }

    fn chunk_header(&mut self, bytes: &[u8]) -> Result<Step, RtmpError> {
        let Some(raw) = RawHeader::read(bytes) else { return Ok(Step::Wait) };
        let known = self.streams.get(&raw.chunk_stream).copied();
        if known.is_none() && self.streams.len() >= CHUNK_STREAMS_MAX {
            return Err(RtmpError::ChunkStreams);
        }
        let Some((mut stream, len)) = restore(&raw, known, &bytes[raw.len..])? else { return Ok(Step::Wait) };
        let first = stream.left.is_none();
        let length = stream.header.length;
        if length > self.length_max {
            return Err(RtmpError::MessageLength { length, max: self.length_max });
        }
        let left = *stream.left.get_or_insert(length);
        self.current = Some((raw.chunk_stream, left.min(self.size)));
        self.streams.insert(raw.chunk_stream, stream);
        Ok(Step::Header { len, chunk_stream: raw.chunk_stream, format: raw.format, first })
    }
}

/// The chunk stream's state after this header, and the header's length. `None`: more bytes are needed.
fn restore(
    raw: &RawHeader,
    known: Option<ChunkStream>,
    behind: &[u8],
) -> Result<Option<(ChunkStream, usize)>, RtmpError> {
    // librtmp opens chunk stream 2 with a `SameStream` header for its pings: message stream 0, time 0 are then meant.
    if known.is_none() && matches!(raw.format, Format::SameLength | Format::Same) {
        return Err(RtmpError::NoHeader(raw.chunk_stream));
    }
    let mut stream = known.unwrap_or_default();
    if stream.left.is_some() && raw.format != Format::Same {
        return Err(RtmpError::InsideMessage(raw.chunk_stream));
    }
    let Some(time) = raw.time else {
        let Some(len) = repeated_time_len(&stream, behind) else { return Ok(None) };
        if stream.left.is_none() {
            stream.header.timestamp = stream.header.timestamp.wrapping_add(stream.delta);
        }
        return Ok(Some((stream, raw.len + len)));
    };
    stream.extended = raw.extended.then_some(time);
    // A `Same` chunk after a `Full` one takes its timestamp for the delta (section 5.3.1.2.4).
    stream.delta = time;
    stream.header.timestamp =
        if raw.format == Format::Full { time } else { stream.header.timestamp.wrapping_add(time) };
    if let Some((length, kind)) = raw.length_and_kind {
        stream.header.length = length;
        stream.header.kind = kind;
    }
    if let Some(stream_id) = raw.stream_id {
        stream.header.stream_id = stream_id;
    }
    Ok(Some((stream, raw.len)))
}

/// Whether a `Same` chunk repeats the extended timestamp: it must (section 5.3.1.3), but old encoders do not, and some
/// repeat the timestamp where others repeat the delta. So: four bytes that say either are one. `None`: too few bytes.
fn repeated_time_len(stream: &ChunkStream, behind: &[u8]) -> Option<usize> {
    let Some(extended) = stream.extended else { return Some(0) };
    let candidates = [extended.to_be_bytes(), stream.header.timestamp.to_be_bytes()];
    let seen = &behind[..behind.len().min(4)];
    if !candidates.iter().any(|candidate| candidate.starts_with(seen)) {
        return Some(0);
    }
    (seen.len() == 4).then_some(4)
}
