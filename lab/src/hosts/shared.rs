//! The Redis that all balancers reach, on a host of its own: one server, a primary with its Sentinels, or a Cluster.

use super::layout::STORE;
use crate::net::Netns;
use crate::redis::{Cluster, Place, Sentinels, Server, Setup};
use anyhow::{Context, Result};
use std::collections::BTreeSet;

const WRITE: &str = "
    local name = function(what) return 'balancer:{' .. ARGV[3] .. '}:' .. what end
    local seq = redis.call('INCR', name('seq'))
    redis.call('SETNX', name('born'), 'somebody')
    local version = redis.call('GET', name('born')) .. ':' .. string.format('%.0f', seq * 65536 + 7)
    redis.call('HSET', name('t'), ARGV[1], version .. ' ' .. ARGV[2])
    redis.call('ZADD', name('log'), seq, ARGV[1])
    redis.call('PUBLISH', 'balancer:news', ARGV[3] .. ' ' .. version .. ' ' .. #ARGV[1] .. ' ' .. ARGV[1] .. ARGV[2])
    return 1";

/// What the balancers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorePlot {
    Server,
    /// One that is started later, by [`SharedStore::launch`].
    Later,
    Sentinels,
    Cluster,
}

pub enum SharedStore {
    Server(Box<Server>),
    Sentinels(Sentinels),
    Cluster(Cluster),
}

impl SharedStore {
    pub fn start(netns: &Netns, plot: StorePlot) -> Result<Self> {
        let place = Place::within(netns, STORE.into());
        Ok(match plot {
            StorePlot::Server => Self::Server(Box::new(Server::start(&place, &Setup::default())?)),
            StorePlot::Later => {
                let mut server = Server::start(&place, &Setup::default())?;
                server.kill();
                Self::Server(Box::new(server))
            }
            StorePlot::Sentinels => Self::Sentinels(Sentinels::start(&place, 1)?),
            StorePlot::Cluster => Self::Cluster(Cluster::start(&place)?),
        })
    }

    /// For the balancers' setting.
    pub fn url(&self) -> String {
        match self {
            Self::Server(server) => server.url(),
            Self::Sentinels(sentinels) => sentinels.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    /// The one that can be written to, for whatever is to be done to it; of a Cluster the first.
    pub fn server(&mut self) -> Result<&mut Server> {
        match self {
            Self::Server(server) => Ok(server),
            Self::Sentinels(sentinels) => sentinels.primary_server(),
            Self::Cluster(cluster) => Ok(&mut cluster.nodes[0]),
        }
    }

    /// Starts it (again); it remembers nothing.
    pub fn launch(&mut self) -> Result<()> {
        self.server()?.restart()
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.server()?.kill();
        Ok(())
    }

    /// The answer to a command.
    pub fn ask(&self, words: &[&str]) -> Result<String> {
        match self {
            Self::Server(server) => server.cli(words),
            Self::Sentinels(sentinels) => sentinels.ask(words),
            Self::Cluster(cluster) => cluster.nodes[0].cli(words),
        }
    }

    /// Runs a script that answers with a number, on every server that has a part; their sum.
    pub fn number(&self, script: &str) -> Result<i64> {
        let words = ["EVAL", script, "0"];
        let answers = match self {
            Self::Cluster(cluster) => cluster.nodes.iter().map(|node| node.cli(&words)).collect::<Result<Vec<_>>>()?,
            Self::Server(_) | Self::Sentinels(_) => vec![self.ask(&words)?],
        };
        answers.iter().map(|answer| Ok(answer.parse::<i64>()?)).sum()
    }

    /// Names of all records but the flows'.
    pub fn records(&self) -> Result<BTreeSet<String>> {
        let script = "local all = {} for _, table in ipairs(redis.call('KEYS', '*:t')) do \
                      for _, key in ipairs(redis.call('HKEYS', table)) do all[#all + 1] = key end end return all";
        let lines = self.ask(&["EVAL", script, "0"])?;
        Ok(lines.lines().map(str::to_owned).collect())
    }

    /// What a record says.
    pub fn record(&self, key: &str) -> Result<String> {
        let there = self.ask(&["HGET", &format!("balancer:{{{}}}:t", shard_of(key)), key])?;
        let (_, value) = there.split_once(' ').with_context(|| format!("{key}: {there:?}"))?;
        Ok(value.to_owned())
    }

    /// Writes a record as a balancer does, without asking what was there.
    pub fn write_record(&self, key: &str, value: &str) -> Result<()> {
        let shard = shard_of(key).to_string();
        self.ask(&["EVAL", WRITE, "0", key, value, &shard]).map(drop)
    }

    /// Records of flows, of all balancers. Needs no knowledge of the keys but that their names end in `:flows`, and that
    /// what a flow is found by beside its record begins with `>`.
    pub fn flows(&self) -> Result<i64> {
        self.number(
            "local n = 0 for _, key in ipairs(redis.call('KEYS', '*:flows')) do \
             for _, field in ipairs(redis.call('HKEYS', key)) do if field:sub(1, 1) ~= '>' then n = n + 1 end end end return n",
        )
    }
}

/// Of 64: FNV-1a, folded.
fn shard_of(key: &str) -> u64 {
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    ((hash >> 32) ^ hash) % 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_lies_where_balancers_look_for_it() {
        assert_eq!(shard_of("s/__defaultVhost__/live/a"), 12);
    }
}
