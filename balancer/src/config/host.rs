//! What the settings need to know of the host: interfaces, addresses, the default route, the kernel's own ports. The
//! only module of the configuration that looks; everybody else is handed [`HostFacts`], and tests make them up.

use futures_util::TryStreamExt;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp};
use rtnetlink::packet_route::route::{RouteAttribute, RouteHeader, RouteMessage};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    pub name: Option<String>,
    pub interfaces: Vec<Interface>,
    pub addresses: Vec<InterfaceAddress>,
    /// The interface of the default route, IPv4's if there is one.
    pub default_route: Option<String>,
    /// `net.ipv4.ip_local_port_range`.
    pub local_ports: Option<RangeInclusive<u16>>,
    /// `net.ipv4.ip_local_reserved_ports`.
    pub reserved_ports: Vec<RangeInclusive<u16>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub index: u32,
    pub mtu: u32,
    /// Administratively up, and with a carrier.
    pub is_up: bool,
    pub is_loopback: bool,
    /// `veth`, `vlan`, ...; none for hardware.
    pub kind: Option<String>,
    /// Id of the XDP program that is attached.
    pub xdp_program: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    pub interface: String,
    pub ip: IpAddr,
    pub prefix_len: u8,
    /// Neither secondary, deprecated, tentative nor of less than global scope.
    pub is_main: bool,
}

impl HostFacts {
    /// Starts a small runtime of its own, so not to be called from inside one. What cannot be read is left empty:
    /// the settings then ask for what they need.
    pub fn look() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let network =
            runtime.map_err(|e| e.to_string()).and_then(|rt| rt.block_on(network()).map_err(|e| e.to_string()));
        let mut facts = network.unwrap_or_default();
        facts.name = sysctl("kernel/hostname");
        facts.local_ports = sysctl("net/ipv4/ip_local_port_range").and_then(|text| parse_pair(&text));
        facts.reserved_ports =
            sysctl("net/ipv4/ip_local_reserved_ports").map(|text| parse_ranges(&text)).unwrap_or_default();
        facts
    }

    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.name == name)
    }

    /// The address by which others know an interface: IPv4 if it has one.
    pub fn main_address(&self, interface: &str) -> Option<IpAddr> {
        let of = |a: &&InterfaceAddress| a.interface == interface && !is_link_local(a.ip);
        self.addresses.iter().filter(of).min_by_key(|a| (a.ip.is_ipv6(), !a.is_main)).map(|a| a.ip)
    }

    /// The first port of `range` that the kernel would give away by itself.
    pub fn first_shared_port(&self, range: &RangeInclusive<u16>) -> Option<u16> {
        let local = self.local_ports.as_ref()?;
        range.clone().find(|p| local.contains(p) && !self.reserved_ports.iter().any(|r| r.contains(p)))
    }
}

/// One of the kernel's settings, by its path under `/proc/sys`.
pub fn sysctl(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(format!("/proc/sys/{path}")).ok()?.trim().to_owned())
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn parse_pair(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
}

fn parse_ranges(text: &str) -> Vec<RangeInclusive<u16>> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    text.split(',').filter_map(range).collect()
}

async fn network() -> anyhow::Result<HostFacts> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    let mut facts = HostFacts::default();
    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await? {
        facts.interfaces.push(interface(&link));
    }
    let names: HashMap<u32, String> = facts.interfaces.iter().map(|i| (i.index, i.name.clone())).collect();
    let mut addresses = handle.address().get().execute();
    while let Some(message) = addresses.try_next().await? {
        facts.addresses.extend(interface_address(&message, &names));
    }
    for request in [
        RouteMessageBuilder::<Ipv4Addr>::new().build(),
        // Only asked if IPv4 has none.
        RouteMessageBuilder::<Ipv6Addr>::new().build(),
    ] {
        let mut best = None;
        let mut routes = handle.route().get(request).execute();
        while let Some(route) = routes.try_next().await? {
            best = best.into_iter().chain(default_route(&route)).min();
        }
        if let Some((_, index)) = best {
            facts.default_route = names.get(&index).cloned();
            break;
        }
    }
    Ok(facts)
}

