//! The fast path in the kernel, by `BPF_PROG_TEST_RUN`: the same packet cases that run natively in `balancer-common`.
//!
//! Needs root and the eBPF object. Without them a test says why it is skipped; in CI (`CI` set) that is a failure.

mod kernel;
mod sockets;

use std::ops::RangeInclusive;

use anyhow::Context;
use aya::{maps::PerCpuArray, maps::PerCpuValues, programs::Xdp};
use balancer::offload::object;
use balancer_common::{
    abi::{Event, MINUTE_NS, Reason, ReasonCount, capacity, map},
    steer::Verdict,
    testing::{
        cases::{self, Case, Stage, srt},
        simulated::{World, run},
    },
};
use kernel::{Kernel, world};

/// The verifier gives up at a million. A jump of more than a tenth of what `balancer-ebpf/src/main.rs` has on
/// record is to be explained in the commit that makes it.
const VERIFIED_INSTRUCTIONS_MAX: u32 = 200_000;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

/// `None` where the kernel cannot be used, and that is no failure. What the verifier refuses always is one.
fn load_or_skip() -> Option<Kernel> {
    let object = object::object().context("this build has no eBPF object: run `cargo xtask build`");
    let mut kernel = match object.and_then(Kernel::load) {
        Ok(kernel) => kernel,
        Err(e) if std::env::var_os("CI").is_some() => panic!("the kernel's test-run cannot run here: {e:#}"),
        Err(e) => {
            println!("skipped: {e:#}");
            return None;
        }
    };
    kernel.load_program(map::PROGRAM).unwrap_or_else(|e| panic!("{e:#}"));
    Some(kernel)
}

fn program(kernel: &Kernel) -> &Xdp {
    kernel.ebpf.program(map::PROGRAM).unwrap().try_into().unwrap()
}

fn action(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Pass => XDP_PASS,
        Verdict::Drop => XDP_DROP,
        Verdict::Tx => XDP_TX,
        Verdict::Redirect(_) => XDP_REDIRECT,
    }
}

#[test]
fn the_verifier_has_room_to_spare() {
    let Some(kernel) = load_or_skip() else { return };
    let info = program(&kernel).info().unwrap();
    let verified = info.verified_instruction_count().unwrap();
    let (translated, jitted) = (info.size_translated().unwrap() / 8, info.size_jitted());
    println!("{verified} instructions verified, {translated} in the program, {jitted} bytes of machine code");
    assert!(verified < VERIFIED_INSTRUCTIONS_MAX, "{verified}");
}

#[test]
fn every_map_of_the_contract_is_in_the_object() {
    let Some(kernel) = load_or_skip() else { return };
    for name in map::ALL {
        assert!(kernel.ebpf.map(name).is_some(), "{name}");
    }
}

#[test]
fn every_case_comes_out_of_the_kernel_as_described() {
    let Some(mut kernel) = load_or_skip() else { return };
    let _network = sockets::network().unwrap();
    let mut events = world::Events::take(&mut kernel.ebpf);
    let mut minute = now_ns() / MINUTE_NS;
    let mut cases = cases::in_minute(minute);
    println!("{} cases", cases.len());
    let mut next = 0;
    while next < cases.len() {
        let left = one(&mut kernel, &cases[next]);
        // Some cookies are those of the minute: what ran across its end is run again.
        let now = now_ns() / MINUTE_NS;
        if minute == now {
            left.check(&cases[next], &mut events);
            next += 1;
        } else {
            minute = now;
            cases = cases::in_minute(minute);
            events.drain();
        }
    }
}

/// What came out of the kernel.
struct Left {
    action: u32,
    frame: Vec<u8>,
    reasons: Vec<(Reason, ReasonCount)>,
    world: World,
    during: RangeInclusive<u32>,
    made_s: RangeInclusive<u32>,
}

fn one(kernel: &mut Kernel, case: &Case) -> Left {
    let name = &case.name;
    world::set_up(&mut kernel.ebpf, &case.world);
    let _sockets = sockets::open(&case.world);
    reset_reasons(kernel);
    let (before, made_s) = (coarse_now(), boot_s());
    let (action, frame) = kernel::run(program(kernel), &case.frame).unwrap_or_else(|e| panic!("{name}: {e:#}"));
    let during = before..=coarse_now();
    let reasons = world::reasons(&kernel.ebpf);
    let world = world::read(&mut kernel.ebpf, &case.world, &case.world_after);
    world::clear(&mut kernel.ebpf, &world);
    Left { action, frame, reasons, world, during, made_s: made_s..=boot_s() }
}

impl Left {
    fn check(mut self, case: &Case, events: &mut world::Events) {
        let name = &case.name;
        assert_eq!(self.action, action(case.verdict), "{name}");
        if case.verdict != Verdict::Drop {
            assert_eq!(self.frame, case.frame_after, "{name}");
        }
        let bytes = case.frame.len() as u64;
        assert_eq!(self.reasons, [(case.reason, ReasonCount { packets: 1, bytes })], "{name}");
        self.world.stop_clocks(&case.world, self.during, self.made_s);
        assert_eq!(self.world, case.world_after, "{name}");
        let expected: Vec<_> = case.events.iter().map(|(kind, half)| half.event(*kind)).collect();
        assert_eq!(events.drain(), expected, "{name}");
    }
}

