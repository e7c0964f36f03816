//! Learn the stream key from the first bytes of a connection. Pure: bytes in, bytes out, no socket and no clock.

pub mod http;
pub mod proxy_header;
pub mod rtmp;
pub mod rtsp;
pub mod sdp;
pub mod srt;
mod stream_key;

pub use stream_key::{StreamKey, StreamKeyError};
