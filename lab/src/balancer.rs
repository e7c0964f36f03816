//! The `balancer` binary as an operator sees it: started in the balancer's namespace with a configuration file and a
//! pin path of its own, asked through its API and its command line, stopped, killed, restarted, unloaded.

use crate::cleanup::{self, Made};
use crate::clock;
use crate::data_centre::{DataCentre, Family, NETWORKS};
use crate::http::{self, Response};
use crate::net::Netns;
use crate::process::Process;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

pub const RTMP_PORT: u16 = 1935;
pub const HTTP_PORT: u16 = 8080;
pub const API_PORT: u16 = 12025;
/// Where origins have their own API.
pub const ORIGIN_API_PORT: u16 = 1985;
/// Loading and verifying the programs is most of it, on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct Settings {
    pub interfaces: Vec<String>,
    pub vips: Vec<IpAddr>,
    pub xdp_mode: &'static str,
    pub rtmp_port: u16,
    /// Where the API listens; it is asked at this address too.
    pub system_api: SocketAddr,
    pub allow_register: Vec<String>,
    pub origin_networks: Vec<String>,
    pub pin_path: PathBuf,
    /// Lines for the configuration file, in TOML.
    pub config: String,
    pub environment: Vec<(String, String)>,
    pub more_flags: Vec<String>,
}

impl Settings {
    /// Both VIPs, every interface, native XDP, origins from anywhere in the data centre.
    pub fn of(dc: &DataCentre) -> Self {
        let networks: Vec<String> = NETWORKS.iter().map(ToString::to_string).collect();
        Self {
            interfaces: dc.lb_devices.clone(),
            vips: vec![dc.vip(Family::V4), dc.vip(Family::V6)],
            xdp_mode: "native",
            rtmp_port: RTMP_PORT,
            system_api: SocketAddr::new("::".parse().expect("a constant"), API_PORT),
            allow_register: networks.clone(),
            origin_networks: networks,
            pin_path: dc.pin_path(),
            // Tests count what comes to an origin, and expect its full share at once; who probes says so.
            config: "probe = \"off\"\nslow_start = \"0s\"\n".into(),
            environment: std::env::var("LAB_LOG")
                .map(|level| ("BALANCER_LOG_LEVEL".into(), level))
                .into_iter()
                .collect(),
            more_flags: Vec::new(),
        }
    }

    fn flags(&self, config: &Path) -> Vec<String> {
        let mut flags = Vec::new();
        let mut add = |name: &str, value: String| flags.extend([name.to_owned(), value]);
        add("--config", config.display().to_string());
        add("--pin-path", self.pin_path.display().to_string());
        add("--system-api", self.system_api.to_string());
        add("--xdp-mode", self.xdp_mode.to_owned());
        add("--rtmp", self.rtmp_port.to_string());
        self.interfaces.iter().for_each(|interface| add("--interface", interface.clone()));
        self.vips.iter().for_each(|vip| add("--vip", vip.to_string()));
        self.allow_register.iter().for_each(|network| add("--allow-register", network.clone()));
        self.origin_networks.iter().for_each(|network| add("--origin-networks", network.clone()));
        flags.extend(self.more_flags.iter().cloned());
        flags
    }
}

pub struct Balancer {
    netns: Netns,
    directory: PathBuf,
    binary: PathBuf,
    settings: Settings,
    process: Option<Process>,
}

/// `BALANCER_BIN`, or the release build of this checkout.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("BALANCER_BIN") {
        return Ok(path.into());
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let path = target.join("release/balancer");
    if !path.exists() {
        bail!("{} is not there: `cargo xtask build --release` makes it, or BALANCER_BIN names another", path.display());
    }
    Ok(path)
}

impl Balancer {
    pub fn start(dc: &DataCentre, settings: Settings) -> Result<Self> {
        Self::start_in(&dc.lb, dc.directory(), settings)
    }

    pub fn start_in(netns: &Netns, directory: &Path, settings: Settings) -> Result<Self> {
        // The balancer makes it by itself.
        cleanup::make(Made::Directory(settings.pin_path.clone()), || ());
        let mut this =
            Self { netns: netns.clone(), directory: directory.to_owned(), binary: binary()?, settings, process: None };
        this.launch()?;
        Ok(this)
    }