#[test]
fn a_frame_cut_off_anywhere_is_passed_untouched_by_the_kernel() {
    let Some(mut kernel) = load_or_skip() else { return };
    // Every tenth of them: natively all are tried.
    for case in cases::all().iter().step_by(10).filter(|case| !case.name.ends_with("padding behind the packet")) {
        world::set_up(&mut kernel.ebpf, &case.world);
        // The test-run refuses frames shorter than an Ethernet header.
        for len in 14..case.frame.len().min(200) {
            let (got, frame) = kernel::run(program(&kernel), &case.frame[..len]).unwrap();
            assert_eq!((got, &frame[..]), (XDP_PASS, &case.frame[..len]), "{}, cut to {len}", case.name);
        }
        assert_eq!(world::read(&mut kernel.ebpf, &case.world, &case.world), case.world, "{}", case.name);
        world::clear(&mut kernel.ebpf, &case.world);
    }
}

/// A caller's cookie is from one balancer, its conclusion comes to another one that was booted at another time.
#[test]
fn a_cookie_of_the_kernels_is_accepted_by_another_clock() {
    let Some(mut kernel) = load_or_skip() else { return };
    const AHEAD_NS: u64 = 1 << 60;
    for stage in &Stage::all() {
        let mut world = stage.srt_world();
        world.clock_ahead_ns = AHEAD_NS;
        world::set_up(&mut kernel.ebpf, &world);
        let (_, answer) = kernel::run(program(&kernel), &srt::induction(stage)).unwrap();
        world::clear(&mut kernel.ebpf, &world);
        let conclusion = srt::conclusion(stage, &answer);
        // Booted five seconds ago.
        let here_ns = 5_000_000_000;
        world.clock_ahead_ns = (now_ns() + AHEAD_NS).wrapping_sub(here_ns);
        let (outcome, _, _) = run(&world, &conclusion, here_ns);
        assert_eq!(outcome.reason, Reason::SrtConclusion, "{stage}");
        world.clock_ahead_ns = world.clock_ahead_ns.wrapping_sub(10 * MINUTE_NS);
        let (outcome, _, _) = run(&world, &conclusion, here_ns);
        assert_eq!(outcome.reason, Reason::SrtBadCookie, "{stage}");
    }
}

/// Half of the ring of events is for what becomes of flows.
#[test]
fn questions_leave_room_for_other_events() {
    let Some(mut kernel) = load_or_skip() else { return };
    let _network = sockets::network().unwrap();
    let mut events = world::Events::take(&mut kernel.ebpf);
    let stage = &Stage::all()[0];
    let mut world = stage.bare_world();
    world.asks = true;
    world::set_up(&mut kernel.ebpf, &world);
    // Each takes eight bytes more, for its header.
    let asked_max = capacity::EVENTS / 2 / (size_of::<Event>() as u32 + 8) + 1;
    let mut packet = stage.client_packet();
    for port in 0..asked_max + 100 {
        packet.src_port = port as u16;
        assert_eq!(kernel::run(program(&kernel), &packet.frame()).unwrap().0, XDP_DROP);
    }
    let bytes = packet.frame().len() as u64;
    let count = |packets: u32| ReasonCount { packets: packets.into(), bytes: bytes * u64::from(packets) };
    let expected = [(Reason::Asked, count(asked_max)), (Reason::LimitQuestionsOfFlows, count(100))];
    assert_eq!(world::reasons(&kernel.ebpf), expected);
    assert_eq!(events.drain().len(), asked_max as usize);
}

#[test]
fn a_redirect_that_the_kernel_refuses_is_a_counted_drop() {
    let Some(mut kernel) = load_or_skip() else { return };
    let stage = &Stage::all()[0];
    let mut world = stage.world(0);
    world.devices.clear();
    world::set_up(&mut kernel.ebpf, &world);
    let frame = stage.client_packet().frame();
    let (got, _) = kernel::run(program(&kernel), &frame).unwrap();
    assert_eq!(got, XDP_DROP);
    let count = ReasonCount { packets: 1, bytes: frame.len() as u64 };
    assert_eq!(world::reasons(&kernel.ebpf), [(Reason::RedirectFailed, count)]);
}

fn reset_reasons(kernel: &mut Kernel) {
    let cpus = aya::util::nr_cpus().unwrap();
    let mut counts: PerCpuArray<_, ReasonCount> = kernel.ebpf.map_mut(map::REASONS).unwrap().try_into().unwrap();
    for (reason, _) in nonzero(&counts) {
        counts.set(reason, PerCpuValues::try_from(vec![ReasonCount::default(); cpus]).unwrap(), 0).unwrap();
    }
}

fn nonzero<M: std::borrow::Borrow<aya::maps::MapData>>(counts: &PerCpuArray<M, ReasonCount>) -> Vec<(u32, u64)> {
    let packets = |index| counts.get(&index, 0).unwrap().iter().map(|count| count.packets).sum::<u64>();
    (0..counts.len()).map(|index| (index, packets(index))).filter(|(_, packets)| *packets != 0).collect()
}

/// The clock of `last_seen`: 2^20 ns of the coarse monotonic clock.
fn coarse_now() -> u32 {
    (now_ns() >> 20) as u32
}

fn now_ns() -> u64 {
    let now = clock(libc::CLOCK_MONOTONIC_COARSE);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The clock of a flow's making.
fn boot_s() -> u32 {
    clock(libc::CLOCK_BOOTTIME).tv_sec as u32
}

fn clock(id: libc::clockid_t) -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for the result.
    assert_eq!(unsafe { libc::clock_gettime(id, &mut now) }, 0);
    now
}
