//! One HTTP connection to an origin, driven by the task that uses it: no task of its own, no waking of one by the other.
//!
//! Everything that a link brings forth comes out of [`Link::drive`], so the channels inside hyper never have to wake
//! anybody: they are looked into with a waker that does nothing, and the socket alone wakes the task.

use super::body::Outgoing;
use super::patience::Patience;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::net::TcpStream;

/// What is read at once, and ahead of a client that takes it slowly. Twice as much would be mapped and unmapped by the
/// allocator each time, which costs more than the calls that it saves.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

pub struct Link {
    connection: Connection<TokioIo<TcpStream>, Outgoing>,
    sender: SendRequest<Outgoing>,
    pub own: SocketAddr,
    patience: Patience,
    ended: bool,
}

pub enum AskError {
    /// Nothing of the request was sent: here it is again.
    Unsent(Box<Request<Outgoing>>),
    Broken,
    Slow,
}

impl Link {
    pub async fn new(stream: TcpStream) -> Result<Self, hyper::Error> {
        // Failing here would be failing at the first use.
        let own = stream.local_addr().unwrap_or_else(|_| SocketAddr::from(([0; 4], 0)));
        let mut builder = Builder::new();
        // Some devices and servers know the names in this spelling alone.
        builder.title_case_headers(true).max_buf_size(BUFFER_BYTES_MAX);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        Ok(Self { connection, sender, own, patience: Patience::new(Duration::ZERO), ended: false })
    }

    /// Whether another request can be sent: the last answer is complete and the origin has not closed.
    pub fn is_free(&mut self) -> bool {
        drive(&mut self.connection, &mut self.ended, &mut blind());
        !self.ended && self.sender.is_ready()
    }

    /// Sends the request and waits for the head of the answer: for `limit` from the last byte of the request that went out.
    pub async fn ask(&mut self, request: Request<Outgoing>, limit: Duration) -> Result<Response<Incoming>, AskError> {
        self.patience.renew(limit);
        let moved = request.body().moved();
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            // First without asking to be woken: mostly something comes of it, and then what hyper's parts tell each other
            // would only wake the very task that is at it.
            for waker in [Waker::noop(), cx.waker()] {
                drive(&mut self.connection, &mut self.ended, &mut Context::from_waker(waker));
                if let Poll::Ready(answer) = answer.as_mut().poll(&mut blind()) {
                    return Poll::Ready(answer.map_err(failed));
                }
            }
            if moved.as_ref().is_some_and(|moved| moved.swap(false, Relaxed)) {
                self.patience.renew(limit);
            }
            if self.patience.poll_over(cx) { Poll::Ready(Err(AskError::Slow)) } else { Poll::Pending }
        })
        .await
    }

    /// From here on the body may be silent for so long.
    pub fn allow_silence(&mut self, limit: Duration) {
        self.patience.renew(limit);
    }

    /// The next part of the answer's body; an error of the time-out kind when the origin has been silent for too long.
    pub fn poll_body(&mut self, cx: &mut Context<'_>, body: &mut Incoming) -> Poll<Option<BodyResult>> {
        let mut look = || Pin::new(&mut *body).poll_frame(&mut blind()).map_err(Into::into);
        if let Poll::Ready(frame) = look() {
            return Poll::Ready(frame);
        }
        for waker in [Waker::noop(), cx.waker()] {
            drive(&mut self.connection, &mut self.ended, &mut Context::from_waker(waker));
            if let Poll::Ready(frame) = look() {
                return Poll::Ready(frame);
            }
        }
        match self.patience.poll_over(cx) {
            true => Poll::Ready(Some(Err("the origin has fallen silent".into()))),
            false => Poll::Pending,
        }
    }
}

pub type BodyResult = Result<Frame<Bytes>, super::body::BodyError>;

fn drive(connection: &mut Connection<TokioIo<TcpStream>, Outgoing>, ended: &mut bool, cx: &mut Context<'_>) {
    if !*ended {
        *ended = Pin::new(connection).poll(cx).is_ready();
    }
}

fn blind() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn failed(mut error: TrySendError<Request<Outgoing>>) -> AskError {
    match error.take_message() {
        Some(request) => AskError::Unsent(Box::new(request)),
        None => AskError::Broken,
    }
}
