//! A session whose media go by UDP: its control connection is carried by user space until it ends, and what was bound
//! for it ends with it.

use super::super::connection::Connection;
use super::super::origin_leg::OriginLeg;
use super::control::{Happened, Stop, end, flush_all, happen, of, turn};
use crate::flow::life::Input;

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
        match turn(c, origin, idle).await {
            // Media may go on without a word.
            Err(Stop::Silent) if of(c)?.tracks.were_active_within(idle) => continue,
            turned => turned?,
        }
        let now = c.ctx.now();
        if let Some(id) = origin.flow {
            c.ctx.live.update(id, |record| record.active_at = now);
        }
    }
}
