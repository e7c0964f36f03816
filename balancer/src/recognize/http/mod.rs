//! The HTTP recognizer: reads one request head, strictly, and says what the request is for. Pure: bytes in, a value out.
//!
//! Sources: RFC 9110 (semantics), RFC 9112 (HTTP/1.1), RFC 7239 (`Forwarded`), RFC 6455 (WebSocket), RFC 8216 (HLS).
//!
//! Every head of a connection is read here before anybody else sees it, and whatever two readers might understand
//! differently is refused: a request that our side and an origin would end at different bytes is how one client
//! smuggles a request into the connection of another. So nothing here is forgiving, except one empty line in front.
//!
//! [`head`] reads; [`intent`] tells media, which is spliced, from the rest, which is proxied; [`forward`] writes the head
//! that the origin of a spliced request gets; [`candidates`] gives the streams that a path of HLS or DASH may belong to,
//! and [`playlist::rewrite`] marks what would not lead back to its stream.

mod answer;
mod authority;
mod fields;
mod file;
mod forward;
mod framing;
mod head;
mod intent;
mod names;
pub(super) mod percent;
pub mod playlist;
mod scan;
mod stem;
mod target;
mod via;

#[cfg(test)]
mod tests;

pub use answer::{Answer, answer};
pub use forward::forward;
pub use head::{Body, Head, Method, Progress, Version, head};
pub use intent::{Intent, intent};
pub use names::{
    Kind, MARK, ORIGIN_MARK, candidates, is_ambiguous, key_of_query, kind, mark, mark_session, origin_mark, path_key,
    without_mark,
};
pub use via::{FORWARDED, Via, forwarded, is_forwarded};

/// Fields of one head. Browsers send about 20.
pub const FIELDS_MAX: usize = 100;
/// Bytes of a request line, without its line end. RFC 9112 section 3 asks for at least 8000.
pub const REQUEST_LINE_LEN_MAX: usize = 8 * 1024;

/// Why a head is refused. Never shows a byte of it: a target may hold a stream key, a field a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    #[error("the head is too large: more bytes than are taken, or more than {FIELDS_MAX} fields")]
    TooLarge,
    #[error("malformed: {0}")]
    Malformed(&'static str),
    #[error("the version of HTTP is not served: only 1.0 and 1.1 are")]
    Version,
    #[error("the request line is longer than {REQUEST_LINE_LEN_MAX} bytes")]
    UriTooLong,
    #[error("the method CONNECT is not served")]
    NotImplemented,
}

impl HttpError {
    /// What the client is told; its connection is to be closed after it.
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::UriTooLong => 414,
            Self::TooLarge => 431,
            Self::NotImplemented => 501,
            Self::Version => 505,
        }
    }
}
