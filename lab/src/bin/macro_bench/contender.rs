//! What can stand between players and origin, each set up as its manual says for plain TCP.

use crate::figures::{Costs, MemoryUse};
use anyhow::Result;
use balancer_lab::balancer::{Balancer, RTMP_PORT, Settings, binary};
use balancer_lab::data_centre::{DataCentre, Family, Layout};
use balancer_lab::host;
use balancer_lab::load::{Shape, Source};
use balancer_lab::net::Netns;
use balancer_lab::process::Process;
use balancer_lab::requirements::is_on_path;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
const START_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    Routed,
    Dnat,
    Kernel,
    Relay,
    Haproxy,
    HaproxySplice,
    Nginx,
}

impl Contender {
    pub const ALL: [Self; 7] =
        [Self::Routed, Self::Dnat, Self::Kernel, Self::Relay, Self::Haproxy, Self::HaproxySplice, Self::Nginx];

    pub fn name(self) -> &'static str {
        match self {
            Self::Routed => "routed",
            Self::Dnat => "nft DNAT",
            Self::Kernel => "balancer (kernel)",
            Self::Relay => "balancer (relay)",
            Self::Haproxy => "HAProxy TCP",
            Self::HaproxySplice => "HAProxy splice",
            Self::Nginx => "nginx stream",
        }
    }

    /// Why it cannot take part.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Routed | Self::Dnat => None,
            Self::Kernel | Self::Relay => binary().err().map(|error| error.to_string()),
            Self::Haproxy | Self::HaproxySplice => {
                (!is_on_path("haproxy")).then(|| "no haproxy: apt-get install haproxy".into())
            }
            Self::Nginx if !is_on_path("nginx") => Some("no nginx: apt-get install nginx".into()),
            Self::Nginx => (!Path::new(STREAM_MODULE).exists())
                .then(|| format!("no {STREAM_MODULE}: apt-get install libnginx-mod-stream")),
        }
    }
}

enum Middle {
    Nothing,
    Balancer(Box<Balancer>),
    Proxy(Process),
}

/// A contender at work in a data centre of its own. In the order in which it is taken down.
pub struct Running {
    middle: Middle,
    _source: Source,
    pub dial: SocketAddr,
    dc: DataCentre,
}

impl Running {
    pub fn start(contender: Contender, shape: Option<Shape>) -> Result<Self> {
        let dc = DataCentre::build(&Layout::default())?;
        let origin = SocketAddr::new(dc.origins[0].ip(Family::V4), RTMP_PORT);
        let vip = SocketAddr::new(dc.vip(Family::V4), RTMP_PORT);
        let source = Source::start(&dc.origins[0].netns, origin.ip(), origin.port(), shape)?;
        let middle = match contender {
            Contender::Routed => Middle::Nothing,
            Contender::Dnat => dnat(&dc, vip, origin)?,
            Contender::Kernel => our_own(&dc, origin, "native")?,
            Contender::Relay => our_own(&dc, origin, "off")?,
            Contender::Haproxy => haproxy(&dc, vip, origin, "")?,
            Contender::HaproxySplice => haproxy(&dc, vip, origin, "option splice-auto")?,
            Contender::Nginx => nginx(&dc, vip, origin)?,
        };
        let dial = if contender == Contender::Routed { origin } else { vip };
        Ok(Self { middle, _source: source, dial, dc })
    }

    pub fn players(&self) -> &Netns {
        &self.dc.clients[0].netns
    }

    fn pid(&self) -> Option<u32> {
        match &self.middle {
            Middle::Nothing => None,
            Middle::Balancer(balancer) => Some(balancer.pid()),
            Middle::Proxy(process) => Some(process.pid()),
        }
    }

    pub fn costs(&self) -> Result<Costs> {
        let process_s = self.pid().map(host::process_cpu_seconds).transpose()?;
        Ok(Costs { machine_s: host::machine_busy_seconds()?, process_s: process_s.unwrap_or(0.0) })
    }

    pub fn memory(&self) -> Result<MemoryUse> {
        let process_bytes = self.pid().map(host::resident_bytes).transpose()?;
        Ok(MemoryUse { process_bytes: process_bytes.unwrap_or(0), kernel_bytes: host::kernel_memory_bytes()? })
    }

    /// Bytes of media that the balancer's control plane copied so far; None for the others.
    pub fn relayed_bytes(&self) -> Option<f64> {
        let Middle::Balancer(balancer) = &self.middle else { return None };
        balancer.metric("balancer_forwarded_bytes_total", &["path=\"relay\""]).ok()
    }
}

fn dnat(dc: &DataCentre, vip: SocketAddr, origin: SocketAddr) -> Result<Middle> {
    dc.lb.nft(&format!(
        "table ip nat {{\nchain prerouting {{\ntype nat hook prerouting priority dstnat\n\
         ip daddr {} tcp dport {} dnat to {origin}\n}}\n}}\n",
        vip.ip(),
        vip.port()
    ))?;
    Ok(Middle::Nothing)
}

fn our_own(dc: &DataCentre, origin: SocketAddr, xdp_mode: &'static str) -> Result<Middle> {
    let mut settings = Settings { xdp_mode, ..Settings::of(dc) };
    // All players have one address here.
    settings.config.push_str("handshakes_per_client_max = 10000\n");
    settings.environment.extend([
        ("PROXY_DEFAULT_BACKEND_ENABLED".into(), "on".into()),
        ("PROXY_DEFAULT_BACKEND_IP".into(), origin.ip().to_string()),
        ("PROXY_DEFAULT_BACKEND_RTMP".into(), origin.port().to_string()),
        ("BALANCER_LOG_LEVEL".into(), "warn".into()),
    ]);
    Ok(Middle::Balancer(Box::new(Balancer::start(dc, settings)?)))
}

fn haproxy(dc: &DataCentre, vip: SocketAddr, origin: SocketAddr, option: &str) -> Result<Middle> {
    let configuration = format!(
        "global\n  maxconn 4000\ndefaults\n  mode tcp\n  {option}\n  timeout connect 5s\n  timeout client 60s\n  \
         timeout server 60s\nlisten rtmp\n  bind {vip}\n  server origin {origin}\n"
    );
    proxy(dc, vip, "haproxy", &configuration, &["-db", "-f"])
}

/// One process: two of them cost the same per byte.
fn nginx(dc: &DataCentre, vip: SocketAddr, origin: SocketAddr) -> Result<Middle> {
    let d = dc.directory().display();
    let configuration = format!(
        "load_module {STREAM_MODULE};\nuser root;\ndaemon off;\nmaster_process off;\npid {d}/nginx.pid;\n\
         error_log {d}/error.log;\nevents {{ worker_connections 20000; }}\n\
         stream {{ server {{ listen {vip}; proxy_pass {origin}; }} }}\n"
    );
    proxy(dc, vip, "nginx", &configuration, &["-c"])
}

fn proxy(dc: &DataCentre, vip: SocketAddr, program: &str, configuration: &str, flags: &[&str]) -> Result<Middle> {
    let file = dc.directory().join(format!("{program}.conf"));
    std::fs::write(&file, configuration)?;
    let mut process = Process::start(&dc.lb, dc.directory(), program, program, |command| {
        command.args(flags).arg(&file);
    })?;
    let from = &dc.clients[0].netns;
    process.wait_ready(&format!("{program} to listen"), START_WITHIN, || {
        let connected = from.run(|| std::net::TcpStream::connect_timeout(&vip, Duration::from_secs(1)).is_ok());
        connected.unwrap_or(false)
    })?;
    Ok(Middle::Proxy(process))
}
