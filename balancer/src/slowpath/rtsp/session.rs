//! A session whose media go by UDP: its control connection is carried by user space until it ends, and what was bound
//! for it ends with it.

use super::super::connection::Connection;
use super::super::origin_leg::OriginLeg;
use super::control::{Happened, Stop, end, flush_all, happen, of, turn};
use crate::flow::Role;
use crate::flow::life::Input;
use balancer_common::abi::Reason;
use std::time::{Duration, Instant};

/// Session time-outs that a player may stay silent for: it owes a receiver report or a keep-alive in each.
const SESSION_TIMEOUTS: u32 = 2;

/// How long nothing came from the client. What comes from its origin tells nothing about it.
struct Silence {
    heard: u64,
    since: Instant,
}

impl Silence {
    fn left(&mut self, heard: u64, patience: Duration) -> Duration {
        if heard != self.heard {
            *self = Self { heard, since: Instant::now() };
        }
        patience.saturating_sub(self.since.elapsed())
    }
}

/// Carries the dialogue on. `None`: the client has changed its mind, and its legs are to be joined after all.
pub async fn keep(c: &mut Connection) -> Option<Input> {
    let Some(mut origin) = c.origin.take() else { return Some(Input::Ended) };
    let ended = match live(c, &mut origin).await {
        Ok(trigger) => {
            c.trigger = trigger;
            None
        }
        Err(stop) => {
            end(c, &mut origin, stop).await;
            Some(Input::Ended)
        }
    };
    c.origin = Some(origin);
    ended
}

async fn live(c: &mut Connection, origin: &mut OriginLeg) -> Result<Vec<u8>, Stop> {
    let idle = c.ctx.settings.idle_timeout;
    // Without it, a client that vanished would be known by its silence alone.
    c.client.probe_when_idle().map_err(|_| Stop::Client)?;
    let plays = c.wish.as_ref().is_some_and(|wish| wish.role == Role::Play);
    let mut silence = Silence { heard: of(c)?.heard(), since: Instant::now() };
    loop {
        match happen(c, origin)? {
            Some(Happened::Ready(trigger)) => {
                flush_all(c, origin).await?;
                return Ok(trigger);
            }
            // One more: there may be more events behind it.
            Some(Happened::Bound) => continue,
            None => {}
        }
        let rtsp = of(c)?;
        let patience = SESSION_TIMEOUTS * rtsp.dialog.session_timeout();
        let left = if plays { silence.left(rtsp.heard(), patience) } else { idle };
        if left.is_zero() {
            c.ctx.counters.count(Reason::LimitSessionSilent);
            return Err(Stop::Silent);
        }
        match turn(c, origin, left.min(idle)).await {
            // Media may go on without a word, as long as it is not a player's.
            Err(Stop::Silent) if left < idle || of(c)?.tracks.were_active_within(idle) => continue,
            turned => turned?,
        }
        let now = c.ctx.now();
        if let Some(id) = origin.flow {
            c.ctx.live.update(id, |record| record.active_at = now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_client_ends_its_silence() {
        let patience = Duration::from_secs(120);
        let before = Instant::now().checked_sub(patience).unwrap();
        let mut silence = Silence { heard: 7, since: before };
        assert!(silence.left(7, patience).is_zero());
        assert!(!silence.left(8, patience).is_zero());
        silence.since = before;
        assert!(!silence.left(0, patience).is_zero(), "the count may start anew");
    }
}
