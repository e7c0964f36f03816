//! TCP options that name sequence numbers or times of the other connection: translated, or overwritten with NOPs.

use super::{
    Frame, View,
    checksum::Difference,
    frame::unknown,
    header::{eth, tcp},
    parse::Tcp,
};
use crate::abi::{FlowFlags, Splice};

const END: u8 = 0;
const NOP: u8 = 1;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

const TIMESTAMPS_LEN: usize = 10;
const SACK_BLOCK_LEN: usize = 8;
const SACK_BLOCKS_MAX: usize = 4;
const NOPS: u32 = u32::from_ne_bytes([NOP; 4]);
const NOPS16: u16 = u16::from_ne_bytes([NOP; 2]);

/// How every common stack writes the timestamps of a packet without SACK blocks (RFC 7323, appendix A).
const ALIGNED_TIMESTAMPS: u32 = u32::from_ne_bytes([NOP, NOP, TIMESTAMPS, TIMESTAMPS_LEN as u8]);
const ALIGNED_TIMESTAMPS_LEN: usize = 12;

/// An offset that no option of interest can have.
const NOWHERE: usize = 63;

const HANDLED: u32 = FlowFlags::TIMESTAMPS | FlowFlags::TIMESTAMPS_STRIP | FlowFlags::SACK | FlowFlags::SACK_STRIP;

/// Translates the options of a TCP header of sound length as `splice` says.
#[inline(always)]
pub fn translate(frame: &Frame, segment: &Tcp, splice: &Splice) -> Difference {
    let options_at = segment.at + tcp::LEN;
    let len = (segment.header_len as usize).wrapping_sub(tcp::LEN) & NOWHERE;
    if len == 0 || splice.flags & HANDLED == 0 {
        return Difference::NONE;
    }
    let mut difference = Difference::NONE;
    let mut done = 0;
    if len >= ALIGNED_TIMESTAMPS_LEN
        && splice.flags & FlowFlags::TIMESTAMPS_STRIP == 0
        && let Some(options) = frame.view::<ALIGNED_TIMESTAMPS_LEN>(options_at)
        && options.u32::<0>() == ALIGNED_TIMESTAMPS
    {
        if splice.flags & FlowFlags::TIMESTAMPS != 0 {
            difference = translate_times::<ALIGNED_TIMESTAMPS_LEN, 4, 8>(options, splice);
        }
        done = ALIGNED_TIMESTAMPS_LEN;
    }
    if len > done {
        let found = find(&frame.reborrow(), options_at, done, len);
        difference = timestamps(frame, options_at, found.timestamps, len, splice, difference);
        difference = sack(frame, options_at, found.sack, len, splice, difference);
    }
    difference
}

/// The TSval of a packet whose timestamps stand where they usually do.
#[inline(always)]
pub fn aligned_tsval(frame: &Frame, segment: &Tcp) -> Option<u32> {
    if segment.header_len < (tcp::LEN + ALIGNED_TIMESTAMPS_LEN) as u32 {
        return None;
    }
    let options = frame.view::<ALIGNED_TIMESTAMPS_LEN>(segment.at + tcp::LEN)?;
    if options.u32::<0>() != ALIGNED_TIMESTAMPS {
        return None;
    }
    Some(u32::from_be(options.u32::<4>()))
}

/// The TSval of a SYN in one of the layouts that stacks send: behind the segment size there is "SACK permitted" or a
/// filler and the timestamps (Linux), or first the window scale (the BSDs and their kin).
#[inline(always)]
pub fn syn_tsval(frame: &Frame, segment: &Tcp) -> Option<u32> {
    const SACK_PERMITTED_TIMESTAMPS: u32 = u32::from_ne_bytes([4, 2, 8, 10]);
    const LEN: usize = 20;
    if segment.header_len < (tcp::LEN + LEN) as u32 {
        return None;
    }
    let options = frame.view::<LEN>(segment.at + tcp::LEN)?;
    let (second, third) = (options.u32::<4>(), options.u32::<8>());
    if second == SACK_PERMITTED_TIMESTAMPS || second == ALIGNED_TIMESTAMPS {
        return Some(u32::from_be(third));
    }
    if third == ALIGNED_TIMESTAMPS {
        return Some(u32::from_be(options.u32::<12>()));
    }
    None
}

/// Offsets from the first option, or [`NOWHERE`].
struct Found {
    timestamps: usize,
    sack: usize,
}

/// Only finds the options. Work inside this walk would multiply with its steps in the verifier: more than a million
/// instructions, against tens of thousands when the work comes afterwards. A function of its own, for the stack it needs.
#[inline(never)]
#[allow(unused_assignments, reason = "the last of the steps also says where the next one would be")]
fn find(frame: &Frame, options: usize, start: usize, len: usize) -> Found {
    let mut found = Found { timestamps: NOWHERE, sack: NOWHERE };
    let noise = frame.view::<{ eth::LEN }>(0).map_or(0, |view| view.u8::<0>());
    let mut at = unknown::<NOWHERE>(start, noise);
    'walk: {
        macro_rules! four {
            ($($step:tt)+) => { $($step)+ $($step)+ $($step)+ $($step)+ };
        }
        macro_rules! step {
            () => {
                match found.step(frame, options, at, len) {
                    Some(next) => at = next,
                    None => break 'walk,
                }
            };
        }
        // The smallest option of interest takes ten bytes of forty: at most thirty NOPs stand before it.
        four! { four! { step!(); step!(); } }
    }
    found
}

