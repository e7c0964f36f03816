//! One of a connection's two TCP legs: its socket, and what the kernel records of the peer behind it.

use super::socket;
use super::syn::Syn;
use super::wire::Wire;
use crate::flow::splice::{Leg, Look};
use crate::offload::TrackHandle;
use balancer_common::abi::{FlowKey, Reason, Track};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Has the fast path record what comes from `peer`, as long as the handle lives.
pub fn track(ctx: &super::Context, peer: SocketAddr, own: SocketAddr) -> Option<TrackHandle> {
    let (offload, key) = (ctx.offload.as_ref()?, FlowKey::tcp(peer, own)?);
    let track = offload.track(key).inspect_err(|error| {
        ctx.counters.count(Reason::LimitTracks);
        tracing::warn!(%error, %peer, "no track");
    });
    track.ok()
}

/// Silence before the first probe, and between two of them.
const IDLE_MAX: Duration = Duration::from_secs(30);
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// What was sent may stay unacknowledged for so long.
const UNACKED_MAX: Duration = Duration::from_secs(60);

pub struct TcpLeg {
    pub wire: Wire,
    pub peer: SocketAddr,
    pub own: SocketAddr,
    /// `None` when nothing is offloaded on this leg.
    pub track: Option<TrackHandle>,
    /// How it began, when the peer began it.
    pub syn: Option<Syn>,
    /// Sequence number behind everything that our socket sent; valid from the splice on.
    pub sent_to: u32,
}

impl AsFd for TcpLeg {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wire.as_fd()
    }
}

/// The bytes alone, for who serves HTTP on it.
impl AsyncRead for TcpLeg {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_read(cx, into)
    }
}

impl AsyncWrite for TcpLeg {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().wire).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().wire).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_shutdown(cx)
    }
}

/// Why a leg cannot be handed over.
pub enum NotNow {
    Reason(Reason),
    Io(io::Error),
}

impl From<io::Error> for NotNow {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

impl TcpLeg {
    pub fn new(wire: Wire, peer: SocketAddr, own: SocketAddr, track: Option<TrackHandle>) -> Self {
        Self { wire, peer, own, track, syn: None, sent_to: 0 }
    }

    /// Asks the peer for a sign of life when it is silent, and gives it up when none comes.
    pub fn probe_when_idle(&self) -> io::Result<()> {
        let probes = socket2::TcpKeepalive::new().with_time(IDLE_MAX).with_interval(PROBE_INTERVAL).with_retries(3);
        let socket = socket2::SockRef::from(self);
        socket.set_tcp_keepalive(&probes)?;
        socket.set_tcp_user_timeout(Some(UNACKED_MAX))
    }

    /// True when nothing is unread or unacknowledged.
    pub fn quiet(&self) -> io::Result<bool> {
        Ok(socket::unread(self)? == 0 && socket::unacked(self)? == 0)
    }

    pub fn track_seen(&self) -> Track {
        let mut seen = self.track.as_ref().map(TrackHandle::read).unwrap_or_default();
        if let Some(syn) = &self.syn {
            syn.complete(&mut seen);
        }
        seen
    }

    /// One look during a hand-over. [`Self::prepare`] must have been called.
    pub fn look(&self) -> io::Result<Look> {
        // The track is read first: what it has recorded may still be on its way to the socket, never the reverse.
        let track = self.track_seen();
        Ok(Look {
            track,
            rcv_nxt: socket::receive_next(self)?,
            unread: socket::unread(self)?,
            unacked: socket::unacked(self)?,
        })
    }

    /// Makes the sequence numbers readable without repair mode.
    pub fn prepare(&self) -> io::Result<()> {
        socket::write_seq(self).map(drop)
    }

    /// Reads what the splice needs. Nothing may be unread.
    pub fn read(&self) -> Result<Leg, NotNow> {
        let write_seq = socket::write_seq(self)?;
        let info = socket::info(self)?;
        let track = self.track_seen();
        if !info.established {
            return Err(NotNow::Reason(Reason::SpliceEnded));
        }
        let seen = Track::SEEN_L2 | if info.timestamps { Track::SEEN_TIMESTAMP } else { 0 };
        if track.seen & seen != seen {
            return Err(NotNow::Reason(Reason::SpliceUnseen));
        }
        Ok(Leg {
            write_seq,
            copied_seq: socket::copied_seq(self)?,
            peer_scale: info.peer_scale,
            own_scale: info.own_scale,
            timestamps: info.timestamps,
            sack: info.sack,
            own_timestamp: socket::own_timestamp(self)?,
            peer_timestamp: track.last_tsval,
        })
    }

    /// Reads what is there without waiting: 0 when the peer closed, `WouldBlock` when nothing is there.
    pub fn read_now(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        let mut chunk = [0; 16 * 1024];
        let socket = socket2::SockRef::from(self);
        let n = (&*socket).read(&mut chunk)?;
        into.extend_from_slice(&chunk[..n]);
        Ok(n)
    }

    /// Reads until nothing is left; true when something came.
    pub fn drain(&self, into: &mut Vec<u8>) -> io::Result<bool> {
        let mut came = false;
        loop {
            match self.read_now(into) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => came = true,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(came),
                Err(e) => return Err(e),
            }
        }
    }

    /// The next close sends a RST instead of a FIN.
    pub fn reset_on_close(&self) {
        // A socket that is dead already needs no RST.
        let _ = socket2::SockRef::from(self).set_linger(Some(std::time::Duration::ZERO));
    }
}