    /// Starts the process (again) with the settings it had.
    pub fn launch(&mut self) -> Result<()> {
        let config = self.directory.join("balancer.toml");
        std::fs::write(&config, &self.settings.config)?;
        let mut process =
            Process::start(&self.netns, &self.directory, "balancer", &self.binary.display().to_string(), |command| {
                command.arg("run").args(self.settings.flags(&config)).envs(self.settings.environment.iter().cloned());
            })?;
        let ready = process.wait_ready("the balancer to answer", START_WITHIN, || {
            self.get("/healthz").is_ok_and(|response| response.status == 200)
        });
        clock::tidy(process.pid());
        ready?;
        self.process = Some(process);
        Ok(())
    }

    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("asked for a process that was stopped")
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// `kill -9`: nothing is tidied up.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGTERM, and waits for the end; fails unless it ends well.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.terminate()?;
        let status = process.wait_exit(STOP_WITHIN)?;
        if !status.success() {
            bail!("the balancer ended with {status}\n{}", process.tail());
        }
        Ok(())
    }

    /// `balancer unload`: takes the fast path off the interfaces and removes the pins.
    pub fn unload(&self) -> Result<Output> {
        let mut command = self.netns.command(&self.binary.display().to_string());
        command.arg("unload").arg("--pin-path").arg(&self.settings.pin_path);
        crate::net::run(&mut command).context("balancer unload")
    }

    /// A command of the binary that asks this balancer, however it ends.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.netns.command(&self.binary.display().to_string());
        command.args(arguments).arg("--system-api").arg(self.api_address().to_string());
        command.output().with_context(|| format!("balancer {arguments:?}"))
    }

    /// A listing command of the binary, with `--json`, parsed.
    pub fn command_json(&self, name: &str) -> Result<Value> {
        let mut command = self.netns.command(&self.binary.display().to_string());
        command.args([name, "--json", "--system-api"]).arg(self.api_address().to_string());
        let output = crate::net::run(&mut command).with_context(|| format!("balancer {name} --json"))?;
        serde_json::from_slice(&output.stdout).with_context(|| format!("balancer {name} --json is not JSON"))
    }

    pub fn request(&self, method: &str, path: &str, body: Option<&str>) -> Result<Response> {
        self.netns.run(|| http::request(method, self.api_address(), path, body))?
    }

    pub fn get(&self, path: &str) -> Result<Response> {
        self.request("GET", path, None)
    }

    /// The objects of one of the API's lists: `flows`, `origins` or `streams`.
    pub fn list(&self, name: &str) -> Result<Vec<Value>> {
        let mut value = self.get(&format!("/api/v1/{name}"))?.json()?;
        match value.get_mut(name).map(Value::take) {
            Some(Value::Array(objects)) => Ok(objects),
            _ => bail!("no list in /api/v1/{name}: {value}"),
        }
    }

    pub fn flows(&self) -> Result<Vec<Value>> {
        self.list("flows")
    }

    /// How often something happened that has this numbered reason, whatever the metric is called.
    pub fn reason(&self, label: &str) -> Result<f64> {
        let label = format!("reason=\"{label}\"");
        let text = self.get("/metrics")?.body;
        let series = text.lines().filter(|line| line.contains(&label));
        Ok(series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// The sum of a metric over all series whose labels contain every one of `labels` (`result="armed"`).
    pub fn metric(&self, name: &str, labels: &[&str]) -> Result<f64> {
        Ok(sum_metric(&self.get("/metrics")?.body, name, labels))
    }

    fn api_address(&self) -> SocketAddr {
        let mut address = self.settings.system_api;
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() {
                [127, 0, 0, 1].into()
            } else {
                IpAddr::from([0u16, 0, 0, 0, 0, 0, 0, 1])
            });
        }
        address
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        drop(self.process.take());
        if self.settings.pin_path.exists() {
            let _ = self.unload();
        }
        cleanup::remove(&Made::Directory(self.settings.pin_path.clone()));
    }
}

fn sum_metric(text: &str, name: &str, labels: &[&str]) -> f64 {
    let series = text.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_the_series_that_match() {
        let text = "# HELP a_total x\na_total{p=\"kernel\",d=\"up\"} 3\na_total{p=\"kernel\",d=\"down\"} 4\n\
                    a_total{p=\"relay\"} 9\na_total_more 100\nb 5\n";
        assert_eq!(sum_metric(text, "a_total", &["p=\"kernel\""]), 7.0);
        assert_eq!(sum_metric(text, "a_total", &[]), 16.0);
        assert_eq!(sum_metric(text, "b", &[]), 5.0);
        assert_eq!(sum_metric(text, "c", &[]), 0.0);
    }
}
