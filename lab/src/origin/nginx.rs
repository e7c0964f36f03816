//! A real origin: nginx with its RTMP module, and a registrar that sends the balancer the heartbeat of SRS from the
//! origin's own address. The registrar can also speak for any other server on that host.

use crate::data_centre::{DataCentre, Family, Host};
use crate::http::{self, Response};
use crate::net::Netns;
use crate::process::Process;
use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

const RTMP_PORT: u16 = 1935;
const STAT_PORT: u16 = 8935;
const START_WITHIN: Duration = Duration::from_secs(10);
pub const RTMP_MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";

/// nginx-rtmp on port 1935 of a host, in both families, with the application `live`.
pub struct NginxOrigin {
    netns: Netns,
    directory: PathBuf,
    process: Option<Process>,
}

impl NginxOrigin {
    /// `number` is the host's index in the data centre.
    pub fn start(dc: &DataCentre, number: usize) -> Result<Self> {
        if !Path::new(RTMP_MODULE).exists() {
            bail!("{RTMP_MODULE} is not there: apt-get install nginx libnginx-mod-rtmp");
        }
        let directory = dc.directory().join(format!("nginx{number}"));
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join("nginx.conf"), configuration(&directory))?;
        let mut this = Self { netns: dc.origins[number].netns.clone(), directory, process: None };
        this.launch()?;
        Ok(this)
    }

    /// Starts the process (again).
    pub fn launch(&mut self) -> Result<()> {
        let mut process = Process::start(&self.netns, &self.directory, "nginx", "nginx", |command| {
            command.arg("-p").arg(&self.directory).arg("-e").arg(self.directory.join("error.log"));
            command.arg("-c").arg(self.directory.join("nginx.conf"));
        })?;
        process.wait_ready("nginx-rtmp to listen", START_WITHIN, || self.stat().is_ok())?;
        self.process = Some(process);
        Ok(())
    }

    /// `kill -9`: the kernel closes its sockets, and further connections are refused.
    pub fn kill(&mut self) {
        drop(self.process.take());
    }

    /// Its own view of its clients, in XML.
    pub fn stat(&self) -> Result<String> {
        let to = SocketAddr::from(([127, 0, 0, 1], STAT_PORT));
        Ok(self.netns.run(|| http::request("GET", to, "/stat", None))??.body)
    }
}

/// One process, so that killing it kills all of it.
fn configuration(directory: &Path) -> String {
    let d = directory.display();
    format!(
        "load_module {RTMP_MODULE};
user root;
daemon off;
master_process off;
pid {d}/nginx.pid;
error_log {d}/error.log notice;
events {{ worker_connections 1024; }}
rtmp {{
    server {{
        listen {RTMP_PORT};
        listen [::]:{RTMP_PORT} ipv6only=on;
        application live {{ live on; }}
    }}
}}
http {{
    access_log off;
    client_body_temp_path {d}/body;
    proxy_temp_path {d}/proxy;
    fastcgi_temp_path {d}/fastcgi;
    uwsgi_temp_path {d}/uwsgi;
    scgi_temp_path {d}/scgi;
    server {{
        listen 127.0.0.1:{STAT_PORT};
        location /stat {{ rtmp_stat all; }}
    }}
}}
"
    )
}

/// What a heartbeat says.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    pub device_id: String,
    pub ip: String,
    pub server: String,
    pub service: String,
    pub pid: String,
    pub rtmp: Vec<String>,
}

impl Heartbeat {
    /// As the SRS of the host `number` would say it; every call is another run of the same server.
    pub fn of(host: &Host, number: usize, family: Family) -> Self {
        static RUN: AtomicU64 = AtomicU64::new(1);
        let run = RUN.fetch_add(1, Relaxed);
        Self {
            device_id: format!("origin{number}"),
            ip: host.ip(family).to_string(),
            server: format!("vid-lab{number}"),
            service: format!("run{run}"),
            pid: run.to_string(),
            rtmp: vec![RTMP_PORT.to_string()],
        }
    }

    pub fn json(&self) -> String {
        serde_json::json!({
            "device_id": self.device_id, "ip": self.ip, "server": self.server, "service": self.service,
            "pid": self.pid, "rtmp": self.rtmp,
        })
        .to_string()
    }

    /// Sends it once, from `netns`.
    pub fn send(&self, netns: &Netns, api: SocketAddr) -> Result<Response> {
        netns.run(|| http::request("POST", api, "/api/v1/srs/register", Some(&self.json())))?
    }
}

/// Beats until it is dropped.
pub struct Registrar {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Registrar {
    /// The first beat is sent, and must be accepted, before this returns.
    pub fn start(netns: &Netns, api: SocketAddr, heartbeat: Heartbeat, every: Duration) -> Result<Self> {
        let first = heartbeat.send(netns, api)?;
        if first.status != 200 {
            bail!("registration of {}: {} {}", heartbeat.device_id, first.status, first.body);
        }
        let (stop, stopped) = mpsc::channel();
        let netns = netns.clone();
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(every) == Err(mpsc::RecvTimeoutError::Timeout) {
                // A beat that fails is what a balancer restart looks like from here: the next one will do.
                let _ = heartbeat.send(&netns, api);
            }
        });
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    /// For the host `number` of the data centre, to its balancer.
    pub fn of(dc: &DataCentre, number: usize, family: Family, every: Duration) -> Result<Self> {
        let host = dc.origins.get(number).context("no such origin host")?;
        let api = SocketAddr::new(dc.vip(family), crate::balancer::API_PORT);
        Self::start(&host.netns, api, Heartbeat::of(host, number, family), every)
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
