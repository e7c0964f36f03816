//! Datagrams of flows that have no socket in user space any more: last words, and what the kernel could not forward.

use super::super::{Context, srt};
use super::Listener;
use super::dial::bound;
use crate::flow::{FlowRecord, Protocol};
use crate::live::{Farewell, Farewells};
use balancer_common::abi::FlowKey;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::UdpSocket;
use tracing::debug;

/// Nobody acknowledges a last word: it is said again after so long.
const AGAIN_AFTER: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(900)];

/// Says the last word of flows that were the kernel's alone. Weak: the context holds the table that holds this.
pub struct Speaker(pub Weak<Context>);

impl Farewells for Speaker {
    fn say(&self, farewell: Farewell) {
        let Some(ctx) = self.0.upgrade() else { return };
        say(&ctx, &farewell.record, farewell.tags);
    }
}

/// Tells both ends that the flow is over, where the protocol has a word for it. `tags` are the origin's and the
/// client's.
pub fn say(ctx: &Arc<Context>, record: &FlowRecord, tags: (u32, u32)) {
    if record.protocol != Protocol::Srt {
        return;
    }
    if let Err(error) = send_from(record.source, record.origin_address, &srt::last_word(tags.0)) {
        debug!(%error, origin = %record.origin_id, "no last word to the origin");
    }
    tell_client(ctx, record, tags.1);
}

/// The same by the flow's own socket.
pub fn say_by(socket: &UdpSocket, ctx: &Arc<Context>, record: &FlowRecord, tags: (u32, u32)) {
    if record.protocol != Protocol::Srt {
        return;
    }
    if let Err(error) = socket2::SockRef::from(socket).send(&srt::last_word(tags.0)) {
        debug!(%error, origin = %record.origin_id, "no last word to the origin");
    }
    tell_client(ctx, record, tags.1);
}

fn tell_client(ctx: &Arc<Context>, record: &FlowRecord, tag: u32) {
    let (ctx, client, vip, to_client) = (ctx.clone(), record.client, record.vip, srt::last_word(tag));
    tokio::spawn(async move {
        for pause in [Duration::ZERO].into_iter().chain(AGAIN_AFTER) {
            tokio::time::sleep(pause).await;
            if let Some(listener) = ctx.udp.listener(vip) {
                // Lost as any datagram may be.
                let _ = listener.socket.try_send_to(&to_client, client);
            }
        }
    });
}

/// A datagram of a flow that is the kernel's, which could not forward it: a fragment, or one that is too large for the
/// next link and may be cut. True when it was one.
pub fn stray(ctx: &Context, listener: &Listener, from: SocketAddr, datagram: &[u8]) -> bool {
    let (Some(offload), Some(key)) = (&ctx.offload, FlowKey::udp(from, listener.address)) else { return false };
    let Some(half) = offload.flow(key) else { return false };
    let (source, origin) = half.egress.addresses();
    if let Err(error) = send_from(source, origin, datagram) {
        debug!(%error, client = %from, "a stray datagram is lost");
    }
    true
}

/// From a port of ours, whether it has a socket or not.
fn send_from(source: SocketAddr, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
    bound(source)?.send_to(datagram, &to.into()).map(drop)
}
