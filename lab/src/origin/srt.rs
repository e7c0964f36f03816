//! SRT by the system's libsrt: an origin on one UDP port, which passes what a publisher sends to all who request it, and
//! callers. Each is a process of the lab's own program, `srt_peer`, and says in JSON lines what happens.

use crate::data_centre::{DataCentre, Family};
use crate::net::Netns;
use crate::process::Process;
use crate::wait;
use anyhow::{Context, Result};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const SRT_PORT: u16 = 10080;
/// What the origin wants of streams whose name begins with `secret`.
pub const PASSPHRASE: &str = "a-word-to-pass-by";
const START_WITHIN: Duration = Duration::from_secs(60);

/// Beside the program that runs: cargo builds it with the tests.
pub fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find my own program")?;
    let folders = own.ancestors().skip(1).take(2);
    let mut candidates = folders.map(|folder| folder.join("srt_peer"));
    candidates.find(|path| path.is_file()).with_context(|| {
        format!("no srt_peer beside {}: `cargo build --package balancer-lab --bin srt_peer` makes it", own.display())
    })
}

/// A process that tells what happens.
pub struct SrtPeer {
    process: Process,
    /// Where in the log this run begins.
    from: usize,
}

impl SrtPeer {
    fn start(netns: &Netns, directory: &Path, name: &str, words: &[String]) -> Result<Self> {
        let program = program()?.display().to_string();
        let log = directory.join(format!("{name}.log"));
        let from = std::fs::metadata(log).map_or(0, |log| log.len() as usize);
        let process = Process::start(netns, directory, name, &program, |command| {
            command.args(words);
        })?;
        Ok(Self { process, from })
    }

    /// Requests a stream, so many times at once; `more` is what else the program takes.
    pub fn play(host: (&Netns, &Path), name: &str, to: SocketAddr, stream_id: &str, more: &[&str]) -> Result<Self> {
        Self::call(host, name, "play", to, stream_id, more)
    }

    pub fn publish(host: (&Netns, &Path), name: &str, to: SocketAddr, stream_id: &str, more: &[&str]) -> Result<Self> {
        Self::call(host, name, "publish", to, stream_id, more)
    }

    fn call(
        (netns, directory): (&Netns, &Path),
        name: &str,
        role: &str,
        to: SocketAddr,
        stream_id: &str,
        more: &[&str],
    ) -> Result<Self> {
        let mut words = vec![role.to_owned(), format!("to={to}"), format!("stream={stream_id}")];
        words.extend(more.iter().map(ToString::to_string));
        Self::start(netns, directory, &format!("srt-{role}-{name}"), &words)
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Everything that it has said, in order.
    pub fn events(&self) -> Vec<Value> {
        let log = self.process.log();
        let run = log.get(self.from..).unwrap_or_default();
        run.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub fn events_of(&self, kind: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["event"] == kind).collect()
    }

    /// Waits for so many events of a kind.
    pub fn wait_events(&self, kind: &str, count: usize, within: Duration) -> Result<Vec<Value>> {
        let what = format!("{count} times {kind}");
        wait::wait_for(&what, within, || Some(self.events_of(kind)).filter(|events| events.len() >= count))
            .with_context(|| self.process.tail())
    }

    /// Waits until a caller (or a stream's publisher) has that many packets of TS; says how many errors there were.
    pub fn wait_packets(&self, packets: u64, within: Duration) -> Result<u64> {
        let last = || self.events().into_iter().rev().find(|event| event["packets"].is_u64());
        let enough = || last().filter(|event| event["packets"].as_u64() >= Some(packets));
        let event =
            wait::wait_for(&format!("{packets} packets of TS"), within, enough).with_context(|| self.process.tail())?;
        Ok(event["errors"].as_u64().unwrap_or(0))
    }
}

/// The origin.
pub struct SrtOrigin(pub SrtPeer);

impl SrtOrigin {
    /// On the host `number` of the data centre, on the usual port.
    pub fn start(dc: &DataCentre, number: usize, family: Family) -> Result<Self> {
        let host = dc.origins.get(number).context("no such origin host")?;
        let at = SocketAddr::new(host.ip(family), SRT_PORT);
        Self::start_at(&host.netns, dc.directory(), &format!("srt-origin{number}"), at)
    }

    pub fn start_at(netns: &Netns, directory: &Path, name: &str, at: SocketAddr) -> Result<Self> {
        let mut peer = SrtPeer::start(netns, directory, name, &["origin".to_owned(), format!("at={at}")])?;
        let (log, from) = (peer.process.log_path().to_owned(), peer.from);
        let said = || std::fs::read(&log).unwrap_or_default().split_off(from);
        peer.process.wait_ready("the SRT origin to listen", START_WITHIN, || {
            String::from_utf8_lossy(&said()).contains("\"listens\"")
        })?;
        Ok(Self(peer))
    }

    /// The last word on a stream's publisher: packets of TS, and errors among them.
    pub fn published(&self, stream: &str) -> Option<(u64, u64)> {
        let events = self.0.events();
        let last = events.iter().rev().find(|event| event["stream"] == stream && event["packets"].is_u64())?;
        Some((last["packets"].as_u64()?, last["errors"].as_u64()?))
    }

    pub fn wait_published(&self, stream: &str, packets: u64, within: Duration) -> Result<(u64, u64)> {
        let enough = || self.published(stream).filter(|(have, _)| *have >= packets);
        wait::wait_for(&format!("{packets} packets of {stream} at the origin"), within, enough)
            .with_context(|| self.0.process.tail())
    }
}

/// As `srt-live-transmit` and ffmpeg want it: options of the URL behind the stream id.
pub fn url(to: SocketAddr, stream: &str, mode: &str, more: &str) -> String {
    format!("srt://{to}?streamid=#!::r={stream},m={mode}{more}")
}
