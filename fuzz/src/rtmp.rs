//! What the RTMP targets share: recorded conversations, and a second way from chunks to messages.

use crate::recognize::rtmp::chunk::{ChunkReader, MESSAGE_LENGTH_MAX, MessageHeader, Step};
use crate::recognize::rtmp::{Agreement, OriginProgress, OriginSide, Progress, Request, ServerConfig, ServerSide};
use std::collections::BTreeMap;

/// C0, C1 and C2, or S0, S1 and S2.
pub const HANDSHAKE_LEN: usize = 3073;
pub const CLIENT: &[u8] = include_bytes!("../../balancer/tests/captures/ffmpeg-publish.client.bin");
pub const ORIGIN: &[u8] = include_bytes!("../../balancer/tests/captures/ffmpeg-publish.nginx.bin");

/// The first four bytes say where the rest is cut in up to three pieces.
pub fn pieces(input: &[u8]) -> Option<(&[u8], [usize; 2])> {
    let (head, bytes) = input.split_first_chunk::<4>()?;
    let cut = |high, low| usize::from(u16::from_be_bytes([high, low])) % (bytes.len() + 1);
    let (first, second) = (cut(head[0], head[1]), cut(head[2], head[3]));
    Some((bytes, [first.min(second), first.max(second)]))
}

pub fn request() -> Request {
    let mut side = ServerSide::new(ServerConfig::default());
    match side.feed(CLIENT) {
        Ok(Progress::Recognized(request)) => *request,
        other => panic!("the capture is not recognized: {other:?}"),
    }
}

pub fn agreement(request: &Request) -> Agreement {
    let mut side = OriginSide::new(request);
    match side.feed(ORIGIN) {
        Ok(OriginProgress::Ready(agreement)) => *agreement,
        other => panic!("the capture does not agree: {other:?}"),
    }
}

pub type Message = (u32, MessageHeader, Vec<u8>);

/// All whole messages; `None` when something in the bytes is no chunk stream.
pub fn messages(mut bytes: &[u8]) -> Option<Vec<Message>> {
    let mut reader = ChunkReader::new(MESSAGE_LENGTH_MAX);
    let mut partial: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut found = Vec::new();
    loop {
        match reader.next(bytes).ok()? {
            Step::Wait => return Some(found),
            Step::Header { len, chunk_stream, first, .. } => {
                if first {
                    partial.insert(chunk_stream, Vec::new());
                }
                bytes = &bytes[len..];
            }
            Step::Payload { len, chunk_stream, last } => {
                let payload = partial.entry(chunk_stream).or_default();
                payload.extend(&bytes[..len]);
                bytes = &bytes[len..];
                if last {
                    let payload = std::mem::take(payload);
                    let header = reader.header(chunk_stream);
                    let word = payload.first_chunk().map(|word| u32::from_be_bytes(*word));
                    match header.kind {
                        1 => reader.set_size(word?).ok()?,
                        2 => {
                            reader.abort(word?);
                            partial.remove(&word?);
                        }
                        _ => {}
                    }
                    found.push((chunk_stream, header, payload));
                }
            }
        }
    }
}
