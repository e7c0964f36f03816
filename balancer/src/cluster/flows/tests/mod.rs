//! Tests of flows that change hands: several balancers on one shelf, each with a kernel that only remembers.

mod ask;
mod claims;
mod forged;
mod take;
mod wire;
mod writer;

use super::{Flows, Host, Parts, Peer, Ports};
use crate::cluster::News;
use crate::cluster::fake::Fake;
use crate::config::Policy;
use crate::counters::Counters;
use crate::flow::splice::{Leg, Plan};
use crate::flow::{Counter, FlowRecord, FlowState, Path, Protocol, Role};
use crate::live::Live;
use crate::offload::{Half, NewHalf, SpliceError, Survey, Way};
use crate::recognize::StreamKey;
use crate::registry::{Admission, Endpoints, Lease, Name, OriginSpec};
use crate::slowpath::PortPool;
use crate::sources::Sources;
use crate::store::{Clock, Store, StoreSettings};
use balancer_common::abi::{FlowFlags, FlowKey, Reason, ServiceKind, Splice, Track};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc::Receiver;

const VIP: &str = "192.0.2.10";
const SOURCE: &str = "10.0.0.10";
const EPOCH: u64 = 7;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[derive(Default)]
struct Kernel {
    halves: Mutex<HashMap<FlowKey, Half>>,
    /// Addresses that this host has not.
    elsewhere: Mutex<HashSet<IpAddr>>,
    /// Nobody answers there.
    silent: Mutex<HashSet<IpAddr>>,
    nobodys: Mutex<Vec<FlowKey>>,
    asks_for: Mutex<Vec<Ports>>,
}

impl Kernel {
    fn half_of(new: &NewHalf) -> Half {
        let t = new.translation;
        let splice = Splice {
            flags: t.flags | new.flags,
            seq_delta: t.seq_delta,
            ack_delta: t.ack_delta,
            tsval_delta: t.tsval_delta,
            tsecr_delta: t.tsecr_delta,
            origin: new.origin,
            origin_generation: new.origin_generation,
            stream: new.stream,
            ..Splice::default()
        };
        Half { splice, egress: new.egress, seen: 0, packets: 0, last_seen: 0, bytes: 0 }
    }
}

impl Host for Kernel {
    fn half(&self, key: FlowKey) -> Option<Half> {
        self.halves.lock().unwrap().get(&key).copied()
    }

    fn install(&self, to_origin: &NewHalf, to_client: &NewHalf) -> Result<(), SpliceError> {
        let mut halves = self.halves.lock().unwrap();
        for half in [to_origin, to_client] {
            if halves.contains_key(&half.ingress) {
                return Err(SpliceError::Taken);
            }
        }
        for half in [to_origin, to_client] {
            halves.insert(half.ingress, Self::half_of(half));
        }
        Ok(())
    }

    fn remove(&self, client: FlowKey, origin: FlowKey) {
        let mut halves = self.halves.lock().unwrap();
        halves.remove(&client);
        halves.remove(&origin);
    }

    fn nobodys(&self, key: FlowKey) {
        self.nobodys.lock().unwrap().push(key);
    }

    fn answered(&self, _key: FlowKey) {}

    fn ask_for(&self, sources: &[Ports]) {
        *self.asks_for.lock().unwrap() = sources.to_vec();
    }

    fn is_here(&self, ip: IpAddr) -> bool {
        !self.elsewhere.lock().unwrap().contains(&ip)
    }

    fn ways(&self, _known: &mut Survey, hosts: &BTreeSet<IpAddr>) -> HashMap<IpAddr, Way> {
        let silent = self.silent.lock().unwrap();
        let way = Way { track: Track { seen: Track::SEEN_L2, ..Track::default() } };
        hosts.iter().filter(|host| !silent.contains(*host)).map(|host| (*host, way)).collect()
    }
}

/// One balancer.
struct Lb {
    flows: Arc<Flows>,
    live: Arc<Live>,
    store: Arc<Store>,
    kernel: Arc<Kernel>,
    ports: Arc<PortPool>,
    counters: Arc<Counters>,
    id: Arc<str>,
    news: tokio::sync::Mutex<Receiver<News>>,
}

impl Lb {
    async fn new(fake: &Fake, id: &str) -> Self {
        let counters = Arc::new(Counters::default());
        let settings = StoreSettings {
            policy: Policy::LeastLoad,
            sharing: Default::default(),
            origin_ttl: Duration::from_secs(30),
            default_origin: None,
            admission: Admission { networks: vec!["10.1.0.0/16".parse().unwrap()], own: vec![] },
        };
        let store = Arc::new(Store::new(settings, counters.clone()).unwrap());
        let clock = Clock::start();
        let live = Live::new(store.clone(), None, clock);
        let (kernel, ports) = (Arc::new(Kernel::default()), PortPool::new(20_000..=29_999));
        let shelf = fake.shelf(id);
        let news = tokio::sync::Mutex::new(shelf.news());
        let flows = Flows::new(Parts {
            own: id.into(),
            shelf,
            host: kernel.clone(),
            live: live.clone(),
            store: store.clone(),
            ports: ports.clone(),
            counters: counters.clone(),
            sources: Sources::new(&[ip(SOURCE)]),
            source_ports: 30_000..=39_999,
            clock,
            served: vec![
                (ServiceKind::Rtmp, SocketAddr::new(ip(VIP), 1935)),
                (ServiceKind::Srt, SocketAddr::new(ip(VIP), 10080)),
            ],
        });
        let lb = Self { flows, live, store, kernel, ports, counters, id: id.into(), news };
        lb.add_origin("o1", EPOCH).await;
        lb
    }

