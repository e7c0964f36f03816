//! Every prefix of a destination that the host's routing looks at, of any table and rule.

use super::netlink::Netlink;
use anyhow::Context;
use ipnet::IpNet;
use rtnetlink::packet_core::NLM_F_DUMP;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::packet_route::rule::{RuleAttribute, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use std::collections::HashSet;
use std::net::IpAddr;

impl Netlink {
    pub async fn prefixes(&self) -> anyhow::Result<HashSet<IpNet>> {
        let mut prefixes = HashSet::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut routes = RouteMessage::default();
            routes.header.address_family = family;
            let mut rules = RuleMessage::default();
            rules.header.family = family;
            for asked in [RouteNetlinkMessage::GetRoute(routes), RouteNetlinkMessage::GetRule(rules)] {
                let dump = self.ask(asked, NLM_F_DUMP, |answer| prefixes.extend(prefix(&answer)));
                dump.await.context("cannot read the kernel's routes and rules")?;
            }
        }
        Ok(prefixes)
    }
}

/// None: for every destination.
fn prefix(answer: &RouteNetlinkMessage) -> Option<IpNet> {
    let (ip, len) = match answer {
        RouteNetlinkMessage::NewRoute(route) => {
            let ip = route.attributes.iter().find_map(|a| match a {
                RouteAttribute::Destination(RouteAddress::Inet(a)) => Some(IpAddr::V4(*a)),
                RouteAttribute::Destination(RouteAddress::Inet6(a)) => Some(IpAddr::V6(*a)),
                _ => None,
            });
            (ip?, route.header.destination_prefix_length)
        }
        RouteNetlinkMessage::NewRule(rule) => {
            let ip = rule.attributes.iter().find_map(|a| match a {
                RuleAttribute::Destination(ip) => Some(*ip),
                _ => None,
            });
            (ip?, rule.header.dst_len)
        }
        _ => return None,
    };
    Some(IpNet::new(ip, len).ok()?.trunc())
}
