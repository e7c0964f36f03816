//! A connection's life on one page: what follows what. Pure: the slow path carries out the [`Step`]s and reports back.
//!
//! ```text
//! Recognizing ─► Authorizing ─► Placing ──► Connecting ──► Holding ──► Spliced ──► Closed
//!      │              │          ▲  │          │  │          │ ▲         │
//!      │              │          └──┼──────────┘  └──► Relaying┘         │ (origin silent: nothing of the client's
//!      │              │          ▲  │                                    │  is lost)
//!      │              │          └──┼────────────────────────────────────┘
//!      └──────────────┴► Closing ◄──┘
//! ```
//!
//! Whatever fails while the hand-over is under way leads back to `Relaying`, with every byte still there.

use balancer_common::abi::Reason;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Recognizing,
    Authorizing,
    Placing { attempt: u32 },
    Connecting { attempt: u32 },
    Holding { armed: bool, attempt: u32, failures: u32 },
    Relaying { failures: u32 },
    Spliced { attempt: u32 },
    Closing,
    Closed,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The first bytes named a stream.
    Recognized,
    /// They did not, or never will; the client can be told why.
    Unrecognizable,
    /// The client may have what it named.
    Allowed,
    /// It may not.
    Denied,
    /// An origin was chosen.
    Placed,
    /// None can be.
    Unplaceable,
    /// The origin took the client's commands; both legs may be joined byte for byte.
    Agreed,
    /// As `Agreed`, but the trigger has an answer that user space waits for.
    Answered,
    /// The origin took them, but the bytes of one leg make no sense on the other.
    Disagreed,
    /// The origin did not answer, or refused the connection.
    OriginFailed,
    /// A relayed flow is quiet, or has waited long enough for a quiet point.
    HandoverDue,
    /// Both halves are in the kernel.
    Spliced,
    /// The hand-over did not work out; nothing is lost.
    HandoverFailed(Reason),
    /// The sockets are gone and the kernel alone carries the flow.
    Left,
    /// A leg ended in user space.
    Ended,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask whoever decides whether the client may have the stream.
    Authorize,
    Place,
    Connect,
    /// Splice both quiet legs, then send the trigger.
    Arm,
    /// Send the trigger if it was not sent yet, and copy bytes; ask for a hand-over at a quiet point unless `for_good`.
    Relay {
        for_good: bool,
    },
    /// Hold both legs, drain them, splice.
    Hold,
    /// Wait until neither peer needs our sockets, and forget them.
    Leave,
    /// Tell the client why not.
    Refuse,
    Finish,
}

/// Origins tried for one client before it is refused.
pub const PLACEMENTS_MAX: u32 = 4;
/// Failed hand-overs after which a flow stays in user space.
pub const HANDOVERS_MAX: u32 = 8;

impl State {
    /// The transition table. An input that cannot come in a state ends the connection: it is a bug, and a closed
    /// connection is better than bytes in the wrong place.
    pub fn next(self, input: Input) -> (State, Step) {
        use {Input as I, State as S};
        match (self, input) {
            (S::Recognizing, I::Recognized) => (S::Authorizing, Step::Authorize),
            (S::Recognizing, I::Unrecognizable) => (S::Closing, Step::Refuse),

            (S::Authorizing, I::Allowed) => (S::Placing { attempt: 1 }, Step::Place),
            (S::Authorizing, I::Denied) => (S::Closing, Step::Refuse),

            (S::Placing { attempt }, I::Placed) => (S::Connecting { attempt }, Step::Connect),
            (S::Placing { .. }, I::Unplaceable) => (S::Closing, Step::Refuse),

            (S::Connecting { attempt }, I::Agreed) => (S::Holding { armed: true, attempt, failures: 0 }, Step::Arm),
            (S::Connecting { .. }, I::Answered) => (S::Relaying { failures: 0 }, Step::Relay { for_good: false }),
            (S::Connecting { .. }, I::Disagreed) => {
                (S::Relaying { failures: HANDOVERS_MAX }, Step::Relay { for_good: true })
            }
            (S::Connecting { attempt } | S::Spliced { attempt }, I::OriginFailed) => {
                if attempt < PLACEMENTS_MAX {
                    (S::Placing { attempt: attempt + 1 }, Step::Place)
                } else {
                    (S::Closing, Step::Refuse)
                }
            }

            (S::Relaying { failures }, I::HandoverDue) => {
                (S::Holding { armed: false, attempt: PLACEMENTS_MAX, failures }, Step::Hold)
            }
            (S::Holding { attempt, .. }, I::Spliced) => (S::Spliced { attempt }, Step::Leave),
            (S::Holding { failures, .. }, I::HandoverFailed(reason)) => {
                let failures = failures + 1;
                let for_good = failures >= HANDOVERS_MAX || is_final(reason);
                (S::Relaying { failures }, Step::Relay { for_good })
            }

            (S::Spliced { .. }, I::Left) => (S::Closed, Step::Finish),
            (S::Closing | S::Closed, _) | (_, I::Ended) => (S::Closed, Step::Finish),

            (
                S::Recognizing
                | S::Authorizing
                | S::Placing { .. }
                | S::Connecting { .. }
                | S::Holding { .. }
                | S::Relaying { .. }
                | S::Spliced { .. },
                _,
            ) => (S::Closed, Step::Finish),
        }
    }
}

