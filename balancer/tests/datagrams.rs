//! UDP flows that user space puts in for a session that it keeps itself, over a client, a balancer and an origin in
//! network namespaces: rewritten by the kernel in both families, counted, ended, and gone after a restart. The balancer
//! has no UDP socket, so that what arrives came through the kernel. Needs root.

use balancer::config::{Policy, XdpMode};
use balancer::counters::Counters;
use balancer::flow::{Counter, FlowId, FlowRecord, FlowState, Path, Protocol, Role};
use balancer::live::adopt::Known;
use balancer::live::{Live, ResetOrder};
use balancer::offload::{Datagrams, Offload, unload};
use balancer::registry::Admission;
use balancer::slowpath::PortPool;
use balancer::store::{Clock, Store, StoreSettings};
use balancer_common::abi::{FlowFlags, FlowKey, Origin, OriginState, Reason, Track};
use balancer_lab::cleanup::{BPFFS, unique_name};
use balancer_lab::net::{Netns, link};
use balancer_lab::requirements::{Need, met};
use balancer_lab::wait::wait_until;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);
const ORIGIN: u16 = 7;
const GENERATION: u16 = 3;
const STREAM: u32 = 5;
/// Ours: no socket has them.
const VIP_PORT: u16 = 30_000;
const SOURCE_PORT: u16 = 20_000;

/// Client, balancer towards the client, balancer towards the origin, origin.
const V4: [&str; 4] = ["198.51.100.2", "198.51.100.1", "192.0.2.1", "192.0.2.2"];
const V6: [&str; 4] = ["2001:db8:1::2", "2001:db8:1::1", "2001:db8:2::1", "2001:db8:2::2"];

struct Scene {
    client: Netns,
    host: Netns,
    origin: Netns,
    pins: PathBuf,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = unload(&self.pins);
    }
}

/// A process that runs on the host, and the one session that it keeps.
struct Process {
    offload: Arc<Offload>,
    live: Arc<Live>,
}

/// A session's datagrams and the sockets at their ends.
struct Session {
    id: FlowId,
    reset: Arc<ResetOrder>,
    datagrams: Datagrams,
    client: UdpSocket,
    origin: UdpSocket,
}

impl Scene {
    fn new() -> Option<Self> {
        if !met(&[Need::Network]) {
            return None;
        }
        let name = unique_name();
        let netns = |role: &str| Netns::create(format!("{name}-{role}")).unwrap();
        let scene = Self {
            client: netns("client"),
            host: netns("host"),
            origin: netns("origin"),
            pins: PathBuf::from(BPFFS).join(&name),
        };
        // The host's end second: a veth takes redirected frames only if its far end had GRO when it came up.
        link((&scene.client, "c0"), (&scene.host, "front"), 1500).unwrap();
        link((&scene.origin, "o0"), (&scene.host, "back"), 1500).unwrap();
        let addresses = |netns: &Netns, device: &str, at: usize| {
            netns.ip(&format!("addr add {}/24 dev {device}\naddr add {}/64 dev {device} nodad\n", V4[at], V6[at]))
        };
        addresses(&scene.client, "c0", 0).unwrap();
        addresses(&scene.host, "front", 1).unwrap();
        addresses(&scene.host, "back", 2).unwrap();
        addresses(&scene.origin, "o0", 3).unwrap();
        Some(scene)
    }

    /// `None` where the kernel takes no program, and that is no failure.
    fn start(&self) -> Option<Process> {
        let interfaces = ["front".to_owned(), "back".to_owned()];
        let loaded = self.host.run(|| Offload::load(&self.pins, &interfaces, XdpMode::Auto)).unwrap();
        let offload = match loaded {
            Ok(offload) => Arc::new(offload),
            Err(why) => {
                assert!(std::env::var_os("CI").is_none(), "the kernel rung must run in CI: {why:?}");
                println!("skipped: {why:?}");
                return None;
            }
        };
        let settings = StoreSettings {
            policy: Policy::LeastLoad,
            origin_ttl: SOON,
            default_origin: None,
            admission: Admission::default(),
        };
        let store = Arc::new(Store::new(settings, Arc::new(Counters::default())).unwrap());
        let live = Live::new(store, Some(offload.clone()), Clock::start());
        let process = Process { offload, live };
        process.set_origin(OriginState::Up);
        Some(process)
    }

