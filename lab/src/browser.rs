//! Chromium without a screen, playing HLS with a player written in JavaScript. Its page comes from a small server on the
//! client's host, or from wherever a test puts the page's files; what it sees it reports to that server.

use crate::data_centre::{Family, Host};
use crate::process::Process;
use crate::wait;
use crate::web::origin::{WebManners, WebOrigin};
use anyhow::{Context, Result};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

pub const PLAYER: &str = include_str!("../assets/player.html");
pub const HLS_JS: &str = include_str!("../assets/hls.js/hls.light.min.js");

const PORT: u16 = 9000;
/// No sandbox, because tests run as root; nothing that asks the world for updates; and a page may talk to the host
/// that it came from, whatever network that is in.
const FLAGS: [&str; 14] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--mute-audio",
    "--no-proxy-server",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-features=LocalNetworkAccessChecks,PrivateNetworkAccessRespectPreflightResults",
];

/// The last thing that the page said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    pub seconds: f64,
    pub frames: u64,
    pub width: u32,
    pub fragments: u64,
    pub errors: String,
}

pub struct Browser {
    process: Process,
    server: WebOrigin,
}

impl Browser {
    /// Opens the page of its own server, with this playlist.
    pub fn play(host: &Host, family: Family, directory: &Path, playlist: &str) -> Result<Self> {
        Self::open(host, family, directory, None, playlist)
    }

    /// Opens a page from elsewhere, which must be [`PLAYER`] with [`HLS_JS`] beside it.
    pub fn open(host: &Host, family: Family, directory: &Path, page: Option<&str>, playlist: &str) -> Result<Self> {
        let server = WebOrigin::start(&host.netns, PORT, WebManners::default())?;
        server.put("/player.html", "text/html", PLAYER);
        server.put("/hls.js", "text/javascript", HLS_JS);
        server.put("/report", "text/plain", "");
        let own = std::net::SocketAddr::new(host.ip(family), PORT);
        let page = page.map_or_else(|| format!("http://{own}/player.html"), str::to_owned);
        let url = format!("{page}?src={playlist}&report=http://{own}/report");
        Ok(Self { process: chromium(host, directory, &[], &url)?, server })
    }

    pub fn report(&self) -> Option<Report> {
        let last = self.server.arrived_for("/report?").pop()?;
        Some(parse(last.head.word(1)))
    }

    /// Waits until it has played on for so many seconds and decoded so many frames.
    pub fn wait_played(&self, seconds: f64, frames: u64, within: Duration) -> Result<Report> {
        let first = self.report().unwrap_or_default();
        wait::wait_for("the browser to play", within, || {
            let report = self.report()?;
            (report.seconds >= first.seconds + seconds && report.frames >= first.frames + frames).then_some(report)
        })
        .with_context(|| format!("last report: {:?}\n{}", self.report(), self.process.tail()))
    }
}

/// Chromium on a host, on this page, with more flags.
pub fn chromium(host: &Host, directory: &Path, flags: &[&str], url: &str) -> Result<Process> {
    // A profile of its own for each: one that was killed may have left a lock.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let profile = directory.join(format!("chromium{}", NUMBER.fetch_add(1, Relaxed)));
    Process::start(&host.netns, directory, "chromium", "chromium", |command| {
        command.args(FLAGS).args(flags).arg(format!("--user-data-dir={}", profile.display())).arg(url);
        // It would look for a session bus and a home of its own.
        command.env("HOME", directory).env_remove("DBUS_SESSION_BUS_ADDRESS");
    })
}

fn parse(target: &str) -> Report {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let value = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(other, _)| *other == name).map(|(_, value)| value).next_back().unwrap_or_default()
    };
    Report {
        seconds: value("time").parse().unwrap_or(0.0),
        frames: value("frames").parse().unwrap_or(0),
        width: value("width").parse().unwrap_or(0),
        fragments: value("fragments").parse().unwrap_or(0),
        errors: value("errors").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_from_its_query() {
        let report = parse("/report?time=1.5&frames=40&width=320&fragments=2&errors=a+b");
        let expected = Report { seconds: 1.5, frames: 40, width: 320, fragments: 2, errors: "a+b".into() };
        assert_eq!(report, expected);
    }
}
