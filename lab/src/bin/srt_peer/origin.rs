//! A media server on one UDP port: whoever publishes a stream is heard by all who request it.
//!
//! What a stream is called decides how it is treated: `…/reject-CODE` is refused with that code, `…/secret…` wants the
//! passphrase [`PASSPHRASE`].

use crate::library::{Asking, Moved, Option, Poll, Socket, Verdict};
use crate::say;
use anyhow::{Context, Result};
use balancer_lab::origin::srt::PASSPHRASE;
use balancer_lab::ts::Continuity;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const TICK_MILLIS: i64 = 20;
const REPORT: Duration = Duration::from_millis(200);
/// The largest message in live mode.
const MESSAGE_MAX: usize = 1500;

struct Peer {
    socket: Socket,
    stream: String,
    publishes: bool,
    check: Continuity,
    reported: u64,
    bytes: u64,
    /// Of what it was to be sent.
    skipped: u64,
}

/// The resource of a stream id, and whether it is to be published.
fn parse(stream_id: &str) -> (String, bool) {
    let Some(list) = stream_id.strip_prefix("#!::") else { return (stream_id.to_owned(), false) };
    let fields: BTreeMap<_, _> = list.split(',').filter_map(|field| field.split_once('=')).collect();
    let field = |name| fields.get(name).copied().unwrap_or_default();
    (field("r").to_owned(), matches!(field("m"), "publish" | "bidirectional"))
}

pub fn decide(asking: &Asking) -> Verdict {
    say(&json!({ "event": "asked", "stream_id": asking.stream_id, "handshake": asking.handshake }));
    let (stream, _) = parse(asking.stream_id);
    let name = stream.rsplit('/').next().unwrap_or_default();
    match name.strip_prefix("reject-").map(str::parse) {
        Some(Ok(code)) => Verdict::Refused(code),
        _ if name.starts_with("secret") => Verdict::Secret(PASSPHRASE),
        _ => Verdict::Welcome,
    }
}

pub fn run(at: SocketAddr) -> Result<()> {
    let listener = Socket::new()?;
    if at.is_ipv6() {
        listener.set(Option::V6Only, 1)?;
    }
    listener.set(Option::ReceiveWaits, 0)?;
    listener.listen(at).with_context(|| format!("listen at {at}"))?;
    let poll = Poll::new()?;
    poll.add(&listener)?;
    say(&json!({ "event": "listens" }));
    let mut peers: BTreeMap<i32, Peer> = BTreeMap::new();
    let mut reported = Instant::now();
    loop {
        for number in poll.wait(TICK_MILLIS)? {
            if number == listener.number() {
                if let Ok(peer) = accept(&listener, &poll) {
                    peers.insert(peer.socket.number(), peer);
                }
            } else if !serve(number, &mut peers)
                && let Some(peer) = peers.remove(&number)
            {
                peer.report("ended");
            }
        }
        if reported.elapsed() > REPORT {
            reported = Instant::now();
            for peer in peers.values_mut().filter(|peer| peer.reported != peer.check.packets) {
                peer.reported = peer.check.packets;
                peer.report("progress");
            }
        }
    }
}

fn accept(listener: &Socket, poll: &Poll) -> Result<Peer> {
    let (socket, from) = listener.accept()?;
    let (stream, publishes) = parse(&socket.stream_id()?);
    socket.set(Option::ReceiveWaits, 0)?;
    socket.set(Option::SendWaits, 0)?;
    poll.add(&socket)?;
    say(&json!({ "event": "accepted", "stream": stream, "publishes": publishes, "from": from }));
    Ok(Peer { socket, stream, publishes, check: Continuity::default(), reported: 0, bytes: 0, skipped: 0 })
}

/// Takes all that there is; false once the peer is gone.
fn serve(number: i32, peers: &mut BTreeMap<i32, Peer>) -> bool {
    let mut message = [0u8; MESSAGE_MAX];
    loop {
        let Some(peer) = peers.get_mut(&number) else { return true };
        let length = match peer.socket.receive(&mut message) {
            Moved::Bytes(length) => length,
            Moved::NotNow => return true,
            Moved::Broken => return false,
        };
        peer.check.push(&message[..length]);
        peer.bytes += length as u64;
        if !peer.publishes {
            continue;
        }
        let stream = peer.stream.clone();
        for player in peers.values_mut().filter(|peer| !peer.publishes && peer.stream == stream) {
            // One that is gone is noticed when it is polled.
            if !matches!(player.socket.send(&message[..length]), Moved::Bytes(_)) {
                player.skipped += 1;
            }
        }
    }
}

impl Peer {
    fn report(&self, event: &str) {
        let Self { stream, publishes, check, bytes, skipped, .. } = self;
        say(&json!({
            "event": event, "stream": stream, "publishes": publishes, "packets": check.packets,
            "errors": check.errors + check.stray_bytes, "bytes": bytes, "skipped": skipped,
        }));
    }
}
