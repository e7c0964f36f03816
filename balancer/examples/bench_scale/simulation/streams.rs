//! Origins, streams and balancers: what each costs, how fast the others know, and what a balancer that comes, comes back
//! or does nothing costs.

use super::meter::Reading;
use super::moment::{TIME_MAX, Watch, until};
use super::node::{Node, PREFIX};
use anyhow::{Context, Result, ensure};
use balancer::flow::Role;
use balancer::placement::Placement;
use balancer::recognize::StreamKey;
use balancer::store::Clock;
use balancer_lab::redis::{Place, Server, Setup};
use futures_util::future::try_join_all;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Clients that a balancer serves at the same time.
const AT_ONCE: usize = 16;
/// So long nothing is written, and nothing heard: everything is.
const QUIET: Duration = Duration::from_millis(1500);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub streams: usize,
    pub origins: usize,
    pub balancers: usize,
    /// For so long nothing happens, and then in twice that time every origin beats once.
    pub rest: Duration,
}

struct Bench {
    size: Size,
    server: Server,
    clock: Clock,
    nodes: Vec<Arc<Node>>,
    measured: Map<String, Value>,
}

pub fn measure(size: Size) -> Result<Value> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(Bench::run(size))
}

impl Bench {
    async fn run(size: Size) -> Result<Value> {
        let server = Server::start(&Place::loopback(), &Setup::default())?;
        let clock = Clock::start();
        let mut bench = Self { size, server, clock, nodes: Vec::new(), measured: Map::new() };
        bench.say("streams", size.streams);
        bench.say("origins", size.origins);
        bench.say("balancers", size.balancers);
        for number in 1..=size.balancers {
            bench.start(number).await?;
        }
        let knows_others = |node: &Arc<Node>| node.others_alive() == size.balancers - 1;
        until("everybody knows everybody", || bench.nodes.iter().all(knows_others)).await?;
        let since = Instant::now();
        let step =
            |what: &str| eprintln!("bench: {} streams, {:.1} s: {what}", size.streams, since.elapsed().as_secs_f64());
        step("origins register");
        bench.registrations().await?;
        step("publishers come");
        let (keys, placements) = bench.placements().await?;
        step("viewers come");
        bench.viewers(&keys).await?;
        step("nothing happens");
        bench.rest().await?;
        step("origins beat");
        bench.beats().await?;
        step("all read everything again");
        bench.reconnection().await?;
        step("another balancer comes");
        bench.newcomer().await?;
        step("publishers go");
        bench.ends(&placements).await?;
        step("done");
        bench.say("troubles", bench.troubles());
        Ok(Value::Object(bench.measured))
    }

    fn say(&mut self, name: &str, value: impl Into<Value>) {
        self.measured.insert(name.to_owned(), value.into());
    }

