//! Wires the parts together, starts the tasks, and ends them in order.

mod adopt;
mod banner;
mod facts;
mod flows;
mod share;
mod shutdown;
mod tasks;

use crate::announce::Announcer;
use crate::api::access::Access;
use crate::auth::Authorizer;
use crate::config::host::HostFacts;
use crate::config::{Settings, XdpMode};
use crate::counters::Counters;
use crate::live::Live;
use crate::offload::{self, Offload, Ways};
use crate::placement::Sharing;
use crate::proxy::Proxy;
use crate::readiness::Readiness;
use crate::reconcile::Reconciler;
use crate::registry::{Admission as Networks, Care, Transport};
use crate::rtc;
use crate::slowpath::udp::Udp;
use crate::slowpath::{self, Admission, Context, PortPool, Srt};
use crate::sources::Sources;
use crate::store::{Clock, Store, StoreSettings};
use crate::telemetry::Telemetry;
use crate::tls::Tls;
use anyhow::Context as _;
use balancer_common::abi::{Reason, ServiceKind};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use tokio::sync::watch;
use tracing::{debug, warn};

/// What nginx-rtmp announces unless told otherwise; replaced by what the first origin says.
const CHUNK_SIZE: u32 = 4096;

pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let settings = Arc::new(settings);
    match slowpath::socket::raise_open_files() {
        Ok(files) => debug!(files, "open files"),
        Err(error) => warn!(%error, "the limit of open files stays what it is"),
    }
    // Before anything is touched: a system API that is open to strangers is a reason not to start.
    let access = Access::new(settings.system_api, settings.token.clone(), settings.allow_register.clone())?;
    let tls = Tls::open(&settings.tls_certificates, &settings.tls_keys);
    let tls = tls.map_err(|error| anyhow::anyhow!("no TLS: {error}: {}", error.remedy()))?;
    let (offload, problem) = load(&settings)?;
    let mut bound = Vec::new();
    for (_, kind, listens) in settings.tcp_listens() {
        bound.extend(slowpath::bind(kind, listens, &settings.vips, segment_max(&settings))?);
    }
    let mut datagrams = Vec::new();
    for (_, kind, listens) in settings.udp_listens() {
        datagrams.extend(slowpath::udp::bind(kind, listens, &settings.vips)?);
    }
    // It runs a small runtime of its own.
    let host = tokio::task::spawn_blocking(HostFacts::look).await.context("cannot look at the host's addresses")?;
    let (stop, stopped) = watch::channel(false);
    let served: Vec<_> = bound.iter().map(|b| (b.kind, b.address)).collect();
    let served: Vec<_> = served.into_iter().chain(datagrams.iter().map(|l| (l.kind, l.address))).collect();
    let ctx = assemble(settings, tls, (offload, problem), &served, &host)?;
    ctx.live.set_farewells(Arc::new(slowpath::udp::Speaker(Arc::downgrade(&ctx))));
    ctx.udp.set_listeners(datagrams.clone());
    adopt::adopt(&ctx);
    ctx.reconciler.run();
    if let Some(offload) = &ctx.offload {
        let services: Vec<_> = served.iter().map(|(kind, address)| (*address, *kind)).collect();
        offload.set_services(&services);
    }
    flows::start(&ctx, &served);

    share::start(&ctx, &stopped);
    let api = tasks::start(&ctx, access, (bound, datagrams), &stopped).await?;
    banner::print(&ctx, &served);
    ctx.readiness.serving();
    shutdown::serve_until_stopped(&ctx, stop, api).await
}

/// The fast path, or why there is none although one was wanted.
fn load(settings: &Settings) -> anyhow::Result<(Option<Arc<Offload>>, Option<String>)> {
    let pinned = offload::links(&settings.pin_path).len();
    if settings.xdp_mode == XdpMode::Off {
        anyhow::ensure!(
            pinned == 0,
            "--xdp-mode off, but an earlier run's program is attached to {pinned} interfaces and would take packets of \
             the relayed connections for its own: `balancer unload` first"
        );
        return Ok((None, None));
    }
    match Offload::load(&settings.pin_path, &settings.interfaces, settings.xdp_mode) {
        Ok(offload) => Ok((Some(Arc::new(offload)), None)),
        // Beside a program that is still attached, a relay would not be safe.
        Err(error) if settings.xdp_mode == XdpMode::Auto && pinned == 0 => {
            let problem = format!("{:#}", anyhow::Error::new(error));
            warn!(reason = Reason::SpliceOff.label(), "no fast path, everything is relayed: {problem}");
            Ok((None, Some(problem)))
        }
        Err(error) => Err(error).context("the fast path that is asked for, or attached already, cannot be had"),
    }
}

