//! A client's HTTP connection as the proxy sees it: every request's head passes the recognizer before anybody else reads
//! a byte of it.
//!
//! To hyper it is the connection. But hyper only gets requests that were found to be unambiguous and meant for it, one
//! at a time and to the very byte; in front of one that is to be spliced, or refused, its connection ends in good order,
//! and whoever owns the [`Intake`] has the stream back, with that request still in its buffer. Nothing is forwarded here,
//! and nothing closed.

use super::patience::Patience;
use super::refused::Refused;
use super::window::Window;
use crate::recognize::http::{Body, Head, Progress, head};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a client may take its time for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub head_bytes_max: usize,
    /// For a whole head, from its first byte; for the first one from the start of the connection.
    pub head_time_max: Duration,
    /// From an answer to the next request's first byte.
    pub keep_alive: Duration,
    /// Without a byte of a body, or of an answer being taken.
    pub idle: Duration,
}

/// Requests that have arrived before the answers to those in front of them were sent, without a pause between.
pub const PIPELINED_MAX: u32 = 100;

/// Whether a request is for the proxy. `false`: its connection is to be handed back, to be spliced.
pub type Judge = Arc<dyn Fn(&Head) -> Result<bool, Refused> + Send + Sync>;

pub struct Intake<S> {
    stream: S,
    limits: Limits,
    judge: Judge,
    /// Read and not yet given on; starts with a request's head in [`Stage::Head`].
    buffer: Window,
    stage: Stage,
    /// How much of the buffer is known not to hold a whole head.
    looked_at: usize,
    /// Of the head, or of the next bytes of a body.
    reading: Patience,
    /// A body is being waited for. While nobody asks for it, its client is not the one who is slow.
    awaits_body: bool,
    /// Of an answer that the client does not take.
    writing: Option<Patience>,
    /// Requests without a pause between.
    pipelined: u32,
    handback: Option<Result<Head, Refused>>,
    traffic: Arc<Traffic>,
}

