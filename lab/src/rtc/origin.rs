//! The origin of `lab-rtc` on an origin's host, and what it says about its sessions.

use super::{RTC_PORT, binary};
use crate::balancer::{HTTP_PORT, ORIGIN_API_PORT};
use crate::data_centre::{DataCentre, Family};
use crate::http;
use crate::net::Netns;
use crate::process::Process;
use anyhow::{Context, Result};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

const START_WITHIN: Duration = Duration::from_secs(60);

pub struct RtcOrigin {
    netns: Netns,
    process: Process,
}

/// A look at the origin.
#[derive(Clone, Debug)]
pub struct OriginStats(pub Value);

impl RtcOrigin {
    /// Signalling on the API's port, media on one port of the host's address, and `pages` of what is published on the
    /// HTTP port, where no other server has that.
    pub fn start(dc: &DataCentre, number: usize, family: Family, pages: bool) -> Result<Self> {
        let host = &dc.origins[number];
        let program = binary()?.display().to_string();
        let name = format!("rtc{number}");
        let process = Process::start(&host.netns, dc.directory(), &name, &program, |command| {
            command.arg("origin").arg("--ip").arg(host.ip(family).to_string());
            command.args(["--rtc", &RTC_PORT.to_string(), "--api", &ORIGIN_API_PORT.to_string()]);
            if pages {
                command.args(["--http", &HTTP_PORT.to_string()]);
            }
        })?;
        let mut this = Self { netns: host.netns.clone(), process };
        let (netns, to) = (this.netns.clone(), stats_address());
        this.process.wait_ready("the WebRTC origin to listen", START_WITHIN, || {
            netns.run(|| std::net::TcpStream::connect(to).is_ok()).unwrap_or(false)
        })?;
        Ok(this)
    }

    pub fn stats(&self) -> Result<OriginStats> {
        let response = self.netns.run(|| http::request("GET", stats_address(), "/lab/stats", None))??;
        Ok(OriginStats(response.json().context("the origin's sessions")?))
    }

    pub fn process(&self) -> &Process {
        &self.process
    }
}

fn stats_address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, ORIGIN_API_PORT))
}

impl OriginStats {
    pub fn sessions(&self) -> &[Value] {
        self.0["sessions"].as_array().map_or(&[], Vec::as_slice)
    }

    pub fn ended(&self) -> &[Value] {
        self.0["ended"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Sessions of a stream, the ended ones too.
    pub fn of_stream(&self, stream: &str) -> Vec<&Value> {
        self.sessions().iter().chain(self.ended()).filter(|session| session["stream"] == stream).collect()
    }

    /// The sum of a number over the sessions that are there.
    pub fn sum(&self, field: &str) -> u64 {
        self.sessions().iter().filter_map(|session| session[field].as_u64()).sum()
    }

    /// Offers that were accepted, ever.
    pub fn made(&self) -> u64 {
        self.0["made"].as_u64().unwrap_or_default()
    }

    /// Binding requests that belonged to nobody.
    pub fn strange_stun(&self) -> u64 {
        self.0["strangers"]["stun"].as_u64().unwrap_or_default()
    }

    pub fn strange_names(&self) -> Vec<&str> {
        self.0["strangers"]["names"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Datagrams that belonged to nobody, of whatever kind.
    pub fn strangers(&self) -> u64 {
        self.strange_stun() + self.0["strangers"]["other"].as_u64().unwrap_or_default()
    }
}
