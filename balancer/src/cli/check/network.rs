//! The host's own network as the slow path meets it: filters, forwarding, VIPs, ports.

use super::finding::Findings;
use crate::config::host::{HostFacts, sysctl};
use crate::config::resolve::Sources;
use crate::config::{Settings, XdpMode, validate};
use crate::slowpath::socket;
use crate::sources::is_here;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// `net.ipv4.conf.*.rp_filter`: the source must be reachable by the interface that the packet came in by.
const RP_FILTER_STRICT: u32 = 1;

pub fn judge(settings: &Settings, sources: &Sources, host: &HostFacts, is_running: bool, findings: &mut Findings) {
    for problem in validate::host_problems(settings, sources, host) {
        findings.error("settings", format!("{}: {}", problem.setting, problem.what), &problem.remedy);
    }
    judge_reverse_path(settings, &|path| sysctl(path), findings);
    judge_ports(settings, host, findings);
    for vip in &settings.vips {
        judge_vip(*vip, bind(SocketAddr::new(*vip, 0)), host, findings);
    }
    for own in &settings.source_addresses {
        judge_source(*own, is_here(*own), findings);
    }
    let addresses = settings.rtmp.iter().flat_map(|listen| listen.on(&settings.vips));
    for (setting, address) in addresses.map(|a| ("rtmp", a)).chain([("system_api", settings.system_api)]) {
        judge_listen(setting, address, bind(address), is_running, findings);
    }
}

/// Binds without listening: no client can run into it.
fn bind(address: SocketAddr) -> io::Result<()> {
    socket::bound(address).map(drop)
}

fn judge_reverse_path(settings: &Settings, sysctl: &dyn Fn(&str) -> Option<String>, findings: &mut Findings) {
    let value = |name: &str| sysctl(&format!("net/ipv4/conf/{name}/rp_filter")).and_then(|v| v.parse::<u32>().ok());
    let all = value("all").unwrap_or(0);
    let strict = settings.interfaces.iter().filter(|name| value(name).unwrap_or(0).max(all) == RP_FILTER_STRICT);
    let strict: Vec<&str> = strict.map(String::as_str).collect();
    match (strict.as_slice(), settings.interfaces.len()) {
        ([], _) => findings.ok("routing", "no strict reverse-path filter"),
        (_, 0 | 1) => findings.ok("routing", "the reverse-path filter is strict, which one interface does not mind"),
        (strict, _) => findings.warn(
            "routing",
            format!(
                "strict reverse-path filter on {}: drops what arrives by another way than it left",
                strict.join(", ")
            ),
            "sysctl -w net.ipv4.conf.all.rp_filter=2 (loose)",
        ),
    }
    let is_forwarding = sysctl("net/ipv4/ip_forward").is_some_and(|v| v == "1");
    let state = if is_forwarding { "on" } else { "off" };
    findings.ok("routing", format!("ip_forward is {state}: not needed, XDP forwards by itself"));
}

fn judge_ports(settings: &Settings, host: &HostFacts, findings: &mut Findings) {
    let (first, last) = (settings.source_ports.start(), settings.source_ports.end());
    let shared = host.first_shared_port(&settings.source_ports);
    if shared.is_none() {
        findings.ok("ports", format!("source_ports {first}-{last} are not among those that the kernel gives away"));
    } else if settings.xdp_mode == XdpMode::Off {
        let remedy = "choose a range outside net.ipv4.ip_local_port_range";
        findings.warn("ports", format!("source_ports {first}-{last} overlap with ip_local_port_range"), remedy);
    }
    // Otherwise `host_problems` has said so.
}

fn judge_vip(vip: IpAddr, bound: io::Result<()>, host: &HostFacts, findings: &mut Findings) {
    let owner = host.addresses.iter().find(|address| address.ip == vip);
    match (bound, owner) {
        (Ok(()), Some(owner)) => findings.ok("vip", format!("{vip} is on {}", owner.interface)),
        (Ok(()), None) => findings.warn(
            "vip",
            format!("{vip} can be bound, but is on no interface"),
            "fine on a standby host or with anycast; else: ip addr add",
        ),
        (Err(error), _) => findings.error(
            "vip",
            format!("{vip} cannot be bound: {error}"),
            &format!(
                "ip addr add {vip}/{} dev INTERFACE; on a standby host: sysctl -w net.ipv4.ip_nonlocal_bind=1",
                if vip.is_ipv4() { 32 } else { 128 }
            ),
        ),
    }
}

