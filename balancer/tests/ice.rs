//! Sessions of WebRTC with the real program: a STUN request that names one makes its flow in the kernel, over a client, a
//! balancer and an origin in network namespaces. The balancer has no UDP socket, so that what arrives came through the
//! kernel. Needs root.

#[allow(dead_code, reason = "no legs of TCP are joined here")]
mod scene;

use balancer::config::IdleTimes;
use balancer::counters::Counters;
use balancer::flow::{FlowState, Path, Protocol, Role};
use balancer::live::adopt::Known;
use balancer::offload::{EventSource, Ways};
use balancer::placement::{PlaceRequest, Placement};
use balancer::recognize::StreamKey;
use balancer::reconcile::Reconciler;
use balancer::registry::{Endpoints, Lease, Name, OriginSpec};
use balancer::rtc::{NewSession, Parts, Sessions};
use balancer::slowpath::PortPool;
use balancer::sources::Sources;
use balancer_common::abi::{EventKind, FlowKey, PORT_SLOTS, PortKey, Reason, ServiceKind};
use balancer_lab::net::Netns;
use balancer_lab::rtc::stun::forged;
use balancer_lab::wait::wait_until;
use scene::{Process, SOON, Scene, V4, V6};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

const RTC_PORT: u16 = 8000;
const SOURCE_PORTS: RangeInclusive<u16> = 20_000..=20_099;
const RESOURCE: &str = "/rtc/v1/whip/?action=delete&session=1";
/// For what must not come.
const NEVER: Duration = Duration::from_millis(300);
const PATIENT: IdleTimes = IdleTimes::all(Duration::from_secs(3600));

struct Rig<'a> {
    scene: &'a Scene,
    process: Process,
    sessions: Arc<Sessions>,
    counters: Arc<Counters>,
    ports: Arc<PortPool>,
    /// Where the origin wants the media.
    media: UdpSocket,
    vip: SocketAddr,
    client: IpAddr,
}

/// Netlink, routes and events are those of the host.
fn on_host<T: Send>(scene: &Scene, work: impl Future<Output = T> + Send) -> T {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    scene.host.run(run).unwrap()
}

