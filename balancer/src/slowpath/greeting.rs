//! What may stand before the first byte of a protocol: the PROXY header of a load balancer in front, a TLS handshake.
//!
//! Looks at bytes before it takes them, so that whoever comes next finds the connection as if it began there.

use super::admission::Admitted;
use super::legs::TcpLeg;
use super::visitor::Visitor;
use super::wire::Wire;
use super::{Context, socket};
use crate::goodbye::say_goodbye;
use crate::recognize::proxy_header::{self, Announced, Progress, ProxyHeaderError, V2_LEN_MAX};
use crate::tls::{self, HandshakeError, TlsStream};
use balancer_common::abi::{Reason, ServiceKind};
use std::io;
use std::net::IpAddr;
use std::sync::Once;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tracing::{debug, info, warn};

/// The client behind its greetings; `None` when it is gone, or was turned away.
pub async fn hear(
    ctx: &Context,
    client: TcpLeg,
    kind: ServiceKind,
    admitted: &mut Admitted,
) -> Option<(TcpLeg, Visitor)> {
    let mut visitor = Visitor::new(client.peer, client.own);
    let peer = client.peer;
    let limit = ctx.settings.preamble_timeout;
    match tokio::time::timeout(limit, greet(ctx, client, kind, &mut visitor, admitted)).await {
        Ok(Ok(client)) => return Some((client, visitor)),
        Ok(Err(Unheard::Limit(reason))) => {
            ctx.counters.count(reason);
            debug!(%peer, client = %visitor.client(), reason = reason.label(), "turned away");
        }
        Ok(Err(Unheard::Gone(error))) => debug!(%peer, %error, "gone before it said anything"),
        Ok(Err(Unheard::Header(error))) => {
            ctx.counters.count(Reason::LimitProxyHeader);
            info!(%peer, "closed: {error}; is there a proxy without `send-proxy` in front, or a client in its network?");
        }
        Ok(Err(Unheard::Handshake(error, mut client))) => {
            ctx.counters.count(Reason::LimitTls);
            debug!(client = %visitor.client(), "no TLS: {error}");
            say_goodbye(&mut client, &[]).await;
        }
        Err(_) => {
            ctx.counters.count(Reason::LimitPreambleTime);
            info!(client = %visitor.client(), limit_s = limit.as_secs(), "neither a first byte nor a handshake in time");
        }
    }
    None
}

enum Unheard {
    Gone(io::Error),
    Limit(Reason),
    Header(ProxyHeaderError),
    Handshake(HandshakeError, Box<TcpLeg>),
}

impl From<io::Error> for Unheard {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

async fn greet(
    ctx: &Context,
    mut client: TcpLeg,
    kind: ServiceKind,
    visitor: &mut Visitor,
    admitted: &mut Admitted,
) -> Result<TcpLeg, Unheard> {
    let Some(tcp) = client.wire.as_tcp() else { return Ok(client) };
    if speaks_for_others(ctx, client.peer.ip()) {
        let Announced { client, dialled } = proxy_header(tcp).await?;
        visitor.announced = client;
        visitor.dialled = dialled.unwrap_or(visitor.dialled);
        admitted.name(visitor.client().ip()).map_err(Unheard::Limit)?;
    }
    let is_tls = first_byte(tcp).await? == tls::FIRST_BYTE;
    if !is_tls {
        return Ok(client);
    }
    let Some(tls) = &ctx.tls else {
        // Said once: a scanner must not fill the log.
        static SAID: Once = Once::new();
        SAID.call_once(|| {
            let client = visitor.client();
            warn!(%client, "speaks TLS, and there is no certificate: set tls_certificate and tls_key");
        });
        return Ok(client);
    };
    let Wire::Tcp(tcp) = client.wire else { return Ok(client) };
    match TlsStream::accept(tcp, tls.config(kind)).await {
        Ok(stream) => {
            debug!(client = %visitor.client(), server = stream.server_name(), "TLS");
            visitor.tls = true;
            // The kernel need not record what will never be handed over.
            client.track = None;
            client.wire = Wire::Tls(Box::new(stream));
            Ok(client)
        }
        Err((error, tcp)) => {
            client.wire = Wire::Tcp(tcp);
            Err(Unheard::Handshake(error, Box::new(client)))
        }
    }
}

/// A load balancer in front, that is: its header is believed, and its address is not that of one client.
pub fn speaks_for_others(ctx: &Context, peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    ctx.settings.proxy_protocol_from.iter().any(|network| network.contains(&peer))
}

/// Takes the header, if there is one: a trusted network's own clients need none.
async fn proxy_header(tcp: &TcpStream) -> Result<Announced, Unheard> {
    let mut bytes = vec![0; V2_LEN_MAX];
    let judge = |seen: &[u8]| match proxy_header::parse(seen) {
        Ok(Progress::Incomplete) => None,
        Ok(Progress::NotOne) => Some(Ok((Announced::default(), 0))),
        Ok(Progress::Complete { header, len }) => Some(Ok((header, len))),
        Err(error) => Some(Err(error)),
    };
    let (header, len) = look(tcp, &mut bytes, judge).await?.map_err(Unheard::Header)?;
    let mut rest = &mut bytes[..len];
    while !rest.is_empty() {
        let read = tcp.try_read(rest)?;
        rest = &mut rest[read..];
    }
    Ok(header)
}

async fn first_byte(tcp: &TcpStream) -> io::Result<u8> {
    look(tcp, &mut [0], |seen| seen.first().copied()).await
}

/// Looks at what has arrived, from the first byte on, until `judge` has seen enough of it. Takes nothing.
async fn look<T>(tcp: &TcpStream, into: &mut [u8], judge: impl Fn(&[u8]) -> Option<T>) -> io::Result<T> {
    loop {
        let ready = tcp.ready(Interest::READABLE).await?;
        // "Not enough" is told to the runtime as "nothing there": it wakes us when there is more.
        let looked = tcp.try_io(Interest::READABLE, || {
            let seen = socket::peek(tcp, into)?;
            match judge(&into[..seen]) {
                Some(found) => Ok(found),
                None if seen == 0 || ready.is_read_closed() => Err(io::ErrorKind::UnexpectedEof.into()),
                None => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        match looked {
            // The rest of a header may wait for the ACK of its beginning.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => socket::quick_ack(tcp)?,
            looked => return looked,
        }
    }
}
