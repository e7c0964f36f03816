//! The origin: takes everybody, or whom its manners let it take, keeps every datagram that it got, and sends its players
//! numbered packets when a test says so.

use super::packet::{self, CONCLUSION, Handshake, INDUCTION, Kind};
use crate::net::Netns;
use crate::sys;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

const TICK: Duration = Duration::from_millis(20);
const LARGEST: usize = 2000;
/// Kept of each datagram.
const KEPT: usize = 600;
const KEPT_MAX: usize = 100_000;
const RECEIVE_BUFFER: usize = 4 << 20;
const FIRST_SOCKET: u32 = 0x0200_0000;

/// What differs between servers.
#[derive(Clone, Debug, Default)]
pub struct SrtManners {
    /// Hears, and says nothing: of every stream, or of those whose id contains this.
    pub silent: Option<&'static str>,
    /// Refuses with this reason.
    pub refuses: Option<u32>,
    /// Answers an induction, and not the conclusion.
    pub loses_conclusions: bool,
    /// After its conclusion. Others answer keep-alives with their own.
    pub says_nothing_more: bool,
}

/// A datagram as it came.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub from: SocketAddr,
    pub bytes: Vec<u8>,
    pub length: usize,
}

/// A caller that was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    pub from: SocketAddr,
    /// The caller's socket, and ours.
    pub theirs: u32,
    pub ours: u32,
    pub stream_id: String,
    pub group: bool,
    /// Data packets that came for our socket.
    pub data: u64,
    pub shutdowns: u64,
}

#[derive(Default)]
struct Heard {
    arrived: Vec<Arrived>,
    /// By where it came from.
    taken: BTreeMap<SocketAddr, Taken>,
    conclusions: u64,
}

pub struct SrtLite {
    socket: Arc<UdpSocket>,
    heard: Arc<Mutex<Heard>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

fn hold(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().expect("no holder panics")
}

impl SrtLite {
    pub fn start(netns: &Netns, at: SocketAddr, manners: SrtManners) -> Result<Self> {
        let socket = netns.run(|| UdpSocket::bind(at))?.with_context(|| format!("bind to {at}"))?;
        socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.set_nonblocking(true)?;
        let (socket, heard, stop) = (Arc::new(socket), Arc::<Mutex<Heard>>::default(), Arc::<AtomicBool>::default());
        let server = Server { socket: socket.clone(), heard: heard.clone(), manners };
        let flag = stop.clone();
        let thread = std::thread::spawn(move || server.run(&flag));
        Ok(Self { socket, heard, stop, thread: Some(thread) })
    }

    /// Every datagram so far.
    pub fn arrived(&self) -> Vec<Arrived> {
        hold(&self.heard).arrived.clone()
    }

    pub fn datagrams(&self) -> usize {
        hold(&self.heard).arrived.len()
    }

    /// Conclusions, those that came twice too.
    pub fn conclusions(&self) -> u64 {
        hold(&self.heard).conclusions
    }

    /// Everybody who was taken.
    pub fn taken(&self) -> Vec<Taken> {
        hold(&self.heard).taken.values().cloned().collect()
    }

    /// Data packets from publishers of this stream.
    pub fn data_of(&self, stream_id: &str) -> u64 {
        self.taken().iter().filter(|taken| taken.stream_id == stream_id).map(|taken| taken.data).sum()
    }

    /// Sends everybody who was taken data packets with these numbers.
    pub fn send(&self, numbers: std::ops::Range<u32>, bytes: usize) -> Result<()> {
        let (taken, payload) = (self.taken(), vec![0x47; bytes]);
        for number in numbers {
            for peer in &taken {
                self.send_to(&packet::data(number, peer.theirs, &payload), peer.from)?;
            }
        }
        Ok(())
    }

    pub fn shut_down(&self) -> Result<()> {
        self.taken().iter().try_for_each(|peer| self.send_to(&packet::control(Kind::Shutdown, peer.theirs), peer.from))
    }

    fn send_to(&self, packet: &[u8], to: SocketAddr) -> Result<()> {
        let _ = sys::poll(self.socket.as_raw_fd(), false, true, Duration::from_secs(1));
        self.socket.send_to(packet, to)?;
        Ok(())
    }
}

impl Drop for SrtLite {
    /// Without a word to anybody, as when a machine dies; the next datagram is answered with an ICMP message.
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Server {
    socket: Arc<UdpSocket>,
    heard: Arc<Mutex<Heard>>,
    manners: SrtManners,
}

impl Server {
    fn run(&self, stop: &AtomicBool) {
        let mut buffer = [0u8; LARGEST];
        while !stop.load(Relaxed) {
            let _ = sys::poll(self.socket.as_raw_fd(), true, false, TICK);
            while let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
                self.take(&buffer[..length], from);
            }
        }
    }

    fn take(&self, packet: &[u8], from: SocketAddr) {
        let mut heard = hold(&self.heard);
        if heard.arrived.len() < KEPT_MAX {
            let bytes = packet[..packet.len().min(KEPT)].to_vec();
            heard.arrived.push(Arrived { from, bytes, length: packet.len() });
        }
        match packet::kind(packet) {
            Some(Kind::Handshake) => {
                if let Some(answer) = Handshake::parse(packet).and_then(|asked| self.answer(&asked, from, &mut heard)) {
                    let _ = self.socket.send_to(&answer.bytes(), from);
                }
            }
            Some(kind) => {
                let destination = packet::destination(packet);
                let Some(peer) = heard.taken.get_mut(&from).filter(|peer| Some(peer.ours) == destination) else {
                    return;
                };
                peer.data += u64::from(kind == Kind::Data);
                peer.shutdowns += u64::from(kind == Kind::Shutdown);
                if kind == Kind::KeepAlive && !self.manners.says_nothing_more {
                    let _ = self.socket.send_to(&packet::control(Kind::KeepAlive, peer.theirs), from);
                }
            }
            None => {}
        }
    }

    fn answer(&self, asked: &Handshake, from: SocketAddr, heard: &mut Heard) -> Option<Handshake> {
        let stream_id = String::from_utf8_lossy(&asked.stream_id().unwrap_or_default()).into_owned();
        let silent = |part: &str| stream_id.contains(part);
        match asked.kind {
            INDUCTION if self.manners.silent == Some("") => None,
            INDUCTION => Some(asked.answer_to_induction(cookie(from))),
            CONCLUSION => {
                heard.conclusions += 1;
                // A server would say nothing either.
                if asked.cookie != cookie(from)
                    || self.manners.loses_conclusions
                    || self.manners.silent.is_some_and(silent)
                {
                    return None;
                }
                if let Some(reason) = self.manners.refuses {
                    return Some(asked.refusal(reason));
                }
                let ours = FIRST_SOCKET + heard.taken.len() as u32;
                let group = asked.extensions.iter().any(|(kind, _)| *kind == packet::EXTENSION_GROUP);
                let theirs = asked.socket;
                let taken = Taken { from, theirs, ours, stream_id, group, data: 0, shutdowns: 0 };
                let taken = heard.taken.entry(from).or_insert(taken);
                Some(asked.answer_to_conclusion(taken.ours))
            }
            _ => None,
        }
    }
}

/// Another one for each caller, so that one that was kept for somebody else is noticed.
fn cookie(from: SocketAddr) -> u32 {
    0x5a00_0000 | u32::from(from.port())
}
