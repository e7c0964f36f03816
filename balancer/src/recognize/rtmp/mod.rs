//! The RTMP recognizer: it is a server towards the client and a client towards the origin until both agree, and then
//! gets out of the way. Pure: no socket, no clock, no randomness.
//!
//! Source for everything here: Adobe, "Real Time Messaging Protocol Chunk Stream / Command Messages", version 1.0.
//!
//! [`ServerSide`] answers the client up to its *trigger* (`publish` or `play`) and remembers every byte. [`OriginSide`]
//! plays those very bytes to the origin, swallows the answers that the client has already had from us, and says in an
//! [`Agreement`] whether the two connections can be joined byte for byte. If they cannot, a [`Translator`] for each
//! direction rewrites chunk headers for as long as the flow lives.

mod agreement;
pub mod amf;
mod answers;
mod assembler;
pub mod chunk;
mod command;
mod handshake;
mod location;
mod origin;
mod server;
mod translator;

#[cfg(test)]
mod tests;

pub use agreement::Agreement;
pub use answers::{Refusal, set_chunk_size};
pub use handshake::{HELLO_LEN, PACKET_LEN, check_version, hello};
pub use location::host_of;
pub use origin::{OriginProgress, OriginSide};
pub use server::{Progress, ServerConfig, ServerSide};
pub use translator::Translator;

use super::{StreamKey, StreamKeyError};
use crate::flow::Role;
use std::fmt;

/// Chunk streams with state on one connection: clients use 3 to 6, the protocol allows 65 597.
pub const CHUNK_STREAMS_MAX: usize = 64;
/// The smallest chunk size that is told to a client: the message that changes it again must fit in one chunk.
pub const CHUNK_SIZE_TOLD_MIN: u32 = 4;
/// `createStream` calls before the trigger.
pub const STREAMS_MAX: usize = 16;

/// What was wrong. Never shows a name or a byte of what was sent: both may hold a stream key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtmpError {
    #[error("not RTMP: the handshake asks for version {0}, only 3 is served")]
    Version(u8),
    #[error("chunk stream {0} repeats a header that it never had")]
    NoHeader(u32),
    #[error("chunk stream {0} begins a message inside another one")]
    InsideMessage(u32),
    #[error("more than {CHUNK_STREAMS_MAX} chunk streams")]
    ChunkStreams,
    #[error("a message of {length} bytes, at most {max} are taken")]
    MessageLength { length: u32, max: u32 },
    #[error("a chunk size of {0} cannot be used")]
    ChunkSize(u32),
    #[error("a control message of type {0} is cut short")]
    Control(u8),
    #[error("AMF0: {0}")]
    Amf(&'static str),
    #[error("a command message without a name")]
    Command,
    #[error("{0} came before connect")]
    BeforeConnect(&'static str),
    #[error("more than {STREAMS_MAX} streams were created")]
    Streams,
    #[error("no publish or play within {max} bytes")]
    Preamble { max: usize },
    #[error("the origin did not answer createStream within {max} bytes")]
    Answer { max: usize },
    #[error("messages are interleaved where both legs would be joined")]
    Interleaved,
    #[error("more than {max} bytes are held back for translation")]
    Held { max: usize },
    #[error("the text of a name or URL is not UTF-8")]
    NotUtf8,
    #[error(transparent)]
    Key(#[from] StreamKeyError),
    #[error("the client was refused")]
    Refused,
    #[error("the conversation is over: nothing more is read")]
    Over,
}

/// What a client wants, and every byte that the origin must hear to know it too.
#[derive(Clone)]
pub struct Request {
    pub key: StreamKey,
    pub role: Role,
    /// `tcUrl` as it came.
    pub url: String,
    /// Parameters of the stream's name, or else of the URL: tokens, mostly.
    pub query: String,
    /// The message stream that the trigger was sent on.
    pub stream_id: u32,
    /// Everything the client sent after its handshake, up to the trigger's first byte.
    pub replay: Vec<u8>,
    /// The trigger, and whatever was read behind it.
    pub trigger: Vec<u8>,
    /// The chunk size that the client has been told.
    pub chunk_size_told: u32,
    calls: Calls,
}

/// The calls in `replay` whose answers the origin must give before the trigger may follow.
#[derive(Clone, Debug, Default, PartialEq)]
struct Calls {
    connect: f64,
    /// Transaction id and the stream id that the client got for it.
    create_stream: Vec<(f64, u32)>,
}

/// Redacted: the bytes hold the stream's name and its tokens.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("key", &self.key)
            .field("role", &self.role)
            .field("stream_id", &self.stream_id)
            .field("replay_bytes", &self.replay.len())
            .field("trigger_bytes", &self.trigger.len())
            .finish_non_exhaustive()
    }
}
