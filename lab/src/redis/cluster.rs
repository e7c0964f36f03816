//! A Redis Cluster of three nodes without replicas.

use super::{Place, Server, Setup};
use crate::wait::wait_until;
use anyhow::{Context, Result};
use std::time::Duration;

const SLOTS: u16 = 16384;
const SETTLE_TIME_MAX: Duration = Duration::from_secs(30);

pub struct Cluster {
    pub nodes: Vec<Server>,
}

impl Cluster {
    pub fn start(place: &Place) -> Result<Self> {
        let mut nodes = Vec::new();
        let mut bus_ports = Vec::new();
        for _ in 0..3 {
            let bus_port = place.free_port()?;
            let bus = format!("cluster-port {bus_port}");
            nodes.push(Server::start(
                place,
                &Setup::lines(&["cluster-enabled yes", "cluster-node-timeout 2000", &bus]),
            )?);
            bus_ports.push(bus_port);
        }
        let share = SLOTS / 3;
        for (n, node) in (0_u16..).zip(&nodes) {
            let last = if n == 2 { SLOTS - 1 } else { (n + 1) * share - 1 };
            node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()])?;
            node.cli(&["CLUSTER", "ADDSLOTSRANGE", &(n * share).to_string(), &last.to_string()])?;
        }
        for (other, bus_port) in nodes.iter().zip(&bus_ports).skip(1) {
            let (ip, port) = (other.address().ip().to_string(), other.address().port().to_string());
            nodes[0].cli(&["CLUSTER", "MEET", &ip, &port, &bus_port.to_string()])?;
        }
        let cluster = Self { nodes };
        wait_until("the nodes to agree", SETTLE_TIME_MAX, || cluster.is_settled())?;
        Ok(cluster)
    }

    pub fn url(&self) -> String {
        let places: Vec<_> = self.nodes.iter().map(|node| node.address().to_string()).collect();
        format!("redis+cluster://{}", places.join(","))
    }

    /// Moves the slot of `key`, with all that is in it, to another node. Answers which node had it.
    pub fn move_slot_of(&self, key: &str) -> Result<usize> {
        let slot = self.nodes[0].cli(&["CLUSTER", "KEYSLOT", key])?;
        let ids: Vec<_> = self.nodes.iter().map(|node| node.cli(&["CLUSTER", "MYID"])).collect::<Result<_>>()?;
        // A node answers MOVED for a slot that is another's.
        let from =
            self.nodes.iter().position(|node| node.cli(&["TYPE", key]).is_ok()).context("a node has the slot")?;
        let to = (from + 1) % self.nodes.len();
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        target.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[from]])?;
        source.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[to]])?;
        let keys = source.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "1000"])?;
        let (ip, port) = (target.address().ip().to_string(), target.address().port().to_string());
        let mut migrate = vec!["MIGRATE", &ip, &port, "", "0", "5000", "KEYS"];
        migrate.extend(keys.lines().filter(|key| !key.is_empty()));
        if migrate.len() > 7 {
            source.cli(&migrate)?;
        }
        for node in [target, source] {
            node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &ids[to]])?;
        }
        Ok(from)
    }

    fn is_settled(&self) -> bool {
        self.nodes.iter().all(|node| {
            node.cli(&["CLUSTER", "INFO"])
                .is_ok_and(|text| text.contains("cluster_state:ok") && text.contains("cluster_known_nodes:3"))
        })
    }
}
