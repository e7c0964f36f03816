//! What fits together and what does not. Pure; what depends on the host comes as [`HostFacts`].

use super::host::HostFacts;
use super::problem::{Fault, Problem, Source, nearest};
use super::resolve::Sources;
use super::{Listen, Settings, XdpMode, table};
use crate::registry::Transport;
use balancer_common::abi;
use std::net::{IpAddr, SocketAddr};

pub(super) fn problems(settings: &Settings, sources: &Sources) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |setting: &str, what: String, remedy: String| {
        let source = sources.get(setting).filter(|s| s.is_explicit());
        problems.push(Problem::new(setting, source, Fault::new(what, remedy)));
    };
    for vip in settings.vips.iter().filter(|vip| vip.is_unspecified() || vip.is_multicast()) {
        refuse("vip", format!("{vip} is not an address that clients can dial"), "name the host's own address".into());
    }
    for (setting, _, listens) in settings.listens() {
        for listen in listens {
            if let Listen::Address(address) = listen
                && !settings.vips.contains(&address.ip())
            {
                let remedy = format!("add --vip {}, or write the port alone", address.ip());
                refuse(setting, format!("{address} is not on one of the VIPs"), remedy);
            }
        }
    }
    if settings.interfaces.len() > abi::capacity::DEVICES as usize {
        let what = format!("{} interfaces are named", settings.interfaces.len());
        refuse("interface", what, format!("the fast path has room for {}", abi::capacity::DEVICES));
    }
    let mut taken: Vec<(&str, Transport, SocketAddr)> = Vec::new();
    for (setting, kind, listens) in settings.listens() {
        let transport = Transport::of(kind);
        for address in listens.iter().flat_map(|listen| listen.on(&settings.vips)) {
            match taken.iter().find(|(_, by, other)| (*by, *other) == (transport, address)) {
                Some((other, ..)) if *other == setting => {
                    refuse(setting, format!("{address} is named twice"), "name it once".into());
                }
                Some((other, ..)) => {
                    refuse(setting, format!("{address} is also a port of {other}"), "give each its own".into());
                }
                None => taken.push((setting, transport, address)),
            }
        }
    }
    let api = settings.system_api;
    let clash = |(_, by, a): &&(&str, Transport, SocketAddr)| {
        *by == Transport::Tcp && a.port() == api.port() && (a.ip() == api.ip() || api.ip().is_unspecified())
    };
    if let Some((setting, _, address)) = taken.iter().find(clash) {
        refuse("system_api", format!("{address} is also a port of {setting}"), "give it another port".into());
    }
    let (certificates, keys) = (settings.tls_certificates.len(), settings.tls_keys.len());
    if certificates != keys {
        let remedy = "name a key for every certificate, in the same order".into();
        refuse("tls_key", format!("{keys} keys for {certificates} certificates"), remedy);
    }
    for own in settings.source_addresses.iter().filter(|own| own.is_unspecified() || own.is_multicast()) {
        let what = format!("{own} is not an address that an origin can answer to");
        refuse("source_address", what, "name an address of this host, or of the VIP's".into());
    }
    for is_family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
        let of_family: Vec<_> = settings.source_addresses.iter().filter(|own| is_family(own)).collect();
        if let [first, second, ..] = of_family[..] {
            let what = format!("{first} and {second} are of one family");
            refuse("source_address", what, "keep one of them".into());
        }
    }
    if *settings.source_ports.start() < 1024 {
        let what = format!("port {} is among the well-known ones", settings.source_ports.start());
        refuse("source_ports", what, "start at 1024 or above, such as 20000-32767".into());
    }
    if settings.handshakes_per_client_max > settings.handshakes_max {
        let what =
            format!("{} is more than handshakes_max, {}", settings.handshakes_per_client_max, settings.handshakes_max);
        refuse("handshakes_per_client_max", what, "lower it, or raise handshakes_max".into());
    }
    if settings.http_connections_per_client_max > settings.http_connections_max {
        let (mine, all) = (settings.http_connections_per_client_max, settings.http_connections_max);
        let what = format!("{mine} is more than http_connections_max, {all}");
        refuse("http_connections_per_client_max", what, "lower it, or raise http_connections_max".into());
    }
    problems
}

pub(super) fn warnings(settings: &Settings, sources: &Sources) -> Vec<String> {
    let mut warnings = Vec::new();
    let api_source = sources.get("system_api");
    if let Some(source @ Source::Environment(name)) = api_source
        && name.starts_with(table::PROXY_PREFIX)
        && settings.system_api.ip().is_loopback()
    {
        warnings.push(format!(
            "system_api: {} ({source}) takes registrations from this host only; set allow_register to the origins' \
             network and it listens on every address",
            settings.system_api
        ));
    }
    let everybody = settings.allow_register.iter().any(|network| network.prefix_len() == 0);
    if everybody && !settings.system_api.ip().is_loopback() {
        warnings.push(format!(
            "allow_register: everybody who reaches {} may register an origin; name the origins' network",
            settings.system_api
        ));
    }
    if settings.grace_quit_timeout > settings.force_quit_timeout {
        warnings.push(format!(
            "force_quit_timeout, {:?}, ends the process before grace_quit_timeout, {:?}, is over; raise the former",
            settings.force_quit_timeout, settings.grace_quit_timeout
        ));
    }
    let dialled = settings.listens().flat_map(|(setting, _, all)| all.iter().map(move |l| (setting, l)));
    for (setting, listen) in dialled.filter(|(_, l)| settings.source_ports.contains(&l.port())) {
        warnings.push(format!(
            "{setting}: port {} lies in source_ports, {}-{}, which lose it; move one of them",
            listen.port(),
            settings.source_ports.start(),
            settings.source_ports.end()
        ));
    }
    warnings
}

/// What `run` refuses on this very host. `check` reports the same.
pub fn host_problems(settings: &Settings, sources: &Sources, host: &HostFacts) -> Vec<Problem> {
    let mut problems = Vec::new();
    if settings.xdp_mode == XdpMode::Off {
        // Relayed connections take any port, and no interface is attached to.
        return problems;
    }
    let source = |name| sources.get(name).filter(|s: &&Source| s.is_explicit());
    let known = || host.interfaces.iter().map(|interface| interface.name.as_str());
    for name in settings.interfaces.iter().filter(|name| !host.interfaces.is_empty() && host.interface(name).is_none())
    {
        let have = known().collect::<Vec<_>>().join(", ");
        let remedy = match nearest(name, known()) {
            Some(near) => format!("did you mean {near}? The host has {have}"),
            None => format!("name one of {have}"),
        };
        problems.push(Problem::new(
            "interface",
            source("interface"),
            Fault::new(format!("there is no interface {name}"), remedy),
        ));
    }
    if let Some(port) = host.first_shared_port(&settings.source_ports) {
        let (first, last) = (settings.source_ports.start(), settings.source_ports.end());
        let what = format!(
            "port {port} of {first}-{last} is also in net.ipv4.ip_local_port_range, so the kernel may give it to any \
             other connection"
        );
        let remedy = format!(
            "reserve them, `sysctl -w net.ipv4.ip_local_reserved_ports={first}-{last}` (add to what is there), or set \
             source_ports to a range outside"
        );
        problems.push(Problem::new("source_ports", source("source_ports"), Fault::new(what, remedy)));
    }
    problems
}
