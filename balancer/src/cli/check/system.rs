//! Kernel, privileges, file systems and limits: what does not depend on an interface.

use super::finding::Findings;
use crate::config::host::sysctl;
use crate::config::{Settings, XdpMode};
use crate::offload::object;
use crate::slowpath::socket;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

/// `bpf_ktime_get_coarse_ns`, the clock of every flow, came with 5.11. (The event ring: 5.8. XDP links: 5.9.)
const KERNEL_MIN: (u32, u32) = (5, 11);
/// Where `balancer run` mounts the bpf file system by itself.
const BPFFS: &str = "/sys/fs/bpf";
/// In user space a flow holds a socket to the client and one to the origin; in the kernel none.
const FILES_PER_FLOW: u64 = 2;
/// Listening sockets, maps, links, the log.
const FILES_BESIDE: u64 = 64;

// linux/capability.h
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

#[derive(Debug)]
pub struct System {
    /// `uname -r`.
    pub release: String,
    pub has_btf: bool,
    /// `net.core.bpf_jit_enable`.
    pub jit: Option<String>,
    /// The effective capabilities.
    pub capabilities: u64,
    /// `/proc/self/mountinfo`.
    pub mounts: String,
    /// Soft limit of open files.
    pub files_max: Option<u64>,
    pub has_object: bool,
    pub repair: Result<(), String>,
}

impl System {
    pub fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            release: sysctl("kernel/osrelease").unwrap_or_default(),
            has_btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            jit: sysctl("net/core/bpf_jit_enable"),
            capabilities: effective_capabilities(&read("/proc/self/status")),
            mounts: read("/proc/self/mountinfo"),
            files_max: hard_limit(&read("/proc/self/limits"), "Max open files"),
            has_object: object::object().is_some(),
            repair: try_repair().map_err(|error| error.to_string()),
        }
    }

    pub fn judge(&self, settings: &Settings, findings: &mut Findings) {
        if settings.xdp_mode == XdpMode::Off {
            findings.ok("fast path", "off (xdp_mode): every flow is relayed, nothing is asked of the kernel");
        } else {
            self.judge_kernel(findings);
            self.judge_privileges(findings);
            self.judge_pins(settings, findings);
        }
        self.judge_limits(settings, findings);
    }

    fn judge_kernel(&self, findings: &mut Findings) {
        match self.has_object {
            true => findings.ok("fast path", "the kernel half is in this binary"),
            false => findings.no_fast_path(
                "fast path",
                "this binary was built without its kernel half",
                "build both with `cargo xtask build`",
            ),
        }
        match version(&self.release) {
            Some(found) if found < KERNEL_MIN => findings.no_fast_path(
                "kernel",
                format!("Linux {} lacks the coarse clock of 5.11", self.release),
                "run Linux 5.15 or newer, or relay with --xdp-mode off",
            ),
            Some(_) => findings.ok("kernel", format!("Linux {}", self.release)),
            None => findings.warn("kernel", format!("unknown version {:?}", self.release), "run Linux 5.15 or newer"),
        }
        if !self.has_btf {
            let remedy = "take a kernel with CONFIG_DEBUG_INFO_BTF";
            findings.warn("kernel", "no BTF (/sys/kernel/btf/vmlinux): bpftool cannot name the maps' fields", remedy);
        }
        if self.jit.as_deref() == Some("0") {
            let remedy = "sysctl -w net.core.bpf_jit_enable=1";
            findings.warn("kernel", "the BPF JIT is off: every packet is interpreted, several times slower", remedy);
        }
    }

    fn judge_privileges(&self, findings: &mut Findings) {
        let has = |capability: u32| self.capabilities >> capability & 1 == 1;
        let remedy =
            "run as root, or give the service AmbientCapabilities=CAP_NET_ADMIN CAP_BPF CAP_PERFMON CAP_NET_RAW";
        let is_admin = has(CAP_SYS_ADMIN);
        let needs = [
            ("CAP_NET_ADMIN", has(CAP_NET_ADMIN), "attaches programs and moves TCP connections"),
            ("CAP_BPF", has(CAP_BPF) || is_admin, "loads programs and maps"),
            ("CAP_PERFMON", has(CAP_PERFMON) || is_admin, "lets the verifier accept packet arithmetic"),
        ];
        for (name, _, why) in needs.iter().filter(|(_, has, _)| !has) {
            findings.no_fast_path("privileges", format!("{name} is missing, which {why}"), remedy);
        }
        if !has(CAP_NET_RAW) {
            findings.warn(
                "privileges",
                "CAP_NET_RAW is missing, which sends packets that provoke an idle peer",
                remedy,
            );
        }
        if needs.iter().all(|(_, has, _)| *has) && has(CAP_NET_RAW) {
            findings.ok("privileges", "CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON, CAP_NET_RAW");
        }
        match &self.repair {
            Ok(()) => findings.ok("tcp", "TCP_REPAIR works: connections can be handed to the kernel"),
            Err(error) => findings.no_fast_path(
                "tcp",
                format!("TCP_REPAIR does not work ({error}): no connection can be handed to the kernel"),
                "it takes CAP_NET_ADMIN in the network namespace's own user namespace; containers need it granted",
            ),
        }
    }

    fn judge_pins(&self, settings: &Settings, findings: &mut Findings) {
        let path = &settings.pin_path;
        match file_system(&self.mounts, path) {
            Some("bpf") => findings.ok("pins", format!("{} is on a bpf file system", path.display())),
            Some("sysfs") if path.starts_with(BPFFS) => {
                findings.ok("pins", format!("the bpf file system is not mounted at {BPFFS}; `balancer run` mounts it"));
            }
            other => findings.no_fast_path(
                "pins",
                format!("{} is on {}, not on a bpf file system", path.display(), other.unwrap_or("no known mount")),
                "mount -t bpf bpf /sys/fs/bpf, or set pin_path to a directory on one",
            ),
        }
    }

    fn judge_limits(&self, settings: &Settings, findings: &mut Findings) {
        let connections = settings.handshakes_max + settings.http_connections_max;
        let needed = connections as u64 * FILES_PER_FLOW + FILES_BESIDE;
        match self.files_max {
            Some(limit) if limit < needed => findings.warn(
                "limits",
                format!("{limit} open files, but handshakes_max and http_connections_max together can need {needed}"),
                &format!("LimitNOFILE={needed} in the service, `ulimit -n {needed}`, or lower these two"),
            ),
            Some(limit) if settings.xdp_mode == XdpMode::Off => {
                let flows = (limit.saturating_sub(FILES_BESIDE) / FILES_PER_FLOW).min(settings.flows_max as u64);
                findings.ok("limits", format!("{limit} open files: up to {flows} relayed flows at a time"));
            }
            Some(limit) => {
                findings.ok("limits", format!("{limit} open files, {needed} needed for handshakes and HTTP"))
            }
            None => findings.ok("limits", "no limit of open files"),
        }
    }
}

