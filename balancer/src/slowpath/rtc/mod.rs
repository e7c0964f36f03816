//! WebRTC media in user space: STUN requests for which the kernel could make no flow.

use super::Context;
use super::udp::Listener;
use std::net::SocketAddr;
use std::sync::Arc;

/// A datagram that belongs to no flow.
pub fn heard(_ctx: &Arc<Context>, _listener: &Arc<Listener>, _from: SocketAddr, _datagram: &[u8]) {}
