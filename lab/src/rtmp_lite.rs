//! As much RTMP as test endpoints need: the simple handshake's sizes, chunks both ways, and the AMF0 of commands. It is
//! written apart from the balancer's own on purpose: two readers of the protocol that must agree.

use anyhow::{Context, Result, bail};
use std::collections::HashMap;

/// C0 C1 and S0 S1; C2 and S2.
pub const HELLO: usize = 1537;
pub const ECHO: usize = 1536;

pub const SET_CHUNK_SIZE: u8 = 1;
pub const WINDOW_ACK_SIZE: u8 = 5;
pub const VIDEO: u8 = 9;
pub const COMMAND: u8 = 20;

const CHUNK_SIZE_DEFAULT: usize = 128;
const MESSAGE_MAX: usize = 1 << 24;

#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub chunk_stream: u32,
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

#[derive(Clone, Default)]
struct Header {
    timestamp_extended: bool,
    length: usize,
    kind: u8,
    stream: u32,
}

/// Bytes in, messages out, one at a time, so that what follows a message can be taken as it is.
pub struct ChunkReader {
    buffer: Vec<u8>,
    /// How much of the buffer has been read.
    used: usize,
    chunk_size: usize,
    headers: HashMap<u32, Header>,
    partial: HashMap<u32, Vec<u8>>,
}

impl Default for ChunkReader {
    fn default() -> Self {
        Self {
            buffer: Vec::new(),
            used: 0,
            chunk_size: CHUNK_SIZE_DEFAULT,
            headers: HashMap::new(),
            partial: HashMap::new(),
        }
    }
}

impl ChunkReader {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..std::mem::take(&mut self.used));
        self.buffer.extend_from_slice(bytes);
    }

    /// What has come and belongs to no message yet.
    pub fn into_rest(mut self) -> Vec<u8> {
        self.buffer.split_off(self.used)
    }

    /// The next whole message; a Set Chunk Size is obeyed and returned like any other.
    pub fn next_message(&mut self) -> Result<Option<Message>> {
        loop {
            let Some((used, chunk_stream, complete)) = self.next_chunk()? else { return Ok(None) };
            self.used += used;
            if !complete {
                continue;
            }
            let header = &self.headers[&chunk_stream];
            let payload = self.partial.remove(&chunk_stream).unwrap_or_default();
            let message = Message { chunk_stream, kind: header.kind, stream: header.stream, payload };
            if message.kind == SET_CHUNK_SIZE {
                let size: [u8; 4] = message.payload[..].try_into().context("Set Chunk Size of a wrong length")?;
                self.chunk_size = u32::from_be_bytes(size) as usize;
            }
            return Ok(Some(message));
        }
    }

    /// Reads one chunk if it is there: bytes used, chunk stream, whether its message is complete.
    fn next_chunk(&mut self) -> Result<Option<(usize, u32, bool)>> {
        let bytes = &self.buffer[self.used..];
        let Some(&first) = bytes.first() else { return Ok(None) };
        let (chunk_stream, mut at) = match first & 0x3f {
            0 if bytes.len() < 2 => return Ok(None),
            0 => (u32::from(bytes[1]) + 64, 2),
            1 if bytes.len() < 3 => return Ok(None),
            1 => (u32::from(bytes[1]) + u32::from(bytes[2]) * 256 + 64, 3),
            id => (u32::from(id), 1),
        };
        let format = first >> 6;
        let size = [11, 7, 3, 0][usize::from(format)];
        let Some(fields) = bytes.get(at..at + size) else { return Ok(None) };
        at += size;
        let mut header = self.headers.get(&chunk_stream).cloned();
        if format == 0 {
            header = Some(Header::default());
        }
        let Some(mut header) = header else { bail!("chunk stream {chunk_stream} begins with a continued header") };
        if format < 3 {
            header.timestamp_extended = fields[..3] == [0xff; 3];
        }
        if format < 2 {
            header.length = u32::from_be_bytes([0, fields[3], fields[4], fields[5]]) as usize;
            header.kind = fields[6];
        }
        if format == 0 {
            header.stream = u32::from_le_bytes([fields[7], fields[8], fields[9], fields[10]]);
        }
        if header.timestamp_extended {
            at += 4;
        }
        if header.length > MESSAGE_MAX {
            bail!("a message of {} bytes", header.length);
        }
        let have = self.partial.get(&chunk_stream).map_or(0, Vec::len);
        let take = (header.length - have).min(self.chunk_size);
        let Some(payload) = bytes.get(at..at + take) else { return Ok(None) };
        let whole = self.partial.entry(chunk_stream).or_default();
        whole.extend_from_slice(payload);
        let complete = whole.len() == header.length;
        self.headers.insert(chunk_stream, header);
        Ok(Some((at + take, chunk_stream, complete)))
    }
}

/// Messages to chunks of one size, always with full headers.
pub struct ChunkWriter {
    chunk_size: usize,
}

impl Default for ChunkWriter {
    fn default() -> Self {
        Self { chunk_size: CHUNK_SIZE_DEFAULT }
    }
}

impl ChunkWriter {
    /// One whose chunk size the other end knows already.
    pub fn with_chunk_size(size: u32) -> Self {
        Self { chunk_size: size as usize }
    }

    /// Announces a new chunk size and uses it from the next message on.
    pub fn set_chunk_size(&mut self, out: &mut Vec<u8>, size: u32) {
        self.write(out, 2, SET_CHUNK_SIZE, 0, &size.to_be_bytes());
        self.chunk_size = size as usize;
    }

    pub fn write(&self, out: &mut Vec<u8>, chunk_stream: u8, kind: u8, stream: u32, payload: &[u8]) {
        out.push(chunk_stream);
        self.header_fields(out, kind, payload);
        out.extend_from_slice(&stream.to_le_bytes());
        self.payload(out, chunk_stream, payload);
    }

