//! The sockets of a packet case's world, in a network namespace of the test's own that has the addresses of all who take
//! part in the cases.

use anyhow::{Context, Result};
use balancer_common::testing::cases::Stage;
use balancer_common::testing::simulated::{Socket as Kind, Tuple, World};
use balancer_lab::cleanup::unique_name;
use balancer_lab::net::Netns;
use balancer_lab::wait::wait_until;
use socket2::{Domain, Socket, Type};
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// This thread's network from now on.
pub fn network() -> Result<Netns> {
    let netns = Netns::create(unique_name())?;
    let mut batch = String::from("link set lo up\n");
    for stage in Stage::all().iter().filter(|stage| stage.tags.is_empty()) {
        for address in [stage.client(), stage.vip(), stage.source(), stage.origin()] {
            let (len, nodad) = if address.is_ipv6() { (128, " nodad") } else { (32, "") };
            batch.push_str(&format!("addr add {}/{len} dev lo{nodad}\n", address.ip()));
        }
    }
    netns.ip(&batch)?;
    netns.enter()?;
    Ok(netns)
}

/// What keeps a socket, or a pair of them, open.
#[allow(dead_code, reason = "only kept")]
pub enum Open {
    Listener(TcpListener),
    Pair(TcpStream, TcpStream),
    Udp(UdpSocket),
    /// Closed: the kernel alone still has it.
    TimeWait,
}

pub fn open(world: &World) -> Vec<Open> {
    world.sockets.iter().map(|(tuple, kind)| one(tuple, *kind).unwrap_or_else(|e| panic!("{tuple:?}: {e:#}"))).collect()
}

fn one(tuple: &Tuple, kind: Kind) -> Result<Open> {
    Ok(match kind {
        Kind::Listening => Open::Listener(TcpListener::bind(tuple.dst)?),
        Kind::Udp => Open::Udp(UdpSocket::bind(tuple.dst)?),
        Kind::Established => {
            let (peer, own) = pair(tuple)?;
            // Closed by a RST: nothing is left of it for the next case.
            for socket in [&peer, &own] {
                socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO))?;
            }
            Open::Pair(peer, own)
        }
        Kind::TimeWait => {
            let (mut peer, own) = pair(tuple)?;
            drop(own);
            anyhow::ensure!(peer.read(&mut [0])? == 0, "more than a FIN");
            drop(peer);
            wait_until("TIME-WAIT", SOON, || rests(tuple))?;
            Open::TimeWait
        }
    })
}

/// The peer's socket and the one that `tuple` comes in for.
fn pair(tuple: &Tuple) -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind(tuple.dst).context("a listener")?;
    let peer = Socket::new(Domain::for_address(tuple.src), Type::STREAM, None)?;
    peer.set_reuse_address(true)?;
    peer.bind(&tuple.src.into()).context("the peer's address")?;
    peer.connect(&tuple.dst.into()).context("the connection")?;
    Ok((peer.into(), listener.accept()?.0))
}

/// The socket is in TIME-WAIT. The port stands there in hexadecimal, and the address in another order of bytes.
fn rests(tuple: &Tuple) -> bool {
    let table = if tuple.src.is_ipv6() { "/proc/thread-self/net/tcp6" } else { "/proc/thread-self/net/tcp" };
    let has_port = |field: Option<&str>, address: SocketAddr| {
        field.is_some_and(|field| field.ends_with(&format!(":{:04X}", address.port())))
    };
    std::fs::read_to_string(table).unwrap_or_default().lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        has_port(fields.next(), tuple.dst) && has_port(fields.next(), tuple.src) && fields.next() == Some("06")
    })
}
