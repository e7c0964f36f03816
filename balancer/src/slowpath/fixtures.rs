//! What the tests of the slow path work with: a context without a fast path, whose origins are on the loopback.

use super::udp::{self, Listener, Udp};
use super::{Admission, Context, PortPool, Srt};
use crate::auth::Authorizer;
use crate::config::{Listen, Policy, Settings};
use crate::counters::Counters;
use crate::live::Live;
use crate::proxy::Proxy;
use crate::reconcile::Reconciler;
use crate::registry::{Admission as Networks, Endpoints, Lease, Name, OriginSpec};
use crate::rtc::Sessions;
use crate::sources::Sources;
use crate::store::{Clock, Store, StoreSettings};
use crate::telemetry::Telemetry;
use crate::telemetry::fixtures::NoFacts;
use balancer_common::abi::ServiceKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::watch;

/// Ports of its own for each, since they are all on one host.
const PORTS_EACH: u16 = 64;
const FIRST_PORT: u16 = 10_200;

pub fn context(settings: Settings) -> Arc<Context> {
    static NEXT: AtomicU16 = AtomicU16::new(FIRST_PORT);
    let first = NEXT.fetch_add(PORTS_EACH, Relaxed);
    let settings = Arc::new(Settings { source_ports: first..=first + PORTS_EACH - 1, ..settings });
    let (clock, counters) = (Clock::start(), Arc::new(Counters::default()));
    let store = StoreSettings {
        policy: Policy::LeastLoad,
        sharing: Default::default(),
        origin_ttl: Duration::from_secs(30),
        default_origin: None,
        admission: Networks { networks: vec!["127.0.0.0/8".parse().unwrap()], own: vec![] },
    };
    let store = Arc::new(Store::new(store, counters.clone()).unwrap());
    let live = Live::new(store.clone(), None, clock);
    let facts = Arc::new(NoFacts);
    let telemetry = Arc::new(Telemetry::new(store.clone(), counters.clone(), facts.clone(), clock));
    let authorizer = Arc::new(Authorizer::new(&settings, counters.clone()));
    let rtc = Sessions::without_kernel(store.clone(), live.clone(), counters.clone(), clock);
    Arc::new(Context {
        proxy: Proxy::new(
            settings.clone(),
            store.clone(),
            live.clone(),
            telemetry.clone(),
            authorizer.clone(),
            rtc.clone(),
            clock,
        ),
        rtc: rtc.clone(),
        telemetry,
        facts,
        readiness: Arc::default(),
        announcer: None,
        tls: None,
        authorizer,
        admission: Admission::of_handshakes(settings.handshakes_max, settings.handshakes_per_client_max),
        proxied: Admission::of_http(settings.http_connections_max, settings.http_connections_per_client_max),
        ports: PortPool::new(settings.source_ports.clone()),
        sources: Sources::new(&settings.source_addresses),
        udp: Udp::default(),
        srt: Srt::new(None).unwrap(),
        ways: Arc::default(),
        reconciler: Reconciler::new(store.clone(), live.clone(), None, rtc),
        usual_chunk_size: 4096.into(),
        settings,
        store,
        counters,
        live,
        offload: None,
        clock,
    })
}

impl Context {
    /// An origin with one listener.
    pub async fn add_origin(&self, id: &str, kind: ServiceKind, address: SocketAddr) {
        let mut endpoints = Endpoints::default();
        endpoints.add(kind, address).unwrap();
        let spec = OriginSpec { endpoints: Some(endpoints), lease: Some(Lease::Never), ..OriginSpec::default() };
        self.store.put_origin(&Name::parse(id).unwrap(), &spec, self.now()).await.unwrap();
        self.reconciler.run();
    }
}

/// A VIP that is served until the runtime ends.
pub fn serve_udp(ctx: &Arc<Context>, kind: ServiceKind) -> Arc<Listener> {
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    // Somebody else may take the port in between: then another one.
    let bound = (0..16).find_map(|_| {
        let free = std::net::UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap();
        udp::bind(kind, &[Listen::Address(free)], &[ip]).ok()
    });
    let listener = bound.unwrap().remove(0);
    ctx.udp.set_listeners(vec![listener.clone()]);
    let (never, stopped) = watch::channel(false);
    let (served, ctx) = (listener.clone(), ctx.clone());
    tokio::spawn(async move {
        udp::serve(ctx, served, stopped).await;
        drop(never);
    });
    listener
}
