//! Nanoseconds a packet on the fast path, by `BPF_PROG_TEST_RUN`: one JSON object a line.
//!
//! The bench object holds the same fast path behind programs that write a frame's headers anew at every repetition. What
//! that writing costs is measured beside it, by a twin without the fast path, and taken off: `min_ns` and `median_ns`
//! compare with those of the program `empty`, and `above_empty_ns` is the difference of the medians.

#[allow(dead_code, reason = "shared with the tests, which use more of it")]
#[path = "../tests/kernel/mod.rs"]
mod kernel;

use std::path::Path;

use anyhow::{Context, Result};
use aya::{TestRun, TestRunOptions, programs::Xdp};
use balancer_common::{
    abi::{
        Flow4, Flow6, FlowFlags, FlowKey4, FlowKey6, NextHop, Origin, OriginState, PROTO_TCP, Splice, addr4, addr6,
        map, ports_word,
    },
    packet::header::tcp,
    testing::{
        build::{
            TcpOption::{self, Nop, Sack, Timestamps},
            TcpPacket,
        },
        cases::{LO, Stage},
    },
};
use kernel::{Kernel, world};

const ROUNDS: usize = 21;
/// Repetitions of one round: some 10 ms.
const REPEATS: u32 = 200_000;
const PROGRAMS: [&str; 5] = ["empty", "only_prepare4", "only_prepare6", "steer4", "steer6"];

/// As in the bench programs.
const VIP: [u8; 4] = [203, 0, 113, 1];
const CLIENT_PORT: u16 = 40123;
const VIP_PORT: u16 = 1935;

fn main() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/balancer-ebpf-bench");
    let object = std::fs::read(&path).with_context(|| format!("{}: run `cargo xtask build`", path.display()))?;
    let mut kernel = Kernel::load(&object)?;
    for name in PROGRAMS {
        kernel.load_program(name)?;
    }
    Bench { kernel }.run()
}

struct Bench {
    kernel: Kernel,
}

/// Sorted nanoseconds a packet.
struct Times(Vec<f64>);

impl Times {
    fn min(&self) -> f64 {
        self.0[0]
    }

    fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }
}

impl Bench {
    fn run(&mut self) -> Result<()> {
        let [v4, v6] = [0, 3].map(|i| Stage::all().swap_remove(i));
        let data = |stage: &Stage, options: Vec<TcpOption>| {
            TcpPacket { options, payload: vec![0; 1400], ..stage.client_packet() }.frame()
        };
        let ack = |stage: &Stage, options: Vec<TcpOption>| {
            TcpPacket { options, payload: vec![], flags: tcp::ACKED, ..stage.client_packet() }.frame()
        };
        let times = || vec![Nop, Nop, Timestamps(1, 1)];
        let sack = |blocks: u32| {
            let blocks = (0..blocks).map(|i| (2 * i, 2 * i + 1)).collect();
            [times(), vec![Nop, Nop, Sack(blocks)]].concat()
        };

        let plain = data(&v4, vec![]);
        let [empty] = self.measure(["empty"], &plain)?;
        print("empty", 1, &empty, &empty, &empty);
        self.case("miss", 0, false, &plain)?;

        self.insert(0..1)?;
        self.case("spliced data", 1, false, &plain)?;
        self.case("spliced data with timestamps", 1, false, &data(&v4, times()))?;
        self.case("ACK with timestamps", 1, false, &ack(&v4, times()))?;
        self.case("ACK with timestamps and one SACK block", 1, false, &ack(&v4, sack(1)))?;
        self.case("ACK with timestamps and three SACK blocks", 1, false, &ack(&v4, sack(3)))?;
        self.case("spliced data, IPv6", 1, true, &data(&v6, vec![]))?;
        self.case("spliced data with timestamps, IPv6", 1, true, &data(&v6, times()))?;

        let mut made = 1;
        for flows in [1 << 10, 1 << 16, 1 << 20] {
            self.insert(made..flows)?;
            made = flows;
            self.case("spliced data with timestamps, random flows", flows, false, &data(&v4, times()))?;
        }
        Ok(())
    }

