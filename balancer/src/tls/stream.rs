//! One TLS connection of a client's, in the manner of tokio's `TcpStream`: try, and wait until trying helps. And as an
//! `AsyncRead` and `AsyncWrite` for whoever wants those.
//!
//! What is buffered is bounded: no plaintext is taken while ciphertext of earlier plaintext waits for the socket, and
//! none is decoded before what was decoded has been read.

use rustls::{ServerConfig, ServerConnection};
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

#[cfg(test)]
mod tests;

pub struct TlsStream {
    tcp: TcpStream,
    /// Of one task; locked because waiting, which shares, has to send what waits for the socket.
    session: Mutex<Session>,
}

/// Why there is no session. The client has been told, where the protocol has words for it.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("the client closed the connection during the handshake")]
    Closed,
    #[error("{0}")]
    Refused(rustls::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl TlsStream {
    /// Shakes hands. The caller limits the time.
    pub async fn accept(tcp: TcpStream, config: Arc<ServerConfig>) -> Result<Self, (HandshakeError, TcpStream)> {
        let mut session = match ServerConnection::new(config) {
            Ok(tls) => Session { tls, ending: Ending::No },
            Err(error) => return Err((HandshakeError::Refused(error), tcp)),
        };
        match session.shake_hands(&tcp).await {
            Ok(()) => Ok(Self { tcp, session: Mutex::new(session) }),
            Err(error) => Err((error, tcp)),
        }
    }

    /// The socket, for its options: its bytes are nobody else's to read or write.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Which server the client asked for.
    pub fn server_name(&self) -> Option<String> {
        self.lock().tls.server_name().map(str::to_owned)
    }

    /// Waits until a read or a write may do something; may wake for nothing. Meanwhile sends what waits for the socket.
    pub async fn ready(&self, interest: Interest) -> io::Result<()> {
        loop {
            let (owes, decoded) = {
                let mut session = self.lock();
                (session.flush(&self.tcp)?, !session.tls.wants_read())
            };
            // The socket knows nothing of what was decoded and not read.
            if (interest.is_writable() && !owes) || (interest.is_readable() && decoded) {
                return Ok(());
            }
            let wait = match (interest.is_readable(), owes) {
                (true, true) => Interest::READABLE | Interest::WRITABLE,
                (_, false) => Interest::READABLE,
                (false, true) => Interest::WRITABLE,
            };
            let ready = self.tcp.ready(wait).await?;
            if interest.is_readable() && (ready.is_readable() || ready.is_read_closed()) {
                return Ok(());
            }
        }
    }

    /// 0: the client has said its last.
    pub fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.session.get_mut().unwrap_or_else(PoisonError::into_inner).read(&self.tcp, into)
    }

    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.session.get_mut().unwrap_or_else(PoisonError::into_inner).write(&self.tcp, bytes)
    }

    /// Says that nothing more follows. `WouldBlock` while something that was written before has not gone yet: to be
    /// called again when the stream is ready for writing.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.session.get_mut().unwrap_or_else(PoisonError::into_inner).end(&self.tcp)
    }

    /// Whether something that was written waits for the socket.
    pub fn owes(&self) -> bool {
        self.lock().tls.wants_write()
    }

    fn lock(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has been said of our end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    /// In TLS; it may not have gone yet.
    Said,
    /// In TCP too.
    Done,
}

struct Session {
    tls: ServerConnection,
    ending: Ending,
}

impl Session {
    async fn shake_hands(&mut self, tcp: &TcpStream) -> Result<(), HandshakeError> {
        loop {
            let owes = self.flush(tcp)?;
            if !owes && !self.tls.is_handshaking() {
                return Ok(());
            }
            let interest = if owes { Interest::WRITABLE } else { Interest::READABLE };
            tcp.ready(interest).await?;
            if owes {
                continue;
            }
            match self.tls.read_tls(&mut Socket(tcp)) {
                Ok(0) => return Err(HandshakeError::Closed),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                Err(e) => return Err(e.into()),
            }
            if let Err(error) = self.tls.process_new_packets() {
                // An alert, most likely; whether it arrives is not ours to wait for.
                let _ = self.flush(tcp);
                return Err(HandshakeError::Refused(error));
            }
        }
    }

    /// Sends what waits; true when something still does.
    fn flush(&mut self, tcp: &TcpStream) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Socket(tcp)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(e) => return Err(e),
            }
        }
        Ok(false)
    }

    fn read(&mut self, tcp: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(into) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // The end without close_notify. Media clients do that; what is inside knows whether it is complete.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            // 0 is the peer's end: the next round meets it.
            self.tls.read_tls(&mut Socket(tcp))?;
            let decoded = self.tls.process_new_packets();
            // A key update is answered, an error told. Where that fails, the next write does too.
            let _ = self.flush(tcp);
            decoded.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        }
    }

    fn write(&mut self, tcp: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        if self.flush(tcp)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = self.tls.writer().write(bytes)?;
        self.flush(tcp)?;
        Ok(written)
    }

    fn end(&mut self, tcp: &TcpStream) -> io::Result<()> {
        if self.ending == Ending::No {
            self.tls.send_close_notify();
            self.ending = Ending::Said;
        }
        if self.flush(tcp)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.ending == Ending::Said {
            self.ending = Ending::Done;
            socket2::SockRef::from(tcp).shutdown(Shutdown::Write)?;
        }
        Ok(())
    }
}

/// A socket as rustls wants one: `WouldBlock` where it would.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(into)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for TlsStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match this.try_read(into.initialize_unfilled()) {
                Ok(n) => {
                    into.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready!(this.tcp.poll_read_ready(cx))?,
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            match this.try_write(bytes) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready!(this.tcp.poll_write_ready(cx))?,
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.lock().flush(&this.tcp)? {
            ready!(this.tcp.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match this.shutdown_write() {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready!(this.tcp.poll_write_ready(cx))?,
                ended => return Poll::Ready(ended),
            }
        }
    }
}