impl Found {
    /// Notes the option at `at`; where the next one is, if there is one.
    #[inline(always)]
    fn step(&mut self, frame: &Frame, options: usize, at: usize, len: usize) -> Option<usize> {
        if at >= len {
            return None;
        }
        let option = frame.view::<2>(options + at)?;
        let (kind, option_len) = (option.u8::<0>(), option.u8::<1>());
        let mut step = option_len as usize;
        if kind == NOP {
            step = 1;
        } else if kind == END || step < 2 {
            // A receiver does not read on behind a malformed option either.
            return None;
        }
        if kind == TIMESTAMPS {
            self.timestamps = at;
        }
        if kind == SACK {
            self.sack = at;
        }
        // Unknown after every step: else each path through the body leaves a range of its own, and all are walked.
        Some(unknown::<NOWHERE>(at + step, option_len))
    }
}

#[inline(always)]
fn timestamps(
    frame: &Frame,
    options: usize,
    at: usize,
    len: usize,
    splice: &Splice,
    difference: Difference,
) -> Difference {
    if at == NOWHERE || splice.flags & (FlowFlags::TIMESTAMPS | FlowFlags::TIMESTAMPS_STRIP) == 0 {
        return difference;
    }
    let at = at & NOWHERE;
    let Some(option) = frame.view::<TIMESTAMPS_LEN>(options + at) else { return difference };
    if at + TIMESTAMPS_LEN > len || option.u8::<1>() != TIMESTAMPS_LEN as u8 {
        return difference;
    }
    let change = if splice.flags & FlowFlags::TIMESTAMPS != 0 {
        translate_times::<TIMESTAMPS_LEN, 2, 6>(option, splice)
    } else {
        let change = Difference::NONE
            .word16(option.u16::<0>(), NOPS16)
            .word32(option.u32::<2>(), NOPS)
            .word32(option.u32::<6>(), NOPS);
        option.set_u16::<0>(NOPS16);
        option.set_u32::<2>(NOPS);
        option.set_u32::<6>(NOPS);
        change
    };
    difference.plus(change, at & 1 != 0)
}

/// A TSecr of 0 says that there is nothing to echo, and stays.
#[inline(always)]
fn translate_times<const N: usize, const VALUE: usize, const ECHO: usize>(
    option: View<'_, N>,
    splice: &Splice,
) -> Difference {
    let change = add::<N, VALUE>(option, splice.tsval_delta, Difference::NONE);
    if option.u32::<ECHO>() == 0 { change } else { add::<N, ECHO>(option, splice.tsecr_delta, change) }
}

/// The blocks say what arrived of the other side's data, so they move as the ACK number does (RFC 2018).
#[inline(always)]
fn sack(frame: &Frame, options: usize, at: usize, len: usize, splice: &Splice, difference: Difference) -> Difference {
    if at == NOWHERE || splice.flags & (FlowFlags::SACK | FlowFlags::SACK_STRIP) == 0 {
        return difference;
    }
    let at = at & NOWHERE;
    let Some(option) = frame.view::<2>(options + at) else { return difference };
    let option_len = option.u8::<1>() as usize;
    if at + option_len > len || option_len < 2 + SACK_BLOCK_LEN || option_len & 7 != 2 {
        // Malformed: the receiver ignores it.
        return difference;
    }
    let translate = splice.flags & FlowFlags::SACK != 0;
    let mut change = Difference::NONE;
    for i in 0..SACK_BLOCKS_MAX {
        if option_len < 2 + SACK_BLOCK_LEN * (i + 1) {
            break;
        }
        let Some(block) = frame.view::<SACK_BLOCK_LEN>(options + at + 2 + SACK_BLOCK_LEN * i) else { break };
        if translate {
            change = add::<SACK_BLOCK_LEN, 0>(block, splice.ack_delta, change);
            change = add::<SACK_BLOCK_LEN, 4>(block, splice.ack_delta, change);
        } else {
            change = change.word32(block.u32::<0>(), NOPS).word32(block.u32::<4>(), NOPS);
            block.set_u32::<0>(NOPS);
            block.set_u32::<4>(NOPS);
        }
    }
    if !translate {
        change = change.word16(option.u16::<0>(), NOPS16);
        option.set_u16::<0>(NOPS16);
    }
    difference.plus(change, at & 1 != 0)
}

/// Adds `delta` to a number in the packet.
#[inline(always)]
fn add<const N: usize, const AT: usize>(view: View<'_, N>, delta: u32, difference: Difference) -> Difference {
    let old = view.u32::<AT>();
    let new = u32::from_be(old).wrapping_add(delta).to_be();
    view.set_u32::<AT>(new);
    difference.word32(old, new)
}