fn judge_source(own: IpAddr, is_here: bool, findings: &mut Findings) {
    if is_here {
        return findings.ok("source_address", format!("{own} is on this host"));
    }
    findings.warn(
        "source_address",
        format!("{own} is not on this host: no connection to an origin can be made from it"),
        "fine on a standby host, to which it moves with the VIP; else: ip addr add",
    );
}

fn judge_listen(setting: &str, address: SocketAddr, bound: io::Result<()>, is_running: bool, findings: &mut Findings) {
    let port = address.port();
    match bound {
        Ok(()) => findings.ok("ports", format!("{setting} {address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_running => {
            findings.ok("ports", format!("{setting} {address} is in use, and a balancer runs here"));
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => findings.error(
            "ports",
            format!("{setting} {address} is in use"),
            &format!("see who has it, `ss -ltnp 'sport = :{port}'`, or set {setting} to another port"),
        ),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => findings.error(
            "ports",
            format!("{setting} {address}: this user may not listen there"),
            "run as root, give CAP_NET_BIND_SERVICE, or choose a port from 1024 up",
        ),
        // Said of the VIP, or of the address named for the system API.
        Err(_) if setting == "rtmp" => {}
        Err(error) => findings.error("ports", format!("{setting} {address}: {error}"), "name an address of this host"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::config::fixtures;

    fn findings(judge: impl FnOnce(&mut Findings)) -> Vec<(Level, String)> {
        let mut findings = Findings::new(XdpMode::Auto);
        judge(&mut findings);
        findings.all.into_iter().map(|finding| (finding.level, finding.what)).collect()
    }

    #[test]
    fn a_strict_filter_matters_with_two_interfaces() {
        let sysctl = |path: &str| (path == "net/ipv4/conf/eth1/rp_filter").then(|| "1".to_owned());
        let level = |names: &[&str]| {
            let interfaces = names.iter().map(ToString::to_string).collect();
            let settings = Settings { interfaces, ..Settings::default() };
            findings(|f| judge_reverse_path(&settings, &sysctl, f)).remove(0)
        };
        assert_eq!(level(&["eth0"]).0, Level::Ok);
        assert_eq!(level(&["eth1"]).0, Level::Ok);
        assert_eq!(level(&["eth0", "eth1"]).0, Level::Warn);
        assert!(level(&["eth0", "eth1"]).1.starts_with("strict reverse-path filter on eth1:"));
    }

    #[test]
    fn a_vip_is_on_an_interface_or_can_be_bound_or_is_missing() {
        let host = fixtures::host();
        let level = |vip: &str, bound| findings(|f| judge_vip(vip.parse().unwrap(), bound, &host, f)).remove(0);
        assert_eq!(level("192.0.2.10", Ok(())), (Level::Ok, "192.0.2.10 is on eth0".into()));
        assert_eq!(level("192.0.2.77", Ok(())).0, Level::Warn);
        assert_eq!(level("192.0.2.77", Err(io::ErrorKind::AddrNotAvailable.into())).0, Level::Error);
    }

    #[test]
    fn a_source_address_that_is_elsewhere_is_worth_a_warning() {
        let level = |is_here| findings(|f| judge_source("192.0.2.77".parse().unwrap(), is_here, f)).remove(0).0;
        assert_eq!((level(true), level(false)), (Level::Ok, Level::Warn));
    }

    #[test]
    fn a_port_in_use_is_fine_only_when_a_balancer_has_it() {
        let in_use = || Err(io::ErrorKind::AddrInUse.into());
        let address = "192.0.2.10:1935".parse().unwrap();
        let level = |bound, is_running| findings(|f| judge_listen("rtmp", address, bound, is_running, f)).remove(0).0;
        assert_eq!(level(Ok(()), false), Level::Ok);
        assert_eq!(level(in_use(), true), Level::Ok);
        assert_eq!(level(in_use(), false), Level::Error);
        assert_eq!(level(Err(io::ErrorKind::PermissionDenied.into()), false), Level::Error);
    }

    #[test]
    fn binding_notices_who_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(bind(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(bind(address).is_ok());
    }
}
