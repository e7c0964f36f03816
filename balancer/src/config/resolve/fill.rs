//! What nobody said about interfaces and VIPs, from what the host is. Pure: the facts are an argument.

use super::{Draft, Sources};
use crate::config::host::HostFacts;
use crate::config::problem::{Fault, Problem, Source};
use crate::config::text;
use crate::config::{Listen, XdpMode};
use std::net::IpAddr;

pub(super) fn from_host(draft: &mut Draft, sources: &mut Sources, host: &HostFacts) -> Vec<Problem> {
    let mut problems = Vec::new();
    let settings = &mut draft.settings;
    if settings.balancer_id.is_empty() {
        let name = host.name.as_deref().and_then(|name| (text::ID.parse)(name).ok());
        settings.balancer_id = name.unwrap_or_else(|| "balancer".into());
        sources.insert("balancer_id", Source::Host("the host's name"));
    }
    if settings.interfaces.is_empty() {
        let carrier = |vip| host.addresses.iter().find(|a| a.ip == vip).map(|a| a.interface.clone());
        if let Some(name) = &host.default_route {
            settings.interfaces = vec![name.clone()];
            sources.insert("interface", Source::Host("the default route's interface"));
        } else if let Some(name) = settings.vips.first().copied().and_then(carrier) {
            settings.interfaces = vec![name];
            sources.insert("interface", Source::Host("the interface that has the VIP"));
        } else if settings.xdp_mode != XdpMode::Off {
            let fault = Fault::new(
                "the host has no default route to take the interface from",
                "name the interface that clients come in by, --interface eth0, or relay with --xdp-mode off",
            );
            problems.push(Problem::new("interface", None, fault));
        }
    }
    if settings.vips.is_empty() {
        settings.vips = named_by_listeners(settings.listens().flat_map(|(_, _, listens)| listens));
        sources.insert("vip", Source::Host("the addresses that the ports name"));
    }
    // A port that nobody named goes where the others are.
    let is_named = |setting: &str| sources.get(setting).is_some_and(Source::is_explicit);
    let is_bare = |l: &Listen| matches!(l, Listen::Port(_));
    let needs_address = settings.listens().any(|(s, _, all)| is_named(s) && all.iter().any(is_bare));
    if !sources.get("vip").is_some_and(Source::is_explicit) && (needs_address || settings.vips.is_empty()) {
        match settings.interfaces.first().and_then(|name| host.main_address(name)) {
            Some(ip) if settings.vips.contains(&ip) => {}
            Some(ip) => {
                settings.vips.push(ip);
                sources.insert("vip", Source::Host("the first interface's address"));
            }
            None => {
                let of = settings.interfaces.first().map_or("the host".to_owned(), |name| format!("interface {name}"));
                let fault = Fault::new(
                    format!("{of} has no address to take the VIP from"),
                    "name the address that clients dial, --vip 192.0.2.10",
                );
                problems.push(Problem::new("vip", None, fault));
            }
        }
    }
    problems
}

fn named_by_listeners<'a>(listens: impl Iterator<Item = &'a Listen>) -> Vec<IpAddr> {
    let mut vips = Vec::new();
    for listen in listens {
        if let Listen::Address(address) = listen
            && !vips.contains(&address.ip())
        {
            vips.push(address.ip());
        }
    }
    vips
}
