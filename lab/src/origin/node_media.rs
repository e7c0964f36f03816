//! node-media-server: RTMP and FLV in, FLV out by HTTP and by WebSocket. It comes out of the project's own target
//! folder, where `cargo xtask setup` puts it.

use crate::balancer::{HTTP_PORT, RTMP_PORT};
use crate::data_centre::DataCentre;
use crate::process::Process;
use anyhow::{Context, Result, bail};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

/// Node takes its time on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(60);

pub struct NodeMedia {
    process: Process,
}

impl NodeMedia {
    /// As the only server of a host: RTMP and HTTP on the usual ports, in both families.
    pub fn origin(dc: &DataCentre, number: usize) -> Result<Self> {
        Self::start(dc, number, "::", RTMP_PORT, HTTP_PORT)
    }

    pub fn start(dc: &DataCentre, number: usize, bind: &str, rtmp_port: u16, http_port: u16) -> Result<Self> {
        let program = program()?;
        let directory = dc.directory().join(format!("node-media{number}"));
        std::fs::create_dir_all(&directory)?;
        let config = directory.join("config.json");
        let settings = serde_json::json!({
            "bind": bind,
            "store": { "path": directory.join("data") },
            "rtmp": { "port": rtmp_port },
            "http": { "port": http_port },
            "webadmin": { "enable": false },
        });
        std::fs::write(&config, settings.to_string())?;
        let netns = &dc.origins[number].netns;
        let mut process = Process::start(netns, &directory, "node-media", "node", |command| {
            command.arg(program).arg("-c").arg(config);
        })?;
        process.wait_ready("node-media-server to listen", START_WITHIN, || {
            let listens = |port| TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok();
            netns.run(|| listens(rtmp_port) && listens(http_port)).unwrap_or(false)
        })?;
        Ok(Self { process })
    }

    pub fn process(&self) -> &Process {
        &self.process
    }
}

pub fn program() -> Result<PathBuf> {
    let program = crate::requirements::node_modules().join("node-media-server/bin/app.js");
    if !program.exists() {
        bail!("{} is not there: `cargo xtask setup` fetches it", program.display());
    }
    program.canonicalize().with_context(|| program.display().to_string())
}
