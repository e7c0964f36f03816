//! The sockets of the VIP: every datagram that the kernel did not forward.

use super::super::listener::addresses;
use super::super::{Context, rtc, srt};
use crate::config::Listen;
use anyhow::Context as _;
use balancer_common::abi::ServiceKind;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tracing::warn;

/// Datagrams in a row before other tasks get their turn.
const BATCH_MAX: usize = 64;
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Room for the handshakes of many clients at once.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// One address at which clients are served.
pub struct Listener {
    pub address: SocketAddr,
    pub kind: ServiceKind,
    pub socket: UdpSocket,
}

/// Binds every address that `listen` means.
pub fn bind(kind: ServiceKind, listen: &[Listen], vips: &[IpAddr]) -> anyhow::Result<Vec<Arc<Listener>>> {
    let one = |address| bind_one(kind, address).map(Arc::new);
    addresses(listen, vips).into_iter().map(one).collect()
}

fn bind_one(kind: ServiceKind, address: SocketAddr) -> anyhow::Result<Listener> {
    let open = || -> io::Result<UdpSocket> {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM.nonblocking(), Some(socket2::Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // As much of it as the system allows.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(RECEIVE_BUFFER_BYTES);
        socket.bind(&address.into())?;
        UdpSocket::from_std(socket.into())
    };
    let socket = open().with_context(|| {
        format!(
            "cannot listen on UDP {address}: is the address on this host (`ip addr`), is the port free (`ss -lunp`)?"
        )
    })?;
    Ok(Listener { address, kind, socket })
}

/// Receives until `stop` turns true and nothing is relayed any more.
pub async fn serve(ctx: Arc<Context>, listener: Arc<Listener>, mut stop: watch::Receiver<bool>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let mut stopping = false;
    loop {
        let readable = tokio::select! {
            readable = listener.socket.readable() => readable,
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                // Flows that are relayed still need the socket; it goes with the process.
                stopping = true;
                continue;
            }
        };
        if let Err(error) = readable {
            return warn!(%error, address = %listener.address, "a socket of the VIP is of no use any more");
        }
        take(&ctx, &listener, &mut buffer, stopping);
        tokio::task::yield_now().await;
    }
}

fn take(ctx: &Arc<Context>, listener: &Arc<Listener>, buffer: &mut [u8], stopping: bool) {
    for _ in 0..BATCH_MAX {
        match listener.socket.try_recv_from(buffer) {
            Ok((len, from)) => heard(ctx, listener, from, &buffer[..len], stopping),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
            // The word of an ICMP error about an earlier datagram.
            Err(_) => {}
        }
    }
}

fn heard(ctx: &Arc<Context>, listener: &Arc<Listener>, from: SocketAddr, datagram: &[u8], stopping: bool) {
    let is_greeting = listener.kind == ServiceKind::Srt && srt::is_greeting(datagram);
    if is_greeting {
        // Not its flow's origin's, if it has one: it begins anew, or has not heard the answer yet.
    } else if let Some(flow) = ctx.udp.flow(from, listener.address) {
        if flow.pass_to_origin(datagram) {
            return;
        }
    } else if super::farewell::stray(ctx, listener, from, datagram) {
        return;
    }
    if stopping {
        return;
    }
    match listener.kind {
        ServiceKind::Srt => srt::heard(ctx, listener, from, datagram),
        ServiceKind::WebRtc => rtc::heard(ctx, listener, from, datagram),
        ServiceKind::Rtmp | ServiceKind::Http | ServiceKind::Api | ServiceKind::Rtsp => {}
    }
}
