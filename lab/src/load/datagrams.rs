//! Load out of datagrams: players that shake hands as SRT does, and an origin that then sends each its frames, a burst of
//! full datagrams at a time. Nothing is sent again: what is lost shows.

use super::{Delivered, Shape, TICK, nanos};
use crate::net::Netns;
use crate::srt_lite::packet::{self, Handshake, Kind};
use crate::srt_lite::{Answer, Caller};
use crate::sys::{self, Epoll};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What SRT carries of a transport stream: seven packets.
pub const PAYLOAD: usize = 1316;
const LARGEST: usize = 2000;
const BUFFER: usize = 4 << 20;
const COOKIE: u32 = 0x5a5a_5a5a;

/// The origin's end.
pub struct DatagramSource {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Player {
    to: SocketAddr,
    socket: u32,
    due: Instant,
    sequence: u32,
}

impl DatagramSource {
    pub fn start(netns: &Netns, at: SocketAddr, shape: Shape) -> Result<Self> {
        let socket = netns.run(|| UdpSocket::bind(at))?.with_context(|| format!("bind to {at}"))?;
        socket.set_nonblocking(true)?;
        socket2::SockRef::from(&socket).set_send_buffer_size(BUFFER)?;
        let stop = Arc::<AtomicBool>::default();
        let flag = stop.clone();
        let thread = std::thread::spawn(move || send_frames(&socket, shape, &flag));
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for DatagramSource {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn send_frames(socket: &UdpSocket, shape: Shape, stop: &AtomicBool) {
    let interval = Duration::from_secs(1) / shape.frames_per_second;
    let datagrams = shape.frame_bytes.div_ceil(PAYLOAD);
    let began = Instant::now();
    let mut players: BTreeMap<SocketAddr, Player> = BTreeMap::new();
    let mut buffer = [0u8; LARGEST];
    while !stop.load(Relaxed) {
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let Some(asked) = Handshake::parse(&buffer[..length]) else { continue };
            let answer = if asked.kind == packet::INDUCTION {
                asked.answer_to_induction(COOKIE)
            } else {
                let phase = interval * (players.len() % shape.players) as u32 / shape.players as u32;
                let frames = (began.elapsed().as_nanos() / interval.as_nanos()) as u32 + 1;
                let due = began + interval * frames + phase;
                players.entry(from).or_insert(Player { to: from, socket: asked.socket, due, sequence: 0 });
                asked.answer_to_conclusion(1)
            };
            let _ = socket.send_to(&answer.bytes(), from);
        }
        let now = Instant::now();
        for player in players.values_mut().filter(|player| player.due <= now) {
            player.due += interval;
            for _ in 0..datagrams {
                let mut payload = [0x5a; PAYLOAD];
                payload[..8].copy_from_slice(&nanos().to_le_bytes());
                let datagram = packet::data(player.sequence, player.socket, &payload);
                player.sequence += 1;
                // What the device does not take is lost.
                let _ = socket.send_to(&datagram, player.to);
            }
        }
        let next = players.values().map(|player| player.due).min().unwrap_or(now + TICK).min(now + TICK);
        let _ = sys::poll(socket.as_raw_fd(), true, false, next.saturating_duration_since(Instant::now()));
    }
}

/// The players' end: all in one thread, which reads and throws away.
pub struct DatagramSink {
    stop: Arc<AtomicBool>,
    measured: Arc<Mutex<Received>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Debug, Default)]
pub struct Received {
    pub delivered: Delivered,
    pub datagrams: u64,
    /// By gaps between numbers.
    pub lost: u64,
}

impl DatagramSink {
    /// Calls as every player, then reads in the background.
    pub fn start(netns: &Netns, to: SocketAddr, shape: Shape) -> Result<Self> {
        let mut callers = Vec::new();
        for i in 0..shape.players {
            let (caller, answer) = Caller::call(netns, to, &format!("live/{i}"))?;
            if let Answer::Refused(reason) = answer {
                bail!("player {i} was refused: {reason}");
            }
            caller.socket.set_nonblocking(true)?;
            callers.push(caller);
        }
        let (stop, measured) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Received>>::default());
        let (flag, shared) = (stop.clone(), measured.clone());
        let thread = std::thread::spawn(move || {
            if let Err(error) = read(&callers, &flag, &shared) {
                eprintln!("players: {error:#}");
            }
        });
        Ok(Self { stop, measured, thread: Some(thread) })
    }

    /// Forgets what was measured so far and starts anew.
    pub fn begin(&self) {
        *self.measured.lock().expect("no holder panics") = Received::default();
    }

    pub fn end(&self) -> Received {
        std::mem::take(&mut *self.measured.lock().expect("no holder panics"))
    }
}

impl Drop for DatagramSink {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read(callers: &[Caller], stop: &AtomicBool, measured: &Mutex<Received>) -> Result<()> {
    let epoll = Epoll::new()?;
    for (i, caller) in callers.iter().enumerate() {
        epoll.add(caller.socket.as_raw_fd(), i as u64)?;
    }
    let mut next = vec![None::<u32>; callers.len()];
    let mut buffer = [0u8; LARGEST];
    while !stop.load(Relaxed) {
        let mut batch = Received::default();
        for i in epoll.wait(TICK)? {
            let i = i as usize;
            while let Ok(length) = callers[i].socket.recv(&mut buffer) {
                let bytes = &buffer[..length];
                if packet::kind(bytes) != Some(Kind::Data) {
                    continue;
                }
                let number = packet::sequence(bytes).unwrap_or(0);
                batch.lost += u64::from(number.saturating_sub(next[i].unwrap_or(number)));
                next[i] = Some(number + 1);
                batch.datagrams += 1;
                batch.delivered.bytes += length as u64;
                if let Some(stamp) = bytes.get(packet::HEADER..packet::HEADER + 8).and_then(|s| s.try_into().ok()) {
                    batch.delivered.latencies_ns.push(nanos().saturating_sub(u64::from_le_bytes(stamp)));
                }
            }
        }
        let mut all = measured.lock().expect("no holder panics");
        all.datagrams += batch.datagrams;
        all.lost += batch.lost;
        all.delivered.bytes += batch.delivered.bytes;
        all.delivered.latencies_ns.append(&mut batch.delivered.latencies_ns);
    }
    Ok(())
}
