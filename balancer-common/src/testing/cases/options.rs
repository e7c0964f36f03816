//! TCP options of spliced flows: timestamps and SACK blocks, wherever they stand.

use std::{vec, vec::Vec};

use super::{
    Case, Stage, spliced,
    stage::{B, CLIENT_TIME, ORIGIN_TIME},
};
use crate::{
    abi::FlowFlags,
    packet::header::tcp,
    testing::build::{
        TcpOption::{self, End, Nop, Raw, Sack, Timestamps},
        TcpPacket,
    },
};

const TIMES: u32 = FlowFlags::TIMESTAMPS;
const TIMES_STRIP: u32 = FlowFlags::TIMESTAMPS_STRIP;
const SACKS: u32 = FlowFlags::SACK;
const SACKS_STRIP: u32 = FlowFlags::SACK_STRIP;

/// What the options of a client's packet become.
struct Sample {
    name: &'static str,
    flags: u32,
    before: Vec<TcpOption>,
    after: Vec<TcpOption>,
}

pub fn cases(stage: &Stage) -> Vec<Case> {
    [timestamps(), sack_blocks(), both(), odd_places(), malformed()]
        .into_iter()
        .flatten()
        .map(|sample| {
            let flags = tcp::ACKED;
            let packet = TcpPacket { options: sample.before, flags, ..stage.client_packet() };
            let expected = TcpPacket { options: sample.after, ..stage.at_origin(&packet) };
            spliced::to_origin(stage, sample.name, stage.world(sample.flags), &packet, &expected)
        })
        .collect()
}

fn sample(name: &'static str, flags: u32, before: Vec<TcpOption>, after: Vec<TcpOption>) -> Sample {
    Sample { name, flags, before, after }
}

fn times(value: u32, echo: u32) -> TcpOption {
    Timestamps(value, echo)
}

/// As the origin's clock sees them.
fn times_after(value: u32, echo: u32) -> TcpOption {
    Timestamps(value.wrapping_add(CLIENT_TIME), echo.wrapping_sub(ORIGIN_TIME))
}

fn blocks(count: usize) -> Vec<(u32, u32)> {
    (0..count as u32).map(|i| (0x1000 * i + 1, 0x1000 * i + 777)).collect()
}

fn blocks_after(count: usize) -> Vec<(u32, u32)> {
    blocks(count).iter().map(|(left, right)| (left.wrapping_sub(B), right.wrapping_sub(B))).collect()
}

fn nops(count: usize) -> Vec<TcpOption> {
    vec![Nop; count]
}

fn timestamps() -> Vec<Sample> {
    vec![
        sample(
            "timestamps",
            TIMES,
            vec![Nop, Nop, times(5_000_000, 6_000_000)],
            vec![Nop, Nop, times_after(5_000_000, 6_000_000)],
        ),
        sample("timestamps wrap", TIMES, vec![Nop, Nop, times(u32::MAX, 1)], vec![Nop, Nop, times_after(u32::MAX, 1)]),
        sample(
            "a TSecr of 0 echoes nothing and stays",
            TIMES,
            vec![Nop, Nop, times(5, 0)],
            vec![Nop, Nop, Timestamps(5 + CLIENT_TIME, 0)],
        ),
        sample("timestamps are stripped", TIMES_STRIP, vec![Nop, Nop, times(5, 6)], nops(12)),
        sample(
            "timestamps before their padding",
            TIMES,
            vec![times(5, 6), Nop, Nop],
            vec![times_after(5, 6), Nop, Nop],
        ),
        sample(
            "timestamps at an odd place",
            TIMES,
            vec![Nop, times(0x0102_0304, 0x0506_0708), Nop],
            vec![Nop, times_after(0x0102_0304, 0x0506_0708), Nop],
        ),
        sample("timestamps at an odd place are stripped", TIMES_STRIP, vec![Nop, times(5, 6), Nop], nops(12)),
        sample("timestamps behind a list's end are no option", TIMES, vec![End, times(5, 6)], vec![End, times(5, 6)]),
    ]
}

