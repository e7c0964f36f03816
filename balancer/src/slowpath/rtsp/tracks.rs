//! The ports of a session's tracks: four for each, RTP and RTCP on the VIP and on our address towards the origin. The
//! sockets stay bound for as long as the track lives. They hold the ports, and they carry what the kernel does not.

use super::super::connection::Connection;
use super::super::origin_leg::OriginLeg;
use super::super::{Context, PortLease};
use super::channel::{Channel, Ends};
use super::control::of;
use crate::flow::Role;
use crate::offload::Datagrams;
use crate::recognize::rtsp::{PortPair, Ports, Udp};
use balancer_common::abi::{FlowFlags, Reason};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tracing::warn;

/// Pairs that somebody else on this host may have taken, in a row.
const TRIES_MAX: usize = 16;
/// Room for a burst while user space carries the media.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// A bound port.
pub struct Reserved {
    pub socket: UdpSocket,
    pub lease: PortLease,
}

/// RTP and RTCP.
type Pair = [Reserved; 2];

#[derive(Default)]
pub struct Tracks {
    /// Towards the client and towards the origin.
    reserved: HashMap<u32, (Pair, Pair)>,
    bound: HashMap<u32, [Channel; 2]>,
}

impl Tracks {
    pub fn are_bound(&self) -> bool {
        !self.bound.is_empty()
    }

    /// Gives ports and sockets back, and takes what the kernel has out of it.
    pub fn remove(&mut self, track: u32) {
        self.reserved.remove(&track);
        self.bound.remove(&track);
    }

    pub fn clear(&mut self) {
        self.reserved.clear();
        self.bound.clear();
    }

    /// Datagrams of the client's.
    pub fn heard(&self) -> u64 {
        self.bound.values().flatten().map(Channel::heard).sum()
    }

    /// Datagrams that the kernel carries are watched over by the table of flows.
    pub fn were_active_within(&self, time: Duration) -> bool {
        self.bound.values().flatten().any(|channel| channel.is_in_kernel() || channel.silent_for() < time)
    }
}

/// Ports for a track that is about to be offered; `None` when there are none.
pub fn reserve(c: &mut Connection, origin: &OriginLeg, track: u32) -> Option<Ports> {
    let own = origin.leg.as_ref()?.own.ip();
    let pair = |ip| bind_pair(&c.ctx, ip).inspect_err(|error| warn!(%ip, %error, "no ports for RTP"));
    let (to_client, to_origin) = (pair(c.client.own.ip()).ok()?, pair(own).ok()?);
    let numbers = |pair: &Pair| PortPair { rtp: pair[0].lease.source().port(), rtcp: pair[1].lease.source().port() };
    let ports = Ports { to_client: numbers(&to_client), to_origin: numbers(&to_origin) };
    of(c).ok()?.tracks.reserved.insert(track, (to_client, to_origin));
    Some(ports)
}

/// Both ends have agreed: datagrams may come from now on.
pub fn bind(c: &mut Connection, origin: &OriginLeg, track: u32, udp: &Udp) {
    let Some((to_client, to_origin)) = of(c).ok().and_then(|rtsp| rtsp.tracks.reserved.remove(&track)) else { return };
    let (Some(flow), Some(leg), Some(wish)) = (origin.flow, &origin.leg, &c.wish) else { return };
    let publishes = if wish.role == Role::Publish { FlowFlags::PUBLISH } else { 0 };
    let pairs = |pair: PortPair| [pair.rtp, pair.rtcp];
    let servers = udp.server.map_or([None; 2], |pair| pairs(pair).map(Some));
    let ports = pairs(udp.client).into_iter().zip(servers);
    let channel = |((mut at_vip, mut at_own), (client, server)): ((Reserved, Reserved), (u16, Option<u16>))| {
        at_vip.lease.use_up();
        at_own.lease.use_up();
        // A zero port is nobody's: it is learned from the first datagram.
        let datagrams = Datagrams {
            client: SocketAddr::new(c.client.peer.ip(), client),
            vip: at_vip.lease.source(),
            source: at_own.lease.source(),
            origin_address: SocketAddr::new(leg.peer.ip(), server.unwrap_or(0)),
            flags: (wish.protocol.number() << FlowFlags::SERVICE_SHIFT) | publishes,
            origin: origin.placement.origin,
            origin_generation: origin.placement.generation,
            stream: origin.placement.stream,
            tags: (0, 0),
            client_track: c.client.track_seen(),
            origin_track: leg.track_seen(),
        };
        Channel::open(c.ctx.clone(), flow, Ends { at_vip, at_own }, datagrams)
    };
    let mut channels = to_client.into_iter().zip(to_origin).zip(ports).map(channel);
    let both = channels.next().zip(channels.next());
    drop(channels);
    if let (Some((rtp, rtcp)), Ok(rtsp)) = (both, of(c)) {
        rtsp.tracks.bound.insert(track, [rtp, rtcp]);
    }
}

fn bind_pair(ctx: &Context, ip: IpAddr) -> io::Result<Pair> {
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "every port of source_ports is in use or rests");
    // Pairs that are taken by others stay with us until one is found, so that the next try is another one.
    let mut taken = Vec::new();
    for _ in 0..TRIES_MAX {
        let Some([rtp, rtcp]) = ctx.ports.take_pair(ip, Instant::now()) else {
            ctx.counters.count(Reason::LimitSourcePorts);
            break;
        };
        match (open(rtp.source()), open(rtcp.source())) {
            (Ok(a), Ok(b)) => return Ok([Reserved { socket: a, lease: rtp }, Reserved { socket: b, lease: rtcp }]),
            (Err(e), _) | (_, Err(e)) => {
                last = e;
                taken.push((rtp, rtcp));
            }
        }
    }
    Err(last)
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM.nonblocking(), Some(socket2::Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // As much of it as the system allows.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}