    /// With a header that leaves the message stream to the chunk stream's previous message.
    pub fn write_continued(&self, out: &mut Vec<u8>, chunk_stream: u8, kind: u8, payload: &[u8]) {
        out.push(0x40 | chunk_stream);
        self.header_fields(out, kind, payload);
        self.payload(out, chunk_stream, payload);
    }

    fn header_fields(&self, out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
        out.extend_from_slice(&[0; 3]);
        out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        out.push(kind);
    }

    fn payload(&self, out: &mut Vec<u8>, chunk_stream: u8, payload: &[u8]) {
        for (i, chunk) in payload.chunks(self.chunk_size).enumerate() {
            if i > 0 {
                out.push(0xc0 | chunk_stream);
            }
            out.extend_from_slice(chunk);
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Amf {
    Null,
    Number(f64),
    Bool(bool),
    String(String),
    Object(Vec<(String, Amf)>),
}

impl From<&str> for Amf {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

/// An object of strings.
pub fn object(fields: &[(&str, &str)]) -> Amf {
    Amf::Object(fields.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect())
}

pub fn command(name: &str, transaction: f64, arguments: &[Amf]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out, &name.into());
    encode(&mut out, &Amf::Number(transaction));
    arguments.iter().for_each(|argument| encode(&mut out, argument));
    out
}

fn encode(out: &mut Vec<u8>, value: &Amf) {
    match value {
        Amf::Null => out.push(5),
        Amf::Number(number) => {
            out.push(0);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Amf::Bool(flag) => out.extend_from_slice(&[1, u8::from(*flag)]),
        Amf::String(text) => {
            out.push(2);
            encode_key(out, text);
        }
        Amf::Object(fields) => {
            out.push(3);
            for (name, value) in fields {
                encode_key(out, name);
                encode(out, value);
            }
            out.extend_from_slice(&[0, 0, 9]);
        }
    }
}

fn encode_key(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// All values of a command; the first is its name, the second its transaction.
pub fn parse_command(mut payload: &[u8]) -> Result<Vec<Amf>> {
    let mut values = Vec::new();
    while !payload.is_empty() {
        values.push(decode(&mut payload).context("AMF0 cut short")?);
    }
    Ok(values)
}

fn decode(input: &mut &[u8]) -> Option<Amf> {
    match take(input, 1)?[0] {
        0 => Some(Amf::Number(f64::from_be_bytes(take(input, 8)?.try_into().ok()?))),
        1 => Some(Amf::Bool(take(input, 1)?[0] != 0)),
        2 => decode_key(input).map(Amf::String),
        3 => decode_fields(input),
        5 | 6 => Some(Amf::Null),
        // An ECMA array is an object with a count in front.
        8 => take(input, 4).and_then(|_| decode_fields(input)),
        _ => None,
    }
}

fn decode_fields(input: &mut &[u8]) -> Option<Amf> {
    let mut fields = Vec::new();
    loop {
        let name = decode_key(input)?;
        if name.is_empty() && input.first() == Some(&9) {
            take(input, 1)?;
            return Some(Amf::Object(fields));
        }
        fields.push((name, decode(input)?));
    }
}

fn decode_key(input: &mut &[u8]) -> Option<String> {
    let length = u16::from_be_bytes(take(input, 2)?.try_into().ok()?);
    Some(String::from_utf8_lossy(take(input, length.into())?).into_owned())
}

fn take<'a>(input: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, tail) = input.split_at_checked(n)?;
    *input = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_cut_and_a_change_of_chunk_size() {
        let (mut writer, mut wire) = (ChunkWriter::default(), Vec::new());
        let payload: Vec<u8> = (0..=255).cycle().take(1000).collect();
        writer.write(&mut wire, 3, COMMAND, 0, &payload);
        writer.set_chunk_size(&mut wire, 400);
        writer.write(&mut wire, 6, VIDEO, 1, &payload);
        writer.write_continued(&mut wire, 6, VIDEO, &payload[..10]);
        for cut in 0..wire.len() {
            let mut reader = ChunkReader::default();
            let mut messages = Vec::new();
            for part in [&wire[..cut], &wire[cut..]] {
                reader.push(part);
                while let Some(message) = reader.next_message().unwrap() {
                    messages.push((message.kind, message.stream, message.payload.len()));
                }
            }
            let expected = [(COMMAND, 0, 1000), (SET_CHUNK_SIZE, 0, 4), (VIDEO, 1, 1000), (VIDEO, 1, 10)];
            assert_eq!(messages, expected, "cut at {cut}");
            assert!(reader.into_rest().is_empty());
        }
    }

    #[test]
    fn what_follows_a_message_is_left_alone() {
        let (writer, mut wire) = (ChunkWriter::default(), Vec::new());
        writer.write(&mut wire, 3, COMMAND, 0, b"x");
        wire.extend_from_slice(b"\xff\xffanything");
        let mut reader = ChunkReader::default();
        reader.push(&wire);
        assert_eq!(reader.next_message().unwrap().unwrap().payload, b"x");
        assert_eq!(reader.into_rest(), b"\xff\xffanything");
    }

    #[test]
    fn commands_survive_amf() {
        let arguments = [Amf::Null, "name".into(), object(&[("code", "ok")]), Amf::Bool(true)];
        let values = parse_command(&command("play", 4.0, &arguments)).unwrap();
        assert_eq!(values[0], "play".into());
        assert_eq!(values[1], Amf::Number(4.0));
        assert_eq!(values[2..], arguments);
        assert!(parse_command(&command("play", 4.0, &arguments)[..20]).is_err());
    }
}
