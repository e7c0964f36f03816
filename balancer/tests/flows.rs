//! A flow that one balancer has spliced is carried on by another one that has nothing of it but a record: other maps,
//! another table, the same packets. Over a client, a balancer and an origin in network namespaces. Needs root.

mod flow_table;
#[allow(dead_code, reason = "one interface is as good as another here")]
mod scene;

use balancer::cluster::flows::{Flows, Parts, Peer, Taken};
use balancer::counters::Counters;
use balancer::flow::splice::{Leg, Plan};
use balancer::flow::{Protocol, Role};
use balancer::live::Live;
use balancer::offload::{NewHalf, TrackHandle};
use balancer::recognize::StreamKey;
use balancer::registry::{Admission, Endpoints, Lease, Name, OriginSpec};
use balancer::slowpath::PortPool;
use balancer::sources::Sources;
use balancer::store::{Clock, Store, StoreSettings};
use balancer_common::abi::{FlowFlags, FlowKey, Origin, OriginState, Reason, ServiceKind, Splice, Track};
use flow_table::Table;
use scene::{Legs, Process, SOON, Scene, V4, V6, record};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const TRIGGER: &[u8] = b"what the client says first";
const EPOCH: u64 = 5;

/// A balancer that knows the origin, on the host of the scene.
struct Lb {
    process: Process,
    live: Arc<Live>,
    store: Arc<Store>,
    flows: Arc<Flows>,
    counters: Arc<Counters>,
}

impl Lb {
    fn new(
        runtime: &Runtime,
        process: Process,
        shelf: &Arc<Table>,
        id: &str,
        [_, vip, source, origin]: [SocketAddr; 4],
    ) -> Self {
        let counters = Arc::new(Counters::default());
        let networks = ["192.0.2.0/24", "2001:db8:2::/64"].map(|n| n.parse().unwrap()).to_vec();
        let settings = StoreSettings {
            policy: balancer::config::Policy::LeastLoad,
            sharing: Default::default(),
            origin_ttl: SOON,
            default_origin: None,
            admission: Admission { networks, own: vec![] },
        };
        let store = Arc::new(Store::new(settings, counters.clone()).unwrap());
        let mut endpoints = Endpoints::default();
        endpoints.add(ServiceKind::Rtmp, origin).unwrap();
        let spec = OriginSpec { endpoints: Some(endpoints), lease: Some(Lease::Never), ..OriginSpec::default() };
        runtime.block_on(store.put_origin(&Name::parse("camera").unwrap(), &spec, Duration::ZERO)).unwrap();
        store.set_epoch("camera", EPOCH);
        let (index, generation) = store.current_origin("camera", EPOCH).unwrap();
        let up = Origin { state: OriginState::Up as u32, generation: generation.into(), ..Origin::EMPTY };
        process.offload.set_origin(index, &up);
        let clock = Clock::start();
        let live = Live::new(store.clone(), Some(process.offload.clone()), clock);
        let flows = Flows::new(Parts {
            own: id.into(),
            shelf: shelf.clone(),
            host: process.offload.clone(),
            live: live.clone(),
            store: store.clone(),
            ports: PortPool::new(20_000..=20_999),
            counters: counters.clone(),
            sources: Sources::new(&[source.ip()]),
            source_ports: 20_000..=20_999,
            clock,
            served: vec![(ServiceKind::Rtmp, vip)],
        });
        Self { process, live, store, flows, counters }
    }

    fn splice_of(&self, key: FlowKey) -> Splice {
        self.process.offload.flow(key).expect("a half-flow").splice
    }
}

/// The two ends, when the balancer's own sockets are gone.
struct Ends {
    client: TcpStream,
    origin: TcpStream,
}

fn addresses(legs: &Legs) -> [SocketAddr; 4] {
    [
        legs.client.local_addr().unwrap(),
        legs.accepted.local_addr().unwrap(),
        legs.connected.local_addr().unwrap(),
        legs.origin.local_addr().unwrap(),
    ]
}

/// Joins both legs in the kernel of `lb`, as the slow path does.
fn join(lb: &Lb, legs: Legs) -> (Ends, [FlowKey; 2]) {
    let [client, vip, source, origin] = addresses(&legs);
    let keys = [FlowKey::tcp(client, vip).unwrap(), FlowKey::tcp(origin, source).unwrap()];
    let placed_on = lb.store.current_origin("camera", EPOCH).unwrap();
    let mut flow = record(Protocol::Rtmp, [client, vip, source, origin]);
    let key: Arc<StreamKey> = flow.stream.clone();
    let stream = lb.store.carry_stream(&key, placed_on, true, Duration::ZERO).unwrap();
    (flow.origin, flow.origin_generation, flow.stream_index, flow.role) =
        (placed_on.0, placed_on.1, stream, Role::Play);
    let plan = Plan::new(&leg(&legs.at_client), &leg(&legs.at_origin), TRIGGER.len() as u32);
    let half = |at: usize, translation, way_out: &TrackHandle| NewHalf {
        ingress: keys[at],
        egress: keys[1 - at].reversed(),
        translation,
        flags: Protocol::Rtmp.number() << FlowFlags::SERVICE_SHIFT,
        origin: placed_on.0,
        origin_generation: placed_on.1,
        stream,
        way_out: way_out.read(),
    };
    let halves = [half(0, plan.to_origin, &legs.at_origin), half(1, plan.to_client, &legs.at_client)];
    let id = lb.live.open(flow, Arc::default());
    lb.process.offload.splice(&halves[0], &halves[1], true).unwrap();
    lb.live.update(id, |record| record.path = balancer::flow::Path::Kernel);
    lb.live.spliced(id, keys[0], keys[1]);
    let Legs { client, accepted, at_client, mut connected, mut origin, at_origin } = legs;
    connected.write_all(TRIGGER).unwrap();
    let mut trigger = vec![0; TRIGGER.len()];
    origin.read_exact(&mut trigger).unwrap();
    forget([accepted, connected]);
    drop((at_client, at_origin));
    lb.live.left(id, Some(keys[0]), None);
    (Ends { client, origin }, keys)
}

