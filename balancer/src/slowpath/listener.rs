//! Listens on the VIP ports and starts a task for every connection.

use super::legs::{self, TcpLeg};
use super::syn::Syn;
use super::wire::Wire;
use super::{Context, front, greeting, socket};
use crate::config::Listen;
use anyhow::Context as _;
use balancer_common::abi::{FlowKey, Reason, ServiceKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tracing::{debug, warn};

/// A listening socket.
pub struct Bound {
    pub address: SocketAddr,
    pub kind: ServiceKind,
    listener: TcpListener,
}

const BACKLOG: i32 = 4096;

/// Every address that `listen` means, given the VIPs.
pub fn addresses(listen: &[Listen], vips: &[IpAddr]) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = listen.iter().flat_map(|l| l.on(vips)).collect();
    all.sort();
    all.dedup();
    all
}

/// Binds every address; `segment_max` is what the narrowest of the balancer's interfaces takes.
pub fn bind(
    kind: ServiceKind,
    listen: &[Listen],
    vips: &[IpAddr],
    segment_max: Option<u32>,
) -> anyhow::Result<Vec<Bound>> {
    addresses(listen, vips).into_iter().map(|address| bind_one(kind, address, segment_max)).collect()
}

fn bind_one(kind: ServiceKind, address: SocketAddr, segment_max: Option<u32>) -> anyhow::Result<Bound> {
    let open = || -> std::io::Result<TcpListener> {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM.nonblocking(),
            Some(socket2::Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if let Some(bytes) = segment_max {
            socket::limit_segment(&socket, bytes)?;
        }
        socket::save_syn(&socket)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    let listener = open().with_context(|| {
        format!("cannot listen on {address}: is the address on this host (`ip addr`), is the port free (`ss -ltnp`)?")
    })?;
    Ok(Bound { address, kind, listener })
}

/// Accepts until `stop` turns true.
pub async fn serve(ctx: Arc<Context>, bound: Bound, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = bound.listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, peer)) => start(&ctx, stream, peer, &bound),
            Err(error) => {
                // Out of descriptors, most likely: the queue waits, and so do we, or the loop would spin.
                warn!(%error, address = %bound.address, "accept failed: raise the limit of open files (LimitNOFILE)?");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn start(ctx: &Arc<Context>, stream: TcpStream, peer: SocketAddr, bound: &Bound) {
    let client = (!greeting::speaks_for_others(ctx, peer.ip())).then_some(peer.ip());
    let admitted = match ctx.admission.admit(client) {
        Ok(admitted) => admitted,
        Err(reason) => return turn_away(ctx, stream, reason),
    };
    if ctx.live.len() >= ctx.settings.flows_max {
        return turn_away(ctx, stream, Reason::LimitFlows);
    }
    let own = stream.local_addr().unwrap_or(bound.address);
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, client = %peer, "gone already");
        return;
    }
    if let Some(key) = FlowKey::tcp(peer, own).filter(|_| ctx.offload.is_some()) {
        ctx.live.forget_leg(key);
    }
    // The API's answers are never spliced.
    let track = if bound.kind == ServiceKind::Api { None } else { legs::track(ctx, peer, own) };
    let syn = match track {
        // One that cannot be had costs a later hand-over, no more.
        Some(_) => Syn::of(&stream, own.ip()).unwrap_or_else(|error| {
            debug!(%error, client = %peer, "no SYN");
            None
        }),
        None => None,
    };
    let mut leg = TcpLeg::new(Wire::Tcp(stream), peer, own, track);
    leg.syn = syn;
    tokio::spawn(front::serve(ctx.clone(), leg, bound.kind, admitted));
}

/// A limit is reached: the connection is reset, which costs nothing and tells the client to try again.
fn turn_away(ctx: &Context, stream: TcpStream, reason: Reason) {
    ctx.counters.count(reason);
    debug!(reason = reason.label(), help = reason.help(), "turned away");
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_port_means_every_vip_once() {
        let vips = ["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let listen = [Listen::Port(1935), Listen::Address("10.0.0.1:1935".parse().unwrap())];
        let all = addresses(&listen, &vips);
        assert_eq!(all, ["10.0.0.1:1935".parse().unwrap(), "[2001:db8::1]:1935".parse().unwrap()]);
    }
}
