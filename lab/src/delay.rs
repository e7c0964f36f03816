//! A relay of datagrams that takes its time, in user space: the delay of a long way, and packets that overtake each other.
//! Every client has a socket of its own towards the other end, so that answers find back.

use crate::net::Netns;
use crate::sys::Epoll;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(1);
const LARGEST: usize = 2000;
const BUFFER: usize = 4 << 20;
const LISTENER: u64 = 0;

#[derive(Clone, Copy, Debug, Default)]
pub struct Way {
    /// Each way.
    pub delay: Duration,
    /// Every so many datagrams one is held back, by as much again; 0: none.
    pub held_back_every: u64,
}

pub struct Delay {
    /// What clients dial instead.
    pub at: SocketAddr,
    passed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Queued {
    due: Instant,
    bytes: Vec<u8>,
    /// Through which client's socket, and whether back to the client.
    client: u64,
    back: bool,
}

struct Relay {
    netns: Netns,
    to: SocketAddr,
    way: Way,
    listener: UdpSocket,
    epoll: Epoll,
    numbers: BTreeMap<SocketAddr, u64>,
    clients: BTreeMap<u64, (SocketAddr, UdpSocket)>,
    queues: [VecDeque<Queued>; 2],
    seen: u64,
    passed: Arc<AtomicU64>,
}

impl Delay {
    /// On the loopback of a host, towards `to`.
    pub fn start(netns: &Netns, to: SocketAddr, way: Way) -> Result<Self> {
        let home: IpAddr = if to.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        let listener = netns.run(|| UdpSocket::bind((home, 0)))?.context("relay")?;
        prepare(&listener)?;
        let at = listener.local_addr()?;
        let epoll = Epoll::new()?;
        epoll.add(listener.as_raw_fd(), LISTENER)?;
        let (stop, passed) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut relay = Relay {
            netns: netns.clone(),
            to,
            way,
            listener,
            epoll,
            numbers: BTreeMap::new(),
            clients: BTreeMap::new(),
            queues: [VecDeque::new(), VecDeque::new()],
            seen: 0,
            passed: passed.clone(),
        };
        let flag = stop.clone();
        let thread = std::thread::spawn(move || {
            while !flag.load(Relaxed) {
                if let Err(error) = relay.turn() {
                    return eprintln!("relay of datagrams: {error:#}");
                }
            }
        });
        Ok(Self { at, passed, stop, thread: Some(thread) })
    }

    /// Datagrams, both ways.
    pub fn passed(&self) -> u64 {
        self.passed.load(Relaxed)
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Relay {
    fn turn(&mut self) -> Result<()> {
        let mut buffer = [0u8; LARGEST];
        for number in self.epoll.wait(TICK)? {
            if number != LISTENER {
                while let Some(length) = self.clients.get(&number).and_then(|(_, socket)| socket.recv(&mut buffer).ok())
                {
                    self.queue(&buffer[..length], number, true);
                }
                continue;
            }
            while let Ok((length, from)) = self.listener.recv_from(&mut buffer) {
                let client = self.client(from)?;
                self.queue(&buffer[..length], client, false);
            }
        }
        self.deliver();
        Ok(())
    }

    fn client(&mut self, from: SocketAddr) -> Result<u64> {
        if let Some(number) = self.numbers.get(&from) {
            return Ok(*number);
        }
        let any: IpAddr = if self.to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = self.netns.run(|| UdpSocket::bind((any, 0)))??;
        socket.connect(self.to)?;
        prepare(&socket)?;
        let number = LISTENER + 1 + self.clients.len() as u64;
        self.epoll.add(socket.as_raw_fd(), number)?;
        self.numbers.insert(from, number);
        self.clients.insert(number, (from, socket));
        Ok(number)
    }

    /// Each queue has one delay, so what is first in it is due first.
    fn queue(&mut self, bytes: &[u8], client: u64, back: bool) {
        self.seen += 1;
        let every = self.way.held_back_every;
        let held_back = every > 0 && self.seen.is_multiple_of(every);
        let delay = if held_back { self.way.delay * 2 } else { self.way.delay };
        let due = Instant::now() + delay;
        self.queues[usize::from(held_back)].push_back(Queued { due, bytes: bytes.to_vec(), client, back });
    }

    fn deliver(&mut self) {
        let now = Instant::now();
        for queue in &mut self.queues {
            while let Some(queued) = queue.pop_front_if(|queued| queued.due <= now) {
                let Some((client, socket)) = self.clients.get(&queued.client) else { continue };
                // What cannot be sent is lost, as on any way.
                let _ =
                    if queued.back { self.listener.send_to(&queued.bytes, client) } else { socket.send(&queued.bytes) };
                self.passed.fetch_add(1, Relaxed);
            }
        }
    }
}

fn prepare(socket: &UdpSocket) -> Result<()> {
    socket.set_nonblocking(true)?;
    Ok(socket2::SockRef::from(socket).set_recv_buffer_size(BUFFER)?)
}
