//! The bodies that pass: a client's on its way to an origin, and the several kinds that a client may be answered with.

use super::origins::Borrowed;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use tower_http::services::fs::ServeFileSystemResponseBody;

pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// What an origin is sent.
#[derive(Debug)]
pub enum Outgoing {
    Empty,
    /// What had to be read before it was known where it goes.
    Full(Bytes),
    Client(Incoming, Moved),
}

/// Set whenever some of a body has gone out. Its reader is inside hyper, and who wants to know is outside.
pub type Moved = Arc<AtomicBool>;

/// What a client is sent.
pub enum Answer {
    Full(Bytes),
    Origin(Box<Relayed>),
    File(Box<ServeFileSystemResponseBody>),
}

/// An origin's body on its way, with the connection that it comes by.
pub struct Relayed {
    pub body: Incoming,
    pub link: Borrowed,
    /// Of the body, and still to be given on.
    pub read_ahead: Option<Bytes>,
    /// Told of everything that passes.
    pub witness: Option<Arc<dyn Witness>>,
}

/// Who wants to know that a body is still on its way.
pub trait Witness: Send + Sync {
    fn passed(&self);
}

impl Outgoing {
    pub fn of(body: Incoming) -> Self {
        if body.is_end_stream() { Self::Empty } else { Self::Client(body, Moved::default()) }
    }

    pub fn moved(&self) -> Option<Moved> {
        match self {
            Self::Client(_, moved) => Some(moved.clone()),
            Self::Empty | Self::Full(_) => None,
        }
    }
}

impl From<Bytes> for Outgoing {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(bytes) }
    }
}

impl Answer {
    pub const fn empty() -> Self {
        Self::Full(Bytes::new())
    }
}

impl Default for Answer {
    fn default() -> Self {
        Self::empty()
    }
}

impl<T: Into<Bytes>> From<T> for Answer {
    fn from(bytes: T) -> Self {
        Self::Full(bytes.into())
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Client(body, moved) => {
                let polled = Pin::new(body).poll_frame(cx);
                if polled.is_ready() {
                    moved.store(true, Relaxed);
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Client(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Client(body, _) => body.size_hint(),
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Origin(relayed) => relayed.poll_frame(cx),
            Self::File(file) => Pin::new(file.as_mut()).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_empty(),
            Self::Origin(relayed) => relayed.read_ahead.is_none() && relayed.body.is_end_stream(),
            Self::File(file) => file.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Origin(relayed) => relayed.size_hint(),
            Self::File(file) => file.size_hint(),
        }
    }
}

impl Relayed {
    fn size_hint(&self) -> SizeHint {
        let ahead = self.read_ahead.as_ref().map_or(0, |read| read.len() as u64);
        self.body.size_hint().exact().map_or_else(SizeHint::default, |left| SizeHint::with_exact(ahead + left))
    }

    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(read) = self.read_ahead.take() {
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        let frame = ready!(self.link.poll_body(cx, &mut self.body));
        match &frame {
            Some(Ok(_)) => {
                if let Some(witness) = &self.witness {
                    witness.passed();
                }
                if self.body.is_end_stream() {
                    self.link.complete();
                }
            }
            Some(Err(_)) => {}
            None => self.link.complete(),
        }
        Poll::Ready(frame)
    }
}
