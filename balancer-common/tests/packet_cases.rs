//! The packet cases natively: the same table that the kernel's test-run goes through.

use balancer_common::{
    steer::{Outcome, Verdict},
    testing::{cases, oracle, simulated::run},
};

const NOW_NS: u64 = 0x7_1234 << 20;

#[test]
fn every_case_comes_out_as_described() {
    let cases = cases::all();
    println!("{} cases", cases.len());
    for case in cases {
        let name = &case.name;
        let (outcome, frame, tables) = run(&case.world, &case.frame, NOW_NS);
        assert_eq!(outcome, Outcome { verdict: case.verdict, reason: case.reason }, "{name}");
        if case.verdict != Verdict::Drop {
            assert_eq!(hex(&frame), hex(&case.frame_after), "{name}");
        }
        oracle::judge(&case.frame, outcome, &frame);
        let mut world = tables.world();
        for (tuple, flow) in &mut world.flows {
            let was_counted = flow.packets != case.world.flows[tuple].packets;
            assert_eq!(flow.last_seen, if was_counted { (NOW_NS >> 20) as u32 } else { 0 }, "{name}: last seen");
            flow.last_seen = 0;
        }
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
