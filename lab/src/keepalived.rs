//! keepalived in a namespace, from the example in `scripts/keepalived`: moves addresses to a host whose balancer is ready.

use crate::example::{Example, scripts};
use crate::net::Netns;
use crate::process::Process;
use anyhow::{Result, bail};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

const START_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// One host's part in an instance of VRRP.
#[derive(Clone, Debug)]
pub struct Vrrp {
    /// Different on each host of the instance.
    pub name: String,
    /// Where VRRP is spoken; all hosts of the instance are on one link there.
    pub interface: String,
    pub priority: u8,
    /// With prefix length, and the interface that they are added to.
    pub addresses: Vec<(IpAddr, u8, String)>,
    /// Asked for `/readyz`.
    pub system_api: SocketAddr,
}

pub struct Keepalived {
    process: Process,
    state: PathBuf,
}

impl Keepalived {
    /// Writes its configuration to `directory`, which one host has for itself, and starts it.
    pub fn start(netns: &Netns, directory: &Path, vrrp: &Vrrp) -> Result<Self> {
        let file = |extension: &str| directory.join(format!("{}.{extension}", vrrp.name));
        let (config, state) = (file("conf"), file("state"));
        configuration(vrrp, &state)?.write(&config)?;
        let mut process = Process::start(netns, directory, &vrrp.name, "keepalived", |command| {
            // Everything that would be shared with another one on this machine is its own.
            command.args(["--vrrp", "--dont-fork", "--log-console", "--log-detail", "--no-syslog"]);
            command.arg("--use-file").arg(&config);
            command.arg("--pid").arg(file("pid")).arg("--vrrp_pid").arg(file("vrrp.pid"));
        })?;
        process.wait_ready("keepalived to have a state", START_WITHIN, || state.exists())?;
        Ok(Self { process, state })
    }

    /// `MASTER`, `BACKUP` or `FAULT`, as the notify script was told last.
    pub fn state(&self) -> String {
        let text = std::fs::read_to_string(&self.state).unwrap_or_default();
        text.split_whitespace().last().unwrap_or_default().to_owned()
    }

    /// SIGTERM: says good-bye to the others and takes its addresses away.
    pub fn stop(mut self) -> Result<()> {
        self.process.terminate()?;
        let status = self.process.wait_exit(STOP_WITHIN)?;
        if !status.success() {
            bail!("keepalived ended with {status}\n{}", self.process.tail());
        }
        Ok(())
    }

    pub fn process(&self) -> &Process {
        &self.process
    }
}

fn configuration(vrrp: &Vrrp, state: &Path) -> Result<Example> {
    let with_prefix = |wanted: bool| {
        let of_family = vrrp.addresses.iter().filter(|(ip, ..)| ip.is_ipv4() == wanted);
        of_family.map(|(ip, prefix, device)| format!("{ip}/{prefix} dev {device}")).collect::<Vec<_>>()
    };
    let scripts = scripts();
    Example::read("keepalived/keepalived.conf")?
        .repeat("192.0.2.10/24 dev eth0", &with_prefix(true))?
        .repeat("192.0.2.11/24 dev eth0", &[])?
        .repeat("2001:db8::10/64 dev eth0", &with_prefix(false))?
        .repeat("2001:db8::11/64 dev eth0", &[])?
        .put("router_id lb1", &format!("router_id {}", vrrp.name))?
        .put("interface eth0", &format!("interface {}", vrrp.interface))?
        .put("priority 100", &format!("priority {}", vrrp.priority))?
        .put("http://127.0.0.1:12025", &format!("http://{}", vrrp.system_api))?
        .put("/usr/local/lib/balancer/ready.sh", &scripts.join("ready.sh").display().to_string())?
        .put(
            "\"/usr/local/lib/balancer/notify.sh\"",
            &format!("\"/usr/bin/env STATE_FILE={} {}/keepalived/notify.sh\"", state.display(), scripts.display()),
        )?
        // A checkout need not belong to root alone.
        .put("    enable_script_security\n", "")
}
