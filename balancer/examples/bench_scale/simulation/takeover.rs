//! A dead balancer's flows: read from a real server, checked, and put into the maps of a real kernel.

use super::flows::{self, EPOCH, SOURCE, VIP};
use super::meter::Reading;
use super::node::{options, origin_address, origin_id, settings};
use anyhow::{Context, Result, bail, ensure};
use balancer::cluster::flows::{Flows, Parts};
use balancer::cluster::redis::connect_with;
use balancer::cluster::{FlowAt, News, Shelf};
use balancer::config::XdpMode;
use balancer::counters::Counters;
use balancer::live::Live;
use balancer::offload::{Offload, unload};
use balancer::registry::{Endpoints, Lease, Name, OriginSpec};
use balancer::slowpath::PortPool;
use balancer::sources::Sources;
use balancer::store::{Clock, Store};
use balancer_common::abi::{ServiceKind, map};
use balancer_lab::cleanup::{BPFFS, unique_name};
use balancer_lab::net::{Netns, link};
use balancer_lab::redis::{Place, Server, Setup};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const ORIGINS: usize = 200;
const DEAD: &str = "dead";
const HEIR: &str = "heir";

/// Clients behind a router, a host, and origins on the host's own link.
struct Scene {
    _clients: Netns,
    host: Netns,
    _origins: Netns,
    pins: PathBuf,
    server: Server,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = unload(&self.pins);
    }
}

pub fn measure(count: usize, rounds: usize) -> Result<Value> {
    let scene = Scene::new()?;
    let records = flows::records(count, ORIGINS);
    let host = scene.host.clone();
    // Threads of a runtime are in the namespace of the one that makes it.
    host.run(|| Runtime::new()?.block_on(scene.run(&records, rounds)))?
}

impl Scene {
    fn new() -> Result<Self> {
        let name = unique_name();
        let netns = |role: &str| Netns::create(format!("{name}-{role}"));
        let (clients, host, origins) = (netns("clients")?, netns("host")?, netns("origins")?);
        link((&clients, "c0"), (&host, "front"), 1500)?;
        link((&origins, "o0"), (&host, "back"), 1500)?;
        clients.ip("addr add 192.0.2.1/24 dev c0\n")?;
        let vip = VIP.ip();
        host.ip(&format!(
            "addr add {vip}/24 dev front\naddr add {SOURCE}/16 dev back\nroute add default via 192.0.2.1\n"
        ))?;
        let all: String = (0..ORIGINS).map(|n| format!("addr add {}/16 dev o0\n", origin_address(n).ip())).collect();
        origins.ip(&all)?;
        let server = Server::start(&Place::within(&host, Ipv4Addr::LOCALHOST.into()), &Setup::default())?;
        Ok(Self { _clients: clients, host, _origins: origins, pins: PathBuf::from(BPFFS).join(&name), server })
    }

    async fn run(&self, records: &[FlowAt], rounds: usize) -> Result<Value> {
        let shelf = connected(&self.server, DEAD).await?;
        let before = Reading::take(&self.server)?;
        flows::write(&*shelf, DEAD, records).await?;
        let after = Reading::take(&self.server)?;
        let one = |a: u64, b: u64| (b - a) as f64 / records.len() as f64;
        let read = Instant::now();
        let mut page = Some(0);
        while let Some(number) = page {
            page = shelf.flows_of(DEAD, number).await?.next;
        }
        let read_ms = ms(read.elapsed());
        let mut taken = Vec::new();
        for round in 0..rounds {
            if round > 0 {
                flows::write(&*shelf, DEAD, records).await?;
            }
            taken.push(self.round(records.len()).await?);
        }
        let gone: Vec<FlowAt> = records.iter().map(|record| FlowAt { value: None, ..record.clone() }).collect();
        let before_end = Reading::take(&self.server)?;
        flows::write(&*shelf, HEIR, &gone).await?;
        let after_end = Reading::take(&self.server)?;
        Ok(json!({
            "flows": records.len(),
            "written_per_second": records.len() as f64 / (after.at - before.at).as_secs_f64(),
            "commands_per_flow": one(before.commands, after.commands) + one(before_end.commands, after_end.commands),
            "bytes_per_flow": one(before.bytes_in, after.bytes_in) + one(before_end.bytes_in, after_end.bytes_in),
            "server_bytes_per_flow": one(before.server_memory, after.server_memory),
            "read_ms": read_ms,
            "rounds": taken,
        }))
    }

