//! The preferred hand-over: splice while both legs are quiet, then send the trigger through the still-open socket, so
//! that no byte of media ever passes user space.
//!
//! 1. Both legs are quiet.
//! 2. The client's leg alone is held and drained: whatever follows the trigger stays with the client or goes along.
//! 3. The trigger and all behind it fit one segment: the origin has all of it or nothing. (A second segment would be
//!    retransmitted with an ACK number that is too old by then, RFC 5961 section 5.2.)
//! 4. Splice, send.
//!
//! The origin's leg is never held: its one answer would be trimmed, and wait for a retransmission time-out.

use super::connection::Connection;
use super::handover::splice;
use super::legs::NotNow;
use super::relay::failed;
use super::socket;
use crate::flow::FlowState;
use crate::flow::life::Input;
use crate::flow::splice::{ARM_MAX, Moment, armed_moment};
use balancer_common::abi::Reason;
use std::io;
use std::time::{Duration, Instant};

/// How long to wait for both legs to be quiet. A delayed ACK takes 40 ms.
const QUIET_MAX: Duration = Duration::from_millis(250);
/// Looks in a row without sleeping, before the timer's millisecond is taken.
const EAGER: Duration = Duration::from_micros(300);

pub async fn arm(c: &mut Connection) -> Input {
    if c.ctx.offload.is_none() {
        return failed(c, Reason::SpliceOff);
    }
    if !c.client.wire.is_plain() {
        return failed(c, Reason::SpliceTls);
    }
    c.show(FlowState::Holding);
    let since = Instant::now();
    match try_arm(c).await {
        Ok(()) => {
            c.ctx.telemetry.spliced(since.elapsed());
            Input::Spliced
        }
        Err(not_now) => {
            if let Some(track) = &c.client.track {
                track.release();
            }
            match not_now {
                NotNow::Reason(reason) => failed(c, reason),
                NotNow::Io(error) => {
                    tracing::debug!(client = %c.client.peer, %error, "hand-over");
                    let gone = error.kind() == io::ErrorKind::UnexpectedEof;
                    failed(c, if gone { Reason::SpliceEnded } else { Reason::SpliceSocket })
                }
            }
        }
    }
}

async fn try_arm(c: &mut Connection) -> Result<(), NotNow> {
    let has_tracks = c.client.track.is_some()
        && c.origin.as_ref().and_then(|o| o.leg.as_ref()).is_some_and(|leg| leg.track.is_some());
    if !has_tracks {
        return Err(NotNow::Reason(Reason::LimitTracks));
    }
    socket::quick_ack(&c.client)?;
    quiet(c).await?;
    hold_client(c).await?;

    let Some(leg) = c.origin.as_ref().and_then(|o| o.leg.as_ref()) else {
        return Err(NotNow::Reason(Reason::SpliceEnded));
    };
    if c.trigger.len() > socket::info(leg)?.segment as usize {
        return Err(NotNow::Reason(Reason::SpliceLong));
    }
    splice(c, c.trigger.len() as u32)?;
    c.relay.trigger_sent = true;
    c.ctx.counters.count(Reason::SplicedArmed);
    // An empty send buffer takes one segment whole. Whatever goes wrong here shows as an origin that stays silent.
    if let Some(leg) = c.origin.as_ref().and_then(|o| o.leg.as_ref())
        && let Err(error) = socket2::SockRef::from(leg).send(&c.trigger)
    {
        tracing::debug!(origin = %leg.peer, %error, "the trigger was not sent");
    }
    Ok(())
}

/// Waits until neither peer has anything of ours outstanding: an old segment of one leg would map onto the other.
async fn quiet(c: &mut Connection) -> Result<(), NotNow> {
    let since = Instant::now();
    let mut late = Vec::new();
    loop {
        let Some(leg) = c.origin.as_ref().and_then(|o| o.leg.as_ref()) else {
            return Err(NotNow::Reason(Reason::SpliceEnded));
        };
        let drained = leg.drain(&mut late);
        if !late.is_empty() {
            // Late answers of the origin's: they stand before anything that the splice will carry, and before its end.
            c.client.wire.write_all(&late).await?;
            late.clear();
        }
        drained?;
        if socket::unacked(&c.client)? == 0 && leg.quiet()? {
            return Ok(());
        }
        if since.elapsed() > QUIET_MAX {
            return Err(NotNow::Reason(Reason::SpliceBusy));
        }
        pause(since).await;
    }
}

/// Holds the client's leg and reads everything that was let through.
async fn hold_client(c: &mut Connection) -> Result<(), NotNow> {
    let Some(track) = &c.client.track else { return Err(NotNow::Reason(Reason::SpliceEnded)) };
    let mute = c.wish.as_ref().is_some_and(|wish| wish.mute);
    let mut other = Vec::new();
    c.client.prepare()?;
    track.hold(ARM_MAX * 10);
    let since = Instant::now();
    loop {
        if c.client.drain(if mute { &mut other } else { &mut c.trigger })? && mute {
            // Another request: not this origin's. Who pipelines behind a request that closes the connection asks again
            // (RFC 9112 section 9.3.2).
            c.ctx.counters.count(Reason::AnotherRequest);
            return Err(NotNow::Reason(Reason::SpliceRequest));
        }
        match armed_moment(&c.client.look()?, since.elapsed()) {
            Moment::Now => return Ok(()),
            Moment::Abandon(reason) => return Err(NotNow::Reason(reason)),
            Moment::Wait => pause(since).await,
        }
    }
}

/// Lets other tasks run: at once for a short while, a millisecond later after that.
pub async fn pause(since: Instant) {
    if since.elapsed() < EAGER {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
