//! Datagrams as fast as they are wanted, many by one call: what an attacker sends.

use crate::net::Netns;
use crate::sys;
use anyhow::Result;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// By one call.
const BATCH: usize = 64;
/// Ports that it comes from.
const SOCKETS: usize = 16;

/// What was sent, and in which time.
#[derive(Clone, Copy, Debug)]
pub struct Flooded {
    pub datagrams: u64,
    pub elapsed: Duration,
}

impl Flooded {
    pub fn per_second(&self) -> f64 {
        self.datagrams as f64 / self.elapsed.as_secs_f64()
    }
}

/// Sends `datagram` `per_second` times a second for so long, or as often as the machine can. Answers are not read.
pub fn run(netns: &Netns, to: SocketAddr, datagram: &[u8], per_second: u64, lasting: Duration) -> Result<Flooded> {
    let sockets = netns.run(|| (0..SOCKETS).map(|_| open(to)).collect::<Result<Vec<_>>>())??;
    let (began, total) = (Instant::now(), per_second * lasting.as_secs());
    let (mut sent, mut turn) = (0, 0);
    while sent < total && began.elapsed() < lasting * 2 {
        let due = (began.elapsed().as_secs_f64() * per_second as f64) as u64;
        if sent >= due {
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        // A device whose queue is full takes fewer.
        sent += sys::send_many(sockets[turn % SOCKETS].as_raw_fd(), datagram, BATCH).unwrap_or(0) as u64;
        turn += 1;
    }
    Ok(Flooded { datagrams: sent, elapsed: began.elapsed() })
}

fn open(to: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(to)?;
    // Answers pile up unread: a small pile will do.
    socket2::SockRef::from(&socket).set_recv_buffer_size(4096)?;
    Ok(socket)
}
