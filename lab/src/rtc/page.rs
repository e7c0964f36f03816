//! A page in Chromium that publishes its pretended camera by WHIP, or plays by WHEP.

use super::RtcRole;
use crate::browser::chromium;
use crate::data_centre::Host;
use crate::process::Process;
use crate::wait;
use crate::web::origin::{WebManners, WebOrigin};
use anyhow::{Context, Result};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;

const PAGE: &str = include_str!("../../assets/webrtc.html");
/// One for each, so that a publisher and a player live on one host.
static NEXT_PORT: AtomicU16 = AtomicU16::new(9050);
const DEVICES: [&str; 2] = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];

/// The last thing that the page said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PageSeen {
    pub state: String,
    pub packets: u64,
    pub frames: u64,
    pub lost: i64,
    pub width: u32,
    pub connect_ms: u64,
    pub errors: String,
}

pub struct RtcPage {
    process: Process,
    server: WebOrigin,
}

impl RtcPage {
    /// The page comes from the host itself: only such a page may have a camera without TLS.
    pub fn open(host: &Host, directory: &Path, role: RtcRole, url: &str) -> Result<Self> {
        let port = NEXT_PORT.fetch_add(1, Relaxed);
        let server = WebOrigin::start(&host.netns, port, WebManners::default())?;
        server.put("/webrtc.html", "text/html", PAGE);
        server.put("/report", "text/plain", "");
        let own = format!("http://127.0.0.1:{port}");
        let url = url.replace('&', "%26");
        let page = format!("{own}/webrtc.html?role={}&url={url}&report={own}/report", role.verb());
        let process = chromium(host, directory, &DEVICES, &page)?;
        Ok(Self { process, server })
    }

    pub fn seen(&self) -> Option<PageSeen> {
        let last = self.server.arrived_for("/report?").pop()?;
        Some(parse(last.head.word(1)))
    }

    /// Waits until it is connected and has encoded or decoded so many frames.
    pub fn wait_frames(&self, frames: u64, within: Duration) -> Result<PageSeen> {
        let going = |seen: &PageSeen| seen.state == "connected" && seen.frames >= frames;
        wait::wait_for("the page to have its frames", within, || self.seen().filter(going))
            .with_context(|| format!("{:?}\n{}", self.seen(), self.process.tail()))
    }
}

fn parse(target: &str) -> PageSeen {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(other, _)| *other == name).map(|(_, value)| value).unwrap_or_default()
    };
    PageSeen {
        state: value("state").to_owned(),
        packets: value("packets").parse().unwrap_or(0),
        frames: value("frames").parse().unwrap_or(0),
        lost: value("lost").parse().unwrap_or(0),
        width: value("width").parse().unwrap_or(0),
        connect_ms: value("connect").parse().unwrap_or(0),
        errors: value("errors").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_from_its_report() {
        let seen = parse("/report?state=connected&packets=9&frames=4&lost=0&width=320&connect=80&errors=");
        let expected = PageSeen {
            state: "connected".into(),
            packets: 9,
            frames: 4,
            width: 320,
            connect_ms: 80,
            ..PageSeen::default()
        };
        assert_eq!(seen, expected);
    }
}
