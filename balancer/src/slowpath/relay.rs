//! User space copies bytes: until a quiet point comes for the hand-over, or for good.

use super::connection::Connection;
use super::pipe::{AnotherRequest, Pipe};
use super::rtsp;
use super::wire::Wire;
use crate::flow::life::Input;
use crate::flow::{FlowState, Role};
use balancer_common::abi::Reason;
use std::io;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tracing::{debug, info};

/// The copying half of a connection.
pub struct Relay {
    pub to_origin: Pipe,
    pub to_client: Pipe,
    pub trigger_sent: bool,
    scratch: Vec<u8>,
    /// Hand-overs tried so far: each failure doubles the wait.
    attempts: u32,
    since: Instant,
    active: Instant,
    /// Moved and not yet shown in the flow's record.
    pending: (Counted, Counted),
    shown: Instant,
}

#[derive(Clone, Copy, Default)]
struct Counted {
    reads: u64,
    bytes: u64,
}

/// From then on the legs are held even though they were never quiet, as long as bytes come.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often a quiet point is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// The same where no bytes come and patience is over: what is not acknowledged waits for a retransmission time-out.
const LOOK_LATER: Duration = Duration::from_millis(100);
/// The wait after a failed hand-over, doubled with each, up to 1.6 s.
const BACK_OFF: Duration = Duration::from_millis(100);
const DOUBLINGS_MAX: u32 = 4;
const SHOW_EVERY: Duration = Duration::from_millis(250);

impl Relay {
    pub fn new(limit: usize) -> Self {
        let now = Instant::now();
        Self {
            to_origin: Pipe::new(limit),
            to_client: Pipe::new(limit),
            trigger_sent: false,
            scratch: Vec::new(),
            attempts: 0,
            since: now,
            active: now,
            pending: Default::default(),
            shown: now,
        }
    }

    /// Moves what can be moved both ways; true when something was.
    pub fn pump(&mut self, client: &mut Wire, origin: &mut Wire) -> io::Result<bool> {
        self.scratch.resize(64 * 1024, 0);
        let forth = self.to_origin.pump(client, origin, &mut self.scratch)?;
        let back = self.to_client.pump(origin, client, &mut self.scratch)?;
        self.pending.0.add(forth.read, forth.written);
        self.pending.1.add(back.read, back.written);
        let moved = forth != Default::default() || back != Default::default();
        if moved {
            self.active = Instant::now();
        }
        Ok(moved)
    }

    pub fn is_empty(&self) -> bool {
        self.to_origin.is_empty() && self.to_client.is_empty()
    }

    fn ended(&self) -> bool {
        self.to_origin.source_ended() || self.to_client.source_ended()
    }

    /// How long to wait for a quiet point before the next hand-over.
    fn wait(&self) -> Duration {
        if self.attempts == 0 { Duration::ZERO } else { BACK_OFF * (1 << self.attempts.min(DOUBLINGS_MAX)) }
    }

    /// It was never quiet for long enough.
    fn has_waited(&self) -> bool {
        self.since.elapsed() > self.wait() + PATIENCE
    }

    /// A hold makes the legs quiet by keeping back what comes. Where nothing comes it would wait for the same ACK as we
    /// do, and in vain if a time-out of seconds is due first (a SYN that was lost makes the first one 3 s, RFC 6298
    /// section 2.2): eight such holds, and the flow would stay in user space although it is quiet ever after.
    fn insists(&self) -> bool {
        self.has_waited() && self.active.elapsed() < PATIENCE
    }
}

impl Counted {
    fn add(&mut self, read: u64, written: u64) {
        self.reads += u64::from(read > 0);
        self.bytes += written;
    }
}

/// Relays until the flow ends or a hand-over is due.
pub async fn relay(c: &mut Connection, for_good: bool) -> Input {
    c.show(FlowState::Relaying);
    if c.dialect.keeps_session()
        && let Some(ended) = rtsp::keep(c).await
    {
        return ended;
    }
    if start(c, for_good).is_err() {
        return end(c);
    }
    loop {
        let Some(leg) = c.origin.as_mut().and_then(|o| o.leg.as_mut()) else { return Input::Ended };
        let moved = c.relay.pump(&mut c.client.wire, &mut leg.wire);
        show(c, false);
        match moved {
            Err(error) => return broken(c, &error),
            Ok(_) if c.relay.to_origin.is_closed() && c.relay.to_client.is_closed() => {
                show(c, true);
                return Input::Ended;
            }
            Ok(true) => {
                // A saturated relay must not keep its worker from the others, nor be deaf.
                tokio::task::yield_now().await;
                if c.origin.as_ref().is_some_and(|o| o.reset.is_given()) {
                    return end(c);
                }
                if !for_good && due(c) {
                    return handover(c);
                }
            }
            Ok(false) => {
                if !for_good && due(c) {
                    return handover(c);
                }
                if c.relay.active.elapsed() > c.ctx.settings.idle_timeout {
                    info!(client = %c.client.peer, "idle");
                    return end(c);
                }
                if wait(c, for_good).await {
                    return end(c);
                }
            }
        }
    }
}

fn handover(c: &mut Connection) -> Input {
    show(c, true);
    c.relay.attempts += 1;
    Input::HandoverDue
}