fn interface(link: &LinkMessage) -> Interface {
    let flags = link.header.flags;
    let mut interface = Interface {
        index: link.header.index,
        is_up: flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        is_loopback: flags.contains(LinkFlags::Loopback),
        ..Interface::default()
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
            LinkAttribute::LinkInfo(infos) => {
                interface.kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            LinkAttribute::Xdp(all) => {
                interface.xdp_program = all.iter().find_map(|xdp| match xdp {
                    LinkXdp::ProgId(id) if *id != 0 => Some(*id),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    interface
}

fn interface_address(message: &AddressMessage, names: &HashMap<u32, String>) -> Option<InterfaceAddress> {
    // On a point-to-point link, `Address` is the peer's and `Local` ours; otherwise only one may be there.
    let local = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    let address = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Address(ip) => Some(*ip),
        _ => None,
    });
    // IFA_F_SECONDARY is IFA_F_TEMPORARY for IPv6: an address that is not going to stay.
    let passing = AddressHeaderFlags::Secondary | AddressHeaderFlags::Deprecated | AddressHeaderFlags::Tentative;
    Some(InterfaceAddress {
        interface: names.get(&message.header.index)?.clone(),
        ip: local.or(address)?,
        prefix_len: message.header.prefix_len,
        is_main: message.header.scope == AddressScope::Universe && !message.header.flags.intersects(passing),
    })
}

/// Metric and interface index, if this is a default route of the main table.
fn default_route(route: &RouteMessage) -> Option<(u32, u32)> {
    if route.header.destination_prefix_length != 0 || route.header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let mut metric = 0;
    let mut interface = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::MultiPath(hops) => interface = hops.first().map(|hop| hop.interface_index),
            _ => {}
        }
    }
    interface.map(|index| (metric, index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_ports_are_those_the_kernel_has_not_reserved() {
        let facts = HostFacts {
            local_ports: parse_pair("32768\t60999"),
            reserved_ports: parse_ranges("1000,33000-33010"),
            ..HostFacts::default()
        };
        assert_eq!(facts.first_shared_port(&(20000..=32767)), None);
        assert_eq!(facts.first_shared_port(&(20000..=32768)), Some(32768));
        assert_eq!(facts.first_shared_port(&(33000..=33010)), None);
        assert_eq!(facts.first_shared_port(&(33000..=33011)), Some(33011));
        assert_eq!(parse_ranges(""), []);
    }

    #[test]
    fn the_main_address_is_ipv4_and_global_before_anything_else() {
        let address = |ip: &str, is_main| InterfaceAddress {
            interface: "eth0".into(),
            ip: ip.parse().unwrap(),
            prefix_len: 24,
            is_main,
        };
        let mut facts = HostFacts {
            addresses: vec![
                address("fe80::1", false),
                address("2001:db8::5", false),
                address("2001:db8::6", true),
                address("192.0.2.9", false),
                address("192.0.2.10", true),
            ],
            ..HostFacts::default()
        };
        let mut expect = |ip: &str| {
            let ip = ip.parse().unwrap();
            assert_eq!(facts.main_address("eth0"), Some(ip));
            facts.addresses.retain(|a| a.ip != ip);
        };
        expect("192.0.2.10");
        expect("192.0.2.9");
        expect("2001:db8::6");
        expect("2001:db8::5");
        assert_eq!(facts.main_address("eth0"), None, "link-local is not for clients");
    }

    #[test]
    fn this_host_can_be_looked_at() {
        let facts = HostFacts::look();
        let lo = facts.interface("lo").unwrap();
        assert!(lo.is_loopback && lo.mtu > 0, "{facts:?}");
    }
}