    /// Nothing is left of an earlier one, in the kernel or here.
    async fn round(&self, count: usize) -> Result<Value> {
        let heir = Heir::new(self).await?;
        let before = Reading::take(&self.server)?;
        let since = Instant::now();
        let installed = heir.when_installed(2 * count as u64, since);
        let taken = heir.flows.take(&DEAD.into()).await.context("flows are taken")?;
        let all = since.elapsed();
        let after = Reading::take(&self.server)?;
        ensure!(taken.own == count, "of {count} flows, this became: {taken:?}");
        let installed = installed.join().ok().flatten().context("not all halves are in the kernel")?;
        let left = [flows::count(&self.server, DEAD)?, flows::count(&self.server, HEIR)?];
        ensure!(left == [0, count], "records under the old name and the new one: {left:?}");
        drop(heir);
        unload(&self.pins)?;
        Ok(json!({
            "forwarded_ms": ms(installed),
            "written_ms": ms(all),
            "balancer_cpu_ms": (after.own_cpu_s - before.own_cpu_s) * 1e3,
            "server_cpu_ms": (after.server_cpu_s - before.server_cpu_s) * 1e3,
        }))
    }
}

/// The balancer that takes.
struct Heir {
    offload: Arc<Offload>,
    flows: Arc<Flows>,
}

impl Heir {
    async fn new(scene: &Scene) -> Result<Self> {
        let interfaces = ["front".to_owned(), "back".to_owned()];
        let offload = match Offload::load(&scene.pins, &interfaces, XdpMode::Auto) {
            Ok(offload) => Arc::new(offload),
            Err(why) => bail!("the kernel takes no program: {why:?}"),
        };
        let (counters, clock) = (Arc::new(Counters::default()), Clock::start());
        let store = Arc::new(Store::new(settings()?, counters.clone()).context("a store")?);
        for number in 0..ORIGINS {
            let mut endpoints = Endpoints::default();
            endpoints.add(ServiceKind::Rtmp, origin_address(number)).context("an endpoint")?;
            let spec = OriginSpec { endpoints: Some(endpoints), lease: Some(Lease::Never), ..OriginSpec::default() };
            let id = origin_id(number);
            let name = Name::parse(&id).ok().context("a name")?;
            store.put_origin(&name, &spec, Duration::ZERO).await.context("an origin")?;
            store.set_epoch(&id, EPOCH);
        }
        let parts = Parts {
            own: HEIR.into(),
            shelf: connected(&scene.server, HEIR).await?,
            host: offload.clone(),
            live: Live::new(store.clone(), Some(offload.clone()), clock),
            store,
            ports: PortPool::new(60_000..=60_999),
            counters,
            sources: Sources::new(&[SOURCE]),
            source_ports: 60_000..=60_999,
            clock,
            served: vec![(ServiceKind::Rtmp, VIP)],
        };
        Ok(Self { offload, flows: Flows::new(parts) })
    }

    /// When so many halves were in the kernel.
    fn when_installed(&self, halves: u64, since: Instant) -> std::thread::JoinHandle<Option<Duration>> {
        const LIMIT: Duration = Duration::from_secs(120);
        let offload = self.offload.clone();
        std::thread::spawn(move || {
            let is_all = || offload.usage().iter().any(|usage| usage.map == map::FLOWS4 && usage.entries >= halves);
            while !is_all() {
                if since.elapsed() > LIMIT {
                    return None;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            Some(since.elapsed())
        })
    }
}

async fn connected(server: &Server, id: &str) -> Result<Arc<dyn Shelf>> {
    let shelf = connect_with(options(&server.url(), id)?, Arc::default());
    let mut news = shelf.news();
    while !matches!(news.recv().await.context("the shelf is there")?, News::Whole(_)) {}
    Ok(shelf)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
