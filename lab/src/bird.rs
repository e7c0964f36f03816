//! bird in a namespace, from the examples in `scripts/bird`: beside a balancer, announcing its VIP, or on the router that
//! spreads clients over those who do.

use crate::example::{Example, scripts};
use crate::net::{self, Netns};
use crate::process::Process;
use anyhow::{Context, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

const START_WITHIN: Duration = Duration::from_secs(60);
const ROUTER_NUMBER: u32 = 4_200_000_000;

/// An end of a session of BGP in each family.
#[derive(Clone, Debug)]
pub struct Speaker {
    pub name: String,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
    /// Its autonomous system's: different for each balancer, [`Speaker::router`] has one.
    pub number: u32,
}

impl Speaker {
    /// The balancer that counts as number `index`, from 1.
    pub fn balancer(index: u32, v4: Ipv4Addr, v6: Ipv6Addr) -> Self {
        Self { name: format!("lb{index}"), v4, v6, number: ROUTER_NUMBER + index }
    }

    pub fn router(v4: Ipv4Addr, v6: Ipv6Addr) -> Self {
        Self { name: "router".into(), v4, v6, number: ROUTER_NUMBER }
    }
}

/// What a balancer's host announces, in both families.
#[derive(Clone, Debug)]
pub struct Announced {
    /// Only while the balancer is ready.
    pub vips: Vec<IpAddr>,
    pub sources: Vec<IpAddr>,
    /// The other balancers' source addresses, in case that those are gone.
    pub others: Vec<IpAddr>,
}

pub struct Bird {
    netns: Netns,
    directory: PathBuf,
    name: String,
    socket: PathBuf,
    process: Process,
}

impl Bird {
    /// Beside a balancer.
    pub fn announcer(
        netns: &Netns,
        directory: &Path,
        own: &Speaker,
        router: &Speaker,
        announced: &Announced,
    ) -> Result<Self> {
        Self::start(netns, directory, &own.name, &announcer(own, router, announced)?)
    }

    /// On the router. `networks`: what the balancers may announce addresses of, `10.71.9.0/24` and `fd71:0:0:9::/64`.
    pub fn router(
        netns: &Netns,
        directory: &Path,
        own: &Speaker,
        balancers: &[Speaker],
        networks: (&str, &str),
    ) -> Result<Self> {
        for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            netns.sysctl(name, "1")?;
        }
        for name in ["net.ipv4.fib_multipath_hash_policy", "net.ipv6.fib_multipath_hash_policy"] {
            netns.sysctl(name, "1")?;
        }
        Self::start(netns, directory, &own.name, &router(own, balancers, networks)?)
    }

    fn start(netns: &Netns, directory: &Path, name: &str, config: &Example) -> Result<Self> {
        let file = |extension: &str| directory.join(format!("bird-{name}.{extension}"));
        config.write(&file("conf"))?;
        let socket = file("ctl");
        let process = Process::start(netns, directory, &format!("bird-{name}"), "bird", |command| {
            command.arg("-f").arg("-c").arg(file("conf")).arg("-s").arg(&socket).arg("-P").arg(file("pid"));
        })?;
        let (netns, directory, name) = (netns.clone(), directory.to_owned(), name.to_owned());
        let mut this = Self { netns, directory, name, socket, process };
        let (netns, socket) = (this.netns.clone(), this.socket.clone());
        this.process.wait_ready("bird to answer", START_WITHIN, || ask(&netns, &socket, "show status").is_ok())?;
        Ok(this)
    }

    /// What `birdc` answers.
    pub fn ask(&self, question: &str) -> Result<String> {
        ask(&self.netns, &self.socket, question)
    }

    /// For the balancer's `announce_command`.
    pub fn announce_command(&self) -> Vec<String> {
        let socket = format!("BIRD_SOCKET={}", self.socket.display());
        vec!["/usr/bin/env".into(), socket, scripts().join("bird/announce.sh").display().to_string()]
    }

    /// Starts the watcher, which withdraws the VIP when the balancer does not answer.
    pub fn watch(&self, system_api: SocketAddr) -> Result<Process> {
        let program = scripts().join("bird/watch.sh").display().to_string();
        Process::start(&self.netns, &self.directory, &format!("watch-{}", self.name), &program, |command| {
            command.arg(format!("http://{system_api}")).env("BIRD_SOCKET", &self.socket);
            command.env("READY", scripts().join("ready.sh"));
        })
    }

    /// The next hops of a host route in its namespace's own table, in order.
    pub fn next_hops(&self, to: IpAddr) -> Result<Vec<IpAddr>> {
        let family = if to.is_ipv4() { "-4" } else { "-6" };
        let output = net::run(self.netns.command("ip").args([family, "-j", "route", "show", &to.to_string()]))?;
        let routes: serde_json::Value = serde_json::from_slice(&output.stdout).context("ip -j route")?;
        let of = |route: &serde_json::Value| match route["nexthops"].as_array() {
            Some(hops) => hops.clone(),
            None => vec![route.clone()],
        };
        let hops = routes.as_array().into_iter().flatten().flat_map(of);
        // A next hop of the other family says "via".
        let mut hops: Vec<IpAddr> = hops.filter_map(|hop| hop["gateway"].as_str()?.parse().ok()).collect();
        hops.sort();
        Ok(hops)
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    /// `kill -9`: the others notice by BFD.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

fn ask(netns: &Netns, socket: &Path, question: &str) -> Result<String> {
    let output = net::run(netns.command("birdc").arg("-s").arg(socket).args(question.split(' ')))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn of_family(addresses: &[IpAddr], is_v4: bool) -> Vec<String> {
    addresses.iter().filter(|ip| ip.is_ipv4() == is_v4).map(ToString::to_string).collect()
}

fn announcer(own: &Speaker, router: &Speaker, announced: &Announced) -> Result<Example> {
    let Announced { vips, sources, others } = announced;
    Example::read("bird/bird.conf")?
        .repeat("192.0.2.10", &of_family(vips, true))?
        .repeat("2001:db8::10", &of_family(vips, false))?
        .repeat("192.0.2.11", &of_family(sources, true))?
        .repeat("2001:db8::11", &of_family(sources, false))?
        .repeat("192.0.2.12", &of_family(others, true))?
        .repeat("2001:db8::12", &of_family(others, false))?
        .put("198.51.100.1;", &format!("{};", own.v4))?
        .put("2001:db8:1::1;", &format!("{};", own.v6))?
        .put("4200000001;", &format!("{};", own.number))?
        .put("198.51.100.254;", &format!("{};", router.v4))?
        .put("2001:db8:1::fe;", &format!("{};", router.v6))
}

fn router(own: &Speaker, balancers: &[Speaker], networks: (&str, &str)) -> Result<Example> {
    let one = |session: &str, balancer: &Speaker| {
        session
            .replace("lb1", &balancer.name)
            .replace("198.51.100.1 ", &format!("{} ", balancer.v4))
            .replace("2001:db8:1::1 ", &format!("{} ", balancer.v6))
            .replace("4200000001", &balancer.number.to_string())
    };
    Example::read("bird/router.conf")?
        .put("198.51.100.254;", &format!("{};", own.v4))?
        .put("192.0.2.0/24{", &format!("{}{{", networks.0))?
        .put("2001:db8::/64{", &format!("{}{{", networks.1))?
        .rewrite("protocol bgp lb2_4", "protocol bfd", |_| String::new())?
        .rewrite("protocol bgp lb1_4", "protocol bfd", |sessions| {
            balancers.iter().map(|balancer| one(sessions, balancer)).collect()
        })
}