/// Reasons that will not go away by trying again.
pub const fn is_final(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::SpliceOff
            | Reason::SpliceDisagree
            | Reason::SpliceFamily
            | Reason::SpliceEnded
            | Reason::SpliceSocket
            | Reason::SpliceUnseen
            | Reason::SpliceGaveUp
            | Reason::SpliceTls
            | Reason::SpliceRequest
            | Reason::LimitTracks
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(inputs: &[Input]) -> (State, Step) {
        inputs.iter().fold((State::Recognizing, Step::Finish), |(state, _), input| state.next(*input))
    }

    #[test]
    fn the_straight_way_is_armed_before_the_trigger() {
        use Input::*;
        assert_eq!(walk(&[Recognized, Allowed, Placed, Agreed]).1, Step::Arm);
        assert_eq!(walk(&[Recognized, Allowed, Placed, Agreed, Spliced]).1, Step::Leave);
        assert_eq!(walk(&[Recognized, Allowed, Placed, Agreed, Spliced, Left]), (State::Closed, Step::Finish));
    }

    #[test]
    fn nobody_is_placed_who_may_not_have_the_stream() {
        use Input::*;
        assert_eq!(walk(&[Recognized]).1, Step::Authorize);
        assert_eq!(walk(&[Recognized, Denied]), (State::Closing, Step::Refuse));
    }

    #[test]
    fn a_failed_hand_over_goes_back_to_relaying_and_gives_up_in_the_end() {
        use Input::*;
        let (mut state, mut step) = walk(&[Recognized, Allowed, Placed, Agreed, HandoverFailed(Reason::SpliceLong)]);
        let mut tries = 1;
        while step == (Step::Relay { for_good: false }) {
            (state, step) = state.next(HandoverDue);
            assert_eq!(step, Step::Hold);
            (state, step) = state.next(HandoverFailed(Reason::SpliceBusy));
            tries += 1;
        }
        assert_eq!(step, Step::Relay { for_good: true });
        assert_eq!(tries, HANDOVERS_MAX);
    }

    #[test]
    fn a_dead_origin_is_replaced_until_the_attempts_are_used_up() {
        use Input::*;
        let (mut state, mut step) = walk(&[Recognized, Allowed, Placed]);
        for _ in 1..PLACEMENTS_MAX {
            (state, step) = state.next(OriginFailed);
            assert_eq!(step, Step::Place);
            (state, step) = state.next(Placed);
        }
        assert_eq!(step, Step::Connect);
        assert_eq!(state.next(OriginFailed), (State::Closing, Step::Refuse));
    }

    #[test]
    fn an_origin_that_stays_silent_after_an_armed_splice_can_still_be_replaced() {
        use Input::*;
        assert_eq!(
            walk(&[Recognized, Allowed, Placed, Agreed, Spliced, OriginFailed]),
            (State::Placing { attempt: 2 }, Step::Place)
        );
    }

    #[test]
    fn a_trigger_with_an_answer_is_relayed_first_and_handed_over_later() {
        use Input::*;
        assert_eq!(walk(&[Recognized, Allowed, Placed, Answered]).1, Step::Relay { for_good: false });
        assert_eq!(walk(&[Recognized, Allowed, Placed, Answered, HandoverDue]).1, Step::Hold);
    }

    #[test]
    fn legs_that_disagree_are_relayed_for_good() {
        use Input::*;
        assert_eq!(walk(&[Recognized, Allowed, Placed, Disagreed]).1, Step::Relay { for_good: true });
    }
}
