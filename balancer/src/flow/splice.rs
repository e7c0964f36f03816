//! The arithmetic of the hand-over: what the kernel adds to every sequence number, and when the moment has come.
//!
//! Pure. `client` and `origin` are the balancer's two TCP legs; "theirs" is the peer's sequence space, "ours" that of
//! our socket on the same leg.

use balancer_common::abi::{FlowFlags, Reason, Track};
use std::time::Duration;

/// What was read from one leg's socket and from its track, with nothing unread or unacknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Next byte that we would send.
    pub write_seq: u32,
    /// Next byte of the peer's that we would read.
    pub copied_seq: u32,
    /// Window scale announced by the peer and by us.
    pub peer_scale: u8,
    pub own_scale: u8,
    pub timestamps: bool,
    pub sack: bool,
    /// The TSval that we would send now, and the last one of the peer's.
    pub own_timestamp: u32,
    pub peer_timestamp: u32,
}

/// How one half-flow's TCP headers change; not at all by default, as is right for UDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    pub flags: u32,
    pub seq_delta: u32,
    pub ack_delta: u32,
    pub tsval_delta: u32,
    pub tsecr_delta: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub to_origin: Translation,
    pub to_client: Translation,
}

impl Plan {
    /// `pending` bytes were read from the client and will be sent to the origin through our socket after the splice.
    pub fn new(client: &Leg, origin: &Leg, pending: u32) -> Self {
        let forth = origin.write_seq.wrapping_add(pending).wrapping_sub(client.copied_seq);
        let back = client.write_seq.wrapping_sub(origin.copied_seq);
        // Ahead of our own clock by the age of the peer's last TSval, so that no translated value is ever older than
        // one that we sent ourselves (PAWS, RFC 7323 section 5).
        let forth_ts = origin.own_timestamp.wrapping_sub(client.peer_timestamp);
        let back_ts = client.own_timestamp.wrapping_sub(origin.peer_timestamp);
        let options = option_flags(client, origin);
        let half = |flags, seq_delta: u32, ack_delta: u32, tsval_delta: u32, tsecr_delta: u32| Translation {
            flags: options | flags,
            seq_delta,
            ack_delta: ack_delta.wrapping_neg(),
            tsval_delta,
            tsecr_delta: tsecr_delta.wrapping_neg(),
        };
        Self {
            to_origin: half(window(client.peer_scale, origin.own_scale), forth, back, forth_ts, back_ts),
            to_client: half(
                window(origin.peer_scale, client.own_scale) | FlowFlags::TO_CLIENT,
                back,
                forth,
                back_ts,
                forth_ts,
            ),
        }
    }
}

fn option_flags(a: &Leg, b: &Leg) -> u32 {
    let timestamps = match (a.timestamps, b.timestamps) {
        (true, true) => FlowFlags::TIMESTAMPS,
        (false, false) => 0,
        _ => FlowFlags::TIMESTAMPS_STRIP,
    };
    let sack = match (a.sack, b.sack) {
        (true, true) => FlowFlags::SACK,
        (false, false) => 0,
        _ => FlowFlags::SACK_STRIP,
    };
    timestamps | sack
}

/// A window comes in units of the sender's announced scale and leaves in units of ours on the other leg. Equal parts
/// cancel out.
fn window(left: u8, right: u8) -> u32 {
    let common = left.min(right);
    (u32::from(left - common) << FlowFlags::WINDOW_LEFT_SHIFT)
        | (u32::from(right - common) << FlowFlags::WINDOW_RIGHT_SHIFT)
}

/// True when `a` comes before `b` in sequence space.
pub fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// One look at a leg during a hand-over.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub unread: u32,
    pub unacked: u32,
    pub rcv_nxt: u32,
    pub track: Track,
}

impl Look {
    fn ended(&self) -> bool {
        self.track.seen & (Track::SEEN_FIN | Track::SEEN_RST) != 0
    }

