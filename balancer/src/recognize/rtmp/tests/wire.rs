//! A chunk writer that shortens headers and interleaves messages as the protocol allows: the opposite of the one under
//! test, which does neither.

use crate::recognize::rtmp::chunk::MessageHeader;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    pub chunk_stream: u32,
    pub header: MessageHeader,
    pub payload: Vec<u8>,
}

impl Sent {
    pub fn new(chunk_stream: u32, kind: u8, stream_id: u32, timestamp: u32, payload: Vec<u8>) -> Self {
        let length = payload.len() as u32;
        Self { chunk_stream, header: MessageHeader { timestamp, length, kind, stream_id }, payload }
    }
}

#[derive(Default)]
pub struct Wire {
    pub bytes: Vec<u8>,
    /// Header, delta and whether the time was extended, of the last message begun on each chunk stream.
    last: BTreeMap<u32, (MessageHeader, u32, bool)>,
}

impl Wire {
    /// Opens a message with a header no shorter than `shortest` (0 to 3) allows.
    fn open(&mut self, sent: &Sent, shortest: u8) {
        let header = sent.header;
        let (format, time) = match self.last.get(&sent.chunk_stream) {
            Some((last, delta, _)) if last.stream_id == header.stream_id => {
                let time = header.timestamp.wrapping_sub(last.timestamp);
                let possible = match (last.length, last.kind) == (header.length, header.kind) {
                    true if time == *delta => 3,
                    true => 2,
                    false => 1,
                };
                let format = possible.min(shortest);
                (format, if format == 0 { header.timestamp } else { time })
            }
            _ => (0, header.timestamp),
        };
        self.basic(format, sent.chunk_stream);
        let extended = match format {
            3 => self.last[&sent.chunk_stream].2,
            _ => time >= 0xff_ffff,
        };
        if format < 3 {
            self.bytes.extend(&time.min(0xff_ffff).to_be_bytes()[1..]);
        }
        if format < 2 {
            self.bytes.extend(&header.length.to_be_bytes()[1..]);
            self.bytes.push(header.kind);
        }
        if format == 0 {
            self.bytes.extend(header.stream_id.to_le_bytes());
        }
        if extended {
            self.bytes.extend(time.to_be_bytes());
        }
        self.last.insert(sent.chunk_stream, (header, time, extended));
    }

    fn go_on(&mut self, sent: &Sent) {
        self.basic(3, sent.chunk_stream);
        let (_, time, extended) = self.last[&sent.chunk_stream];
        if extended {
            self.bytes.extend(time.to_be_bytes());
        }
    }

    fn basic(&mut self, format: u8, id: u32) {
        match id {
            320.. => self.bytes.extend([format << 6 | 1, (id - 64) as u8, ((id - 64) >> 8) as u8]),
            64.. => self.bytes.extend([format << 6, (id - 64) as u8]),
            _ => self.bytes.push(format << 6 | id as u8),
        }
    }
}

/// What was sent, in the order in which it is complete, and its bytes.
#[derive(Clone, Debug)]
pub struct Conversation {
    pub sent: Vec<Sent>,
    pub bytes: Vec<u8>,
}

/// Plays the messages, choosing at every chunk by `choices` which chunk stream goes on and how short a header is.
fn play(messages: Vec<Sent>, choices: Vec<u8>) -> Conversation {
    let mut queues: BTreeMap<u32, Vec<(Sent, usize, bool)>> = BTreeMap::new();
    for sent in messages.into_iter().rev() {
        queues.entry(sent.chunk_stream).or_default().push((sent, 0, false));
    }
    let (mut wire, mut done, mut size) = (Wire::default(), Vec::new(), 128);
    for choice in choices.iter().cycle() {
        let turn = usize::from(choice >> 2) % queues.len().max(1);
        let Some(queue) = queues.values_mut().nth(turn) else { break };
        let (sent, at, opened) = queue.last_mut().unwrap();
        if *opened {
            wire.go_on(sent);
        } else {
            wire.open(sent, choice & 3);
            *opened = true;
        }
        let piece = &sent.payload[*at..sent.payload.len().min(*at + size)];
        wire.bytes.extend(piece);
        *at += piece.len();
        if *at == sent.payload.len() {
            let (sent, ..) = queue.pop().unwrap();
            if sent.header.kind == 1 {
                size = u32::from_be_bytes(sent.payload[..4].try_into().unwrap()) as usize;
            }
            done.push(sent);
        }
        queues.retain(|_, queue| !queue.is_empty());
    }
    Conversation { sent: done, bytes: wire.bytes }
}

fn message() -> impl Strategy<Value = Sent> {
    let id = prop::sample::select(vec![3, 4, 6, 63, 64, 319, 320, 65_599]);
    let media =
        (id, 8..10_u8, 0..3_u32, time(), 0..700_usize, any::<u8>()).prop_map(|(id, kind, stream, time, len, byte)| {
            let payload = (0..len).map(|at| byte.wrapping_add(at as u8)).collect();
            Sent::new(id, kind, stream, time, payload)
        });
    let size = (1..400_u32).prop_map(|size| Sent::new(2, 1, 0, 0, size.to_be_bytes().to_vec()));
    prop_oneof![9 => media, 1 => size]
}

/// Small steps, big ones, and those around the extension.
fn time() -> impl Strategy<Value = u32> {
    prop_oneof![0..100_u32, 0xff_fff0..0x100_0010_u32, any::<u32>()]
}

pub fn conversation() -> impl Strategy<Value = Conversation> {
    (prop::collection::vec(message(), 1..20), prop::collection::vec(any::<u8>(), 1..60))
        .prop_map(|(messages, choices)| play(messages, choices))
}
