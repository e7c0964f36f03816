//! Several balancers with sessions on one shelf, without a kernel: what one signals, any other carries, renames and ends.

mod forged;
mod several;

use super::super::session::UNCONFIRMED_MAX;
use super::super::{Asked, Member, NewSession, Refused, Sessions};
use crate::cluster::fake::Fake;
use crate::cluster::record::{FORMAT, PeerRecord, Record, SessionRecord, Unknown};
use crate::cluster::{Entry, Key, Kind, News};
use crate::config::Policy;
use crate::counters::Counters;
use crate::flow::{Counter, FlowRecord, FlowState, Path, Protocol, Role};
use crate::live::{Live, ResetOrder};
use crate::placement::{PlaceRequest, Placement};
use crate::registry::{Admission, Endpoints, Lease, Name, OriginSpec};
use crate::slowpath::PortPool;
use crate::store::{Clock, Store, StoreSettings};
use balancer_common::abi::{FlowKey, Reason, ServiceKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Later than any run that the store dates itself.
const EPOCH: u64 = 1 << 50;
const VIP: &str = "192.0.2.10:8000";
const MEDIA: &str = "10.1.0.5:8000";
const RESOURCE: &str = "o1 /whip/1";

struct Lb {
    sessions: Arc<Sessions>,
    store: Arc<Store>,
    live: Arc<Live>,
    counters: Arc<Counters>,
    clock: Clock,
    news: mpsc::Receiver<News>,
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn session_key(name: &str) -> Key {
    Key::new(Kind::Session, name)
}

/// All balancers of these names, each of which knows the others and the origin.
async fn balancers<const N: usize>(fake: &Fake, ids: [&str; N]) -> [Lb; N] {
    for id in ids {
        let peer = PeerRecord {
            v: FORMAT,
            id: id.into(),
            version: "test".into(),
            started_ms: 1,
            listens: vec!["udp 10.1.0.9:8000".into()],
            sources: Vec::new(),
            source_ports: (20_000, 20_999),
            draining: false,
            unknown: Unknown::new(),
        };
        fake.scribble(&Key::new(Kind::Peer, id), Some(&peer.text()));
    }
    let mut all = Vec::new();
    for id in ids {
        all.push(Lb::new(fake, id).await);
    }
    settle(&mut all).await;
    all.try_into().ok().expect("as many as names")
}

/// Until nobody has anything to say.
async fn settle(all: &mut [Lb]) {
    for _ in 0..6 {
        for lb in all.iter_mut() {
            lb.settle().await;
        }
    }
}

impl Lb {
    async fn new(fake: &Fake, id: &str) -> Self {
        let (clock, counters) = (Clock::start(), Arc::new(Counters::default()));
        let settings = StoreSettings {
            policy: Policy::LeastLoad,
            sharing: Default::default(),
            origin_ttl: Duration::from_secs(30),
            default_origin: None,
            admission: Admission { networks: vec!["10.1.0.0/16".parse().unwrap()], own: vec![] },
        };
        let mut store = Store::new(settings, counters.clone()).unwrap();
        let shelf = fake.shelf(id);
        let news = shelf.news();
        let text = fake.records().into_iter().find(|e| e.key == Key::new(Kind::Peer, id)).unwrap().value.unwrap();
        store.share(shelf, PeerRecord::read(&text).unwrap(), clock.now());
        let store = Arc::new(store);
        let live = Live::new(store.clone(), None, clock);
        let sessions = Sessions::without_kernel(store.clone(), live.clone(), counters.clone(), clock);
        let lb = Self { sessions, store, live, counters, clock, news };
        let mut endpoints = Endpoints::default();
        endpoints.add(ServiceKind::WebRtc, at(MEDIA)).unwrap();
        endpoints.add(ServiceKind::Api, at("10.1.0.5:1985")).unwrap();
        let spec = OriginSpec { endpoints: Some(endpoints), lease: Some(Lease::Never), ..OriginSpec::default() };
        lb.store.put_origin(&Name::parse("o1").unwrap(), &spec, clock.now()).await.unwrap();
        lb.store.set_epoch("o1", EPOCH);
        lb
    }

    async fn settle(&mut self) {
        while let Ok(news) = self.news.try_recv() {
            // What is told of origins has been said by the test.
            let is_ours = |entry: &&Entry| entry.key.kind != Kind::Origin;
            match &news {
                News::Changed(entry) if is_ours(&entry) => {
                    self.store.hear(&news, self.clock.now()).await;
                    self.sessions.changed(entry);
                }
                News::Whole(entries) => {
                    let ours: Vec<Entry> = entries.iter().filter(is_ours).cloned().collect();
                    self.store.hear(&News::Whole(ours), self.clock.now()).await;
                    self.sessions.whole(entries);
                }
                News::Changed(_) => {}
                news => self.store.hear(news, self.clock.now()).await,
            }
        }
        while self.store.shelf_is_up() == Some(true) && self.sessions.write_batch().await {}
    }

    async fn place(&self) -> Placement {
        let key = Arc::new("__defaultVhost__/live/cam".parse().unwrap());
        let (vip, client) = (at(VIP).ip(), at("198.51.100.7:40000"));
        let (role, protocol) = (Role::Play, Protocol::Webrtc);
        let request = PlaceRequest { key: &key, role, protocol, vip, client, exclude: &[] };
        let placed = self.store.place(&request, self.clock.now()).await.unwrap();
        self.store.set_epoch("o1", EPOCH);
        placed
    }

    /// As the signalling does it, before it answers.
    async fn signal(&self, ufrag: &str, resource: &str) {
        let new = NewSession {
            ufrags: vec![ufrag.into()],
            key: Arc::new("__defaultVhost__/live/cam".parse().unwrap()),
            role: Role::Play,
            placement: self.place().await,
            media: at(MEDIA),
            client: Some(at("198.51.100.7:1").ip()),
            resource: Some(resource.into()),
        };
        self.sessions.register(new).await.unwrap();
    }

    /// A request of this client's comes here, as the slow path hears it.
    async fn hear(&self, ufrag: &str, client: &str) -> Result<Arc<ResetOrder>, Refused> {
        let (client, vip, names) = (at(client), at(VIP), [ufrag, "c"]);
        let key = FlowKey::udp(client, vip).unwrap();
        let admitted = match self.sessions.admit(names) {
            Err(Refused::Elsewhere) => match self.sessions.summon(names, key).await {
                Asked::Here => self.sessions.admit(names)?,
                Asked::NotHere => return Err(Refused::Elsewhere),
            },
            admitted => admitted?,
        };
        let (record, reset) = (self.flow(client, &admitted.placement), Arc::new(ResetOrder::default()));
        let id = self.live.open(record, reset.clone());
        self.live.update(id, |record| record.to_client.packets += 1);
        self.sessions.opened(admitted.session, Member { id, key });
        Ok(reset)
    }

    fn flow(&self, client: SocketAddr, placement: &Placement) -> FlowRecord {
        FlowRecord {
            client,
            announced: None,
            vip: at(VIP),
            origin: placement.origin,
            origin_generation: placement.generation,
            origin_id: placement.origin_id.clone(),
            origin_address: at(MEDIA),
            source: at("10.1.0.9:20000"),
            protocol: Protocol::Webrtc,
            role: Role::Play,
            stream: Arc::new("__defaultVhost__/live/cam".parse().unwrap()),
            stream_index: placement.stream,
            path: Path::Kernel,
            state: FlowState::Spliced,
            to_origin: Counter::default(),
            to_client: Counter::default(),
            made_at: self.clock.now(),
            active_at: self.clock.now(),
        }
    }

    /// A flow is carried on that another balancer had made of the session with this number.
    async fn take(&self, number: u32, client: &str) {
        let placement = self.place().await;
        let record = self.flow(at(client), &placement);
        let keys = (FlowKey::udp(at(client), at(VIP)).unwrap(), FlowKey::udp(at(MEDIA), record.source).unwrap());
        let port = PortPool::new(20_000..=29_999).adopt(record.source, at(MEDIA));
        assert!(self.live.take(record, keys, port, None));
        self.sessions.taken(number, keys.0);
    }

    fn carries(&self, client: &str) -> bool {
        self.live.carries(FlowKey::udp(at(client), at(VIP)).unwrap())
    }

    fn sweep_after(&self, time: Duration) {
        self.sessions.sweep_at(0, self.clock.now() + time);
    }

    /// Of the others, these live, and have for longer than anybody is waited for.
    fn hear_living(&self, ids: &[&str]) {
        let ids: Vec<_> = ids.iter().map(|id| (*id).into()).collect();
        let now = self.clock.now();
        self.store.hear_living(&ids, now);
        self.store.hear_living(&ids, now + Duration::from_secs(60));
    }

    fn elsewhere(&self, ufrag: &str) -> bool {
        self.sessions.admit([ufrag, "c"]).err() == Some(Refused::Elsewhere)
    }

    fn count(&self, reason: Reason) -> u64 {
        self.counters.get(reason)
    }
}

/// What lies there of sessions.
fn records(fake: &Fake) -> Vec<SessionRecord> {
    let ours = fake.records().into_iter().filter(|entry| entry.key.kind == Kind::Session);
    ours.map(|entry| SessionRecord::read(&entry.value.unwrap()).unwrap()).collect()
}
