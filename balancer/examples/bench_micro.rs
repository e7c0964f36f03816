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
        Arrival, Flow4, Flow6, FlowFlags, FlowKey4, FlowKey6, IceKey, IceSession, NextHop, Origin, OriginState,
        PROTO_TCP, PROTO_UDP, PortKey, Service, ServiceKey, ServiceKind, Splice, addr4, addr6, map, ports_word,
    },
    packet::header::tcp,
    testing::{
        build::{
            TcpOption::{self, Nop, Sack, Timestamps},
            TcpPacket, udp_frame,
        },
        cases::{self, LO, Stage},
    },
};
use kernel::{Kernel, world};

const ROUNDS: usize = 21;
/// Repetitions of one round: some 10 ms.
const REPEATS: u32 = 200_000;
const PROGRAMS: [&str; 7] =
    ["empty", "only_prepare4", "only_prepare6", "only_prepare_request", "request", "steer4", "steer6"];
/// Sessions, each of which one request makes a flow of. As many as `ICE` holds.
const SESSIONS: u32 = 1 << 16;
const REQUEST_ROUNDS: usize = 7;

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
    let mut bench = Bench { kernel, proto: PROTO_TCP };
    bench.run()?;
    bench.forget()?;
    bench.run_udp()?;
    bench.forget()?;
    bench.run_requests()
}

struct Bench {
    kernel: Kernel,
    /// Of the flows that are made.
    proto: u32,
}

/// Sorted nanoseconds a packet.
struct Times(Vec<f64>);

impl Times {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self(times)
    }

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

    /// Datagrams of flows, and requests that make them, in a kernel without other flows.
    fn run_udp(&mut self) -> Result<()> {
        let [v4, v6] = [0, 3].map(|i| Stage::all().swap_remove(i));
        let datagram = |stage: &Stage, payload: &[u8]| {
            udp_frame(&stage.lower(stage.client(), stage.vip()), CLIENT_PORT, VIP_PORT, payload, true)
        };
        self.proto = PROTO_UDP;
        let mut made = 0;
        for flows in [1, 1 << 16, 1 << 20] {
            self.insert(made..flows)?;
            made = flows;
            self.case("datagram", flows, false, &datagram(&v4, &[0; 1200]))?;
            if flows == 1 {
                self.case("datagram, IPv6", flows, true, &datagram(&v6, &[0; 1200]))?;
            }
        }
        Ok(())
    }

    /// STUN requests, each of another client and for another session: every one makes both halves of a flow.
    fn run_requests(&mut self) -> Result<()> {
        let v4 = Stage::all().swap_remove(0);
        let name = [(0x0006, &b"aaaa:cl1e"[..]), (0x0024, &[0; 4]), (0x0008, &[0; 20])];
        let payload = cases::stun::message(1, &name);
        let frame = udp_frame(&v4.lower(v4.client(), v4.vip()), CLIENT_PORT, VIP_PORT, &payload, false);
        self.insert(0..0)?;
        self.open_sessions()?;
        let [mut empty, mut prepare, mut request] = [const { Vec::new() }; 3];
        for _ in 0..REQUEST_ROUNDS {
            self.grant()?;
            empty.push(self.repeat("empty", &frame, SESSIONS)?);
            prepare.push(self.repeat("only_prepare_request", &frame, SESSIONS)?);
            request.push(self.repeat("request", &frame, SESSIONS)?);
            let made = self.forget()?;
            anyhow::ensure!(made == 2 * SESSIONS as usize, "{made} half-flows were made");
        }
        let [empty, prepare, request] = [empty, prepare, request].map(Times::of);
        print("STUN request that makes a flow", SESSIONS, &empty, &prepare, &request);
        Ok(())
    }

    fn open_sessions(&mut self) -> Result<()> {
        let ebpf = &mut self.kernel.ebpf;
        let vip = ServiceKey { addr: [addr4(VIP.into()), 0, 0, 0], port: VIP_PORT.to_be().into(), proto: PROTO_UDP };
        let service = Service { kind: ServiceKind::WebRtc as u32, reserved: 0 };
        world::table::<ServiceKey, Service>(ebpf, map::SERVICES).insert(vip, service, 0)?;
        let arrival = Arrival { ifindex: LO, peer_mac: [4; 6], own_mac: [2; 6] };
        world::table::<Arrival, u32>(ebpf, map::NEIGHBOURS).insert(arrival, 0, 0)?;
        let word = |ip: [u8; 4]| [addr4(ip.into()), 0, 0, 0];
        for session in 0..SESSIONS {
            let origin_addr = word([172, 16, (session >> 8) as u8, session as u8]);
            let source = word([192, 0, 2, 1]);
            let expires_ns = u64::MAX;
            let value = IceSession {
                session,
                family: 4,
                origin_port: 8000,
                origin_addr,
                source,
                expires_ns,
                ..IceSession::default()
            };
            let ufrag = [0, 4, 8, 12].map(|shift| b'a' + (session >> shift & 15) as u8);
            world::table::<IceKey, IceSession>(ebpf, map::ICE).insert(cases::stun::ice_key(&ufrag), value, 0)?;
        }
        Ok(())
    }

    fn grant(&mut self) -> Result<()> {
        let mut ports = world::table::<PortKey, u32>(&mut self.kernel.ebpf, map::PORTS4);
        (0..SESSIONS).try_for_each(|session| Ok(ports.insert(PortKey { session, slot: 0 }, 10_000, 0)?))
    }

    /// Removes all flows; how many halves there were.
    fn forget(&mut self) -> Result<usize> {
        let mut flows = world::table::<FlowKey4, Flow4>(&mut self.kernel.ebpf, map::FLOWS4);
        let keys = flows.keys().collect::<Result<Vec<_>, _>>()?;
        keys.iter().try_for_each(|key| flows.remove(key))?;
        Ok(keys.len())
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
        Ok(times.map(Times::of))
    }

    fn round(&self, program: &str, frame: &[u8]) -> Result<f64> {
        self.repeat(program, frame, REPEATS)
    }

    fn repeat(&self, program: &str, frame: &[u8], repeat: u32) -> Result<f64> {
        let program: &Xdp = self.kernel.ebpf.program(program).context("no such program")?.try_into()?;
        // By the kernel's clock, which stops while others have the CPU; in whole nanoseconds.
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        Ok(program.test_run(options)?.duration.as_nanos() as f64)
    }

    /// Flows of both families with these numbers, sent back out of the interface that they come in on.
    fn insert(&mut self, numbers: std::ops::Range<u32>) -> Result<()> {
        let (ebpf, proto) = (&mut self.kernel.ebpf, self.proto);
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
            let key = FlowKey4 { src, dst, ports, proto };
            world::table::<FlowKey4, Flow4>(ebpf, map::FLOWS4).insert(key, flow, 0)?;
            if number != 0 {
                continue;
            }
            let dst = addr6("2001:db8::1".parse()?);
            let key = FlowKey6 { src: [dst[0], 0, 0, src], dst, ports, proto };
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
