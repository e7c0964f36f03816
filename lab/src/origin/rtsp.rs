//! RTSP servers: one that plays a test picture to any number of clients, over TCP and UDP, and ffmpeg's listener, which
//! takes one publisher and counts what it decodes.

use crate::data_centre::DataCentre;
use crate::ffmpeg::Player;
use crate::net::Netns;
use crate::process::Process;
use crate::requirements::SYSTEM_PYTHON;
use anyhow::Result;
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

pub const RTSP_PORT: u16 = 8554;
/// What the server plays; every name after it is the same picture.
pub const RTSP_STREAMS: [&str; 3] = ["/live/s1", "/live/s2", "/live/s3"];
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/rtsp_server.py");
const START_WITHIN: Duration = Duration::from_secs(60);

/// GStreamer's RTSP server, in both families.
pub struct RtspOrigin {
    process: Process,
}

impl RtspOrigin {
    pub fn start(dc: &DataCentre, number: usize) -> Result<Self> {
        let (netns, name) = (&dc.origins[number].netns, format!("rtsp{number}"));
        let mut process = Process::start(netns, dc.directory(), &name, SYSTEM_PYTHON, |command| {
            command.arg(SCRIPT).arg(RTSP_PORT.to_string()).args(RTSP_STREAMS);
        })?;
        let to = SocketAddr::from((Ipv6Addr::LOCALHOST, RTSP_PORT));
        process.wait_ready("the RTSP server to listen", START_WITHIN, || {
            netns.run(|| TcpStream::connect(to).is_ok()).unwrap_or(false)
        })?;
        Ok(Self { process })
    }

    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// Waits for one publisher (`ANNOUNCE`, `RECORD`) at this address, and decodes what comes: a [`Player`] that listens.
pub fn rtsp_sink(netns: &Netns, directory: &Path, name: &str, at: SocketAddr, stream: &str) -> Result<Player> {
    Player::start_with(netns, directory, name, &format!("rtsp://{at}{stream}"), &["-rtsp_flags", "listen"])
}
