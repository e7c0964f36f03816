//! aiortc, which encodes and decodes: a publisher by WHIP or a player by WHEP in Python.

use super::client::Seen;
use super::{RtcRole, python};
use crate::data_centre::Host;
use crate::process::Process;
use crate::wait;
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Duration;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/webrtc.py");

pub struct Aiortc {
    process: Process,
}

impl Aiortc {
    pub fn start(host: &Host, directory: &Path, name: &str, role: RtcRole, url: &str) -> Result<Self> {
        let python = python()?.display().to_string();
        let name = format!("aiortc-{name}");
        let process = Process::start(&host.netns, directory, &name, &python, |command| {
            command.arg(SCRIPT).arg(role.verb()).arg(url);
        })?;
        Ok(Self { process })
    }

    /// The last thing that it said.
    pub fn seen(&self) -> Option<Seen> {
        let log = self.process.log();
        let said = log.lines().rev().filter(|line| line.starts_with('{'));
        said.filter_map(|line| serde_json::from_str(line).ok()).next().map(Seen)
    }

    pub fn wait(&self, what: &str, within: Duration, holds: impl Fn(&Seen) -> bool) -> Result<Seen> {
        wait::wait_for(what, within, || self.seen().filter(&holds))
            .with_context(|| format!("{:?}\n{}", self.seen(), self.process.tail()))
    }

    /// Waits until a player has decoded so many frames, or a publisher has sent so many packets.
    pub fn wait_going(&self, count: u64, within: Duration) -> Result<Seen> {
        self.wait("aiortc to go on", within, |seen| seen.number("frames") + seen.number("sent") >= count)
    }

    /// Asks it to end the session, and waits for what its DELETE was answered with.
    pub fn end(&mut self, within: Duration) -> Result<Seen> {
        self.process.terminate()?;
        self.process.wait_exit(within)?;
        self.seen().with_context(|| self.process.tail())
    }
}