    /// By their reasons.
    fn troubles(&self) -> Map<String, Value> {
        let mut troubles: BTreeMap<&str, u64> = BTreeMap::new();
        for (reason, count) in self.nodes.iter().flat_map(|node| node.troubles()) {
            *troubles.entry(reason.label()).or_default() += count;
        }
        troubles
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| (reason.to_owned(), count.into()))
            .collect()
    }

    fn reading(&self) -> Result<Reading> {
        Reading::take(&self.server)
    }

    async fn start(&mut self, number: usize) -> Result<()> {
        let node = Arc::new(Node::start(&self.server.url(), number, self.clock)?);
        until("a balancer reads everything", || node.wholes() > 0).await?;
        self.nodes.push(node);
        Ok(())
    }

    /// Until nothing is written and heard any more, and how long that took.
    async fn quiet(&self) -> Result<Duration> {
        let names: Vec<String> = (0..64).map(|shard| format!("{PREFIX}:{{{shard}}}:seq")).collect();
        let question: Vec<&str> = ["MGET"].into_iter().chain(names.iter().map(String::as_str)).collect();
        let began = Instant::now();
        let (mut last, mut since) = (Default::default(), began);
        while since.elapsed() < QUIET {
            ensure!(began.elapsed() < TIME_MAX, "the balancers go on writing");
            tokio::time::sleep(LOOK_EVERY).await;
            let heard: u64 = self.nodes.iter().map(|node| node.heard()).sum();
            let now = (self.server.cli(&question)?, heard);
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        Ok(since.saturating_duration_since(began))
    }

    async fn registrations(&mut self) -> Result<()> {
        let before = self.reading()?;
        self.beat_all().await?;
        let after = self.reading()?;
        self.say("registrations_per_second", per(self.size.origins, after.at - before.at));
        let now = self.clock.now();
        let all = |node: &Arc<Node>| node.store.origins(now).len() == self.size.origins;
        until("everybody knows every origin", || self.nodes.iter().all(all)).await?;
        self.say("registration", costs(&before, &self.reading()?, self.size.origins));
        Ok(())
    }

    async fn beat_all(&self) -> Result<()> {
        let Size { origins, balancers, .. } = self.size;
        let of = |at: usize| {
            let node = self.nodes[at].clone();
            tokio::spawn(async move {
                for number in (at..origins).step_by(balancers) {
                    node.register(number).await?;
                }
                Ok::<_, anyhow::Error>(())
            })
        };
        try_join_all((0..balancers).map(of)).await?.into_iter().collect()
    }

    /// A publisher for each stream, everywhere at once.
    async fn placements(&mut self) -> Result<(Vec<Arc<StreamKey>>, Vec<Placement>)> {
        let streams = self.size.streams;
        let keys = (0..streams).map(|number| format!("__defaultVhost__/live/camera-{number:06}").parse().map(Arc::new));
        let keys = keys.collect::<Result<Vec<Arc<StreamKey>>, _>>().ok().context("keys of streams")?;
        let before = self.reading()?;
        let since = Instant::now();
        let placed = try_join_all((0..self.size.balancers * AT_ONCE).map(|worker| self.publish(worker, &keys))).await?;
        let placing = since.elapsed();
        self.say("placements_per_second", per(streams, placing));
        let knows = |node: &Arc<Node>| node.store.stream_count() == streams;
        let lag = until("everybody knows every stream", || self.nodes.iter().all(knows)).await?;
        self.say("all_know_after_ms", lag.as_secs_f64() * 1e3);
        self.say("all_written_after_ms", self.quiet().await?.as_secs_f64() * 1e3);
        let after = self.reading()?;
        self.say("stream", costs(&before, &after, streams));
        let memory = |a: u64, b: u64| b.saturating_sub(a) as f64 / streams as f64;
        self.say("server_memory", after.server_memory);
        self.say("balancer_memory", after.own_memory / self.size.balancers as u64);
        self.say("server_bytes_per_stream", memory(before.server_memory, after.server_memory));
        let own = memory(before.own_memory, after.own_memory);
        self.say("balancer_bytes_per_stream", own / self.size.balancers as f64);
        let mut placed: Vec<(usize, Placement)> = placed.into_iter().flatten().collect();
        placed.sort_by_key(|(number, _)| *number);
        Ok((keys, placed.into_iter().map(|(_, placement)| placement).collect()))
    }

    async fn publish(&self, worker: usize, keys: &[Arc<StreamKey>]) -> Result<Vec<(usize, Placement)>> {
        let node = self.nodes[worker % self.size.balancers].clone();
        let own: Vec<(usize, Arc<StreamKey>)> =
            keys.iter().cloned().enumerate().skip(worker).step_by(self.size.balancers * AT_ONCE).collect();
        let work = async move {
            let mut placed = Vec::new();
            for (number, key) in own {
                placed.push((number, node.come(&key, Role::Publish).await?));
            }
            Ok(placed)
        };
        tokio::spawn(work).await?
    }

    /// One viewer of each, at another balancer than its publisher.
    async fn viewers(&mut self, keys: &[Arc<StreamKey>]) -> Result<()> {
        let before = self.reading()?;
        let since = Instant::now();
        for (number, key) in keys.iter().enumerate() {
            self.nodes[(number + 1) % self.size.balancers].come(key, Role::Play).await?;
        }
        self.say("known_placements_per_second", per(keys.len(), since.elapsed()));
        self.quiet().await?;
        self.say("carrier", costs(&before, &self.reading()?, keys.len()));
        Ok(())
    }

    /// Nothing happens.
    async fn rest(&mut self) -> Result<()> {
        let before = self.reading()?;
        let watch = self.watch();
        tokio::time::sleep(self.size.rest).await;
        let after = self.reading()?;
        self.say("rest", per_second(&before, &after));
        self.say("rest_longest_wait_ms", watch.longest_ms());
        Ok(())
    }

    /// Every origin beats once, as SRS does in ten seconds.
    async fn beats(&mut self) -> Result<()> {
        let before = self.reading()?;
        let watch = self.watch();
        let mut every = tokio::time::interval(2 * self.size.rest / self.size.origins as u32);
        for number in 0..self.size.origins {
            every.tick().await;
            self.nodes[number % self.size.balancers].register(number).await?;
        }
        let after = self.reading()?;
        self.say("beats", per_second(&before, &after));
        self.say("beats_longest_wait_ms", watch.longest_ms());
        Ok(())
    }

    /// All lose their connections at once, and read everything.
    async fn reconnection(&mut self) -> Result<()> {
        let wholes: Vec<u64> = self.nodes.iter().map(|node| node.wholes()).collect();
        let (before, watch) = (self.reading()?, self.watch());
        self.server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"])?;
        let again = || self.nodes.iter().zip(&wholes).all(|(node, before)| node.wholes() > *before);
        let took = until("all have read everything again", again).await?;
        self.say("reconnect_all_ms", took.as_secs_f64() * 1e3);
        self.quiet().await?;
        self.say("reconnect_longest_wait_ms", watch.longest_ms());
        let after = self.reading()?;
        self.say("reconnect_cpu_s", after.own_cpu_s - before.own_cpu_s);
        self.say("reconnect_bytes", after.bytes_out - before.bytes_out);
        Ok(())
    }

    /// One more.
    async fn newcomer(&mut self) -> Result<()> {
        let before = self.reading()?;
        let since = Instant::now();
        self.start(self.size.balancers + 1).await?;
        let newcomer = self.nodes.last().context("it has come")?.clone();
        until("it knows every stream", || newcomer.store.stream_count() == self.size.streams).await?;
        self.say("join_ms", since.elapsed().as_secs_f64() * 1e3);
        let after = self.reading()?;
        self.say("join_bytes", after.bytes_out - before.bytes_out);
        self.say("join_memory_bytes", after.own_memory.saturating_sub(before.own_memory));
        Ok(())
    }

    /// Every publisher goes.
    async fn ends(&mut self, placements: &[Placement]) -> Result<()> {
        let before = self.reading()?;
        for (number, placement) in placements.iter().enumerate() {
            self.nodes[number % (self.size.balancers * AT_ONCE) % self.size.balancers].leave(placement, Role::Publish);
        }
        self.quiet().await?;
        self.say("end", costs(&before, &self.reading()?, placements.len()));
        let left = self.nodes[0].store.stream_count();
        ensure!(left == placements.len(), "{left} streams are left, which have viewers");
        Ok(())
    }

    /// How long somebody who asks the first balancer's store has to wait.
    fn watch(&self) -> Watch {
        let node = self.nodes[0].clone();
        Watch::over(move || _ = node.store.stream_count())
    }
}