fn bind(netns: &Netns, ip: &str) -> UdpSocket {
    let ip: IpAddr = ip.parse().unwrap();
    let socket = netns.run(|| UdpSocket::bind((ip, 0)).unwrap()).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

fn key() -> Arc<StreamKey> {
    Arc::new("__defaultVhost__/live/camera".parse().unwrap())
}

impl<'a> Rig<'a> {
    fn new(scene: &'a Scene, [client, vip, _, origin]: [&str; 4]) -> Option<Self> {
        let process = scene.start()?;
        let rig = Self::on(scene, process, bind(&scene.origin, origin), [client, vip]);
        on_host(scene, rig.register(&["origin1", "origin2"]));
        Some(rig)
    }

    fn on(scene: &'a Scene, process: Process, media: UdpSocket, [client, vip]: [&str; 2]) -> Self {
        let (counters, ports) = (Arc::new(Counters::default()), PortPool::new(SOURCE_PORTS));
        let sessions = Sessions::new(Parts {
            offload: Some(process.offload.clone()),
            ways: Arc::new(Ways::default()),
            store: process.store.clone(),
            live: process.live.clone(),
            ports: ports.clone(),
            sources: Sources::default(),
            counters: counters.clone(),
            clock: process.clock,
        });
        let vip = SocketAddr::new(vip.parse().unwrap(), RTC_PORT);
        process.offload.set_services(&[(vip, ServiceKind::WebRtc)]);
        Self { scene, process, sessions, counters, ports, media, vip, client: client.parse().unwrap() }
    }

    /// An origin, a stream on it, a session of that; and a neighbour of whom somebody was heard before.
    async fn register(&self, ufrags: &[&str]) {
        let media = self.media.local_addr().unwrap();
        let placement = self.place(media).await;
        let reconciler = Reconciler::new(
            self.process.store.clone(),
            self.process.live.clone(),
            Some(self.process.offload.clone()),
            self.sessions.clone(),
        );
        reconciler.run();
        let way = Ways::default().to(self.client).await.expect("the client is on the link");
        self.process.offload.next_hop(&way.track).unwrap();
        let ufrags = ufrags.iter().map(ToString::to_string).collect();
        let (key, role, resource) = (key(), Role::Play, Some(RESOURCE.to_owned()));
        let client = Some(self.client);
        self.sessions.register(NewSession { ufrags, key, role, placement, media, client, resource }).await.unwrap();
    }

    async fn place(&self, media: SocketAddr) -> Placement {
        let (store, now) = (&self.process.store, self.process.clock.now());
        let mut endpoints = Endpoints::default();
        endpoints.add(ServiceKind::WebRtc, media).unwrap();
        endpoints.add(ServiceKind::Api, media).unwrap();
        let spec = OriginSpec { endpoints: Some(endpoints), lease: Some(Lease::Never), ..OriginSpec::default() };
        store.put_origin(&Name::parse("camera").unwrap(), &spec, now).await.unwrap();
        let request = PlaceRequest {
            key: &key(),
            role: Role::Publish,
            protocol: Protocol::Webrtc,
            vip: self.vip.ip(),
            client: ([198, 51, 100, 7], 40000).into(),
            exclude: &[],
        };
        store.place(&request, now).await.unwrap()
    }

    fn client(&self) -> UdpSocket {
        bind(&self.scene.client, &self.client.to_string())
    }

    /// What came to the origin, and from where.
    fn origin_hears(&self) -> io::Result<(Vec<u8>, SocketAddr)> {
        let mut buffer = [0; 2000];
        self.media.recv_from(&mut buffer).map(|(len, from)| (buffer[..len].to_vec(), from))
    }

    /// A request of the client's goes to the origin, and its answer back. The port that the origin sees.
    fn ask(&self, client: &UdpSocket, name: &str) -> SocketAddr {
        let request = forged(name);
        client.send_to(&request, self.vip).unwrap();
        let (heard, source) = self.origin_hears().unwrap();
        assert_eq!(heard, request);
        self.media.send_to(b"answer", source).unwrap();
        let mut buffer = [0; 100];
        let (len, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from), (&b"answer"[..], self.vip));
        source
    }

    fn is_refused(&self, client: &UdpSocket, name: &str, reason: Reason) {
        let before = self.process.packets(reason);
        client.send_to(&forged(name), self.vip).unwrap();
        wait_until("the refusal is counted", SOON, || self.process.packets(reason) > before).unwrap();
        self.media.set_read_timeout(Some(NEVER)).unwrap();
        assert!(self.origin_hears().is_err(), "nothing of it reaches the origin");
        self.media.set_read_timeout(Some(SOON)).unwrap();
    }

    /// Takes this many reports of flows that the kernel has made.
    fn made(&self, count: usize) {
        on_host(self.scene, async {
            let events = EventSource::new(self.process.offload.clone()).unwrap();
            let mut made = 0;
            while made < count {
                for (kind, key) in tokio::time::timeout(SOON, events.next()).await.expect("an event").unwrap() {
                    assert_eq!(kind, EventKind::Made);
                    self.sessions.made(key);
                    made += 1;
                }
            }
        });
    }

    fn granted(&self) -> usize {
        let (_, session) = self.process.offload.ice()[0];
        let is_granted = |slot: &u32| {
            let key = PortKey { session: session.session, slot: *slot };
            self.process.offload.granted(session.family, key).is_some()
        };
        (0..PORT_SLOTS).filter(is_granted).count()
    }
}

#[test]
fn a_request_that_names_a_session_makes_its_flow_and_the_end_removes_it() {
    let Some(scene) = Scene::new() else { return };
    for family in [V4, V6] {
        let Some(rig) = Rig::new(&scene, family) else { return };
        let client = rig.client();
        let source = rig.ask(&client, "origin1:client");
        assert!(SOURCE_PORTS.contains(&source.port()));
        rig.made(1);
        assert_eq!(rig.ask(&client, "origin1:client"), source, "it has its flow");
        rig.process.live.scan(PATIENT);
        let flows = rig.process.live.flows();
        let [flow] = &flows[..] else { panic!("{} flows", flows.len()) };
        assert_eq!((flow.client, flow.vip, flow.source), (client.local_addr().unwrap(), rig.vip, source));
        assert_eq!((flow.path, flow.state), (Path::Kernel, FlowState::Spliced));
        assert_eq!((flow.protocol, flow.role, &flow.stream), (Protocol::Webrtc, Role::Play, &key()));
        assert_eq!((flow.to_origin.packets, flow.to_client.packets), (2, 2));

        // The client's network has changed: another flow, beside the first. The other order of the names does as well.
        let moved = rig.client();
        let other = rig.ask(&moved, "client:origin2");
        assert_ne!(other, source);
        rig.made(1);
        assert_eq!(rig.counters.get(Reason::LimitRtcMigrations), 1);
        assert_eq!(rig.process.live.len(), 2);

        assert!(rig.sessions.end(RESOURCE));
        assert!(rig.process.live.is_empty());
        assert!(rig.process.offload.flows().unwrap().is_empty());
        assert!(rig.process.offload.ice().is_empty());
        rig.is_refused(&rig.client(), "origin1:client", Reason::IceUnknown);
    }
}