/// Sends the trigger if that was not done yet.
fn start(c: &mut Connection, for_good: bool) -> io::Result<()> {
    c.relay.since = Instant::now();
    if for_good {
        // The kernel need not record what will never be handed over.
        c.client.track = None;
        if let Some(leg) = c.origin.as_mut().and_then(|o| o.leg.as_mut()) {
            leg.track = None;
        }
    }
    if c.relay.trigger_sent {
        return Ok(());
    }
    c.relay.to_origin.push(&c.trigger)?;
    if c.wish.as_ref().is_some_and(|wish| wish.mute) {
        c.relay.to_origin.mute();
    }
    c.relay.trigger_sent = true;
    Ok(())
}

/// The relay is over because of an error, a limit or a command: both ends hear of it by a RST.
fn end(c: &mut Connection) -> Input {
    show(c, true);
    c.client.reset_on_close();
    if let Some(leg) = c.origin.as_ref().and_then(|o| o.leg.as_ref()) {
        leg.reset_on_close();
    }
    Input::Ended
}

/// A leg failed, or a client said more than it may.
pub fn broken(c: &mut Connection, error: &io::Error) -> Input {
    if is_another_request(error) {
        c.ctx.counters.count(Reason::AnotherRequest);
    }
    debug!(client = %c.client.peer, %error, "relay ended");
    end(c)
}

pub fn is_another_request(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|e| e.is::<AnotherRequest>())
}

/// Is this the moment for a hand-over?
fn due(c: &Connection) -> bool {
    let relay = &c.relay;
    if relay.ended() || relay.since.elapsed() < relay.wait() {
        return false;
    }
    if relay.insists() {
        return true;
    }
    let Some(leg) = c.origin.as_ref().and_then(|o| o.leg.as_ref()) else { return false };
    relay.is_empty() && matches!((c.client.quiet(), leg.quiet()), (Ok(true), Ok(true)))
}

/// Waits for a socket, for the next look, or for the order to reset; true for the latter.
async fn wait(c: &Connection, for_good: bool) -> bool {
    let Some(origin) = &c.origin else { return true };
    let Some(leg) = &origin.leg else { return true };
    let relay = &c.relay;
    let look = if for_good || relay.ended() {
        SHOW_EVERY
    } else if relay.has_waited() {
        LOOK_LATER
    } else {
        relay.wait().saturating_sub(relay.since.elapsed()).max(LOOK_EVERY).min(SHOW_EVERY)
    };
    let client = interest(relay.to_origin.wants_input(), !relay.to_client.is_empty() || c.client.wire.owes());
    let server = interest(relay.to_client.wants_input(), !relay.to_origin.is_empty());
    tokio::select! {
        () = ready(&c.client.wire, client) => false,
        () = ready(&leg.wire, server) => false,
        () = tokio::time::sleep(look) => false,
        () = origin.reset.given() => true,
    }
}

pub fn interest(read: bool, write: bool) -> Option<Interest> {
    match (read, write) {
        (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
        (true, false) => Some(Interest::READABLE),
        (false, true) => Some(Interest::WRITABLE),
        (false, false) => None,
    }
}

pub async fn ready(wire: &Wire, interest: Option<Interest>) {
    match interest {
        // An error shows again, and is handled, at the next read or write.
        Some(interest) => drop(wire.ready(interest).await),
        None => std::future::pending().await,
    }
}

/// Carries what was moved into the flow's record and the counters.
fn show(c: &mut Connection, now: bool) {
    if !now && c.relay.shown.elapsed() < SHOW_EVERY {
        return;
    }
    c.relay.shown = Instant::now();
    let (forth, back) = std::mem::take(&mut c.relay.pending);
    if forth.bytes == 0 && back.bytes == 0 {
        return;
    }
    c.ctx.live.relayed((forth.reads, forth.bytes), (back.reads, back.bytes));
    let at = c.ctx.now();
    if let Some(id) = c.origin.as_ref().and_then(|o| o.flow) {
        c.ctx.live.update(id, |record| {
            record.to_origin.packets += forth.reads;
            record.to_origin.bytes += forth.bytes;
            record.to_client.packets += back.reads;
            record.to_client.bytes += back.bytes;
            record.active_at = at;
        });
    }
}

/// Carries the relay's counts over before the flow leaves user space.
pub fn settle(c: &mut Connection) {
    show(c, true);
}

/// A failed hand-over, counted and logged with what to do about it.
pub fn failed(c: &Connection, reason: Reason) -> Input {
    c.ctx.counters.count(reason);
    let role = c.wish.as_ref().map_or(Role::Play, |w| w.role);
    debug!(
        client = %c.client.peer, role = role.label(), reason = reason.label(), number = reason as u32,
        help = reason.help(), "not handed over"
    );
    Input::HandoverFailed(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legs_are_held_against_their_will_only_while_bytes_come() {
        let now = Instant::now();
        let mut relay = Relay::new(1000);
        assert!(!relay.insists(), "it has not waited yet");
        relay.since = now.checked_sub(PATIENCE * 2).unwrap();
        assert!(relay.insists());
        relay.active = now.checked_sub(PATIENCE).unwrap();
        assert!(!relay.insists() && relay.has_waited(), "what is missing is an ACK");
        (relay.active, relay.attempts) = (now, 2);
        assert!(!relay.insists(), "a failure makes the wait longer");
    }
}