    /// Everything that the kernel let through has reached the socket's queue in order.
    fn arrived(&self) -> bool {
        self.track.seen & Track::SEEN_END == 0 || !before(self.rcv_nxt, self.track.max_end)
    }

    fn drained(&self) -> bool {
        self.unread == 0 && self.unacked == 0
    }
}

/// What a look during HOLD says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Look again soon.
    Wait,
    Now,
    /// Back to relaying.
    Abandon(Reason),
}

/// How long a HOLD lasts at least: a packet that the fast path passed just before is in the socket by then.
pub const SETTLE: Duration = Duration::from_millis(1);
/// A hole in the sequence that is still there after this is one on the wire: its sender fills it through the splice.
pub const HOLE: Duration = Duration::from_millis(20);
/// The kernel lets data through again after this, whatever becomes of us.
pub const HOLD_MAX: Duration = Duration::from_millis(400);

/// Both legs are held: may they be joined? `relayed` is false while we still have bytes of either to write. The track's word
/// that a HOLD expired counts for nothing: it is never taken back, so it may be about an earlier one.
pub fn held_moment(client: &Look, origin: &Look, relayed: bool, held: Duration) -> Moment {
    if client.ended() || origin.ended() {
        return Moment::Abandon(Reason::SpliceEnded);
    }
    if held >= HOLD_MAX {
        return Moment::Abandon(Reason::SpliceBusy);
    }
    if !relayed || !client.drained() || !origin.drained() || held < SETTLE {
        return Moment::Wait;
    }
    if (client.arrived() && origin.arrived()) || held >= HOLE { Moment::Now } else { Moment::Wait }
}

/// Shortest and longest time that the client's leg is held before the trigger.
pub const ARM_SETTLE: Duration = Duration::from_micros(50);
pub const ARM_MAX: Duration = Duration::from_millis(5);

