//! SRT in user space: handshakes whose cookie is valid.

use super::Context;
use super::udp::Listener;
use std::net::SocketAddr;
use std::sync::Arc;

/// A datagram that belongs to no flow.
pub fn heard(_ctx: &Arc<Context>, _listener: &Arc<Listener>, _from: SocketAddr, _datagram: &[u8]) {}

/// What ends a conversation for the socket with this id.
pub fn last_word(_socket_id: u32) -> Vec<u8> {
    Vec::new()
}
