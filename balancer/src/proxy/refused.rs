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
            Self::Idle | Self::Pipelined | Self::Ended | Self::Gone => None,
        }
    }

    /// The whole answer. The connection is to be closed after it.
    pub fn answer(self) -> Option<Vec<u8>> {
        let status = http::StatusCode::from_u16(self.status()?).ok()?;
        let body = format!("{self}\n");
        let reason = status.canonical_reason().unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            status.as_u16(),
            body.len()
        );
        Some((head + &body).into_bytes())
    }
}
