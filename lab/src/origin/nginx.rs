//! nginx with its RTMP module: RTMP on the usual port, and what it cuts of every stream, HLS and DASH, on an HTTP port.
//! The cuts are reachable under the paths that the module's users know (`/hls`, `/dash`), and beside the streams' own
//! (`/live/…`). With a media server of the other kind behind it, FLV too.

use super::node_media::NodeMedia;
use crate::balancer::{HTTP_PORT, RTMP_PORT};
use crate::data_centre::DataCentre;
use crate::ffmpeg::Packager;
use crate::http;
use crate::net::Netns;
use crate::pattern;
use crate::process::Process;
use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const STAT_PORT: u16 = 8935;
/// Where the media server for FLV listens, for nginx alone.
const FLV_RTMP_PORT: u16 = 19350;
const FLV_HTTP_PORT: u16 = 18000;
const START_WITHIN: Duration = Duration::from_secs(60);
pub const RTMP_MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";

/// A static file that nginx serves at `/file.bin`, out of [`pattern`].
pub const FILE_SEED: u64 = 4711;
pub const FILE_BYTES: usize = 3_000_000;
/// At `/`.
pub const PAGE: &str = "<!doctype html><title>lab</title><p>a page of the origin\n";

/// nginx on a host, in both families, with the application `live`.
pub struct NginxOrigin {
    netns: Netns,
    directory: PathBuf,
    flv: Option<NodeMedia>,
    process: Option<Process>,
}

impl NginxOrigin {
    /// `number` is the host's index in the data centre.
    pub fn start(dc: &DataCentre, number: usize) -> Result<Self> {
        Self::begin(dc, number, None, "")
    }

    /// With lines for the application `live`.
    pub fn with_lines(dc: &DataCentre, number: usize, lines: &str) -> Result<Self> {
        Self::begin(dc, number, None, lines)
    }

    /// With listeners that expect a PROXY header. What it logs, and shows, are the addresses in those. RTMP over IPv4
    /// alone: a `listen` of that module takes one option, and the one for IPv6 needs another.
    pub fn told_clients(dc: &DataCentre, number: usize) -> Result<Self> {
        let mut this = Self::prepare(dc, number, None, "")?;
        let path = this.directory.join("nginx.conf");
        let trust = "set_real_ip_from 0.0.0.0/0; set_real_ip_from ::/0; real_ip_header proxy_protocol;";
        let text = std::fs::read_to_string(&path)?
            .replace(&format!("listen [::]:{RTMP_PORT} ipv6only=on;"), "")
            .replace(&format!("listen {RTMP_PORT};"), &format!("listen {RTMP_PORT} proxy_protocol;"))
            .replace(&format!("listen {HTTP_PORT};"), &format!("listen {HTTP_PORT} proxy_protocol;"))
            .replace(
                &format!("[::]:{HTTP_PORT} ipv6only=on;"),
                &format!("[::]:{HTTP_PORT} ipv6only=on proxy_protocol;"),
            )
            .replace("http {", &format!("http {{ {trust}"));
        std::fs::write(&path, text)?;
        this.launch()?;
        Ok(this)
    }

    /// One origin for everything: what is published by RTMP is there as FLV and over WebSockets too.
    pub fn with_flv(dc: &DataCentre, number: usize) -> Result<Self> {
        let flv = NodeMedia::start(dc, number, "127.0.0.1", FLV_RTMP_PORT, FLV_HTTP_PORT)?;
        Self::begin(dc, number, Some(flv), "")
    }

    fn begin(dc: &DataCentre, number: usize, flv: Option<NodeMedia>, lines: &str) -> Result<Self> {
        let mut this = Self::prepare(dc, number, flv, lines)?;
        this.launch()?;
        Ok(this)
    }

