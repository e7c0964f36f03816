//! The caller: one socket, driven step by step by a test.

use super::packet::{self, CONCLUSION, Handshake, Kind, REFUSED};
use crate::net::Netns;
use crate::sys;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// libsrt asks again after a quarter of a second.
const AGAIN: Duration = Duration::from_millis(250);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const LARGEST: usize = 2000;
/// As much as a machine gives: some 180 packets of full length wait unread.
const RECEIVE_BUFFER: usize = 4 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The origin's socket.
    Accepted(u32),
    Refused(u32),
}

pub struct Caller {
    pub socket: UdpSocket,
    pub id: u32,
    pub cookie: u32,
    /// The other end's socket, once it has answered.
    pub peer: Option<u32>,
    next: u32,
    /// Numbers of data packets that came.
    pub received: BTreeSet<u32>,
    /// All that came, those that came twice too.
    pub data_packets: u64,
    pub shutdowns: u64,
}

impl Caller {
    /// A socket of a port of its own.
    pub fn bind(netns: &Netns, to: SocketAddr) -> Result<Self> {
        static ID: AtomicU32 = AtomicU32::new(0x0100_0000);
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = netns.run(|| UdpSocket::bind((any, 0)))??;
        socket.connect(to)?;
        socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER)?;
        let id = ID.fetch_add(1, Relaxed);
        Ok(Self {
            socket,
            id,
            cookie: 0,
            peer: None,
            next: 0,
            received: BTreeSet::new(),
            data_packets: 0,
            shutdowns: 0,
        })
    }

    /// Up to the answer to a conclusion for this stream.
    pub fn call(netns: &Netns, to: SocketAddr, stream_id: &str) -> Result<(Self, Answer)> {
        let mut this = Self::bind(netns, to)?;
        this.induce()?;
        let conclusion = this.conclusion(stream_id.as_bytes());
        let answer = this.conclude(&conclusion)?;
        Ok((this, answer))
    }

    /// The same, where nothing else than consent is right.
    pub fn accepted(netns: &Netns, to: SocketAddr, stream_id: &str) -> Result<Self> {
        match Self::call(netns, to, stream_id)? {
            (this, Answer::Accepted(_)) => Ok(this),
            (_, Answer::Refused(reason)) => bail!("{stream_id} was refused: {reason}"),
        }
    }

    /// Asks for a cookie and keeps it.
    pub fn induce(&mut self) -> Result<Handshake> {
        let answer = self.ask(&Handshake::induction(self.id).bytes()).context("induction")?;
        ensure!(answer.destination == self.id, "answered to another: {answer:x?}");
        self.cookie = answer.cookie;
        Ok(answer)
    }

    pub fn conclusion(&self, stream_id: &[u8]) -> Handshake {
        Handshake::conclusion(self.id, self.cookie, stream_id)
    }

    pub fn conclude(&mut self, conclusion: &Handshake) -> Result<Answer> {
        let answer = self.ask(&conclusion.bytes()).context("conclusion")?;
        ensure!(answer.destination == self.id, "answered to another: {answer:x?}");
        match answer.kind {
            CONCLUSION => {
                self.peer = Some(answer.socket);
                Ok(Answer::Accepted(answer.socket))
            }
            kind if kind >= REFUSED => Ok(Answer::Refused(kind - REFUSED)),
            _ => bail!("answered {answer:x?}"),
        }
    }

    /// Sends a handshake, again and again, until one comes back.
    pub fn ask(&mut self, handshake: &[u8]) -> Result<Handshake> {
        let deadline = Instant::now() + ANSWER_WITHIN;
        while Instant::now() < deadline {
            // An error here is an ICMP message of before.
            let _ = self.socket.send(handshake);
            if let Some(answer) = self.wait_handshake(AGAIN)? {
                return Ok(answer);
            }
        }
        bail!("no answer within {} s", ANSWER_WITHIN.as_secs())
    }

    /// The next handshake within that time; data before it is counted.
    pub fn wait_handshake(&mut self, within: Duration) -> Result<Option<Handshake>> {
        let deadline = Instant::now() + within;
        while let Some(packet) = self.next_packet(deadline)? {
            if let Some(handshake) = Handshake::parse(&packet) {
                return Ok(Some(handshake));
            }
            self.count(&packet);
        }
        Ok(None)
    }

    /// Reads until so many different data packets have come.
    pub fn wait_data(&mut self, count: usize, within: Duration) -> Result<()> {
        self.wait(within, |this| this.received.len() >= count)
            .with_context(|| format!("{} of {count} data packets", self.received.len()))
    }

    pub fn wait_shutdown(&mut self, within: Duration) -> Result<()> {
        self.wait(within, |this| this.shutdowns > 0).context("no SHUTDOWN")
    }

    /// Counts what comes until this holds.
    pub fn wait(&mut self, within: Duration, done: impl Fn(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + within;
        while !done(self) {
            let Some(packet) = self.next_packet(deadline)? else { bail!("waited in vain") };
            self.count(&packet);
        }
        Ok(())
    }

    /// Numbered data packets, each `bytes` long.
    pub fn send_data(&mut self, count: u32, bytes: usize) -> Result<()> {
        let peer = self.peer.context("nobody to send to")?;
        let payload = vec![0x47; bytes];
        for _ in 0..count {
            self.socket.send(&packet::data(self.next, peer, &payload))?;
            self.next += 1;
        }
        Ok(())
    }

    /// As much as one datagram at a time until the system says that it is too large for the way; false if it never does.
    pub fn finds_narrow_way(&mut self, bytes: usize, within: Duration) -> Result<bool> {
        sys::forbid_fragments(&self.socket)?;
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            match self.send_data(1, bytes) {
                Ok(()) => std::thread::sleep(Duration::from_millis(50)),
                Err(error) => {
                    let code = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
                    return Ok(code == Some(libc::EMSGSIZE));
                }
            }
        }
        Ok(false)
    }

    pub fn send_control(&self, kind: Kind) -> Result<()> {
        let peer = self.peer.context("nobody to send to")?;
        self.socket.send(&packet::control(kind, peer))?;
        Ok(())
    }

    fn next_packet(&self, deadline: Instant) -> Result<Option<Vec<u8>>> {
        let mut buffer = [0u8; LARGEST];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            // What fails is a time-out, or an ICMP message about something that was sent.
            if let Ok(length) = self.socket.recv(&mut buffer) {
                return Ok(Some(buffer[..length].to_vec()));
            }
        }
    }

    fn count(&mut self, packet: &[u8]) {
        if packet::destination(packet) != Some(self.id) {
            return;
        }
        match packet::kind(packet) {
            Some(Kind::Data) => {
                self.data_packets += 1;
                self.received.extend(packet::sequence(packet));
            }
            Some(Kind::Shutdown) => self.shutdowns += 1,
            _ => {}
        }
    }
}
