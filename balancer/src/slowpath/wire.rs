//! A byte stream of a client's or an origin's, in the manner of tokio's `TcpStream`: try, and wait until trying helps.
//!
//! Owns what differs between plain TCP and what user space has to decode. Only a plain wire can be handed to the kernel.

use crate::tls::TlsStream;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

pub enum Wire {
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
}

impl Wire {
    /// The socket, when what it carries is what the peer says.
    pub fn as_tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Tls(_) => None,
        }
    }

    pub fn is_plain(&self) -> bool {
        self.as_tcp().is_some()
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.tcp(),
        }
    }

    /// Waits until a read or a write may do something. May wake for nothing.
    pub async fn ready(&self, interest: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.ready(interest).await.map(drop),
            Self::Tls(stream) => stream.ready(interest).await,
        }
    }

    pub async fn readable(&self) -> io::Result<()> {
        self.ready(Interest::READABLE).await
    }

    /// 0: the peer has said its last.
    pub fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(into),
            Self::Tls(stream) => stream.try_read(into),
        }
    }

    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Tls(stream) => stream.try_write(bytes),
        }
    }

    /// Waits for bytes and appends them; 0: the peer has said its last.
    pub async fn read_some(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        /// Of what is read in one call, before a flow carries media.
        const CHUNK: usize = 4096;
        let len = into.len();
        into.resize(len + CHUNK, 0);
        let read = loop {
            match self.try_read(&mut into[len..]) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(e) = self.readable().await {
                        break Err(e);
                    }
                }
                read => break read,
            }
        };
        into.truncate(len + read.as_ref().copied().unwrap_or(0));
        read
    }

    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.ready(Interest::WRITABLE).await?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Says that nothing more follows. `WouldBlock` while something that was written has not gone yet ([`Self::owes`]).
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => socket2::SockRef::from(&*stream).shutdown(Shutdown::Write),
            Self::Tls(stream) => stream.shutdown_write(),
        }
    }

    /// Something that was written waits for the socket. [`Self::ready`] sends it.
    pub fn owes(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            Self::Tls(stream) => stream.owes(),
        }
    }
}

/// The socket itself: for options and states, never for bytes.
impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => {
                let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
                Pin::new(stream).poll_write(cx, first)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.is_plain()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
