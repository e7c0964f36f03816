//! Load for measurements: many players of paced streams, one thread at each end so that the ends cost little and the
//! same whatever is between them. Every frame carries the time it was sent at, by a clock that both ends share.

use crate::client::Client;
use crate::net::Netns;
use crate::plan::{Plan, Role};
use crate::rtmp_lite::{ChunkWriter, VIDEO};
use crate::synthetic::{self, Manners};
use crate::sys::Epoll;
use anyhow::{Context, Result, bail};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const STACK: usize = 128 * 1024;
const TICK: Duration = Duration::from_millis(20);
/// Larger than any frame: then a frame is one RTMP chunk.
const CHUNK_SIZE: u32 = 60_000;
const HEADER: usize = 12;
/// A player that is so far behind has lost its connection.
const BACKLOG_MAX: usize = 8 << 20;

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub players: usize,
    /// One frame, sent at once: the burst.
    pub frame_bytes: usize,
    pub frames_per_second: u32,
}

impl Shape {
    pub fn bits_per_second_each(&self) -> u64 {
        self.frame_bytes as u64 * 8 * u64::from(self.frames_per_second)
    }
}

/// The origin: takes plays and sends each a frame at a time, the players spread evenly over the frame interval.
pub struct Source {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Source {
    /// Without a shape, nothing is sent: for set-ups and idle connections.
    pub fn start(netns: &Netns, ip: IpAddr, port: u16, shape: Option<Shape>) -> Result<Self> {
        let listener = netns.run(|| synthetic::listen(SocketAddr::new(ip, port)))??;
        let stop = Arc::<AtomicBool>::default();
        let (players, arrivals) = mpsc::channel();
        let mut threads = Vec::new();
        if let Some(shape) = shape {
            let stop = stop.clone();
            threads.push(std::thread::spawn(move || send_frames(&arrivals, shape, &stop)));
        }
        let (flag, sends) = (stop.clone(), shape.is_some());
        threads.push(std::thread::spawn(move || {
            let manners = Manners { chunk_size: Some(CHUNK_SIZE), ..Manners::default() };
            while !flag.load(Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    let _ = crate::sys::poll(listener.as_raw_fd(), true, false, TICK);
                    continue;
                };
                let (manners, players) = (manners.clone(), players.clone());
                let greet = move || {
                    let Ok(mut greeted) = synthetic::greet(stream, &manners) else { return };
                    if sends {
                        let _ = players.send(greeted.stream);
                    } else {
                        let _ = greeted.stream.set_read_timeout(None);
                        let _ = greeted.stream.read(&mut [0]);
                    }
                };
                let _ = std::thread::Builder::new().stack_size(STACK).spawn(greet);
            }
        }));
        Ok(Self { stop, threads })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

struct Player {
    stream: TcpStream,
    due: Instant,
    backlog: Vec<u8>,
}

fn send_frames(arrivals: &mpsc::Receiver<TcpStream>, shape: Shape, stop: &AtomicBool) {
    let interval = Duration::from_secs(1) / shape.frames_per_second;
    let began = Instant::now();
    let mut players: Vec<Player> = Vec::new();
    let mut arrived = 0u32;
    let mut frame = Vec::new();
    ChunkWriter::with_chunk_size(CHUNK_SIZE).write(&mut frame, 6, VIDEO, 1, &vec![0x5a; shape.frame_bytes - HEADER]);
    while !stop.load(Relaxed) {
        while let Ok(stream) = arrivals.try_recv() {
            let _ = stream.set_nonblocking(true);
            let phase = interval * (arrived % shape.players as u32) / shape.players as u32;
            arrived += 1;
            let frames = (began.elapsed().as_nanos() / interval.as_nanos()) as u32 + 1;
            players.push(Player { stream, due: began + interval * frames + phase, backlog: Vec::new() });
        }
        let now = Instant::now();
        players.retain_mut(|player| {
            if player.due > now {
                return true;
            }
            player.due += interval;
            frame[HEADER..HEADER + 8].copy_from_slice(&nanos().to_le_bytes());
            player.send(&frame)
        });
        let next = players.iter().map(|player| player.due).min().unwrap_or(now + TICK);
        std::thread::sleep(next.saturating_duration_since(Instant::now()).min(TICK));
    }
}

impl Player {
    fn send(&mut self, frame: &[u8]) -> bool {
        if self.backlog.is_empty() {
            match self.stream.write(frame) {
                Ok(n) => self.backlog.extend_from_slice(&frame[n..]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.backlog.extend_from_slice(frame),
                Err(_) => return false,
            }
            return true;
        }
        self.backlog.extend_from_slice(frame);
        match self.stream.write(&self.backlog) {
            Ok(n) => drop(self.backlog.drain(..n)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        self.backlog.len() < BACKLOG_MAX
    }
}

/// Time since the process first asked; the same for every thread.
fn nanos() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// What came in while somebody was measuring.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    pub bytes: u64,
    /// From just before a frame was written to when its last byte was read.
    pub latencies_ns: Vec<u64>,
}

/// The players: all in one thread, which reads and throws away.
pub struct Sink {
    stop: Arc<AtomicBool>,
    measured: Arc<Mutex<Delivered>>,
    broken: Arc<AtomicUsize>,
    bytes: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    /// Dials every player, then reads in the background.
    pub fn start(netns: &Netns, to: SocketAddr, shape: Shape) -> Result<Self> {
        let connections =
            netns.run(|| (0..shape.players).map(|i| open(to, i as u64)).collect::<Result<Vec<_>>>())??;
        let mut this = Self {
            stop: Arc::default(),
            measured: Arc::default(),
            broken: Arc::default(),
            bytes: Arc::default(),
            thread: None,
        };
        let (stop, measured) = (this.stop.clone(), this.measured.clone());
        let (broken, bytes) = (this.broken.clone(), this.bytes.clone());
        let read = move || {
            if let Err(error) = read_frames(connections, shape.frame_bytes, &stop, &measured, &broken, &bytes) {
                eprintln!("players: {error}");
            }
        };
        this.thread = Some(std::thread::spawn(read));
        Ok(this)
    }

    /// Forgets what was measured so far and starts anew.
    pub fn begin(&self) {
        *self.measured.lock().expect("no holder panics") = Delivered::default();
        self.bytes.store(0, Relaxed);
    }

    /// What was delivered since; fails if a player lost its connection or came out of step.
    pub fn end(&self) -> Result<Delivered> {
        let broken = self.broken.load(Relaxed);
        if broken > 0 {
            bail!("{broken} players lost their stream");
        }
        let mut delivered = std::mem::take(&mut *self.measured.lock().expect("no holder panics"));
        delivered.bytes = self.bytes.load(Relaxed);
        Ok(delivered)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open(to: SocketAddr, seed: u64) -> Result<(TcpStream, Vec<u8>)> {
    Client::new(to, Plan::new(Role::Play, seed, 0, 0)).open()?.wait_status()
}

fn read_frames(
    connections: Vec<(TcpStream, Vec<u8>)>,
    frame_bytes: usize,
    stop: &AtomicBool,
    measured: &Mutex<Delivered>,
    broken: &AtomicUsize,
    bytes: &AtomicU64,
) -> Result<()> {
    let epoll = Epoll::new()?;
    let mut buffer = vec![0u8; 256 * 1024];
    let mut frames = Vec::new();
    for (i, (stream, behind)) in connections.iter().enumerate() {
        stream.set_nonblocking(true)?;
        epoll.add(stream.as_raw_fd(), i as u64)?;
        let mut frame = Frame::default();
        frame.take(behind, frame_bytes, &mut Vec::new());
        frames.push(frame);
    }
    let mut latencies = Vec::new();
    while !stop.load(Relaxed) {
        for i in epoll.wait(TICK)? {
            let mut stream = &connections[i as usize].0;
            match stream.read(&mut buffer) {
                Ok(n) if n > 0 => {
                    bytes.fetch_add(n as u64, Relaxed);
                    frames[i as usize].take(&buffer[..n], frame_bytes, &mut latencies);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => {
                    broken.fetch_add(1, Relaxed);
                    epoll.remove(stream.as_raw_fd())?;
                }
            }
        }
        if !latencies.is_empty() {
            measured.lock().expect("no holder panics").latencies_ns.append(&mut latencies);
        }
    }
    for (stream, _) in &connections {
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
    Ok(())
}

/// Where a player stands in its current frame.
#[derive(Default)]
struct Frame {
    at: usize,
    sent: [u8; 8],
}

impl Frame {
    fn take(&mut self, mut bytes: &[u8], frame_bytes: usize, latencies: &mut Vec<u64>) {
        while !bytes.is_empty() {
            let n = bytes.len().min(frame_bytes - self.at);
            let overlap = self.at.max(HEADER)..(self.at + n).min(HEADER + 8);
            for position in overlap {
                self.sent[position - HEADER] = bytes[position - self.at];
            }
            self.at += n;
            bytes = &bytes[n..];
            if self.at == frame_bytes {
                self.at = 0;
                latencies.push(nanos().saturating_sub(u64::from_le_bytes(self.sent)));
            }
        }
    }
}

/// Sets up `count` plays up to the origin's status, some at once, and keeps none of them.
pub fn set_ups(netns: &Netns, to: SocketAddr, count: usize, at_once: usize) -> Result<Duration> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                let entered = netns.enter();
                while next.fetch_add(1, Relaxed) < count {
                    let seed = next.load(Relaxed) as u64;
                    let opened = entered.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"));
                    match opened.and_then(|()| open(to, seed)) {
                        Ok((stream, _)) => drop(SockRef::from(&stream).set_linger(Some(Duration::ZERO))),
                        Err(error) => *failed.lock().expect("no holder panics") = Some(error),
                    }
                }
            });
        }
    });
    match failed.into_inner().expect("no holder panics") {
        Some(error) => Err(error).context("a play was not set up"),
        None => Ok(began.elapsed()),
    }
}

/// Holds `count` idle plays.
pub fn idle(netns: &Netns, to: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    netns.run(|| (0..count).map(|i| Ok(open(to, i as u64)?.0)).collect())?
}
