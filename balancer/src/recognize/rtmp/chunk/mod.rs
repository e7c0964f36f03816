//! The chunk stream (RTMP 1.0 section 5.3): headers, their compression, and the cutting of messages into chunks.

mod header;
mod reader;
mod writer;

pub use header::{Format, MessageHeader};
pub use reader::{ChunkReader, Step};
pub use writer::{write_first_header, write_message, write_next_header};

/// What both ends assume before anyone says otherwise.
pub const SIZE_DEFAULT: u32 = 128;
/// The first bit of a Set Chunk Size must be 0 (section 5.4.1).
pub const SIZE_MAX: u32 = 0x7fff_ffff;
/// A message's length has 24 bits.
pub const MESSAGE_LENGTH_MAX: u32 = 0x00ff_ffff;
/// The value of a timestamp field that sends the reader to four more bytes.
const TIMESTAMP_EXTENDED: u32 = 0x00ff_ffff;
/// Ids from here on take two bytes, and from `ID_LARGE` on three.
const ID_MEDIUM: u32 = 64;
const ID_LARGE: u32 = 64 + 256;
