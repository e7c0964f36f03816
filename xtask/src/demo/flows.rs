//! The balancer's flows as its API tells them: the part of the JSON that the table shows.

use anyhow::{Context, Result};
use balancer_lab::balancer::Balancer;
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    Kernel,
    Relay,
}

#[derive(Clone, Debug)]
pub struct Flow {
    /// Without the vhost.
    pub stream: String,
    pub origin: String,
    pub protocol: String,
    pub publishes: bool,
    pub path: Path,
    /// To the origin and to the client.
    pub packets: [u64; 2],
    pub bytes: u64,
}

impl Flow {
    /// Whether it is a player of files, which user space fetches for it one by one.
    pub fn is_proxied(&self) -> bool {
        matches!(&self.protocol[..], "hls" | "http")
    }

    /// Whether packets go through it both ways.
    pub fn is_forwarding(&self) -> bool {
        self.packets.iter().all(|packets| *packets > 0)
    }
}

/// As `balancer flows --json` prints them inside the balancer's namespace.
pub fn of(balancer: &Balancer) -> Result<Vec<Flow>> {
    let answer = balancer.command_json("flows")?;
    let flows = answer.get("flows").unwrap_or(&answer).as_array().context("no list of flows")?;
    flows.iter().map(|flow| parse(flow).with_context(|| format!("not a flow: {flow}"))).collect()
}

fn parse(flow: &Value) -> Option<Flow> {
    let text = |name: &str| flow.get(name)?.as_str();
    let number = |pointer: &str| flow.pointer(pointer)?.as_u64();
    let key = text("stream")?;
    Some(Flow {
        stream: key.split_once('/').map_or(key, |(_vhost, rest)| rest).to_owned(),
        origin: text("origin")?.to_owned(),
        protocol: text("protocol")?.to_owned(),
        publishes: text("role")? == "publish",
        path: if text("path")? == "kernel" { Path::Kernel } else { Path::Relay },
        packets: [number("/to_origin/packets")?, number("/to_client/packets")?],
        bytes: number("/to_origin/bytes")? + number("/to_client/bytes")?,
    })
}

#[cfg(test)]
pub fn fixture() -> Flow {
    parse(&serde_json::json!({
        "client": "10.71.10.2:40000", "vip": "10.71.9.9:1935", "origin": "origin1", "origin_address": "10.71.101.2:1935",
        "source": "10.71.101.1:20000", "protocol": "rtmp", "role": "publish", "stream": "__defaultVhost__/live/camera1",
        "path": "kernel", "state": "spliced", "to_origin": {"packets": 1000, "bytes": 1_000_000},
        "to_client": {"packets": 10, "bytes": 100}, "age_s": 3, "idle_s": 0,
    }))
    .expect("every field is there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_read_from_the_api() {
        let flow = fixture();
        assert_eq!(flow.stream, "live/camera1");
        assert!(flow.publishes && flow.is_forwarding());
        assert_eq!((flow.path, flow.bytes), (Path::Kernel, 1_000_100));
    }
}