/// What has passed, for whoever accounts for it.
#[derive(Debug, Default)]
pub struct Traffic {
    pub reads: AtomicU64,
    pub bytes_read: AtomicU64,
    pub writes: AtomicU64,
    pub bytes_written: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Between requests; with `begun`, some of the next one's head is there.
    Head { begun: bool },
    /// So many bytes of a request are still to be given on, its head included.
    Message { left: u64 },
    /// A request whose end only its body tells: nothing behind it is read as a request.
    Open,
    /// The next request is not hyper's.
    Over,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Intake<S> {
    /// `already_read` came in front of what `stream` will give.
    pub fn new(stream: S, already_read: &[u8], limits: Limits, judge: Judge) -> Self {
        Self {
            stream,
            limits,
            judge,
            buffer: Window::new(already_read, limits.head_bytes_max),
            stage: Stage::Head { begun: true },
            looked_at: 0,
            reading: Patience::new(limits.head_time_max),
            awaits_body: false,
            writing: None,
            pipelined: 0,
            handback: None,
            traffic: Arc::default(),
        }
    }

    /// The next request's head, whatever it is for. It stays in the buffer.
    pub async fn next(&mut self) -> Result<Head, Refused> {
        poll_fn(|cx| self.poll_head(cx)).await
    }

    pub fn stream(&self) -> &S {
        &self.stream
    }

    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream, and what was read of it and not given on: with the head of the request that [`Self::next`] or the end
    /// of hyper's connection has named.
    pub fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.buffer.bytes().to_vec())
    }

    pub fn traffic(&self) -> Arc<Traffic> {
        self.traffic.clone()
    }

    /// The request that was read last is for hyper, from its first byte on.
    pub(super) fn give(&mut self, head: &Head) {
        self.stage = match head.body {
            Body::None => Stage::Message { left: head.len as u64 },
            Body::Length(length) => Stage::Message { left: head.len as u64 + length },
            Body::Chunked => Stage::Open,
        };
        self.looked_at = 0;
        self.awaits_body = false;
    }

    /// Why hyper's connection ended, if it was because of the next request.
    pub(super) fn take_handback(&mut self) -> Option<Result<Head, Refused>> {
        self.handback.take()
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Refused>> {
        loop {
            if let Some(head) = self.parse()? {
                return Poll::Ready(Ok(head));
            }
            let read = match self.poll_fill(cx) {
                Poll::Ready(read) => read.map_err(|_| Refused::Gone)?,
                Poll::Pending => return self.wait_for_head(cx),
            };
            match read {
                0 if self.buffer.is_empty() => return Poll::Ready(Err(Refused::Ended)),
                0 => return Poll::Ready(Err(Refused::Gone)),
                _ if self.stage == (Stage::Head { begun: false }) => {
                    self.stage = Stage::Head { begun: true };
                    self.reading.renew(self.limits.head_time_max);
                }
                _ => {}
            }
        }
    }

    /// A head ends with a line: until the next one has come there is nothing new to see. So a client that sends single
    /// bytes has no more parsed for it than one that sends lines.
    fn parse(&mut self) -> Result<Option<Head>, Refused> {
        let max = self.limits.head_bytes_max;
        let news = &self.buffer.bytes()[self.looked_at..];
        if news.is_empty() || (self.looked_at > 0 && self.buffer.len() < max && !news.contains(&b'\n')) {
            return Ok(None);
        }
        match head(self.buffer.bytes(), max)? {
            Progress::Complete(head) => Ok(Some(head)),
            Progress::Incomplete => {
                self.looked_at = self.buffer.len();
                Ok(None)
            }
        }
    }

    fn wait_for_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Refused>> {
        if self.buffer.is_empty() {
            self.pipelined = 0;
        }
        if !self.reading.poll_over(cx) {
            return Poll::Pending;
        }
        let begun = self.stage == (Stage::Head { begun: true });
        Poll::Ready(Err(if begun { Refused::Slow } else { Refused::Idle }))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = ready!(self.buffer.poll_fill(&mut self.stream, cx))?;
        self.traffic.reads.fetch_add(1, Relaxed);
        self.traffic.bytes_read.fetch_add(read as u64, Relaxed);
        Poll::Ready(Ok(read))
    }

    /// The next request, once the one before it has been given on whole.
    fn poll_next_message(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !matches!(self.stage, Stage::Head { .. }) {
            self.looked_at = 0;
            let begun = !self.buffer.is_empty();
            self.pipelined += u32::from(begun);
            self.stage = Stage::Head { begun };
            self.reading.renew(if begun { self.limits.head_time_max } else { self.limits.keep_alive });
        }
        let head = ready!(self.poll_head(cx)).and_then(|head| {
            if self.pipelined > PIPELINED_MAX {
                return Err(Refused::Pipelined);
            }
            Ok(((self.judge)(&head)?, head))
        });
        match head {
            Ok((true, head)) => self.give(&head),
            Ok((false, head)) => self.hand_back(Ok(head)),
            Err(refused) => self.hand_back(Err(refused)),
        }
        Poll::Ready(())
    }

    fn hand_back(&mut self, what: Result<Head, Refused>) {
        self.stage = Stage::Over;
        self.handback = Some(what);
    }

    /// Bytes of the request that hyper is reading: at most `max`, 0 at the end of the stream.
    fn poll_message(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>, max: u64) -> Poll<io::Result<u64>> {
        let room = into.remaining() as u64;
        let polled = if !self.buffer.is_empty() {
            Poll::Ready(Ok(()))
        } else if max >= room {
            let before = into.filled().len();
            let polled = Pin::new(&mut self.stream).poll_read(cx, into);
            let read = (into.filled().len() - before) as u64;
            if let Poll::Ready(result) = polled {
                self.awaits_body = false;
                self.traffic.reads.fetch_add(1, Relaxed);
                self.traffic.bytes_read.fetch_add(read, Relaxed);
                return Poll::Ready(result.map(|()| read));
            }
            Poll::Pending
        } else {
            // What hyper has room for, it may have: so what lies behind the message must not get there.
            self.poll_fill(cx).map_ok(drop)
        };
        match polled {
            Poll::Ready(result) => {
                result?;
                self.awaits_body = false;
                let n = max.min(room).min(self.buffer.len() as u64) as usize;
                into.put_slice(&self.buffer.bytes()[..n]);
                self.buffer.take(n);
                Poll::Ready(Ok(n as u64))
            }
            Poll::Pending => {
                if !std::mem::replace(&mut self.awaits_body, true) {
                    self.reading.renew(self.limits.idle);
                }
                match self.reading.poll_over(cx) {
                    true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                    false => Poll::Pending,
                }
            }
        }
    }

    fn poll_written(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = polled {
            self.traffic.writes.fetch_add(1, Relaxed);
            self.traffic.bytes_written.fetch_add(n as u64, Relaxed);
        }
        self.poll_taken(cx, polled)
    }

    /// Waits for the client to take something, but not for ever.
    fn poll_taken<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.writing = None;
            return polled;
        }
        let limit = self.limits.idle;
        match self.writing.get_or_insert_with(|| Patience::new(limit)).poll_over(cx) {
            true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            false => Poll::Pending,
        }
    }
}

/// What hyper reads: the requests that are for it, and then the end.
impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Intake<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match this.stage {
                Stage::Over => return Poll::Ready(Ok(())),
                Stage::Open => return this.poll_message(cx, into, u64::MAX).map_ok(drop),
                Stage::Message { left } if left > 0 => {
                    let n = ready!(this.poll_message(cx, into, left))?;
                    this.stage = Stage::Message { left: left - n };
                    return Poll::Ready(Ok(()));
                }
                // hyper asks for more only when the answer has been sent, all of it.
                Stage::Message { .. } | Stage::Head { .. } => ready!(this.poll_next_message(cx)),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Intake<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.poll_written(cx, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.poll_written(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TLS stream has a buffer of its own: much of an answer may wait here and nowhere else.
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        this.poll_taken(cx, polled)
    }

    /// hyper's connection is over, which the client's need not be.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
