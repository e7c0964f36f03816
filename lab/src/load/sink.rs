//! The players' end: reads what comes, and how long it took.

use super::protocol::Protocol;
use super::{Delivered, Shape, TICK, nanos};
use crate::net::Netns;
use crate::sys::Epoll;
use anyhow::{Context, Result, bail};
use socket2::SockRef;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
    pub fn start(netns: &Netns, protocol: Protocol, to: SocketAddr, shape: Shape) -> Result<Self> {
        let dial = || (0..shape.players).map(|i| protocol.open(to, i as u64)).collect::<Result<Vec<_>>>();
        let connections = netns.run(dial)??;
        let mut this = Self {
            stop: Arc::default(),
            measured: Arc::default(),
            broken: Arc::default(),
            bytes: Arc::default(),
            thread: None,
        };
        let (stop, measured) = (this.stop.clone(), this.measured.clone());
        let (broken, bytes) = (this.broken.clone(), this.bytes.clone());
        let layout = Layout { frame_bytes: shape.frame_bytes, stamp_at: protocol.stamp_at() };
        let read = move || {
            if let Err(error) = read_frames(connections, &layout, &stop, &measured, &broken, &bytes) {
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

fn read_frames(
    connections: Vec<(TcpStream, Vec<u8>)>,
    layout: &Layout,
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
        frame.take(behind, layout, &mut Vec::new());
        frames.push(frame);
    }
    let mut latencies = Vec::new();
    while !stop.load(Relaxed) {
        for i in epoll.wait(TICK)? {
            let mut stream = &connections[i as usize].0;
            match stream.read(&mut buffer) {
                Ok(n) if n > 0 => {
                    bytes.fetch_add(n as u64, Relaxed);
                    frames[i as usize].take(&buffer[..n], layout, &mut latencies);
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

/// Of a frame.
struct Layout {
    frame_bytes: usize,
    stamp_at: usize,
}

/// Where a player stands in its current frame.
#[derive(Default)]
struct Frame {
    at: usize,
    sent: [u8; 8],
}

impl Frame {
    fn take(&mut self, mut bytes: &[u8], layout: &Layout, latencies: &mut Vec<u64>) {
        while !bytes.is_empty() {
            let n = bytes.len().min(layout.frame_bytes - self.at);
            let stamp_at = layout.stamp_at;
            let overlap = self.at.max(stamp_at)..(self.at + n).min(stamp_at + 8);
            for position in overlap {
                self.sent[position - stamp_at] = bytes[position - self.at];
            }
            self.at += n;
            bytes = &bytes[n..];
            if self.at == layout.frame_bytes {
                self.at = 0;
                latencies.push(nanos().saturating_sub(u64::from_le_bytes(self.sent)));
            }
        }
    }
}

/// Sets up `count` plays up to the origin's status, some at once, and keeps none of them.
pub fn set_ups(netns: &Netns, protocol: Protocol, to: SocketAddr, count: usize, at_once: usize) -> Result<Duration> {
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
                    match opened.and_then(|()| protocol.open(to, seed)) {
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
pub fn idle(netns: &Netns, protocol: Protocol, to: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    netns.run(|| (0..count).map(|i| Ok(protocol.open(to, i as u64)?.0)).collect())?
}
