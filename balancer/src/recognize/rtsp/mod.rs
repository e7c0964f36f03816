//! The RTSP recognizer: learns stream and role from the first request, then stands between both ends of the control
//! connection until PLAY or RECORD, and for UDP until the end. Pure: bytes in, bytes and events out.
//!
//! Sources: RFC 2326 (RTSP 1.0), which is what every client speaks. RFC 7826 (RTSP 2.0) has another version number, and a
//! server that does not speak it answers 505 (section 4.1 there); where it says more clearly what 1.0 left open, it is
//! followed and cited.
//!
//! [`Dialog`] answers OPTIONS until a request names a stream, hands every later message on, one request at a time, and
//! changes only what would lead a client past the balancer: the ports and addresses of `Transport`, and the authority of
//! URLs that the origin wrote. Messages that need no change go on byte for byte.

mod answer;
mod dialog;
mod message;
mod names;
mod rewrite;
mod transport;

#[cfg(test)]
mod tests;

pub use answer::Refusal;
pub use dialog::{Dialog, DialogConfig, Event, Ports, Udp, Wanted};
pub use message::{Framed, Message, Method, Reader, Start};
pub use names::Url;
pub use transport::{Lower, PortPair, Transport};

use super::StreamKeyError;

/// Headers of one message.
pub const HEADERS_MAX: usize = 64;
/// Body of one message: a session description has some kilobytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Tracks of one session: sound, picture, subtitles, and some to spare.
pub const TRACKS_MAX: usize = 16;
/// SETUPs of one conversation that were sent on: each holds ports for a while.
pub const SETUPS_MAX: u32 = 64;
/// Alternatives in one `Transport` header.
pub const TRANSPORTS_MAX: usize = 16;

/// What was wrong. Never shows a byte of what was sent: URLs hold stream keys and tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtspError {
    #[error("not RTSP: the first line is neither a request nor a response")]
    NotRtsp,
    #[error("this version of RTSP is not served, only 1.0")]
    Version,
    #[error("a message head of more than {max} bytes")]
    HeadTooLarge { max: usize },
    #[error("a message body of more than {BODY_BYTES_MAX} bytes")]
    BodyTooLarge,
    #[error("more than {HEADERS_MAX} headers")]
    Headers,
    #[error("malformed: {0}")]
    Malformed(&'static str),
    #[error("the request's URL {0}")]
    Url(&'static str),
    #[error(transparent)]
    Key(#[from] StreamKeyError),
    #[error("{0} came before the stream was named")]
    Early(&'static str),
    #[error("more than {SETUPS_MAX} SETUPs")]
    Setups,
    #[error("the origin answered what it was not asked")]
    Unasked,
    #[error("the conversation is over: nothing more is read")]
    Over,
}
