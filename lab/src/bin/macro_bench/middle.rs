//! What can stand in the middle: nothing but routing, rules of the kernel, the balancer, or somebody else's proxy.

use crate::costs::{Costs, MemoryUse};
use anyhow::Result;
use balancer_lab::balancer::{Balancer, RTMP_PORT, Settings, binary};
use balancer_lab::data_centre::DataCentre;
use balancer_lab::host;
use balancer_lab::origin::srt::SRT_PORT;
use balancer_lab::process::Process;
use balancer_lab::requirements::is_on_path;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const START_WITHIN: Duration = Duration::from_secs(60);

pub enum Middle {
    Nothing,
    Balancer(Box<Balancer>),
    Proxy(Process),
}

impl Middle {
    fn pid(&self) -> Option<u32> {
        match self {
            Self::Nothing => None,
            Self::Balancer(balancer) => Some(balancer.pid()),
            Self::Proxy(process) => Some(process.pid()),
        }
    }

    pub fn costs(&self) -> Result<Costs> {
        Costs::now(self.pid())
    }

    pub fn memory(&self) -> Result<MemoryUse> {
        MemoryUse::now(self.pid())
    }

    /// Bytes of media that the balancer's control plane copied so far; None for the others.
    pub fn relayed_bytes(&self) -> Option<f64> {
        let Self::Balancer(balancer) = self else { return None };
        balancer.metric("balancer_forwarded_bytes_total", &["path=\"relay\""]).ok()
    }
}

/// Why the balancer cannot take part.
pub fn no_balancer() -> Option<String> {
    binary().err().map(|error| error.to_string())
}

/// Why a program, whose package has the same name, cannot take part.
pub fn no_program(program: &str) -> Option<String> {
    (!is_on_path(program)).then(|| format!("no {program}: apt-get install {program}"))
}

/// Of `tcp` or `udp`.
pub fn dnat(dc: &DataCentre, transport: &str, vip: SocketAddr, origin: SocketAddr) -> Result<Middle> {
    dc.lb.nft(&format!(
        "table ip nat {{\nchain prerouting {{\ntype nat hook prerouting priority dstnat\n\
         ip daddr {} {transport} dport {} dnat to {origin}\n}}\n}}\n",
        vip.ip(),
        vip.port()
    ))?;
    Ok(Middle::Nothing)
}

/// The balancer in front of a single origin, which serves the protocol of its port.
pub fn balancer(dc: &DataCentre, origin: SocketAddr, xdp_mode: &'static str) -> Result<Middle> {
    let mut settings = Settings { xdp_mode, ..Settings::of(dc) };
    // All clients have one address here.
    settings.config.push_str("handshakes_per_client_max = 10000\n");
    let port = match origin.port() {
        RTMP_PORT => "PROXY_DEFAULT_BACKEND_RTMP",
        SRT_PORT => "PROXY_DEFAULT_BACKEND_SRT",
        _ => "PROXY_DEFAULT_BACKEND_HTTP",
    };
    settings.environment.extend([
        ("PROXY_DEFAULT_BACKEND_ENABLED".into(), "on".into()),
        ("PROXY_DEFAULT_BACKEND_IP".into(), origin.ip().to_string()),
        (port.into(), origin.port().to_string()),
        ("BALANCER_LOG_LEVEL".into(), "warn".into()),
    ]);
    Ok(Middle::Balancer(Box::new(Balancer::start(dc, settings)?)))
}

/// With what both of its modes have in common; `listen` is the rest of the section that listens.
pub fn haproxy(dc: &DataCentre, vip: SocketAddr, global: &str, mode: &str, listen: &str) -> Result<Middle> {
    let configuration = format!(
        "global\n  maxconn 4000\n  {global}\ndefaults\n  mode {mode}\n  timeout connect 5s\n  timeout client 60s\n  \
         timeout server 60s\nlisten media\n  bind {vip}\n{listen}\n"
    );
    proxy(dc, vip, "haproxy", &configuration, &["-db", "-f"])
}

/// One process: two of them cost the same per byte.
pub fn nginx(dc: &DataCentre, vip: SocketAddr, modules: &str, sections: &str) -> Result<Middle> {
    let configuration = format!("{modules}\n{}{sections}\n", nginx_globals(dc, "proxy"));
    proxy(dc, vip, "nginx", &configuration, &["-c"])
}

/// The same for datagrams.
pub fn nginx_udp(dc: &DataCentre, vip: SocketAddr, modules: &str, sections: &str) -> Result<Middle> {
    let configuration = format!("{modules}\n{}{sections}\n", nginx_globals(dc, "proxy"));
    let mut process = launch(dc, "nginx", &configuration, &["-c"])?;
    let port = vip.port();
    process.wait_ready("nginx to listen", START_WITHIN, || {
        host::udp_sockets(&dc.lb, port..=port).is_ok_and(|sockets| sockets > 0)
    })?;
    Ok(Middle::Proxy(process))
}

/// What every nginx here begins with: one process in the foreground, nothing outside of the data centre's folder.
pub fn nginx_globals(dc: &DataCentre, name: &str) -> String {
    let d = dc.directory().display();
    format!(
        "user root;\ndaemon off;\nmaster_process off;\npid {d}/{name}.pid;\nerror_log {d}/{name}-error.log;\n\
         events {{ worker_connections 20000; }}\n"
    )
}

/// The same for the section about HTTP: its folders, and what Debian's own configuration says.
pub fn nginx_http(dc: &DataCentre, name: &str) -> String {
    let d = dc.directory().display();
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let folders: String = folders.iter().map(|kind| format!("{kind}_temp_path {d}/{name}-{kind};\n")).collect();
    format!(
        "{folders}access_log off;\nsendfile on;\ntcp_nopush on;\n\
         types {{ application/vnd.apple.mpegurl m3u8; video/mp2t ts; }}\n"
    )
}

fn proxy(dc: &DataCentre, vip: SocketAddr, program: &str, configuration: &str, flags: &[&str]) -> Result<Middle> {
    let mut process = launch(dc, program, configuration, flags)?;
    let from = &dc.clients[0].netns;
    process.wait_ready(&format!("{program} to listen"), START_WITHIN, || {
        let connected = from.run(|| TcpStream::connect_timeout(&vip, Duration::from_secs(1)).is_ok());
        connected.unwrap_or(false)
    })?;
    Ok(Middle::Proxy(process))
}

fn launch(dc: &DataCentre, program: &str, configuration: &str, flags: &[&str]) -> Result<Process> {
    let file = dc.directory().join(format!("{program}.conf"));
    std::fs::write(&file, configuration)?;
    Process::start(&dc.lb, dc.directory(), program, program, |command| {
        command.args(flags).arg(&file);
    })
}
