//! Probes over UDP: an induction of SRT, and a binding request of STUN. Said again until they are answered, since
//! datagrams get lost.

use super::{Failed, failed, wrong};
use balancer_common::packet::srt::{Handshake, VERSION, VERSION_LEGACY, kind};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UdpSocket;

/// As often as libsrt asks; STUN's first repetition comes after 500 ms, and an answer counts whenever it comes.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
const DATAGRAM_BYTES_MAX: usize = 1500;
/// The type of a socket that carries messages, where later versions name their extensions.
const SRT_DATAGRAMS: u16 = 2;
const SRT_MTU: u32 = 1500;
const SRT_WINDOW: u32 = 8192;

const STUN_HEADER_LEN: usize = 20;
const STUN_BINDING: u16 = 0x0001;
const STUN_SUCCESS: u16 = 0x0101;
const STUN_ERROR: u16 = 0x0111;
const STUN_COOKIE: u32 = 0x2112_a442;

/// A caller of SRT says this first; no listener makes a connection of it.
pub async fn induce(address: SocketAddr) -> Result<(), Failed> {
    // Not 0, and below 2^30, as libsrt's are.
    let id = (random() as u32 & 0x3fff_ffff) | 1;
    let mut induction = Handshake::new(kind::INDUCTION);
    induction.set_version(VERSION_LEGACY);
    induction.set_encryption_extension(0, SRT_DATAGRAMS);
    induction.set_initial_sequence_number(random() as u32 & 0x7fff_ffff);
    induction.set_mtu(SRT_MTU);
    induction.set_flow_window(SRT_WINDOW);
    induction.set_socket_id(id);
    induction.set_peer_address(address.ip());
    exchange(address, induction.bytes(), |answer| {
        let handshake = Handshake::read(answer).filter(|handshake| handshake.destination() == id)?;
        match handshake.kind() {
            kind::INDUCTION if handshake.version() < VERSION => {
                Some(Err(wrong("knows SRT's handshake of version 4 only")))
            }
            kind::INDUCTION => Some(Ok(())),
            // A reason to turn this caller away; somebody is there.
            _ if handshake.is_rejection() => Some(Ok(())),
            _ => None,
        }
    })
    .await
}

/// A binding request without a name (RFC 8489 section 2): any answer to it will do, an error too.
pub async fn bind_request(address: SocketAddr) -> Result<(), Failed> {
    let mut request = [0; STUN_HEADER_LEN];
    request[..2].copy_from_slice(&STUN_BINDING.to_be_bytes());
    request[4..8].copy_from_slice(&STUN_COOKIE.to_be_bytes());
    request[8..16].copy_from_slice(&random().to_be_bytes());
    request[16..].copy_from_slice(&(random() as u32).to_be_bytes());
    exchange(address, &request, |answer| {
        let kind = u16::from_be_bytes([*answer.first()?, *answer.get(1)?]);
        let is_ours = answer.len() >= STUN_HEADER_LEN && answer[4..STUN_HEADER_LEN] == request[4..];
        (is_ours && [STUN_SUCCESS, STUN_ERROR].contains(&kind)).then_some(Ok(()))
    })
    .await
}

/// Asks until `read` makes something of what comes back.
async fn exchange(
    address: SocketAddr,
    words: &[u8],
    read: impl Fn(&[u8]) -> Option<Result<(), Failed>>,
) -> Result<(), Failed> {
    let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await.map_err(Failed::Local)?;
    socket.connect(address).await.map_err(failed)?;
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    loop {
        socket.send(words).await.map_err(failed)?;
        let again = tokio::time::sleep(AGAIN_AFTER);
        tokio::pin!(again);
        loop {
            tokio::select! {
                received = socket.recv(&mut buffer) => {
                    let len = received.map_err(failed)?;
                    if let Some(result) = read(&buffer[..len]) {
                        return result;
                    }
                }
                () = &mut again => break,
            }
        }
    }
}

/// To tell the answer to one probe from that to another; nobody gains by guessing it.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