/// Nothing was sent yet but what the track shows.
fn leg(track: &TrackHandle) -> Leg {
    let Track { max_end, max_ack, .. } = track.read();
    Leg {
        write_seq: max_ack,
        copied_seq: max_end,
        peer_scale: 0,
        own_scale: 0,
        timestamps: false,
        sack: false,
        own_timestamp: 0,
        peer_timestamp: 0,
    }
}

fn forget(sockets: [TcpStream; 2]) {
    for socket in sockets {
        let on: libc::c_int = 1;
        // SAFETY: a valid descriptor and an integer of the size that is said.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_REPAIR,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            )
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }
}

impl Ends {
    /// So many bytes each way, compared.
    fn talk(&mut self, bytes: usize, seed: u8) {
        for (from, to) in [(&self.client, &self.origin), (&self.origin, &self.client)] {
            let said: Vec<u8> = (0..bytes).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)).collect();
            let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let expected = said.clone();
            let sender = std::thread::spawn(move || from.write_all(&said).unwrap());
            let mut heard = vec![0; bytes];
            to.read_exact(&mut heard).unwrap();
            sender.join().unwrap();
            assert!(heard == expected, "other bytes than were sent");
        }
    }
}

#[test]
fn a_flow_goes_on_through_another_balancer() {
    for family in [V4, V6] {
        let Some(scene) = Scene::new() else { return };
        // One kernel's connections agree in their window scales, so that these two options are all that differs.
        for option in ["net.ipv4.tcp_timestamps", "net.ipv4.tcp_sack"] {
            scene.host.sysctl(option, "0").unwrap();
        }
        let Some(process) = scene.start() else { return };
        let runtime = scene.host.run(|| Runtime::new().unwrap()).unwrap();
        let shelf = Arc::new(Table::default());
        let legs = scene.legs(&process, family, TRIGGER);
        let all = addresses(&legs);
        let first = Lb::new(&runtime, process, &shelf, "first", all);
        let (mut ends, keys) = join(&first, legs);
        ends.talk(1 << 20, 1);
        runtime.block_on(first.flows.write_now()).unwrap();
        assert_eq!(shelf.count("first"), 1);
        let before = keys.map(|key| first.splice_of(key));

        // Its process, its program and its maps are gone; nobody has said anything meanwhile.
        drop((first.live, first.flows, first.store));
        scene.lose(first.process);
        let second = Lb::new(&runtime, scene.start().expect("it could be started before"), &shelf, "second", all);
        let dead = Peer { id: "first".into(), is_alive: false, sources: vec![], source_ports: 21_000..=21_999 };
        let taken = scene.host.run(|| {
            // Ways are looked for on a thread that has to be in the host's namespace.
            let runtime = Runtime::new().unwrap();
            runtime.block_on(async {
                second.flows.set_peers(&[dead]).await;
                second.flows.take(&"first".into()).await
            })
        });
        assert_eq!(taken.unwrap().unwrap(), Taken::default(), "all was taken when its owner was known to be dead");
        assert_eq!(second.counters.get(Reason::FlowTaken), 1);
        assert_eq!((shelf.count("first"), shelf.count("second")), (0, 1));
        let after = keys.map(|key| second.splice_of(key));
        for (before, after) in before.iter().zip(&after) {
            // Its number in NEXT_HOPS, its origin's and its stream's are the new kernel's own.
            let same = Splice { next_hop: after.next_hop, stream: after.stream, origin: after.origin, ..*before };
            assert_eq!(Splice { origin_generation: after.origin_generation, ..same }, *after);
        }
        ends.talk(1 << 20, 2);

        // An end that the new owner sees is written.
        drop(ends);
        let since = Instant::now();
        while shelf.count("second") > 0 {
            assert!(since.elapsed() < SOON, "the record outlives its flow");
            let idle = balancer::config::IdleTimes::all(Duration::from_secs(600));
            scene.host.run(|| second.live.scan(idle)).unwrap();
            runtime.block_on(second.flows.write_now()).unwrap();
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
