//! One table of packet cases, for the native tests and for the kernel's own test-run.
//!
//! Each case pairs a described frame and world with the verdict, the bytes, the kernel's words and the events that must
//! come out. Expected frames are built from their own description, never derived from the input's bytes.

mod ends;
mod hold;
mod icmp;
mod missed;
mod mute;
mod options;
mod passed;
mod spliced;
pub mod srt;
mod stage;
pub mod stun;
mod too_big;

use std::{format, string::String, vec::Vec};

pub use stage::{LO, REDIRECT_SLOT, Stage, l4_diff};

use super::simulated::{Tuple, World};
use crate::{
    abi::{EventKind, MINUTE_NS, Reason, Track},
    steer::Verdict,
};

pub struct Case {
    pub name: String,
    pub world: World,
    pub frame: Vec<u8>,
    pub verdict: Verdict,
    pub reason: Reason,
    pub frame_after: Vec<u8>,
    pub world_after: World,
    pub events: Vec<(EventKind, Tuple)>,
}

impl Case {
    /// A case in which nothing changes; the methods below say what does.
    fn new(stage: &Stage, name: &str, world: World, frame: Vec<u8>) -> Self {
        Self {
            name: format!("{stage}: {name}"),
            world_after: world.clone(),
            frame_after: frame.clone(),
            world,
            frame,
            verdict: Verdict::Pass,
            reason: Reason::NotOurs,
            events: Vec::new(),
        }
    }

    fn passes(mut self, reason: Reason) -> Self {
        (self.verdict, self.reason) = (Verdict::Pass, reason);
        self
    }

    fn drops(mut self, reason: Reason) -> Self {
        (self.verdict, self.reason) = (Verdict::Drop, reason);
        self
    }

    fn leaves(mut self, verdict: Verdict, reason: Reason, frame: Vec<u8>) -> Self {
        (self.verdict, self.reason, self.frame_after) = (verdict, reason, frame);
        self
    }

    /// One packet with so much data was forwarded on this half-flow.
    fn counts(mut self, half: Tuple, data_len: usize) -> Self {
        if let Some(flow) = self.world_after.flows.get_mut(&half) {
            flow.packets = flow.packets.wrapping_add(1);
            flow.bytes = flow.bytes.wrapping_add(data_len as u64);
        }
        self
    }

    fn marks(mut self, half: Tuple, seen: u32) -> Self {
        if let Some(flow) = self.world_after.flows.get_mut(&half) {
            flow.seen |= seen;
        }
        self
    }

    fn tells(mut self, kind: EventKind, half: Tuple) -> Self {
        self.events.push((kind, half));
        self
    }

    fn records(mut self, half: Tuple, track: Track) -> Self {
        self.world_after.tracks.insert(half, track);
        self
    }
}

/// The clock that [`all`] is made for.
pub const NOW_NS: u64 = 0x7_1234 << 20;

/// Every case, in both families, without and with VLAN tags.
pub fn all() -> Vec<Case> {
    in_minute(NOW_NS / MINUTE_NS)
}

/// The same for another minute of the clock, which cookies depend on.
pub fn in_minute(minute: u64) -> Vec<Case> {
    Stage::all().iter().flat_map(of).chain(of_minute(minute)).collect()
}

/// Only those that depend on the minute.
pub fn of_minute(minute: u64) -> Vec<Case> {
    Stage::all().iter().flat_map(|stage| [srt::cases(stage, minute), ahead(stage, minute)]).flatten().collect()
}

/// By how much the clock that several balancers share is ahead of this one's.
const AHEAD_MINUTES: u64 = 30_000_001;

/// What depends on the minute depends on the common one.
fn ahead(stage: &Stage, minute: u64) -> Vec<Case> {
    let common = minute + AHEAD_MINUTES;
    if !stage.tags.is_empty() || common > u64::MAX / MINUTE_NS {
        return Vec::new();
    }
    let mut cases = srt::cases(stage, common);
    for case in &mut cases {
        case.name = format!("common clock, {}", case.name);
        case.world.clock_ahead_ns = AHEAD_MINUTES * MINUTE_NS;
        case.world_after.clock_ahead_ns = AHEAD_MINUTES * MINUTE_NS;
    }
    cases
}

fn of(stage: &Stage) -> Vec<Case> {
    let parts = [
        spliced::cases,
        options::cases,
        ends::cases,
        mute::cases,
        hold::cases,
        icmp::cases,
        passed::cases,
        missed::cases,
        too_big::cases,
        stun::cases,
    ];
    parts.iter().flat_map(|cases| cases(stage)).collect()
}