fn sack_blocks() -> Vec<Sample> {
    const NAMES: [&str; 4] = ["one SACK block", "two SACK blocks", "three SACK blocks", "four SACK blocks"];
    let mut samples: Vec<Sample> = (1..=4)
        .map(|n| {
            let (before, after) = (vec![Nop, Nop, Sack(blocks(n))], vec![Nop, Nop, Sack(blocks_after(n))]);
            sample(NAMES[n - 1], SACKS, before, after)
        })
        .collect();
    const STRIPPED: [&str; 4] = ["one is stripped", "two are stripped", "three are stripped", "four are stripped"];
    samples.extend(
        (1..=4).map(|n| sample(STRIPPED[n - 1], SACKS_STRIP, vec![Nop, Nop, Sack(blocks(n))], nops(4 + 8 * n))),
    );
    samples
}

fn both() -> Vec<Sample> {
    let before = vec![Nop, Nop, times(9, 8), Nop, Nop, Sack(blocks(3))];
    let with = |times: TcpOption, sack: Vec<TcpOption>| [vec![Nop, Nop, times, Nop, Nop], sack].concat();
    vec![
        sample(
            "timestamps and SACK",
            TIMES | SACKS,
            before.clone(),
            with(times_after(9, 8), vec![Sack(blocks_after(3))]),
        ),
        sample(
            "timestamps translated, SACK stripped",
            TIMES | SACKS_STRIP,
            before.clone(),
            with(times_after(9, 8), nops(26)),
        ),
        sample(
            "timestamps stripped, SACK translated",
            TIMES_STRIP | SACKS,
            before.clone(),
            [nops(14), vec![Sack(blocks_after(3))]].concat(),
        ),
        sample("both stripped", TIMES_STRIP | SACKS_STRIP, before.clone(), nops(40)),
        sample("SACK alone is translated", SACKS, before, with(times(9, 8), vec![Sack(blocks_after(3))])),
        sample(
            "SACK before timestamps",
            TIMES | SACKS,
            vec![Sack(blocks(2)), times(9, 8)],
            vec![Sack(blocks_after(2)), times_after(9, 8)],
        ),
    ]
}

fn odd_places() -> Vec<Sample> {
    vec![
        sample("SACK at an odd place", SACKS, vec![Nop, Sack(blocks(2)), Nop], vec![Nop, Sack(blocks_after(2)), Nop]),
        sample("SACK at an odd place is stripped", SACKS_STRIP, vec![Nop, Sack(blocks(2)), Nop], nops(20)),
        sample(
            "both at odd places",
            TIMES | SACKS,
            vec![Nop, times(9, 8), Sack(blocks(1))],
            vec![Nop, times_after(9, 8), Sack(blocks_after(1))],
        ),
        sample(
            "unknown options are stepped over",
            TIMES | SACKS,
            vec![Raw(vec![254, 5, 1, 8, 10]), Sack(blocks(1)), times(9, 8)],
            vec![Raw(vec![254, 5, 1, 8, 10]), Sack(blocks_after(1)), times_after(9, 8)],
        ),
        sample(
            "thirty NOPs before the timestamps",
            TIMES,
            [nops(30), vec![times(9, 8)]].concat(),
            [nops(30), vec![times_after(9, 8)]].concat(),
        ),
        sample(
            "thirty NOPs before a SACK block",
            SACKS,
            [nops(30), vec![Sack(blocks(1))]].concat(),
            [nops(30), vec![Sack(blocks_after(1))]].concat(),
        ),
        sample("forty NOPs", TIMES | SACKS, nops(40), nops(40)),
    ]
}

/// What a receiver ignores is left alone.
fn malformed() -> Vec<Sample> {
    let unchanged = |name, raw: &[u8]| {
        let options = vec![Raw(raw.to_vec())];
        sample(name, TIMES | SACKS, options.clone(), options)
    };
    vec![
        unchanged("an option of length 0", &[3, 0, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]),
        unchanged("an option of length 1", &[3, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]),
        unchanged("timestamps of the wrong length", &[8, 8, 0, 0, 0, 1, 0, 0]),
        unchanged("timestamps cut off by the header", &[1, 1, 1, 1, 8, 10, 0, 1]),
        unchanged("SACK of the wrong length", &[5, 9, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0]),
        unchanged("SACK without blocks", &[5, 2, 1, 1]),
        unchanged("SACK cut off by the header", &[5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0]),
        unchanged("a kind without a length at the very end", &[1, 1, 1, 8]),
        sample(
            "SACK of the wrong length is not stripped",
            SACKS_STRIP,
            vec![Raw(vec![5, 4, 1, 2])],
            vec![Raw(vec![5, 4, 1, 2])],
        ),
    ]
}
