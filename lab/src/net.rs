//! Network namespaces and links: made with unique names, configured in batches, removed on drop. Nothing here knows
//! what a host is for.

pub use crate::sys::without_checksum;
use crate::{cleanup, sys};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

/// A network namespace; cloning shares it, the last clone removes it.
#[derive(Clone)]
pub struct Netns(Arc<Inner>);

struct Inner {
    name: String,
    file: File,
}

impl Drop for Inner {
    fn drop(&mut self) {
        cleanup::remove(&cleanup::Made::Netns(self.name.clone()));
    }
}

impl Netns {
    /// Makes a namespace with its loopback up. `name` must come from [`cleanup::unique_name`].
    pub fn create(name: String) -> Result<Self> {
        if !sys::is_root() {
            bail!("the lab makes network namespaces: run it as root");
        }
        cleanup::make(cleanup::Made::Netns(name.clone()), || run(Command::new("ip").args(["netns", "add", &name])))
            .with_context(|| format!("namespace {name}"))?;
        let file = File::open(format!("/run/netns/{name}"))?;
        let netns = Self(Arc::new(Inner { name, file }));
        // Addresses must be usable at once; nobody routes by accept-anything defaults.
        netns.ip("link set lo up\n")?;
        netns.sysctl("net.ipv6.conf.all.accept_dad", "0")?;
        netns.sysctl("net.ipv6.conf.default.accept_dad", "0")?;
        Ok(netns)
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Runs `work` in a thread inside the namespace and waits for it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| sys::enter_netns(&self.0.file).map(|()| work()));
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
        .with_context(|| format!("enter namespace {}", self.name()))
    }

    /// Makes the calling thread live in the namespace for good. For threads that own sockets.
    pub fn enter(&self) -> Result<()> {
        sys::enter_netns(&self.0.file).with_context(|| format!("enter namespace {}", self.name()))
    }

    /// A command that will run inside. `nsenter`, not `ip netns exec`: that hides bpffs.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name())).arg(program);
        command
    }

    /// Lines for `ip -batch`.
    pub fn ip(&self, batch: &str) -> Result<()> {
        pipe(Command::new("ip").args(["-n", self.name(), "-batch", "-"]), batch)
            .with_context(|| format!("ip in {}:\n{batch}", self.name()))
    }

    /// A ruleset for `nft -f`.
    pub fn nft(&self, ruleset: &str) -> Result<()> {
        pipe(self.command("nft").args(["-f", "-"]), ruleset)
            .with_context(|| format!("nft in {}:\n{ruleset}", self.name()))
    }

    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        // /proc/sys/net shows the namespace of the thread that looks.
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.run(|| fs::write(&path, value))?.with_context(|| format!("sysctl {name}={value} in {}", self.name()))
    }

    /// Offloads as a redirected frame needs them: checksums complete, no segments larger than the MTU, and GRO on,
    /// because a veth accepts redirected frames only when its far end runs NAPI (GRO or an XDP program).
    pub fn plain_offloads(&self, device: &str) -> Result<()> {
        run(self.command("ethtool").args(["-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "on"]))
            .map(drop)
            .with_context(|| format!("offloads of {device} in {}", self.name()))
    }

    /// Lets senders wait for a full link. A veth's ring takes 256 packets, and without a queue before it the next one
    /// is lost: TCP repeats data, but never a RST. Kernels before 6.16 drop all the same; what XDP redirects does not
    /// pass the queue.
    fn queue(&self, device: &str) -> Result<()> {
        run(Command::new("tc").args(["-n", self.name(), "qdisc", "replace", "dev", device, "root"]).args(QUEUE))
            .map(drop)
            .with_context(|| format!("queue of {device} in {}", self.name()))
    }

    /// Packets that `device` could not send since it was made.
    pub fn dropped(&self, device: &str) -> Result<u64> {
        let output = run(Command::new("ip").args(["-n", self.name(), "-j", "-s", "link", "show", device]))?;
        let links: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        links[0]["stats64"]["tx"]["dropped"].as_u64().with_context(|| format!("no counter of drops: {links}"))
    }
}

/// TCP keeps each sender's share of it small; thousands of senders still fit.
const QUEUE: [&str; 3] = ["pfifo", "limit", "20000"];

/// Both ends of a veth pair, moved into their namespaces, up, with [`Netns::plain_offloads`] and a queue.
pub fn link(a: (&Netns, &str), b: (&Netns, &str), mtu: u32) -> Result<()> {
    let ((a_ns, a_dev), (b_ns, b_dev)) = (a, b);
    a_ns.ip(&format!("link add {a_dev} mtu {mtu} type veth peer name {b_dev} mtu {mtu} netns {}\n", b_ns.name()))?;
    for (netns, device) in [a, b] {
        netns.plain_offloads(device)?;
        netns.queue(device)?;
        netns.ip(&format!("link set {device} up\n"))?;
    }
    Ok(())
}

/// Runs to the end; the error carries what the command wrote.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(output)
}

fn pipe(command: &mut Command, input: &str) -> Result<()> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("no pipe")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
