//! The packet cases natively: the same table that the kernel's test-run goes through.

use balancer_common::{
    abi::MINUTE_NS,
    steer::{Outcome, Verdict},
    testing::{
        cases::{self, Case, NOW_NS},
        oracle,
        simulated::run,
    },
};

#[test]
fn every_case_comes_out_as_described() {
    let cases = cases::all();
    println!("{} cases", cases.len());
    comes_out_as_described(&cases, NOW_NS);
}

/// Cookies live on when the secret changes, every 64 minutes, and begin with the clock.
#[test]
fn every_case_comes_out_as_described_in_every_minute() {
    for minute in [0, 1, 3, 62, 63, 64, 65, 66, 67, 127, 128, 129, 1 << 28, u64::MAX / MINUTE_NS] {
        comes_out_as_described(&cases::of_minute(minute), minute * MINUTE_NS);
    }
}

fn comes_out_as_described(cases: &[Case], now_ns: u64) {
    for case in cases {
        let name = &case.name;
        let (outcome, frame, tables) = run(&case.world, &case.frame, now_ns);
        assert_eq!(outcome, Outcome { verdict: case.verdict, reason: case.reason }, "{name}");
        if case.verdict != Verdict::Drop {
            assert_eq!(hex(&frame), hex(&case.frame_after), "{name}");
        }
        oracle::judge(&case.frame, outcome, &frame);
        let mut world = tables.world();
        let (last_seen, made_s) = ((now_ns >> 20) as u32, (now_ns / 1_000_000_000) as u32);
        world.stop_clocks(&case.world, last_seen..=last_seen, made_s..=made_s);
        assert_eq!(world, case.world_after, "{name}");
        let events: Vec<_> = case.events.iter().map(|(kind, half)| half.event(*kind)).collect();
        assert_eq!(*tables.events.borrow(), events, "{name}");
    }
}

#[test]
fn names_are_unique() {
    let mut names: Vec<_> = cases::all().into_iter().map(|case| case.name).collect();
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

/// What was cut off on the way is left to the stack as it is: the IP length says that something is missing.
#[test]
fn a_frame_cut_off_anywhere_is_passed_untouched() {
    for case in cases::all() {
        // Padding may be missing.
        if case.name.ends_with("padding behind the packet") {
            continue;
        }
        for len in 0..case.frame.len() {
            let (outcome, frame, tables) = run(&case.world, &case.frame[..len], NOW_NS);
            assert_eq!(outcome.verdict, Verdict::Pass, "{}, cut to {len}: {outcome:?}", case.name);
            assert_eq!(frame, case.frame[..len], "{}, cut to {len}", case.name);
            assert_eq!(tables.world(), case.world, "{}, cut to {len}", case.name);
            assert!(tables.events.borrow().is_empty());
        }
    }
}

/// Sixteen bytes a line, so that a difference can be found.
fn hex(bytes: &[u8]) -> Vec<String> {
    bytes.chunks(16).map(|line| line.iter().map(|b| format!("{b:02x}")).collect()).collect()
}
