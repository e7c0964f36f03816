//! The kernel's neighbour table by rtnetlink: read it, hear of changes, ask for upkeep. Translates; decides nothing.

use super::roster::{Address, Entry, Mac, Upkeep};
use anyhow::Context;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteVia};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage, link::LinkAttribute, link::LinkMessage};
use rtnetlink::{Handle, MulticastGroup};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// For one request. A dump of a full routing table takes about a second.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// What the kernel says unasked.
pub enum News {
    Changed(Entry),
    /// It said more than the socket could hold.
    Lost,
}

pub struct Netlink {
    handle: Handle,
    /// A socket of its own, so that a flood of news cannot push out answers.
    news: BoxStream<'static, NetlinkMessage<RouteNetlinkMessage>>,
}

impl Netlink {
    /// In the network namespace of the calling thread. News are kept from now on.
    pub fn open() -> anyhow::Result<Self> {
        let (connection, _, news) = rtnetlink::new_multicast_connection(&[MulticastGroup::Neigh])
            .context("cannot subscribe to the kernel's neighbour changes")?;
        tokio::spawn(connection);
        let (mut connection, handle, _) = rtnetlink::new_connection().context("cannot open a netlink socket")?;
        // Only these tell an answer that is complete from one that was cut short.
        connection.set_forward_done(true);
        connection.set_forward_ack(true);
        tokio::spawn(connection);
        Ok(Self { handle, news: news.map(|(message, _)| message).boxed() })
    }

    /// The next change. Loses nothing when it is dropped while it waits.
    pub async fn news(&mut self) -> anyhow::Result<News> {
        loop {
            let message = self.news.next().await.context("the kernel's neighbour news ended")?;
            let entry = match message.payload {
                NetlinkPayload::Overrun(_) => return Ok(News::Lost),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(m)) => entry(&m),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(m)) => {
                    entry(&m).map(|e| Entry { mac: None, failed: false, upkeep: Upkeep::Absent, ..e })
                }
                _ => None,
            };
            if let Some(entry) = entry {
                return Ok(News::Changed(entry));
            }
        }
    }

    pub async fn neighbours(&self) -> anyhow::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let message = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        let dump = self.ask(message, NLM_F_DUMP, |answer| {
            if let RouteNetlinkMessage::NewNeighbour(m) = answer {
                entries.extend(entry(&m));
            }
        });
        dump.await.context("cannot read the kernel's neighbours")?;
        Ok(entries)
    }

    /// Every gateway of every routing table.
    pub async fn gateways(&self) -> anyhow::Result<BTreeSet<Address>> {
        let mut gateways = BTreeSet::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let dump = self.ask(RouteNetlinkMessage::GetRoute(message), NLM_F_DUMP, |answer| {
                if let RouteNetlinkMessage::NewRoute(route) = answer {
                    add_gateways(&route.attributes, None, &mut gateways);
                }
            });
            dump.await.context("cannot read the kernel's routes")?;
        }
        Ok(gateways)
    }

    /// NTF_EXT_MANAGED (Linux 5.16): the kernel probes the address for as long as the entry lives. A kernel that does
    /// not know the flag sees NTF_USE alone, which probes a stale entry once; it is asked again after every dump, as
    /// the entry never becomes managed, and that does the same.
    pub async fn manage(&self, address: Address) -> anyhow::Result<()> {
        let mut message = about(address, NeighbourState::None);
        message.header.flags = NeighbourFlags::Use;
        message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        self.ask(RouteNetlinkMessage::NewNeighbour(message), NLM_F_ACK | NLM_F_CREATE, |_| {}).await
    }

    /// Three probes, a second apart, from now on. The MAC is not named and nothing is replaced: the entry may have
    /// changed since we looked.
    pub async fn probe(&self, address: Address) -> anyhow::Result<()> {
        let message = about(address, NeighbourState::Probe);
        self.ask(RouteNetlinkMessage::NewNeighbour(message), NLM_F_ACK, |_| {}).await?;
        // Any update without the flag takes it away. With it, the update leaves the state alone.
        self.manage(address).await
    }

    /// How packets to `host` leave.
    pub async fn route(&self, host: IpAddr) -> anyhow::Result<Route> {
        let mut message = RouteMessage::default();
        message.header.address_family = if host.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.destination_prefix_length = if host.is_ipv4() { 32 } else { 128 };
        let destination = match host {
            IpAddr::V4(a) => RouteAddress::Inet(a),
            IpAddr::V6(a) => RouteAddress::Inet6(a),
        };
        message.attributes.push(RouteAttribute::Destination(destination));
        let mut found = None;
        let asked = self.ask(RouteNetlinkMessage::GetRoute(message), NLM_F_ACK, |answer| {
            if let RouteNetlinkMessage::NewRoute(route) = answer {
                found = Route::of(&route.attributes, host);
            }
        });
        asked.await.with_context(|| format!("no route to {host}"))?;
        found.with_context(|| format!("no route to {host} leaves by an interface"))
    }

    /// The MAC of an interface; zeros when it has none.
    pub async fn own_mac(&self, ifindex: u32) -> anyhow::Result<Mac> {
        let mut mac = None;
        let mut message = LinkMessage::default();
        message.header.index = ifindex;
        let asked = self.ask(RouteNetlinkMessage::GetLink(message), NLM_F_ACK, |answer| {
            if let RouteNetlinkMessage::NewLink(link) = answer {
                mac = link.attributes.into_iter().find_map(|a| match a {
                    LinkAttribute::Address(bytes) => Mac::try_from(bytes.as_slice()).ok(),
                    _ => None,
                });
            }
        });
        asked.await.with_context(|| format!("there is no interface number {ifindex}"))?;
        Ok(mac.unwrap_or_default())
    }

    pub async fn interface_name(&self, ifindex: u32) -> String {
        let mut name = None;
        let mut message = LinkMessage::default();
        message.header.index = ifindex;
        let asked = self.ask(RouteNetlinkMessage::GetLink(message), NLM_F_ACK, |answer| {
            if let RouteNetlinkMessage::NewLink(link) = answer {
                name = link.attributes.into_iter().find_map(|a| match a {
                    LinkAttribute::IfName(name) => Some(name),
                    _ => None,
                });
            }
        });
        // An interface that is gone has no name; its number says it.
        let _ = asked.await;
        name.unwrap_or_else(|| format!("#{ifindex}"))
    }

    pub(super) async fn ask(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        mut each: impl FnMut(RouteNetlinkMessage),
    ) -> anyhow::Result<()> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        let mut answers = self.handle.clone().request(request)?;
        let read = async {
            while let Some(answer) = answers.next().await {
                match answer.payload {
                    NetlinkPayload::InnerMessage(inner) => each(inner),
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(()),
                    NetlinkPayload::Error(error) => return Err(error.to_io().into()),
                    _ => {}
                }
            }
            anyhow::bail!("the kernel's answer was cut short")
        };
        tokio::time::timeout(ANSWER_WAIT, read).await.context("the kernel did not answer")?
    }
}

