//! UDP flows that user space puts in for a session that it keeps itself, over a client, a balancer and an origin in
//! network namespaces: rewritten by the kernel in both families, counted, ended, and gone after a restart. The balancer
//! has no UDP socket, so that what arrives came through the kernel. Needs root.

mod scene;

use balancer::config::IdleTimes;
use balancer::flow::{Counter, FlowId, FlowState, Path, Protocol};
use balancer::live::ResetOrder;
use balancer::live::adopt::Known;
use balancer::offload::Datagrams;
use balancer::slowpath::PortPool;
use balancer_common::abi::{FlowFlags, FlowKey, OriginState, Reason};
use balancer_lab::net::Netns;
use balancer_lab::wait::wait_until;
use scene::{GENERATION, ORIGIN, Process, SOON, STREAM, Scene, V4, V6, record};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// Ours: no socket has them.
const VIP_PORT: u16 = 30_000;
const SOURCE_PORT: u16 = 20_000;

/// A session's datagrams and the sockets at their ends.
struct Session {
    id: FlowId,
    reset: Arc<ResetOrder>,
    datagrams: Datagrams,
    client: UdpSocket,
    origin: UdpSocket,
}

impl Session {
    /// The control connections have shown the way to both ends, and one channel is in the kernel.
    fn new(scene: &Scene, process: &Process, addresses: [&str; 4]) -> Self {
        let bind = |netns: &Netns, ip: &str| {
            let ip: IpAddr = ip.parse().unwrap();
            let socket = netns.run(|| UdpSocket::bind((ip, 0)).unwrap()).unwrap();
            socket.set_read_timeout(Some(SOON)).unwrap();
            socket
        };
        let control = scene.legs(process, addresses, b"DESCRIBE");
        let [client, vip, source, origin] = addresses;
        let (client, origin) = (bind(&scene.client, client), bind(&scene.origin, origin));
        let datagrams = Datagrams {
            client: client.local_addr().unwrap(),
            vip: SocketAddr::new(vip.parse().unwrap(), VIP_PORT),
            source: SocketAddr::new(source.parse().unwrap(), SOURCE_PORT),
            origin_address: origin.local_addr().unwrap(),
            flags: Protocol::Rtsp.number() << FlowFlags::SERVICE_SHIFT,
            origin: ORIGIN,
            origin_generation: GENERATION,
            stream: STREAM,
            tags: (0, 0),
            client_track: control.at_client.read(),
            origin_track: control.at_origin.read(),
        };
        let reset = Arc::new(ResetOrder::default());
        let id = process.live.open(record(Protocol::Rtsp, addresses_of(&datagrams)), reset.clone());
        process.live.carry(id, &datagrams).unwrap();
        Self { id, reset, datagrams, client, origin }
    }

    /// Sends datagrams of these lengths each way and checks what arrives, and from whom.
    fn exchange(&self, lengths: &[usize]) {
        let ways = [
            (&self.client, self.datagrams.vip, &self.origin, self.datagrams.source),
            (&self.origin, self.datagrams.source, &self.client, self.datagrams.vip),
        ];
        for (sender, to, receiver, seen_from) in ways {
            for (i, len) in lengths.iter().enumerate() {
                let payload: Vec<u8> = (0..*len).map(|at| (at + i) as u8).collect();
                assert_eq!(sender.send_to(&payload, to).unwrap(), *len);
                let mut buffer = [0; 2000];
                let (got, from) = receiver.recv_from(&mut buffer).unwrap();
                assert_eq!((&buffer[..got], from), (&payload[..], seen_from));
            }
        }
    }

    fn keys(&self) -> [FlowKey; 2] {
        let d = &self.datagrams;
        [FlowKey::udp(d.client, d.vip).unwrap(), FlowKey::udp(d.origin_address, d.source).unwrap()]
    }
}

fn addresses_of(d: &Datagrams) -> [SocketAddr; 4] {
    [d.client, d.vip, d.source, d.origin_address]
}

#[test]
fn datagrams_go_through_the_kernel_and_are_counted_for_their_session() {
    let Some(scene) = Scene::new() else { return };
    let Some(process) = scene.start() else { return };
    for family in [V4, V6] {
        let session = Session::new(&scene, &process, family);
        let lengths = [100, 1, 1400, 0];
        session.exchange(&lengths);

        process.live.scan(IdleTimes::all(SOON * 100));
        let flows = process.live.flows();
        let [flow] = &flows[..] else { panic!("{} flows", flows.len()) };
        let expected = Counter { packets: lengths.len() as u64, bytes: lengths.iter().sum::<usize>() as u64 };
        assert_eq!((flow.to_origin, flow.to_client), (expected, expected));
        assert_eq!((flow.path, flow.state), (Path::Kernel, FlowState::Spliced));
        assert_eq!(process.live.in_user_space(), 1, "its session ends with the process");

        process.live.close(session.id);
        assert!(session.keys().iter().all(|key| process.offload.flow(*key).is_none()));
        assert!(process.live.is_empty());
    }
}

#[test]
fn the_task_that_keeps_the_session_is_told_when_it_is_to_end() {
    let Some(scene) = Scene::new() else { return };
    let Some(process) = scene.start() else { return };
    let session = |family| {
        let session = Session::new(&scene, &process, family);
        session.exchange(&[10]);
        process.live.scan(IdleTimes::all(SOON * 100));
        assert!(!session.reset.is_given());
        session
    };

    let silent = session(V4);
    process.live.scan(IdleTimes::all(Duration::ZERO));
    assert!(silent.reset.is_given(), "idle");
    assert_eq!(process.live.len(), 1, "the task owns the flow");
    process.live.close(silent.id);

    let ended = session(V4);
    assert_eq!(process.live.reset_stream(&record(Protocol::Rtsp, addresses_of(&ended.datagrams)).stream), 1);
    assert!(ended.reset.is_given(), "an operator's word");
    process.live.close(ended.id);

    let orphan = session(V6);
    process.set_origin(OriginState::Down);
    process.live.origin_died(ORIGIN, GENERATION);
    assert!(orphan.reset.is_given(), "the origin is gone");
    let dropped = process.packets(Reason::OriginDownNoAck);
    orphan.origin.send_to(b"late", orphan.datagrams.source).unwrap();
    wait_until("the drop is counted", SOON, || process.packets(Reason::OriginDownNoAck) > dropped).unwrap();
    process.live.close(orphan.id);
}

#[test]
fn channels_of_a_session_that_died_with_its_process_are_dropped() {
    let Some(scene) = Scene::new() else { return };
    let Some(process) = scene.start() else { return };
    let session = Session::new(&scene, &process, V4);
    session.exchange(&[10]);
    // As if killed: nothing is taken out of the kernel.
    drop(process);
    session.exchange(&[10]);

    let Some(process) = scene.start() else { return };
    let stream = record(Protocol::Rtsp, addresses_of(&session.datagrams)).stream;
    let known = Known { origins: [(ORIGIN, "camera".into())].into(), streams: [(STREAM, stream)].into() };
    let ports = PortPool::new(SOURCE_PORT..=SOURCE_PORT);
    assert_eq!(process.live.adopt(&known, &ports), (0, 1));
    assert!(session.keys().iter().all(|key| process.offload.flow(*key).is_none()));
    let (own, origin) = (session.datagrams.source.ip(), session.datagrams.origin_address);
    assert!(ports.take(own, origin, std::time::Instant::now()).is_none(), "the port rests");
}
