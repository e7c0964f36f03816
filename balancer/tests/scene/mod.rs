//! A client, a balancer and an origin in network namespaces of their own, and the control plane's parts that keep flows
//! in the kernel: no listener, no protocol. A test joins the legs itself.

use balancer::config::{Policy, XdpMode};
use balancer::counters::Counters;
use balancer::flow::{Counter, FlowRecord, FlowState, Path, Protocol, Role};
use balancer::live::Live;
use balancer::offload::{Offload, TrackHandle, unload};
use balancer::registry::Admission;
use balancer::store::{Clock, Store, StoreSettings};
use balancer_common::abi::{FlowKey, Origin, OriginState, Reason};
use balancer_lab::cleanup::{BPFFS, unique_name};
use balancer_lab::net::{Netns, link};
use balancer_lab::pass_all::PassAll;
use balancer_lab::requirements::{Need, met};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A limit for everything that is waited for.
pub const SOON: Duration = Duration::from_secs(60);
pub const ORIGIN: u16 = 7;
pub const GENERATION: u16 = 3;
pub const STREAM: u32 = 5;

/// Client, balancer towards the client, balancer towards the origin, origin.
pub const V4: [&str; 4] = ["198.51.100.2", "198.51.100.1", "192.0.2.1", "192.0.2.2"];
pub const V6: [&str; 4] = ["2001:db8:1::2", "2001:db8:1::1", "2001:db8:2::1", "2001:db8:2::2"];

const ORIGIN_NETWORKS: [&str; 2] = ["192.0.2.0/24", "2001:db8:2::/64"];

pub struct Scene {
    pub client: Netns,
    pub host: Netns,
    pub origin: Netns,
    pins: PathBuf,
    /// What the fast path sends back where it came from has to arrive too.
    _pass_all: [PassAll; 2],
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = unload(&self.pins);
    }
}

/// A control plane that runs on the host.
pub struct Process {
    pub offload: Arc<Offload>,
    pub live: Arc<Live>,
    #[allow(dead_code, reason = "not every test that includes this places a stream")]
    pub store: Arc<Store>,
    #[allow(dead_code, reason = "as above")]
    pub clock: Clock,
}

/// Both connections of a client, and what the fast path records of them.
#[allow(dead_code, reason = "not every test that includes this joins the legs")]
pub struct Legs {
    pub client: TcpStream,
    pub accepted: TcpStream,
    pub at_client: TrackHandle,
    pub connected: TcpStream,
    pub origin: TcpStream,
    pub at_origin: TrackHandle,
}

impl Scene {
    /// `None` where the machine cannot do it.
    pub fn new() -> Option<Self> {
        Self::with(|client, host| link((client, "c0"), (host, "front"), 1500).unwrap())
    }

    /// The same; `connect` makes the client's `c0` reach the host's `front`.
    pub fn with(connect: impl FnOnce(&Netns, &Netns)) -> Option<Self> {
        if !met(&[Need::Network]) {
            return None;
        }
        let name = unique_name();
        let netns = |role: &str| Netns::create(format!("{name}-{role}")).unwrap();
        let (client, host, origin) = (netns("client"), netns("host"), netns("origin"));
        // The host's end second: a veth takes redirected frames only if its far end had GRO when it came up.
        connect(&client, &host);
        link((&origin, "o0"), (&host, "back"), 1500).unwrap();
        for (at, (netns, device)) in
            [(&client, "c0"), (&host, "front"), (&host, "back"), (&origin, "o0")].into_iter().enumerate()
        {
            let (v4, v6) = (V4[at], V6[at]);
            netns.ip(&format!("addr add {v4}/24 dev {device}\naddr add {v6}/64 dev {device} nodad\n")).unwrap();
        }
        let pass_all = [(&client, "c0"), (&origin, "o0")].map(|(netns, dev)| PassAll::attach(netns, dev).unwrap());
        Some(Self { client, host, origin, pins: PathBuf::from(BPFFS).join(&name), _pass_all: pass_all })
    }

    /// `None` where the kernel takes no program, and that is no failure.
    pub fn start(&self) -> Option<Process> {
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
            sharing: Default::default(),
            origin_ttl: SOON,
            default_origin: None,
            admission: Admission { networks: ORIGIN_NETWORKS.map(|n| n.parse().unwrap()).to_vec(), own: vec![] },
        };
        let store = Arc::new(Store::new(settings, Arc::new(Counters::default())).unwrap());
        let clock = Clock::start();
        let live = Live::new(store.clone(), Some(offload.clone()), clock);
        let process = Process { offload, live, store, clock };
        process.set_origin(OriginState::Up);
        Some(process)
    }

    /// The host's kernel forgets everything that this process has made of it.
    #[allow(dead_code, reason = "not every test that includes this loses its host")]
    pub fn lose(&self, process: Process) {
        drop(process);
        unload(&self.pins).unwrap();
    }

    /// The client says `request`, of which our socket has everything; to the origin there is a connection, no more.
    pub fn legs(&self, process: &Process, [_, vip, source, origin]: [&str; 4], request: &[u8]) -> Legs {
        let listen = |netns: &Netns, ip: &str| {
            let ip: IpAddr = ip.parse().unwrap();
            netns.run(|| TcpListener::bind((ip, 0)).unwrap()).unwrap()
        };
        let track = |peer, own| process.offload.track(FlowKey::tcp(peer, own).unwrap()).unwrap();

        let listener = listen(&self.host, vip);
        let address = listener.local_addr().unwrap();
        let mut client = self.client.run(|| TcpStream::connect(address).unwrap()).unwrap();
        let (mut accepted, peer) = listener.accept().unwrap();
        let at_client = track(peer, address);
        client.write_all(request).unwrap();
        accepted.read_exact(&mut vec![0; request.len()]).unwrap();

        let listener = listen(&self.origin, origin);
        let address = listener.local_addr().unwrap();
        let stream = || socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None);
        let socket = self.host.run(stream).unwrap().unwrap();
        socket.bind(&SocketAddr::new(source.parse().unwrap(), 0).into()).unwrap();
        let at_origin = track(address, socket.local_addr().unwrap().as_socket().unwrap());
        socket.connect_timeout(&address.into(), SOON).unwrap();
        let (origin, _) = listener.accept().unwrap();
        for end in [&client, &origin] {
            end.set_read_timeout(Some(SOON)).unwrap();
            end.set_write_timeout(Some(SOON)).unwrap();
        }
        Legs { client, accepted, at_client, connected: socket.into(), origin, at_origin }
    }
}

impl Process {
    pub fn set_origin(&self, state: OriginState) {
        let origin = Origin { state: state as u32, generation: GENERATION.into(), ..Origin::EMPTY };
        self.offload.set_origin(ORIGIN, &origin);
    }

    pub fn packets(&self, reason: Reason) -> u64 {
        self.offload.reasons()[&reason].packets
    }
}

/// A flow between these four.
pub fn record(protocol: Protocol, [client, vip, source, origin_address]: [SocketAddr; 4]) -> FlowRecord {
    FlowRecord {
        client,
        announced: None,
        vip,
        origin: ORIGIN,
        origin_generation: GENERATION,
        origin_id: "camera".into(),
        origin_address,
        source,
        protocol,
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