/// On a socket that is connected to nothing, so that nobody is disturbed.
fn try_repair() -> std::io::Result<()> {
    let socket = socket::bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    socket::peer_segment(&socket).map(drop)
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn effective_capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

/// The second number: `balancer run` raises the soft limit to it. `None` when it is unlimited or unknown.
fn hard_limit(limits: &str, name: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().nth(1)?.parse().ok()
}

/// The type of the file system that a path is or would be on.
fn file_system<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mount = |line: &'a str| {
        let (before, after) = line.split_once(" - ")?;
        Some((before.split(' ').nth(4)?, after.split(' ').next()?))
    };
    let over = mounts.lines().filter_map(mount).filter(|(point, _)| path.starts_with(point));
    // Of two mounts on one point, the later one covers the earlier.
    over.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn good() -> System {
        System {
            release: "6.1.0-18-amd64".into(),
            has_btf: true,
            jit: Some("1".into()),
            capabilities: u64::MAX,
            mounts: "24 1 0:22 / /sys rw - sysfs sysfs rw\n30 24 0:26 / /sys/fs/bpf rw,nosuid shared:9 - bpf bpf rw"
                .into(),
            files_max: Some(524_288),
            has_object: true,
            repair: Ok(()),
        }
    }

    fn judged(system: &System, xdp_mode: XdpMode) -> Vec<(Level, &'static str)> {
        let mut findings = Findings::new(xdp_mode);
        system.judge(&Settings { xdp_mode, ..Settings::default() }, &mut findings);
        findings.all.iter().filter(|f| f.level != Level::Ok).map(|f| (f.level, f.area)).collect()
    }

    #[test]
    fn a_host_that_has_everything_is_fine() {
        assert_eq!(judged(&good(), XdpMode::Native), []);
    }

    #[test]
    fn each_thing_that_is_missing_is_found() {
        let errors = |system: System| judged(&system, XdpMode::Native);
        assert_eq!(errors(System { release: "5.10.0".into(), ..good() }), [(Level::Error, "kernel")]);
        assert_eq!(errors(System { has_btf: false, ..good() }), [(Level::Warn, "kernel")]);
        assert_eq!(errors(System { jit: Some("0".into()), ..good() }), [(Level::Warn, "kernel")]);
        assert_eq!(errors(System { has_object: false, ..good() }), [(Level::Error, "fast path")]);
        assert_eq!(errors(System { repair: Err("EPERM".into()), ..good() }), [(Level::Error, "tcp")]);
        assert_eq!(errors(System { files_max: Some(1024), ..good() }), [(Level::Warn, "limits")]);
        assert_eq!(errors(System { mounts: "24 1 0:22 / /sys rw - sysfs sysfs rw".into(), ..good() }), []);
        assert_eq!(
            errors(System { mounts: "24 1 0:22 / / rw - ext4 /dev/x rw".into(), ..good() }),
            [(Level::Error, "pins")]
        );
        let without = |capability: u32| System { capabilities: !(1 << capability), ..good() };
        assert_eq!(errors(without(CAP_NET_ADMIN)), [(Level::Error, "privileges")]);
        assert_eq!(errors(without(CAP_NET_RAW)), [(Level::Warn, "privileges")]);
        assert_eq!(errors(without(CAP_BPF)), [], "CAP_SYS_ADMIN has it in it");
    }

    #[test]
    fn relaying_asks_for_files_only() {
        let bare = System {
            release: String::new(),
            has_btf: false,
            jit: None,
            capabilities: 0,
            mounts: String::new(),
            files_max: Some(1024),
            has_object: false,
            repair: Err("EPERM".into()),
        };
        assert_eq!(judged(&bare, XdpMode::Off), [(Level::Warn, "limits")]);
    }

    #[test]
    fn the_kernel_s_texts_are_read() {
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(version("unknown"), None);
        assert_eq!(effective_capabilities("Name:\tx\nCapEff:\t0000000000003000\n"), 0x3000);
        let limits =
            "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                20000     files\n";
        assert_eq!(hard_limit(limits, "Max open files"), Some(20_000));
        assert_eq!(hard_limit("Max open files   unlimited  unlimited files", "Max open files"), None);
    }
}