    /// One line of output: the fast path on `frame`, with `flows` flows to choose from.
    fn case(&mut self, name: &str, flows: u32, is_v6: bool, frame: &[u8]) -> Result<()> {
        world::array::<u32>(&mut self.kernel.ebpf, "FLOW_MASK").set(0, flows.max(1) - 1, 0)?;
        let programs = if is_v6 { ["empty", "only_prepare6", "steer6"] } else { ["empty", "only_prepare4", "steer4"] };
        let [empty, prepare, steer] = self.measure(programs, frame)?;
        print(name, flows.max(1), &empty, &prepare, &steer);
        Ok(())
    }

    /// In turns, so that whatever else the machine does hits all of them.
    fn measure<const N: usize>(&self, programs: [&str; N], frame: &[u8]) -> Result<[Times; N]> {
        let mut times = [const { Vec::new() }; N];
        for _ in 0..ROUNDS {
            for (program, times) in programs.iter().zip(&mut times) {
                times.push(self.round(program, frame)?);
            }
        }
        Ok(times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            Times(times)
        }))
    }

    fn round(&self, program: &str, frame: &[u8]) -> Result<f64> {
        let program: &Xdp = self.kernel.ebpf.program(program).context("no such program")?.try_into()?;
        // By the kernel's clock, which stops while others have the CPU; in whole nanoseconds.
        let options = TestRunOptions { data_in: Some(frame), repeat: REPEATS, ..TestRunOptions::new() };
        Ok(program.test_run(options)?.duration.as_nanos() as f64)
    }

    /// Flows of both families with these numbers, sent back out of the interface that they come in on.
    fn insert(&mut self, numbers: std::ops::Range<u32>) -> Result<()> {
        let ebpf = &mut self.kernel.ebpf;
        let hop = NextHop { ifindex: LO, device: 0, dst_mac: [2; 6], src_mac: [4; 6], mtu: 0 };
        world::array::<NextHop>(ebpf, map::NEXT_HOPS).set(0, hop, 0)?;
        let origin = Origin { state: OriginState::Up as u32, ..Origin::EMPTY };
        world::array::<Origin>(ebpf, map::ORIGINS).set(0, origin, 0)?;

        let flags = FlowFlags::TIMESTAMPS | FlowFlags::SACK;
        let splice = Splice { flags, seq_delta: 1, ack_delta: 2, tsval_delta: 3, tsecr_delta: 4, ..Splice::default() };
        let ports = ports_word(CLIENT_PORT, VIP_PORT);
        for number in numbers {
            let client = std::net::Ipv4Addr::from(0x0a00_0000 | number);
            let (src, dst) = (addr4(client), addr4(VIP.into()));
            let flow = Flow4 { splice, src: dst, dst: src, ports, ..Flow4::default() };
            let key = FlowKey4 { src, dst, ports, proto: PROTO_TCP };
            world::table::<FlowKey4, Flow4>(ebpf, map::FLOWS4).insert(key, flow, 0)?;
            if number != 0 {
                continue;
            }
            let dst = addr6("2001:db8::1".parse()?);
            let key = FlowKey6 { src: [dst[0], 0, 0, src], dst, ports, proto: PROTO_TCP };
            let flow = Flow6 { splice, src: key.dst, dst: key.src, ports, ..Flow6::default() };
            world::table::<FlowKey6, Flow6>(ebpf, map::FLOWS6).insert(key, flow, 0)?;
        }
        Ok(())
    }
}

fn print(case: &str, flows: u32, empty: &Times, prepare: &Times, steer: &Times) {
    let min_ns = steer.min() - (prepare.min() - empty.min());
    let median_ns = steer.median() - (prepare.median() - empty.median());
    println!(
        r#"{{"case": "{case}", "flows": {flows}, "min_ns": {min_ns:.1}, "median_ns": {median_ns:.1}, "empty_ns": {:.1}, "above_empty_ns": {:.1}}}"#,
        empty.median(),
        median_ns - empty.median(),
    );
}
