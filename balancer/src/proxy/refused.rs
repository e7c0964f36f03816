//! Why a connection is not served on, and what its client is told.

use super::intake::PIPELINED_MAX;
use crate::recognize::StreamKeyError;
use crate::recognize::http::HttpError;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Head(#[from] HttpError),
    #[error("the path names no stream: {0}")]
    Key(#[from] StreamKeyError),
    #[error("the head did not come to its end in time")]
    Slow,
    #[error("no further request came")]
    Idle,
    #[error("more than {PIPELINED_MAX} requests without waiting for an answer")]
    Pipelined,
    #[error("too many connections")]
    Crowded,
    #[error("the client has closed the connection")]
    Ended,
    #[error("the connection broke off")]
    Gone,
}

impl Refused {
    /// `None`: there is nothing to say, or nobody to say it to.
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Head(error) => Some(error.status()),
            Self::Key(_) => Some(400),
            Self::Slow => Some(408),
            Self::Crowded => Some(503),
            Self::Idle | Self::Pipelined | Self::Ended | Self::Gone => None,
        }
    }

    /// The whole answer. The connection is to be closed after it.
    pub fn answer(self) -> Option<Vec<u8>> {
        Some(short_answer(self.status()?, &self.to_string()))
    }
}

/// Most of what is missing comes back at once: an origin that restarts, a publisher that dials again.
pub const RETRY_AFTER_S: u16 = 1;

/// A whole answer of one line, the last of its connection.
pub fn short_answer(status: u16, text: &str) -> Vec<u8> {
    let reason =
        http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
    let retry = if status == 503 { format!("Retry-After: {RETRY_AFTER_S}\r\n") } else { String::new() };
    format!(
        "HTTP/1.1 {status} {reason}\r\n{retry}Content-Type: text/plain\r\nCache-Control: no-store\r\n\
         Access-Control-Allow-Origin: *\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}\n",
        text.len() + 1
    )
    .into_bytes()
}