    async fn add_origin(&self, id: &str, epoch: u64) {
        let mut endpoints = Endpoints::default();
        endpoints.add(ServiceKind::Rtmp, at("10.1.0.5:1935")).unwrap();
        endpoints.add(ServiceKind::Srt, at("10.1.0.5:10080")).unwrap();
        let spec = OriginSpec { endpoints: Some(endpoints), lease: Some(Lease::Never), ..OriginSpec::default() };
        self.store.put_origin(&Name::parse(id).unwrap(), &spec, Duration::ZERO).await.unwrap();
        self.store.set_epoch(id, epoch);
    }

    /// A flow in the kernel alone, as the slow path leaves it; its client's key.
    fn carry(&self, number: usize) -> FlowKey {
        let (record, halves) = self.flow(number);
        let (client, origin) = (halves[0].ingress, halves[1].ingress);
        self.kernel.install(&halves[0], &halves[1]).unwrap();
        let port = self.ports.adopt(record.source, record.origin_address);
        let id = self.live.open(record, Arc::default());
        self.live.update(id, |record| record.path = Path::Kernel);
        self.live.spliced(id, client, origin);
        self.live.left(id, Some(client), Some(port));
        client
    }

    fn carry_many(&self, how_many: usize) {
        for number in 0..how_many {
            self.carry(number);
        }
    }

    fn flow(&self, number: usize) -> (FlowRecord, [NewHalf; 2]) {
        let (high, low) = (number / 200, number % 200 + 1);
        let client =
            SocketAddr::new(IpAddr::from([198, 51, (high % 250) as u8, low as u8]), 5000 + (high / 250) as u16);
        let source = SocketAddr::new(ip(SOURCE), 20_000 + (number % 40_000) as u16);
        // Another origin's port for every 40 000 flows: an address and a port are used once.
        let origin_address = SocketAddr::new(ip("10.1.0.5"), 1935 + (number / 40_000) as u16);
        let key: Arc<StreamKey> = Arc::new("__defaultVhost__/live/a".parse().unwrap());
        let (origin, generation) = self.store.current_origin("o1", EPOCH).unwrap();
        let stream = self.store.carry_stream(&key, (origin, generation), true, Duration::ZERO).unwrap();
        let record = FlowRecord {
            client,
            announced: None,
            vip: SocketAddr::new(ip(VIP), 1935),
            origin,
            origin_generation: generation,
            origin_id: "o1".into(),
            origin_address,
            source,
            protocol: Protocol::Rtmp,
            role: Role::Play,
            stream: key,
            stream_index: stream,
            path: Path::Relay,
            state: FlowState::Spliced,
            to_origin: Counter::default(),
            to_client: Counter::default(),
            made_at: Duration::ZERO,
            active_at: Duration::ZERO,
        };
        let seed = number as u32;
        let plan = Plan::new(&leg(seed.wrapping_mul(77), seed), &leg(seed ^ 0xf00d, seed.wrapping_mul(13)), 9);
        let keys = [FlowKey::tcp(client, record.vip).unwrap(), FlowKey::tcp(origin_address, source).unwrap()];
        let half = |at: usize, translation| NewHalf {
            ingress: keys[at],
            egress: keys[1 - at].reversed(),
            translation,
            flags: Protocol::Rtmp.number() << FlowFlags::SERVICE_SHIFT,
            origin,
            origin_generation: generation,
            stream,
            way_out: Track::default(),
        };
        (record, [half(0, plan.to_origin), half(1, plan.to_client)])
    }

    async fn write_all(&self) {
        while !self.flows.changes().is_empty() {
            self.flows.write_once().await.unwrap();
        }
    }

    /// These others are alive.
    async fn meet(&self, others: &[&Lb]) {
        let peers: Vec<Peer> = others
            .iter()
            .map(|lb| Peer {
                id: lb.id.clone(),
                is_alive: true,
                sources: vec![ip(SOURCE)],
                source_ports: 20_000..=29_999,
            })
            .collect();
        self.flows.set_peers(&peers).await;
    }

    /// Whose flows are to be looked through.
    fn to_take(&self) -> Vec<Arc<str>> {
        self.flows.to_take().keys().cloned().collect()
    }

    fn count(&self, reason: Reason) -> u64 {
        self.counters.get(reason)
    }
}

fn leg(write_seq: u32, copied_seq: u32) -> Leg {
    Leg {
        write_seq,
        copied_seq,
        peer_scale: 7,
        own_scale: 9,
        timestamps: true,
        sack: true,
        own_timestamp: write_seq ^ 0x55,
        peer_timestamp: copied_seq ^ 0xaa,
    }
}

/// What the first has to say is heard by the second, which does what is to be done then.
async fn talk(from: &Lb, to: &Lb) {
    from.flows.tell_claims().await;
    from.flows.tell_over().await;
    from.flows.tell_ends().await;
    from.flows.tell_holds().await;
    let mut news = to.news.lock().await;
    while let Ok(news) = news.try_recv() {
        if let News::Told(what) = news {
            assert!(to.flows.told(&what));
        }
    }
    if to.flows.is_unsettled.swap(false, Relaxed) {
        to.flows.settle().await.unwrap();
    }
}

/// Texts of a balancer's records.
async fn records(fake: &Fake, owner: &str) -> Vec<Arc<str>> {
    let shelf = fake.shelf("reader");
    let (mut all, mut page) = (Vec::new(), Some(0));
    while let Some(number) = page {
        let found = shelf.flows_of(owner, number).await.unwrap();
        all.extend(found.flows);
        page = found.next;
    }
    all
}
