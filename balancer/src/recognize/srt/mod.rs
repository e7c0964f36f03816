//! What a caller of SRT asks for: the stream id of its conclusion, and what that means.
//!
//! Owns the walk over a conclusion's extensions and the forms of a stream id. Everything else in a handshake (keys,
//! filters, groups) is between client and origin, and is not looked at.

mod extensions;
mod stream_id;
#[cfg(test)]
mod tests;

pub use extensions::{EXTENSIONS_MAX, STREAM_ID_BYTES_MAX, stream_id};
pub use stream_id::{Asked, parse};

use super::StreamKeyError;

/// What keeps a conclusion from naming a stream. Never shows what it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrtError {
    #[error("the handshake is shorter than its fixed part")]
    Short,
    #[error("the handshake's extensions are longer than the datagram, or there are too many")]
    Extensions,
    #[error("the handshake has no stream id: set `streamid`, for example to #!::r=app/stream,m=publish")]
    Missing,
    #[error("the handshake has two stream ids")]
    Twice,
    #[error("the stream id is {bytes} bytes long; at most {STREAM_ID_BYTES_MAX} are allowed")]
    TooLong { bytes: usize },
    #[error("the stream id is not UTF-8, or holds a control character")]
    Text,
    #[error("the stream id {0}")]
    Form(&'static str),
    #[error("the stream id's m is none of publish, request and bidirectional")]
    Mode,
    #[error(transparent)]
    Key(#[from] StreamKeyError),
}

/// What the caller of a conclusion, extensions and all, asks for.
pub fn asked(conclusion: &[u8]) -> Result<Asked, SrtError> {
    parse(&stream_id(conclusion)?)
}
