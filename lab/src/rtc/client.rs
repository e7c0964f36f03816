//! The client of `lab-rtc`: any number of sessions in one process, told what to do over a port of its own.

use super::{RtcRole, binary};
use crate::data_centre::Host;
use crate::http;
use crate::net::Netns;
use crate::process::Process;
use crate::wait;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;

/// Control ports; each client has the next one, so that several live on one host.
static NEXT_PORT: AtomicU16 = AtomicU16::new(9100);
const START_WITHIN: Duration = Duration::from_secs(60);

pub struct RtcClient {
    netns: Netns,
    process: Process,
    control: SocketAddr,
    count: usize,
}

/// What one session says about itself.
#[derive(Clone, Debug)]
pub struct Seen(pub Value);

impl RtcClient {
    /// One session, its offer sent to `url`; more arguments are `lab-rtc`'s own.
    pub fn start(host: &Host, directory: &Path, role: RtcRole, url: &str, more: &[&str]) -> Result<Self> {
        Self::start_many(host, directory, role, url, 1, more)
    }

    pub fn start_many(
        host: &Host,
        directory: &Path,
        role: RtcRole,
        url: &str,
        count: usize,
        more: &[&str],
    ) -> Result<Self> {
        let port = NEXT_PORT.fetch_add(1, Relaxed);
        let program = binary()?.display().to_string();
        let name = format!("{}-{port}", role.verb());
        let process = Process::start(&host.netns, directory, &name, &program, |command| {
            command.arg(role.verb()).arg(url).args(["--control", &port.to_string()]);
            command.args(["--count", &count.to_string()]).args(more);
        })?;
        let control = SocketAddr::new(IpAddr::from(Ipv4Addr::LOCALHOST), port);
        let mut this = Self { netns: host.netns.clone(), process, control, count };
        let netns = this.netns.clone();
        this.process.wait_ready("the WebRTC client to start", START_WITHIN, || {
            netns.run(|| std::net::TcpStream::connect(control).is_ok()).unwrap_or(false)
        })?;
        Ok(this)
    }

    pub fn seen(&self) -> Result<Vec<Seen>> {
        self.ask("GET", "/report")
    }

    /// The only session, where there is one.
    pub fn one(&self) -> Result<Seen> {
        self.seen()?.into_iter().next().context("no session has begun")
    }

    /// `move`, `rebind`, `restart`, `end` or `vanish`; what every session says afterwards.
    pub fn order(&self, order: &str) -> Result<Vec<Seen>> {
        self.ask("POST", &format!("/{order}"))
    }

    fn ask(&self, method: &str, path: &str) -> Result<Vec<Seen>> {
        let response = self.netns.run(|| http::request(method, self.control, path, None))??;
        if response.status != 200 {
            bail!("{method} {path}: {}", response.status);
        }
        let mut report = response.json()?;
        match report["sessions"].take() {
            Value::Array(sessions) => Ok(sessions.into_iter().map(Seen).collect()),
            _ => bail!("no sessions in {report}"),
        }
    }

    /// Waits until this holds for every session.
    pub fn wait(&self, what: &str, within: Duration, holds: impl Fn(&Seen) -> bool) -> Result<Vec<Seen>> {
        let mut last = Vec::new();
        let waited = wait::wait_for(what, within, || {
            last = self.seen().ok()?;
            (last.len() == self.count && last.iter().all(&holds)).then(|| last.clone())
        });
        waited.with_context(|| {
            let failing: Vec<_> = last.iter().filter(|seen| !holds(seen)).take(2).collect();
            format!("{} sessions; not so: {failing:#?}\n{}", last.len(), self.process.tail())
        })
    }

    pub fn wait_connected(&self, within: Duration) -> Result<Vec<Seen>> {
        self.wait("every session to connect", within, |seen| seen.is("connected"))
    }

    /// Waits until every session has got so many frames more than it has now.
    pub fn wait_frames(&self, more: u64, within: Duration) -> Result<Vec<Seen>> {
        let least = self.seen()?.iter().map(|seen| seen.number("frames")).max().unwrap_or_default() + more;
        self.wait(&format!("{more} frames more"), within, |seen| seen.number("frames") >= least)
    }

    /// The process is gone at once, as when its machine is.
    pub fn kill(mut self) {
        self.process.kill();
    }

    pub fn process(&self) -> &Process {
        &self.process
    }
}

impl Seen {
    pub fn number(&self, field: &str) -> u64 {
        self.0[field].as_u64().unwrap_or_default()
    }

    pub fn is(&self, field: &str) -> bool {
        self.0[field] == true
    }

    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    /// The candidates of the answer, as they stand there.
    pub fn candidates(&self) -> Vec<&str> {
        self.0["candidates"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }
}
