//! `srt-live-transmit`, the program that everybody tries SRT with: it takes datagrams of TS from us and publishes them, or
//! requests a stream and hands us what it gets, which is checked.

use crate::net::Netns;
use crate::process::Process;
use crate::ts::{Continuity, Generator};
use crate::{sys, wait};
use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// About two megabits a second.
const PACE: Duration = Duration::from_millis(5);
const TICK: Duration = Duration::from_millis(20);
const BUFFER: usize = 4 << 20;
const LARGEST: usize = 2000;

pub struct LiveTransmit {
    process: Process,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    check: Arc<Mutex<Continuity>>,
    sent: Arc<AtomicU64>,
}

impl LiveTransmit {
    /// Publishes a synthetic stream from the moment that the process runs until it is dropped.
    pub fn publish(netns: &Netns, directory: &Path, name: &str, url: &str) -> Result<Self> {
        let socket = local(netns)?;
        let to = free_port(netns)?;
        let process = start(netns, directory, name, &format!("udp://{to}"), url)?;
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (flag, counter) = (stop.clone(), sent.clone());
        let thread = std::thread::spawn(move || {
            let (mut generator, began, mut number) = (Generator::default(), Instant::now(), 0);
            while !flag.load(Relaxed) {
                // Before it listens, nobody hears.
                let _ = socket.send_to(&generator.datagram(), to);
                number += 1;
                counter.fetch_add(1, Relaxed);
                std::thread::sleep((began + PACE * number).saturating_duration_since(Instant::now()));
            }
        });
        Ok(Self { process, stop, thread: Some(thread), check: Arc::default(), sent })
    }

    /// Requests a stream and checks it until dropped.
    pub fn play(netns: &Netns, directory: &Path, name: &str, url: &str) -> Result<Self> {
        let socket = local(netns)?;
        socket2::SockRef::from(&socket).set_recv_buffer_size(BUFFER)?;
        socket.set_nonblocking(true)?;
        let process = start(netns, directory, name, url, &format!("udp://{}", socket.local_addr()?))?;
        let (stop, check) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Continuity>>::default());
        let (flag, shared) = (stop.clone(), check.clone());
        let thread = std::thread::spawn(move || {
            let mut buffer = [0u8; LARGEST];
            while !flag.load(Relaxed) {
                let _ = sys::poll(socket.as_raw_fd(), true, false, TICK);
                while let Ok(length) = socket.recv(&mut buffer) {
                    shared.lock().expect("no holder panics").push(&buffer[..length]);
                }
            }
        });
        Ok(Self { process, stop, thread: Some(thread), check, sent: Arc::default() })
    }

    /// What has come so far.
    pub fn check(&self) -> Continuity {
        self.check.lock().expect("no holder panics").clone()
    }

    /// Datagrams that were given to it.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    pub fn wait_packets(&self, packets: u64, within: Duration) -> Result<Continuity> {
        let enough = || Some(self.check()).filter(|check| check.packets >= packets);
        wait::wait_for(&format!("{packets} packets of TS"), within, enough)
            .with_context(|| format!("{:?}\n{}", self.check(), self.process.tail()))
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl Drop for LiveTransmit {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn start(netns: &Netns, directory: &Path, name: &str, from: &str, to: &str) -> Result<Process> {
    Process::start(netns, directory, &format!("transmit-{name}"), "srt-live-transmit", |command| {
        // One datagram a message; without reconnecting, so that its end is seen.
        command.args(["-v", "-loglevel:note", "-chunk:1316", "-auto:no", from, to]);
    })
}

fn local(netns: &Netns) -> Result<UdpSocket> {
    Ok(netns.run(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))??)
}

/// A port that was free a moment ago.
fn free_port(netns: &Netns) -> Result<SocketAddr> {
    Ok(local(netns)?.local_addr()?)
}