#[test]
fn a_name_buys_four_addresses_at_once_and_one_more_a_second() {
    let Some(scene) = Scene::new() else { return };
    let Some(rig) = Rig::new(&scene, V4) else { return };
    assert_eq!(rig.granted(), 2, "nobody has come yet");
    let clients: Vec<UdpSocket> = (0..PORT_SLOTS).map(|_| rig.client()).collect();
    rig.ask(&clients[0], "origin1:client");
    rig.made(1);
    assert_eq!(rig.granted(), PORT_SLOTS as usize - 1);
    let mut sources: Vec<_> = clients.iter().map(|client| rig.ask(client, "origin1:client").port()).collect();
    sources.dedup();
    assert_eq!(sources.len(), PORT_SLOTS as usize, "each has its own");
    let fifth = rig.client();
    rig.is_refused(&fifth, "origin1:client", Reason::IceNoPort);
    rig.is_refused(&fifth, "nobody:client", Reason::IceUnknown);
    // The first goes on undisturbed.
    rig.ask(&clients[0], "origin1:client");

    rig.made(PORT_SLOTS as usize - 1);
    assert_eq!(rig.granted(), 0);
    rig.sessions.sweep(0);
    assert_eq!(rig.granted(), 1);
    rig.ask(&fifth, "origin1:client");
    rig.is_refused(&rig.client(), "origin1:client", Reason::IceNoPort);
}

#[test]
fn flows_whose_report_was_lost_are_found_by_a_look_at_the_table() {
    let Some(scene) = Scene::new() else { return };
    let Some(rig) = Rig::new(&scene, V4) else { return };
    let client = rig.client();
    rig.ask(&client, "origin1:client");
    assert!(rig.process.live.scan(PATIENT).is_empty(), "its report may be on the way");
    let strangers = rig.process.live.scan(PATIENT);
    assert_eq!(strangers, [FlowKey::udp(client.local_addr().unwrap(), rig.vip).unwrap()]);
    rig.sessions.made(strangers[0]);
    // The report comes after all.
    rig.made(1);
    assert!(rig.process.live.scan(PATIENT).is_empty());
    assert_eq!(rig.process.live.len(), 1);
    rig.ask(&client, "origin1:client");

    // A flow that nobody wants any more.
    let late = rig.client();
    rig.ask(&late, "origin2:client");
    let session_over = rig.sessions.end(RESOURCE);
    rig.made(1);
    assert!(session_over && rig.process.offload.flows().unwrap().is_empty());
}

#[test]
fn a_session_survives_the_process_that_knew_it() {
    let Some(scene) = Scene::new() else { return };
    let Some(rig) = Rig::new(&scene, V4) else { return };
    let client = rig.client();
    let source = rig.ask(&client, "origin1:client");
    rig.made(1);
    let (_, before) = rig.process.offload.ice()[0];
    let media = rig.media.try_clone().unwrap();
    // As if killed: nothing is taken out of the kernel.
    drop(rig);
    assert!(scene.client.run(|| client.send_to(b"media", (V4[1], RTC_PORT))).unwrap().is_ok());

    let Some(process) = scene.start() else { return };
    let known = Known { origins: [(before.origin, "camera".into())].into(), streams: [(before.stream, key())].into() };
    let now = process.clock.now();
    for (index, origin) in process.offload.origins() {
        if index == before.origin {
            assert!(process.store.adopt_origin(index, "camera", origin.generation, now));
        }
    }
    let placed_on = (before.origin, before.origin_generation);
    assert!(process.store.adopt_stream(before.stream, &key(), placed_on, now));
    let rig = Rig::on(&scene, process, media, [V4[0], V4[1]]);
    assert_eq!(rig.process.live.adopt(&known, &rig.ports), (1, 0));
    assert_eq!(rig.sessions.adopt(&known), 1);
    assert_eq!(rig.origin_hears().unwrap(), (b"media".to_vec(), source));

    let moved = rig.client();
    assert_ne!(rig.ask(&moved, "origin2:client"), source);
    rig.made(1);
    assert_eq!(rig.counters.get(Reason::LimitRtcMigrations), 1, "it is the same session");
    assert_eq!(rig.ask(&client, "origin1:client"), source);
    assert!(rig.sessions.end(RESOURCE), "the new process never heard of the resource, but finds its session");
    assert!(rig.process.live.is_empty() && rig.process.offload.flows().unwrap().is_empty());
    assert!(rig.process.offload.ice().is_empty());
}
