//! The fast path on arbitrary frames, in the worlds of the packet cases: what is passed is untouched, what is forwarded
//! keeps its payload and its checksums' validity, what is answered verifies.
//!
//! Input: two bytes that choose a case, one of `seen` bits for its flows, then the frame; without a frame, the case's
//! own.
#![no_main]

use std::sync::LazyLock;

use balancer_common::{
    abi::Seen,
    testing::{
        cases::{self, Case, NOW_NS},
        oracle,
        simulated::run,
    },
};
use libfuzzer_sys::fuzz_target;

static CASES: LazyLock<Vec<Case>> = LazyLock::new(cases::all);

fuzz_target!(|data: &[u8]| {
    let [low, high, seen, frame @ ..] = data else { return };
    let case = &CASES[usize::from(u16::from_le_bytes([*low, *high])) % CASES.len()];
    let frame = if frame.is_empty() { &case.frame } else { frame };
    let mut world = case.world.clone();
    world.flows.values_mut().for_each(|flow| flow.seen |= u32::from(*seen) & Seen::MASK);
    let (outcome, after, _) = run(&world, frame, NOW_NS);
    oracle::judge(frame, outcome, &after);
});