fn about(address: Address, state: NeighbourState) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = address.ifindex;
    message.header.state = state;
    message.header.family = if address.ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.attributes.push(NeighbourAttribute::Destination(address.ip.into()));
    message
}

/// `None` for what is no neighbour of ours: bridge ports, proxied addresses, links without Ethernet.
fn entry(message: &NeighbourMessage) -> Option<Entry> {
    let header = &message.header;
    let mut ip = None;
    let mut mac = None;
    let mut managed = false;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => ip = Some(IpAddr::V4(*a)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => ip = Some(IpAddr::V6(*a)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Some(Mac::try_from(bytes.as_slice()).ok()?),
            NeighbourAttribute::ExtFlags(flags) => managed = flags.contains(NeighbourExtFlags::Managed),
            _ => {}
        }
    }
    if header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let settled = matches!(header.state, NeighbourState::Permanent | NeighbourState::Noarp);
    let upkeep = if settled || header.flags.contains(NeighbourFlags::ExtLearned) {
        Upkeep::Somebody
    } else if managed {
        Upkeep::Kernel
    } else {
        Upkeep::Nobody
    };
    let failed = header.state == NeighbourState::Failed;
    Some(Entry { address: Address { ifindex: header.ifindex, ip: ip? }, mac, failed, upkeep })
}

/// The way of one packet.
pub struct Route {
    pub ifindex: u32,
    /// The next hop: a gateway, or the host itself.
    pub gateway: IpAddr,
}

impl Route {
    fn of(attributes: &[RouteAttribute], host: IpAddr) -> Option<Self> {
        let ifindex = attributes.iter().find_map(|a| match a {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        })?;
        let gateway = attributes.iter().find_map(|a| match a {
            RouteAttribute::Gateway(RouteAddress::Inet(a)) | RouteAttribute::Via(RouteVia::Inet(a)) => {
                Some(IpAddr::V4(*a))
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(a)) | RouteAttribute::Via(RouteVia::Inet6(a)) => {
                Some(IpAddr::V6(*a))
            }
            _ => None,
        });
        Some(Self { ifindex, gateway: gateway.unwrap_or(host) })
    }
}

/// The gateway of a route, or of each of its ways. `ifindex` is that of the way that the attributes belong to.
fn add_gateways(attributes: &[RouteAttribute], ifindex: Option<u32>, gateways: &mut BTreeSet<Address>) {
    let mut ifindex = ifindex;
    let mut gateway = None;
    for attribute in attributes {
        match attribute {
            RouteAttribute::Oif(index) => ifindex = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(a)) | RouteAttribute::Via(RouteVia::Inet(a)) => {
                gateway = Some(IpAddr::V4(*a));
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(a)) | RouteAttribute::Via(RouteVia::Inet6(a)) => {
                gateway = Some(IpAddr::V6(*a));
            }
            RouteAttribute::MultiPath(ways) => {
                ways.iter().for_each(|way| add_gateways(&way.attributes, Some(way.interface_index), gateways));
            }
            _ => {}
        }
    }
    gateways.extend(gateway.zip(ifindex).map(|(ip, ifindex)| Address { ifindex, ip }));
}