fn per(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// Of one of `count`.
fn costs(before: &Reading, after: &Reading, count: usize) -> Value {
    let one = |a: f64, b: f64| (b - a) / count as f64;
    json!({
        "scripts": one(before.scripts as f64, after.scripts as f64),
        "commands": one(before.commands as f64, after.commands as f64),
        "bytes_to_server": one(before.bytes_in as f64, after.bytes_in as f64),
        "bytes_from_server": one(before.bytes_out as f64, after.bytes_out as f64),
        "server_cpu_us": one(before.server_cpu_s, after.server_cpu_s) * 1e6,
        "balancers_cpu_us": one(before.own_cpu_s, after.own_cpu_s) * 1e6,
        "seconds": (after.at - before.at).as_secs_f64(),
    })
}

fn per_second(before: &Reading, after: &Reading) -> Value {
    let seconds = (after.at - before.at).as_secs_f64();
    let rate = |a: f64, b: f64| (b - a) / seconds;
    json!({
        "commands": rate(before.commands as f64, after.commands as f64),
        "bytes_to_server": rate(before.bytes_in as f64, after.bytes_in as f64),
        "bytes_from_server": rate(before.bytes_out as f64, after.bytes_out as f64),
        "server_cores": rate(before.server_cpu_s, after.server_cpu_s),
        "balancers_cores": rate(before.own_cpu_s, after.own_cpu_s),
    })
}