    /// A session whose control connections have shown the way to both ends.
    fn session(&self, process: &Process, [client, vip, source, origin]: [&str; 4]) -> Session {
        let bind = |netns: &Netns, ip: &str| {
            let ip: IpAddr = ip.parse().unwrap();
            let socket = netns.run(|| UdpSocket::bind((ip, 0)).unwrap()).unwrap();
            socket.set_read_timeout(Some(SOON)).unwrap();
            socket
        };
        let (client_track, origin_track) = self.control_tracks(process, vip, source, origin);
        let (client, origin) = (bind(&self.client, client), bind(&self.origin, origin));
        let datagrams = Datagrams {
            client: client.local_addr().unwrap(),
            vip: SocketAddr::new(vip.parse().unwrap(), VIP_PORT),
            source: SocketAddr::new(source.parse().unwrap(), SOURCE_PORT),
            origin_address: origin.local_addr().unwrap(),
            flags: Protocol::Rtsp.number() << FlowFlags::SERVICE_SHIFT,
            origin: ORIGIN,
            origin_generation: GENERATION,
            stream: STREAM,
            client_track,
            origin_track,
        };
        let reset = Arc::new(ResetOrder::default());
        let id = process.live.open(record(&datagrams), reset.clone());
        process.live.carry(id, &datagrams).unwrap();
        Session { id, reset, datagrams, client, origin }
    }

    fn control_tracks(&self, process: &Process, vip: &str, source: &str, origin: &str) -> (Track, Track) {
        let listen = |netns: &Netns, ip: &str| {
            let ip: IpAddr = ip.parse().unwrap();
            netns.run(|| TcpListener::bind((ip, 0)).unwrap()).unwrap()
        };
        let track = |peer, own| process.offload.track(FlowKey::tcp(peer, own).unwrap()).unwrap();

        let listener = listen(&self.host, vip);
        let address = listener.local_addr().unwrap();
        let mut from_client = self.client.run(|| TcpStream::connect(address).unwrap()).unwrap();
        let (mut accepted, peer) = listener.accept().unwrap();
        let at_client = track(peer, address);
        from_client.write_all(b"D").unwrap();
        accepted.read_exact(&mut [0]).unwrap();

        let listener = listen(&self.origin, origin);
        let address = listener.local_addr().unwrap();
        let socket = self.host.run(|| {
            let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None);
            socket.unwrap()
        });
        let socket = socket.unwrap();
        socket.bind(&SocketAddr::new(source.parse().unwrap(), 0).into()).unwrap();
        let at_origin = track(address, socket.local_addr().unwrap().as_socket().unwrap());
        socket.connect_timeout(&address.into(), SOON).unwrap();
        (at_client.read(), at_origin.read())
    }
}

impl Process {
    fn set_origin(&self, state: OriginState) {
        let origin = Origin { state: state as u32, generation: GENERATION.into(), ..Origin::EMPTY };
        self.offload.set_origin(ORIGIN, &origin);
    }

    fn packets(&self, reason: Reason) -> u64 {
        self.offload.reasons()[&reason].packets
    }
}

impl Session {
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

fn record(datagrams: &Datagrams) -> FlowRecord {
    FlowRecord {
        client: datagrams.client,
        vip: datagrams.vip,
        origin: ORIGIN,
        origin_generation: GENERATION,
        origin_id: "camera".into(),
        origin_address: datagrams.origin_address,
        source: datagrams.source,
        protocol: Protocol::Rtsp,
        role: Role::Play,
        stream: Arc::new("__defaultVhost__/live/camera".parse().unwrap()),
        stream_index: STREAM,
        path: Path::Relay,
        state: FlowState::Relaying,
        to_origin: Counter::default(),
        to_client: Counter::default(),
        made_at: Duration::ZERO,
        active_at: Duration::ZERO,
    }
}

#[test]
fn datagrams_go_through_the_kernel_and_are_counted_for_their_session() {
    let Some(scene) = Scene::new() else { return };
    let Some(process) = scene.start() else { return };
    for family in [V4, V6] {
        let session = scene.session(&process, family);
        let lengths = [100, 1, 1400, 0];
        session.exchange(&lengths);

        process.live.scan(SOON * 100);
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
        let session = scene.session(&process, family);
        session.exchange(&[10]);
        process.live.scan(SOON * 100);
        assert!(!session.reset.is_given());
        session
    };

    let silent = session(V4);
    process.live.scan(Duration::ZERO);
    assert!(silent.reset.is_given(), "idle");
    assert_eq!(process.live.len(), 1, "the task owns the flow");
    process.live.close(silent.id);

    let ended = session(V4);
    assert_eq!(process.live.reset_stream(&record(&ended.datagrams).stream), 1);
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
    let session = scene.session(&process, V4);
    session.exchange(&[10]);
    // As if killed: nothing is taken out of the kernel.
    drop(process);
    session.exchange(&[10]);

    let Some(process) = scene.start() else { return };
    let stream = record(&session.datagrams).stream;
    let known = Known { origins: [(ORIGIN, "camera".into())].into(), streams: [(STREAM, stream)].into() };
    let ports = PortPool::new(SOURCE_PORT..=SOURCE_PORT);
    assert_eq!(process.live.adopt(&known, &ports), (0, 1));
    assert!(session.keys().iter().all(|key| process.offload.flow(*key).is_none()));
    let (own, origin) = (session.datagrams.source.ip(), session.datagrams.origin_address);
    assert!(ports.take(own, origin, std::time::Instant::now()).is_none(), "the port rests");
}