/// The client's leg alone is held, before the trigger: has everything arrived that was let through?
pub fn armed_moment(client: &Look, held: Duration) -> Moment {
    if client.ended() {
        return Moment::Abandon(Reason::SpliceEnded);
    }
    if client.unread == 0 && client.arrived() && held >= ARM_SETTLE {
        return Moment::Now;
    }
    if held >= ARM_MAX { Moment::Abandon(Reason::SpliceBusy) } else { Moment::Wait }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leg(write_seq: u32, copied_seq: u32) -> Leg {
        Leg {
            write_seq,
            copied_seq,
            peer_scale: 7,
            own_scale: 7,
            timestamps: true,
            sack: true,
            own_timestamp: 1000,
            peer_timestamp: 5000,
        }
    }

    proptest! {
        /// The next byte of either peer maps onto the next byte that our socket on the other leg would have sent.
        #[test]
        fn positions_map_onto_each_other(cw: u32, cc: u32, ow: u32, oc: u32, pending in 0u32..65536) {
            let (client, origin) = (leg(cw, cc), leg(ow, oc));
            let plan = Plan::new(&client, &origin, pending);
            prop_assert_eq!(cc.wrapping_add(plan.to_origin.seq_delta), ow.wrapping_add(pending));
            prop_assert_eq!(oc.wrapping_add(plan.to_client.seq_delta), cw);
            // an ACK of the client's for what we sent it is, for the origin, an ACK of what it sent us
            prop_assert_eq!(cw.wrapping_add(plan.to_origin.ack_delta), oc);
            prop_assert_eq!(ow.wrapping_add(pending).wrapping_add(plan.to_client.ack_delta), cc);
        }

        /// A timestamp that goes forth comes back as itself.
        #[test]
        fn timestamps_come_back_as_themselves(own_c: u32, peer_c: u32, own_o: u32, peer_o: u32, sent: u32) {
            let client = Leg { own_timestamp: own_c, peer_timestamp: peer_c, ..leg(0, 0) };
            let origin = Leg { own_timestamp: own_o, peer_timestamp: peer_o, ..leg(0, 0) };
            let plan = Plan::new(&client, &origin, 0);
            let echoed = sent.wrapping_add(plan.to_origin.tsval_delta).wrapping_add(plan.to_client.tsecr_delta);
            prop_assert_eq!(echoed, sent);
        }
    }

    #[test]
    fn windows_keep_their_size_across_unequal_scales() {
        for (peer, own, raw) in [(7u8, 7u8, 500u32), (0, 7, 65535), (10, 2, 100), (14, 0, 3), (2, 9, 65535)] {
            let flags = window(peer, own);
            let bytes = u64::from(raw) << peer;
            let sent = (u64::from(raw) << FlowFlags::window_left(flags)) >> FlowFlags::window_right(flags);
            assert_eq!(sent, bytes >> own, "scale {peer} to {own}");
        }
    }

    #[test]
    fn an_option_that_only_one_leg_has_is_stripped() {
        let mut origin = leg(0, 0);
        origin.timestamps = false;
        origin.sack = false;
        let flags = Plan::new(&leg(0, 0), &origin, 0).to_client.flags;
        assert_ne!(flags & FlowFlags::TIMESTAMPS_STRIP, 0);
        assert_ne!(flags & FlowFlags::SACK_STRIP, 0);
        assert_eq!(flags & (FlowFlags::TIMESTAMPS | FlowFlags::SACK), 0);
    }

    fn look(max_end: u32, rcv_nxt: u32) -> Look {
        let track = Track { max_end, seen: Track::SEEN_END, ..Track::default() };
        Look { unread: 0, unacked: 0, rcv_nxt, track }
    }

    #[test]
    fn held_legs_are_joined_only_when_all_has_arrived() {
        let ms = Duration::from_millis;
        let quiet = look(100, 100);
        assert_eq!(held_moment(&quiet, &quiet, true, ms(2)), Moment::Now);
        assert_eq!(held_moment(&quiet, &quiet, true, Duration::from_micros(500)), Moment::Wait);
        assert_eq!(held_moment(&quiet, &quiet, false, ms(2)), Moment::Wait);
        assert_eq!(held_moment(&look(200, 100), &quiet, true, ms(2)), Moment::Wait);
        assert_eq!(held_moment(&look(200, 100), &quiet, true, ms(25)), Moment::Now);
        assert_eq!(held_moment(&Look { unacked: 1, ..quiet }, &quiet, true, ms(25)), Moment::Wait);
        assert_eq!(
            held_moment(&Look { unacked: 1, ..quiet }, &quiet, true, HOLD_MAX),
            Moment::Abandon(Reason::SpliceBusy)
        );
    }

    #[test]
    fn a_hold_that_expired_once_spoils_no_later_one() {
        let mut late = look(100, 100);
        late.track.seen |= Track::SEEN_HOLD_EXPIRED;
        assert_eq!(held_moment(&late, &look(1, 1), true, HOLE), Moment::Now);
        assert_eq!(held_moment(&look(1, 1), &late, true, HOLE), Moment::Now);
        assert_eq!(held_moment(&late, &late, true, HOLD_MAX), Moment::Abandon(Reason::SpliceBusy));
    }

    #[test]
    fn a_fin_during_the_hold_leads_back() {
        let mut ended = look(100, 100);
        ended.track.seen |= Track::SEEN_FIN;
        assert_eq!(held_moment(&look(1, 1), &ended, true, HOLE), Moment::Abandon(Reason::SpliceEnded));
        assert_eq!(armed_moment(&ended, ARM_SETTLE), Moment::Abandon(Reason::SpliceEnded));
    }

    #[test]
    fn sequence_numbers_that_wrapped_have_arrived_too() {
        assert!(look(u32::MAX - 5, 10).arrived());
        assert!(!look(10, u32::MAX - 5).arrived());
    }
}
