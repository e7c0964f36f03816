//! Real Redis servers as child processes: one, with Sentinels, or as a Cluster. On free ports of any address, in a
//! directory of their own, ended by their ids.

mod cluster;
mod sentinel;

pub use cluster::Cluster;
pub use sentinel::Sentinels;

use crate::cleanup::{self, Made};
use crate::net::Netns;
use crate::process::Process;
use anyhow::{Context, Result, bail};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const START_TIME_MAX: Duration = Duration::from_secs(60);
/// Somebody else may take a port between its choice and its use.
const ATTEMPTS: usize = 3;

/// Where servers listen.
#[derive(Clone)]
pub struct Place {
    netns: Option<Netns>,
    ip: IpAddr,
}

impl Place {
    pub fn loopback() -> Self {
        Self { netns: None, ip: Ipv4Addr::LOCALHOST.into() }
    }

    pub fn within(netns: &Netns, ip: IpAddr) -> Self {
        Self { netns: Some(netns.clone()), ip }
    }

    fn free_port(&self) -> Result<u16> {
        let bind = || TcpListener::bind((self.ip, 0)).and_then(|socket| socket.local_addr());
        let address = match &self.netns {
            Some(netns) => netns.run(bind)?,
            None => bind(),
        };
        Ok(address.context("free port")?.port())
    }

    fn command(&self, program: &str) -> Command {
        self.netns.as_ref().map_or_else(|| Command::new(program), |netns| netns.command(program))
    }
}

/// What differs from a server without password and files.
#[derive(Clone, Default)]
pub struct Setup {
    /// Of `redis.conf`.
    pub lines: Vec<String>,
    /// Of the default user.
    pub password: Option<String>,
    /// Files of the certificate and of its key: TLS, and nothing else.
    pub tls: Option<(PathBuf, PathBuf)>,
    pub is_sentinel: bool,
}

impl Setup {
    pub fn lines(lines: &[&str]) -> Self {
        Self { lines: lines.iter().map(ToString::to_string).collect(), ..Self::default() }
    }
}

pub struct Server {
    process: Process,
    place: Place,
    port: u16,
    setup: Setup,
    directory: PathBuf,
}

impl Server {
    pub fn start(place: &Place, setup: &Setup) -> Result<Self> {
        let mut directory = std::env::temp_dir().join(cleanup::unique_name());
        cleanup::make(Made::Directory(directory.clone()), || std::fs::create_dir_all(&directory))?;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let port = place.free_port()?;
            std::fs::write(directory.join("redis.conf"), config(place, port, setup, &directory))?;
            let process = launch(place, setup, &directory)?;
            let mut server = Self { process, place: place.clone(), port, setup: setup.clone(), directory };
            match server.wait_ready() {
                Ok(()) => return Ok(server),
                Err(error) => last = Some(error),
            }
            server.process.kill();
            directory = std::mem::take(&mut server.directory);
        }
        bail!("redis-server does not start: {last:?}")
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.place.ip, self.port)
    }

    /// For the balancer's setting, without credentials.
    pub fn url(&self) -> String {
        format!("redis{}://{}", if self.setup.tls.is_some() { "s" } else { "" }, self.address())
    }

    /// Asks it by `redis-cli`; the answer without decoration.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.place.command("redis-cli");
        command.args(["-h", &self.place.ip.to_string(), "-p", &self.port.to_string(), "-e", "--no-auth-warning"]);
        if let Some((certificate, _)) = &self.setup.tls {
            command.arg("--tls").arg("--cacert").arg(certificate);
        }
        if let Some(password) = &self.setup.password {
            command.args(["-a", password]);
        }
        let output = command.args(arguments).output().context("redis-cli")?;
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        match output.status.success() {
            true => Ok(text),
            false => bail!("redis-cli {}: {text}{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)),
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops it from running, or lets it run again: connections stay open and nothing is answered.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        self.process.signal(if frozen { libc::SIGSTOP } else { libc::SIGCONT })
    }

    /// Again at the same place, with nothing in it.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill();
        self.process = launch(&self.place, &self.setup, &self.directory)?;
        self.wait_ready()
    }

    fn wait_ready(&mut self) -> Result<()> {
        // The process is asked through `cli`, which borrows the rest.
        let deadline = std::time::Instant::now() + START_TIME_MAX;
        while !self.cli(&["PING"]).is_ok_and(|answer| answer == "PONG") {
            if !self.process.is_running() || std::time::Instant::now() > deadline {
                bail!("{}", self.process.tail());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A stopped process is killed all the same.
        self.process.kill();
        cleanup::remove(&Made::Directory(self.directory.clone()));
    }
}

fn launch(place: &Place, setup: &Setup, directory: &Path) -> Result<Process> {
    let mut command = place.command("redis-server");
    command.arg(directory.join("redis.conf"));
    if setup.is_sentinel {
        command.arg("--sentinel");
    }
    Process::start_command(directory, "redis", command)
}

fn config(place: &Place, port: u16, setup: &Setup, directory: &Path) -> String {
    let mut text = format!("bind {}\ndir {}\ndaemonize no\nprotected-mode no\n", place.ip, directory.display());
    if !setup.is_sentinel {
        text += "save \"\"\nappendonly no\nenable-debug-command yes\n";
    }
    let _ = match &setup.tls {
        Some((certificate, key)) => writeln!(
            text,
            "port 0\ntls-port {port}\ntls-auth-clients no\ntls-cert-file {0}\ntls-key-file {1}\ntls-ca-cert-file {0}\n\
             tls-replication yes\ntls-cluster yes",
            certificate.display(),
            key.display()
        ),
        None => writeln!(text, "port {port}"),
    };
    if let Some(password) = &setup.password {
        let _ = writeln!(text, "requirepass {password}\nmasterauth {password}");
    }
    for line in &setup.lines {
        let _ = writeln!(text, "{line}");
    }
    text
}
