//! Messages cut into chunks, always opened by a full header: right whatever was sent before.

use super::header::MessageHeader;
use super::{ID_LARGE, ID_MEDIUM, TIMESTAMP_EXTENDED};

/// One whole message. `header.length` is taken from the payload.
pub fn write_message(out: &mut Vec<u8>, size: u32, chunk_stream: u32, header: MessageHeader, payload: &[u8]) {
    let header = MessageHeader { length: u32::try_from(payload.len()).unwrap_or(u32::MAX), ..header };
    write_first_header(out, chunk_stream, &header);
    let size = usize::try_from(size).unwrap_or(usize::MAX).max(1);
    for (index, piece) in payload.chunks(size).enumerate() {
        if index > 0 {
            write_next_header(out, chunk_stream, &header);
        }
        out.extend(piece);
    }
}

/// The header of a message's first chunk, in its full form.
pub fn write_first_header(out: &mut Vec<u8>, chunk_stream: u32, header: &MessageHeader) {
    basic_header(out, 0, chunk_stream);
    out.extend(u24(header.timestamp.min(TIMESTAMP_EXTENDED)));
    out.extend(u24(header.length));
    out.push(header.kind);
    out.extend(header.stream_id.to_le_bytes());
    extended_timestamp(out, header);
}

/// The header of a message's later chunks.
pub fn write_next_header(out: &mut Vec<u8>, chunk_stream: u32, header: &MessageHeader) {
    basic_header(out, 3, chunk_stream);
    extended_timestamp(out, header);
}

fn extended_timestamp(out: &mut Vec<u8>, header: &MessageHeader) {
    if header.timestamp >= TIMESTAMP_EXTENDED {
        out.extend(header.timestamp.to_be_bytes());
    }
}

fn basic_header(out: &mut Vec<u8>, format: u8, chunk_stream: u32) {
    let format = format << 6;
    match chunk_stream {
        ID_LARGE.. => {
            let [low, high, ..] = (chunk_stream - ID_MEDIUM).to_le_bytes();
            out.extend([format | 1, low, high]);
        }
        ID_MEDIUM.. => {
            let [low, ..] = (chunk_stream - ID_MEDIUM).to_le_bytes();
            out.extend([format, low]);
        }
        _ => {
            let [low, ..] = chunk_stream.to_le_bytes();
            out.push(format | low);
        }
    }
}

fn u24(number: u32) -> [u8; 3] {
    let [_, a, b, c] = number.to_be_bytes();
    [a, b, c]
}