    fn prepare(dc: &DataCentre, number: usize, flv: Option<NodeMedia>, lines: &str) -> Result<Self> {
        if !Path::new(RTMP_MODULE).exists() {
            bail!("{RTMP_MODULE} is not there: apt-get install nginx libnginx-mod-rtmp");
        }
        let directory = dc.directory().join(format!("nginx{number}"));
        for folder in ["hls", "dash", "www"] {
            std::fs::create_dir_all(directory.join(folder))?;
        }
        let mut file = vec![0u8; FILE_BYTES];
        pattern::fill(&mut file, FILE_SEED, 0);
        std::fs::write(directory.join("www/file.bin"), file)?;
        std::fs::write(directory.join("www/index.html"), PAGE)?;
        std::fs::write(directory.join("nginx.conf"), configuration(&directory, flv.is_some(), lines))?;
        Ok(Self { netns: dc.origins[number].netns.clone(), directory, flv, process: None })
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
        drop(self.flv.take());
    }

    /// SIGSTOP makes it one that hangs: connections are accepted by its kernel, and nobody answers.
    pub fn signal(&self, signal: i32) -> Result<()> {
        self.process.as_ref().context("nginx does not run")?.signal(signal)
    }

    /// Its own view of its clients, in XML.
    pub fn stat(&self) -> Result<String> {
        let to = SocketAddr::from(([127, 0, 0, 1], STAT_PORT));
        Ok(self.netns.run(|| http::request("GET", to, "/stat", None))??.body)
    }

    /// What it serves at `/`.
    pub fn www(&self) -> PathBuf {
        self.directory.join("www")
    }

    /// Cuts a stream of this origin into HLS with fragmented MP4, which the module cannot: `/live/<name>/index.m3u8`.
    pub fn package(&self, name: &str) -> Result<Packager> {
        let folder = self.www().join("live").join(name);
        let source = format!("rtmp://127.0.0.1:{RTMP_PORT}/live/{name}");
        Packager::start(&self.netns, &self.directory, name, &source, &folder)
    }

    /// Every request that it got, as `address "request line" status`.
    pub fn access_log(&self) -> String {
        std::fs::read_to_string(self.directory.join("access.log")).unwrap_or_default()
    }
}

/// One process, so that killing it kills all of it.
fn configuration(directory: &Path, flv: bool, lines: &str) -> String {
    let d = directory.display();
    let push = if flv { format!("push rtmp://127.0.0.1:{FLV_RTMP_PORT}/live;") } else { String::new() };
    let flv = if flv { flv_location() } else { String::new() };
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
        application live {{
            live on;
            hls on;
            hls_path {d}/hls;
            hls_fragment 1s;
            hls_playlist_length 6s;
            dash on;
            dash_path {d}/dash;
            dash_fragment 1s;
            dash_playlist_length 6s;
            {push}
            {lines}
        }}
    }}
}}
http {{
    log_format lab '$remote_addr \"$request\" $status';
    access_log {d}/access.log lab;
    client_body_temp_path {d}/body;
    proxy_temp_path {d}/proxy;
    fastcgi_temp_path {d}/fastcgi;
    uwsgi_temp_path {d}/uwsgi;
    scgi_temp_path {d}/scgi;
    types {{
        application/vnd.apple.mpegurl m3u8;
        application/dash+xml mpd;
        video/mp2t ts;
        video/mp4 mp4 m4s m4v;
        audio/mp4 m4a;
        text/html html;
        text/javascript js;
    }}
    map $http_upgrade $upgrade {{ default upgrade; '' close; }}
    server {{
        listen {HTTP_PORT};
        listen [::]:{HTTP_PORT} ipv6only=on;
        location / {{ root {d}/www; }}
        location /hls/ {{ alias {d}/hls/; }}
        location /dash/ {{ alias {d}/dash/; }}
        location ~ ^/live/([^/]+\\.(m3u8|ts))$ {{ alias {d}/hls/$1; }}
        location ~ ^/live/([^/]+\\.(mpd|m4v|m4a))$ {{ alias {d}/dash/$1; }}
{flv}    }}
    server {{
        listen 127.0.0.1:{STAT_PORT};
        access_log off;
        location /stat {{ rtmp_stat all; }}
    }}
}}
"
    )
}

/// Nothing held back in either direction.
fn flv_location() -> String {
    format!(
        "        location ~ \\.flv$ {{
            proxy_pass http://127.0.0.1:{FLV_HTTP_PORT};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $upgrade;
            proxy_buffering off;
            proxy_request_buffering off;
            client_max_body_size 0;
        }}
"
    )
}
