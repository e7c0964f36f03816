//! ffmpeg as an HTTP server of its own: it waits for one client, and sends it the test clip as a transport stream.

use crate::ffmpeg::Clip;
use crate::net::Netns;
use crate::process::Process;
use anyhow::Result;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

const START_WITHIN: Duration = Duration::from_secs(60);

pub struct TsListener {
    process: Process,
}

impl TsListener {
    /// For one client: whoever connects next is served, whatever path it asks for.
    pub fn start(netns: &Netns, directory: &Path, name: &str, clip: &Clip, at: SocketAddr) -> Result<Self> {
        let mut process = Process::start(netns, directory, &format!("ts-{name}"), "ffmpeg", |command| {
            command.args(["-v", "warning", "-re", "-stream_loop", "-1", "-i"]).arg(clip.path());
            command.args(["-c", "copy", "-f", "mpegts", "-listen", "1"]).arg(format!("http://{at}/live/{name}.ts"));
        })?;
        // Looking by connecting would use up its one client.
        process
            .wait_ready("ffmpeg to listen", START_WITHIN, || crate::host::listens(netns, at.port()).unwrap_or(false))?;
        Ok(Self { process })
    }

    pub fn process(&self) -> &Process {
        &self.process
    }
}
