//! A primary, its replicas, and three Sentinels that agree on a new one when it is gone.

use super::{Place, Server, Setup};
use crate::wait::wait_until;
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::time::Duration;

const SERVICE: &str = "mymaster";
const SETTLE_TIME_MAX: Duration = Duration::from_secs(30);

pub struct Sentinels {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
}

impl Sentinels {
    /// One primary and `replicas`.
    pub fn start(place: &Place, replicas: usize) -> Result<Self> {
        let mut servers = vec![Server::start(place, &Setup::lines(&["repl-diskless-sync-delay 0"]))?];
        let primary = servers[0].address();
        for _ in 0..replicas {
            let line = format!("replicaof {} {}", primary.ip(), primary.port());
            servers.push(Server::start(place, &Setup::lines(&["repl-diskless-sync-delay 0", &line]))?);
        }
        for server in &servers[1..] {
            let linked = || server.cli(&["INFO", "replication"]).is_ok_and(|text| text.contains("link_status:up"));
            wait_until("a replica to be linked", SETTLE_TIME_MAX, linked)?;
        }
        let setup = Setup {
            lines: vec![
                format!("sentinel monitor {SERVICE} {} {} 2", primary.ip(), primary.port()),
                format!("sentinel down-after-milliseconds {SERVICE} 1000"),
                format!("sentinel failover-timeout {SERVICE} 5000"),
            ],
            is_sentinel: true,
            ..Setup::default()
        };
        let sentinels: Vec<_> = (0..3).map(|_| Server::start(place, &setup)).collect::<Result<_>>()?;
        let all = Self { servers, sentinels };
        wait_until("the Sentinels to know each other and the replicas", SETTLE_TIME_MAX, || all.is_settled(replicas))?;
        Ok(all)
    }

    pub fn url(&self) -> String {
        let places: Vec<_> = self.sentinels.iter().map(|sentinel| sentinel.address().to_string()).collect();
        format!("redis+sentinel://{}/{SERVICE}", places.join(","))
    }

    pub fn primary(&self) -> Result<SocketAddr> {
        let answer = self.sentinels[0].cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE])?;
        let (ip, port) = answer.split_once('\n').with_context(|| format!("{answer:?}"))?;
        Ok(SocketAddr::new(ip.parse()?, port.parse()?))
    }

    /// The primary as a server, for whatever is to be done to it.
    pub fn primary_server(&mut self) -> Result<&mut Server> {
        let address = self.primary()?;
        self.servers.iter_mut().find(|server| server.address() == address).context("the primary is one of ours")
    }

    /// Asks the primary.
    pub fn ask(&self, words: &[&str]) -> Result<String> {
        let address = self.primary()?;
        self.servers.iter().find(|server| server.address() == address).context("the primary is one of ours")?.cli(words)
    }

    /// Until the Sentinels name another server than `old`, which serves.
    pub fn wait_other(&self, old: SocketAddr) -> Result<SocketAddr> {
        let mut found = old;
        wait_until("another primary", SETTLE_TIME_MAX, || {
            found = self.primary().unwrap_or(old);
            let server = self.servers.iter().find(|server| server.address() == found);
            found != old && server.is_some_and(|s| s.cli(&["ROLE"]).is_ok_and(|role| role.starts_with("master")))
        })?;
        Ok(found)
    }

    /// Makes a replica the primary while both run.
    pub fn fail_over(&self) -> Result<()> {
        self.sentinels[0].cli(&["SENTINEL", "FAILOVER", SERVICE]).map(drop)
    }

    fn is_settled(&self, replicas: usize) -> bool {
        self.sentinels.iter().all(|sentinel| {
            let Ok(text) = sentinel.cli(&["SENTINEL", "MASTER", SERVICE]) else { return false };
            let lines: Vec<_> = text.lines().collect();
            let is = |name: &str, value: &str| lines.windows(2).any(|pair| pair == [name, value]);
            is("num-other-sentinels", "2") && is("num-slaves", &replicas.to_string()) && is("flags", "master")
        })
    }
}
