//! One balancer as far as the shared state goes: its store, its own connections, and the tasks that keep both equal.

use anyhow::{Context, Result};
use balancer::cluster::Entry;
use balancer::cluster::record::{FORMAT, PeerRecord, Unknown};
use balancer::cluster::redis::{Options, connect_with};
use balancer::config::Policy;
use balancer::config::store_url::RedisUrl;
use balancer::counters::Counters;
use balancer::flow::{Protocol, Role};
use balancer::placement::{PlaceRequest, Placement};
use balancer::recognize::StreamKey;
use balancer::registry::{Admission, Endpoints, Incarnation, Name, SrsRegistration};
use balancer::store::shared::{self, Listener};
use balancer::store::{Clock, Store, StoreSettings};
use balancer_common::abi::{Reason, ServiceKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::watch;

pub const PREFIX: &str = "bench";
/// Where origins are.
pub const NETWORK: &str = "10.128.0.0/16";

/// Far above what is usual: a run on a busy machine is to be slow, not another one.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
const LEASE: Duration = Duration::from_secs(3600);
const RECONCILE: Duration = Duration::from_secs(5);
const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));

pub struct Node {
    pub store: Arc<Store>,
    pub clock: Clock,
    pub counters: Arc<Counters>,
    heard: Arc<Heard>,
    stop: watch::Sender<bool>,
}

/// Counts what was heard.
#[derive(Default)]
struct Heard {
    changes: AtomicU64,
    wholes: AtomicU64,
}

struct Counting(Arc<Heard>);

impl Listener for Counting {
    fn changed(&self, _entry: &Entry) {
        self.0.changes.fetch_add(1, Relaxed);
    }
    fn whole(&self, _entries: &[Entry]) {
        self.0.wholes.fetch_add(1, Relaxed);
    }
    fn told(&self, _what: &str) {}
    fn peer_lost(&self, _id: &str) {}
}

impl Node {
    /// Within a runtime. It connects by itself.
    pub fn start(url: &str, number: usize, clock: Clock) -> Result<Self> {
        let counters = Arc::new(Counters::default());
        let id = format!("lb{number}");
        let options = options(url, &id)?;
        let shelf = connect_with(options, counters.clone());
        let mut store = Store::new(settings()?, counters.clone()).context("a store")?;
        store.share(shelf, peer(id, number as u16), clock.now());
        let (store, heard) = (Arc::new(store), Arc::<Heard>::default());
        store.share_of().context("it is one of several")?.listen(Box::new(Counting(heard.clone())));
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(shared::run(store.clone(), clock, stopped.clone()));
        tokio::spawn(tick(store.clone(), clock, stopped));
        Ok(Self { store, clock, counters, heard, stop })
    }

    pub fn others_alive(&self) -> usize {
        self.store.peers().into_iter().filter(|(_, lives)| *lives == Some(true)).count()
    }

    /// How often everything was read and is known.
    pub fn wholes(&self) -> u64 {
        self.heard.wholes.load(Relaxed)
    }

    /// Pieces of news, and records that are known because we have written them.
    pub fn heard(&self) -> u64 {
        self.heard.changes.load(Relaxed) + self.wholes()
    }

    pub async fn register(&self, number: usize) -> Result<()> {
        let beat = beat(number)?;
        self.store.register(&beat, self.clock.now()).await.map(drop).context("an origin is registered")
    }

    /// A client comes, and is carried from then on. `Err`: where nothing of that kind may happen.
    pub async fn come(&self, key: &Arc<StreamKey>, role: Role) -> Result<Placement> {
        let client = SocketAddr::new(Ipv4Addr::new(198, 51, 100, 7).into(), 40_000);
        let request = PlaceRequest { key, role, protocol: Protocol::Rtmp, vip: VIP, client, exclude: &[] };
        let placement = self.store.place(&request, self.clock.now()).await.context("a stream is placed")?;
        self.store.flow_opened(placement.ticket(role, Protocol::Rtmp));
        Ok(placement)
    }

    pub fn leave(&self, placement: &Placement, role: Role) {
        self.store.flow_closed(placement.ticket(role, Protocol::Rtmp), self.clock.now());
    }

    /// What is not expected: calls that were not answered in time, conflicts, balancers that were taken for dead, pushes
    /// that were taken for lost, and races that were.
    pub fn troubles(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        const TROUBLES: [Reason; 8] = [
            Reason::StoreLate,
            Reason::StoreRefused,
            Reason::PlacedAlone,
            Reason::ConflictLost,
            Reason::ConflictWon,
            Reason::PeerLost,
            Reason::RecordRepaired,
            Reason::RecordRaced,
        ];
        TROUBLES.into_iter().map(|reason| (reason, self.counters.get(reason)))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Its tasks end by themselves.
        let _ = self.stop.send(true);
    }
}

/// What the process does every second beside, and the reconciler's turn, which has no maps here.
async fn tick(store: Arc<Store>, clock: Clock, stopped: watch::Receiver<bool>) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    while !*stopped.borrow() {
        every.tick().await;
        store.tick(clock.now());
        drop(store.take_changes());
    }
}

pub fn options(url: &str, id: &str) -> Result<Options> {
    let url = RedisUrl::parse(url).ok().with_context(|| format!("{url} is no URL of a store"))?;
    let (id, timeout, reconcile) = (id.to_owned(), STORE_TIMEOUT, RECONCILE);
    Ok(Options { url, prefix: PREFIX.into(), id, timeout, ca: None, reconcile })
}

pub fn settings() -> Result<StoreSettings> {
    let admission = Admission { networks: vec![NETWORK.parse()?], own: vec![] };
    let sharing = Default::default();
    Ok(StoreSettings { policy: Policy::LeastLoad, sharing, origin_ttl: LEASE, default_origin: None, admission })
}

fn peer(id: String, number: u16) -> PeerRecord {
    PeerRecord {
        v: FORMAT,
        id,
        version: env!("CARGO_PKG_VERSION").into(),
        started_ms: 0,
        listens: vec![format!("tcp 192.0.2.{number}:1935")],
        sources: vec![Ipv4Addr::new(198, 51, 100, number as u8).into()],
        source_ports: (20_000, 29_999),
        draining: false,
        unknown: Unknown::new(),
    }
}

pub fn origin_id(number: usize) -> String {
    format!("origin-{number}")
}

pub fn origin_address(number: usize) -> SocketAddr {
    SocketAddr::new([10, 128, (number / 250) as u8, (number % 250) as u8 + 1].into(), 1935)
}

fn beat(number: usize) -> Result<SrsRegistration> {
    let name = |text: &str| Name::parse(text).with_context(|| format!("{text:?} is no name"));
    let address = origin_address(number);
    let mut endpoints = Endpoints::default();
    for (kind, port) in [(ServiceKind::Rtmp, 1935), (ServiceKind::Http, 8080), (ServiceKind::Api, 1985)] {
        endpoints.add(kind, SocketAddr::new(address.ip(), port)).context("an endpoint")?;
    }
    Ok(SrsRegistration {
        device_id: None,
        server: name(&origin_id(number))?,
        incarnation: Incarnation { service: name(&format!("service-{number}"))?, pid: name("1")? },
        ip: address.ip(),
        endpoints,
    })
}
