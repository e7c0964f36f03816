//! The hand-over of a flow that is being relayed, and the splice that both kinds of hand-over share.

use super::arm::pause;
use super::connection::Connection;
use super::legs::NotNow;
use super::relay::{broken, failed, is_another_request, settle};
use crate::flow::life::Input;
use crate::flow::splice::{HOLD_MAX, Moment, Plan, held_moment};
use crate::flow::{FlowState, Path, Role};
use crate::offload::NewHalf;
use balancer_common::abi::{FlowFlags, FlowKey, Reason};
use std::time::{Duration, Instant};
use tracing::{debug, warn};

/// How much later than ours the kernel's own deadline for a HOLD is: a safety net, not the rule.
const NET: Duration = Duration::from_millis(200);

/// Holds both legs, relays what is left, splices.
pub async fn hold(c: &mut Connection) -> Input {
    if !c.client.wire.is_plain() {
        return failed(c, Reason::SpliceTls);
    }
    c.show(FlowState::Holding);
    let since = Instant::now();
    let outcome = try_hold(c).await;
    settle(c);
    match outcome {
        Ok(()) => {
            c.ctx.telemetry.spliced(since.elapsed());
            Input::Spliced
        }
        Err(not_now) => {
            release(c);
            match not_now {
                NotNow::Reason(reason) => failed(c, reason),
                NotNow::Io(error) if is_another_request(&error) => broken(c, &error),
                NotNow::Io(error) => {
                    debug!(client = %c.client.peer, %error, "hand-over");
                    failed(c, Reason::SpliceSocket)
                }
            }
        }
    }
}

async fn try_hold(c: &mut Connection) -> Result<(), NotNow> {
    // From before the kernel's deadlines are set: while our own time is not over, theirs are not.
    let since = Instant::now();
    {
        let Some(leg) = c.origin.as_ref().and_then(|o| o.leg.as_ref()) else {
            return Err(NotNow::Reason(Reason::SpliceEnded));
        };
        let (Some(a), Some(b)) = (&c.client.track, &leg.track) else {
            return Err(NotNow::Reason(Reason::LimitTracks));
        };
        c.client.prepare()?;
        leg.prepare()?;
        a.hold(HOLD_MAX + NET);
        b.hold(HOLD_MAX + NET);
    }
    loop {
        let Some(leg) = c.origin.as_mut().and_then(|o| o.leg.as_mut()) else {
            return Err(NotNow::Reason(Reason::SpliceEnded));
        };
        c.relay.pump(&mut c.client.wire, &mut leg.wire)?;
        if c.relay.to_origin.source_ended() || c.relay.to_client.source_ended() {
            return Err(NotNow::Reason(Reason::SpliceEnded));
        }
        match held_moment(&c.client.look()?, &leg.look()?, c.relay.is_empty(), since.elapsed()) {
            Moment::Now => break,
            Moment::Abandon(reason) => return Err(NotNow::Reason(reason)),
            Moment::Wait => pause(since).await,
        }
    }
    splice(c, 0)?;
    c.ctx.counters.count(Reason::SplicedHeld);
    Ok(())
}

fn release(c: &Connection) {
    let leg = c.origin.as_ref().and_then(|o| o.leg.as_ref());
    for track in [c.client.track.as_ref(), leg.and_then(|l| l.track.as_ref())].into_iter().flatten() {
        track.release();
    }
}

/// Reads both legs and puts both halves into the kernel. `pending` bytes of the client's will be sent afterwards.
pub fn splice(c: &mut Connection, pending: u32) -> Result<(), NotNow> {
    let ended = || NotNow::Reason(Reason::SpliceEnded);
    let offload = c.ctx.offload.as_ref().ok_or(NotNow::Reason(Reason::SpliceOff))?;
    let origin = c.origin.as_ref().ok_or_else(ended)?;
    let leg = origin.leg.as_ref().ok_or_else(ended)?;
    if origin.reset.is_given() {
        return Err(ended());
    }
    let family = || NotNow::Reason(Reason::SpliceFamily);
    let client_key = FlowKey::tcp(c.client.peer, c.client.own).ok_or_else(family)?;
    let origin_key = FlowKey::tcp(leg.peer, leg.own).ok_or_else(family)?;
    if matches!(client_key, FlowKey::V4(_)) != matches!(origin_key, FlowKey::V4(_)) {
        return Err(family());
    }

    let (at_client, at_origin) = (c.client.read()?, leg.read()?);
    let plan = Plan::new(&at_client, &at_origin, pending);
    let wish = c.wish.as_ref().ok_or_else(ended)?;
    let mut flags = wish.protocol.number() << FlowFlags::SERVICE_SHIFT;
    if wish.role == Role::Publish {
        flags |= FlowFlags::PUBLISH;
    }
    let mute = if wish.mute { FlowFlags::mute(at_client.copied_seq) } else { (0, 0) };
    let half = |ingress: FlowKey, egress: FlowKey, translation, mute, way_out| NewHalf {
        ingress,
        egress,
        translation,
        flags: flags | mute,
        origin: origin.placement.origin,
        origin_generation: origin.placement.generation,
        stream: origin.placement.stream,
        way_out,
    };
    let to_origin = half(client_key, origin_key.reversed(), plan.to_origin, mute.0, leg.track_seen());
    let to_client = half(origin_key, client_key.reversed(), plan.to_client, mute.1, c.client.track_seen());
    if let Err(error) = offload.splice(&to_origin, &to_client, true) {
        warn!(%error, client = %c.client.peer, "the fast path took no flow");
        return Err(NotNow::Reason(Reason::SpliceMap));
    }
    if let Some(id) = origin.flow {
        c.ctx.live.update(id, |record| {
            record.state = FlowState::Spliced;
            record.path = Path::Kernel;
        });
        c.ctx.live.spliced(id, client_key, origin_key);
    }
    c.client.sent_to = at_client.write_seq;
    if let Some(leg) = c.origin.as_mut().and_then(|o| o.leg.as_mut()) {
        leg.sent_to = at_origin.write_seq.wrapping_add(pending);
    }
    Ok(())
}