fn assemble(
    settings: Arc<Settings>,
    tls: Option<Arc<Tls>>,
    (offload, problem): (Option<Arc<Offload>>, Option<String>),
    served: &[(ServiceKind, SocketAddr)],
    host: &HostFacts,
) -> anyhow::Result<Arc<Context>> {
    let clock = Clock::start();
    let counters = Arc::new(Counters::default());
    let networks = Networks { networks: origin_networks(&settings, host), own: own_endpoints(&settings, served, host) };
    let store = Store::new(
        StoreSettings {
            policy: settings.policy,
            sharing: Sharing { copies: settings.copies, second_publisher: settings.second_publisher },
            origin_ttl: settings.origin_ttl,
            default_origin: settings.default_origin.clone(),
            admission: networks,
        },
        counters.clone(),
    );
    let care = Care { probe: settings.probe.clone(), slow_start: settings.slow_start };
    let mut store = store.context("the default origin (PROXY_DEFAULT_BACKEND_*) cannot be used")?.caring(care);
    share::join(&mut store, &settings, &share::listens(served, &settings), counters.clone(), clock)?;
    let store = Arc::new(store);
    let live = Live::new(store.clone(), offload.clone(), clock);
    let readiness = Arc::new(Readiness::default());
    let announcer = Announcer::new(&settings.announce_command, settings.announce_timeout);
    let facts = Arc::new(facts::Running {
        settings: settings.clone(),
        live: live.clone(),
        offload: offload.clone(),
        problem,
        readiness: readiness.clone(),
        announcer: announcer.clone(),
    });
    let telemetry = Arc::new(Telemetry::new(store.clone(), counters.clone(), facts.clone(), clock));
    let authorizer = Arc::new(Authorizer::new(&settings, counters.clone()));
    let ports = PortPool::new(settings.source_ports.clone());
    let sources = Sources::new(&settings.source_addresses);
    let ways = Arc::new(Ways::default());
    let rtc = rtc::Sessions::new(rtc::Parts {
        offload: offload.clone(),
        ways: ways.clone(),
        store: store.clone(),
        live: live.clone(),
        ports: ports.clone(),
        sources: sources.clone(),
        counters: counters.clone(),
        clock,
    });
    let proxy = Proxy::new(
        settings.clone(),
        store.clone(),
        live.clone(),
        telemetry.clone(),
        authorizer.clone(),
        rtc.clone(),
        clock,
    );
    Ok(Arc::new(Context {
        proxy,
        telemetry,
        facts,
        readiness,
        announcer,
        tls,
        authorizer,
        admission: Admission::of_handshakes(settings.handshakes_max, settings.handshakes_per_client_max),
        proxied: Admission::of_http(settings.http_connections_max, settings.http_connections_per_client_max),
        ports,
        sources,
        udp: Udp::default(),
        srt: Srt::new(offload.as_deref()).context("no random bytes for the cookies of SRT: is /dev/urandom there?")?,
        ways,
        reconciler: Reconciler::new(store.clone(), live.clone(), offload.clone(), rtc.clone()),
        rtc,
        usual_chunk_size: AtomicU32::new(CHUNK_SIZE),
        settings,
        store,
        counters,
        live,
        offload,
        clock,
    }))
}

/// Where origins may be: what the settings say, else the networks that the host is on. Loopback counts only when a VIP
/// is there too: an origin at 127.0.0.1 would otherwise be the balancer's own host, seen from a stranger.
fn origin_networks(settings: &Settings, host: &HostFacts) -> Vec<IpNet> {
    if let Some(networks) = &settings.origin_networks {
        return networks.clone();
    }
    let loopback = settings.vips.iter().any(IpAddr::is_loopback);
    let connected = host.addresses.iter().filter_map(|a| IpNet::new(a.ip, a.prefix_len).ok()).map(|n| n.trunc());
    connected.filter(|n| loopback || !n.addr().is_loopback()).collect()
}

/// Every address at which this balancer itself is reached: a wildcard means each of the host's.
fn own_endpoints(
    settings: &Settings,
    served: &[(ServiceKind, SocketAddr)],
    host: &HostFacts,
) -> Vec<(Transport, SocketAddr)> {
    let api = settings.system_api;
    let everywhere = host.addresses.iter().filter(|_| api.ip().is_unspecified());
    let everywhere = everywhere.map(|a| SocketAddr::new(a.ip, api.port()));
    let served = served.iter().map(|(kind, address)| (Transport::of(*kind), *address));
    served.chain([api].into_iter().chain(everywhere).map(|a| (Transport::Tcp, a))).collect()
}

/// Largest segment that fits every interface, when they differ: a client must not send what the way to the origin does
/// not carry. The 40 bytes are those of an IPv4 and a TCP header; IPv6 takes 20 more, from every stack by itself.
fn segment_max(settings: &Settings) -> Option<u32> {
    let mtus: Vec<u32> = settings.interfaces.iter().filter_map(|i| offload::mtu(i).ok()).collect();
    let (min, max) = (mtus.iter().min()?, mtus.iter().max()?);
    (min != max).then(|| min.saturating_sub(40)).filter(|s| *s <= slowpath::socket::SEGMENT_MAX)
}
