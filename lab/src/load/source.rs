//! The origin's end: takes players, and sends each its frames.

use super::protocol::Protocol;
use super::{Shape, TICK, nanos};
use crate::net::Netns;
use crate::synthetic;
use anyhow::Result;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const STACK: usize = 128 * 1024;
/// A player that is so far behind has lost its connection.
const BACKLOG_MAX: usize = 8 << 20;

/// The origin: takes plays and sends each a frame at a time, the players spread evenly over the frame interval.
pub struct Source {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Source {
    /// Without a shape, nothing is sent: for set-ups and idle connections.
    pub fn start(netns: &Netns, protocol: Protocol, at: SocketAddr, shape: Option<Shape>) -> Result<Self> {
        let listener = netns.run(|| synthetic::listen(at))??;
        let stop = Arc::<AtomicBool>::default();
        let (players, arrivals) = mpsc::channel();
        let mut threads = Vec::new();
        if let Some(shape) = shape {
            let stop = stop.clone();
            threads.push(std::thread::spawn(move || send_frames(&arrivals, protocol, shape, &stop)));
        }
        let (flag, sends) = (stop.clone(), shape.is_some());
        threads.push(std::thread::spawn(move || {
            while !flag.load(Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    let _ = crate::sys::poll(listener.as_raw_fd(), true, false, TICK);
                    continue;
                };
                let players = players.clone();
                let greet = move || {
                    let Ok(mut stream) = protocol.greet(stream) else { return };
                    if sends {
                        let _ = players.send(stream);
                    } else {
                        let _ = stream.set_read_timeout(None);
                        let _ = stream.read(&mut [0]);
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

fn send_frames(arrivals: &mpsc::Receiver<TcpStream>, protocol: Protocol, shape: Shape, stop: &AtomicBool) {
    let interval = Duration::from_secs(1) / shape.frames_per_second;
    let began = Instant::now();
    let mut players: Vec<Player> = Vec::new();
    let mut arrived = 0u32;
    let (mut frame, stamp_at) = (protocol.frame(shape.frame_bytes), protocol.stamp_at());
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
            frame[stamp_at..][..8].copy_from_slice(&nanos().to_le_bytes());
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
