//! Says to a network that an address is here now, as a host does that takes it over: a gratuitous ARP request, an
//! unsolicited neighbour advertisement.

use crate::net::{self, Netns};
use crate::sys;
use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ADVERTISEMENT: u8 = 136;
/// Router, and: forget what you knew.
const FLAGS: u8 = 0xa0;
const TARGET_LINK_LAYER: [u8; 2] = [2, 1];
const HOP_LIMIT: u32 = 255;

pub fn announce(netns: &Netns, device: &str, address: IpAddr) -> Result<()> {
    let (index, mac) = link(netns, device)?;
    match address {
        IpAddr::V4(address) => netns.run(|| sys::broadcast_frame(index, &arp(mac, address)))?,
        IpAddr::V6(address) => netns.run(|| advertise(index, mac, address))?,
    }
    .with_context(|| format!("announce {address} on {device} in {}", netns.name()))
}

fn link(netns: &Netns, device: &str) -> Result<(u32, [u8; 6])> {
    let output = net::run(netns.command("ip").args(["-j", "link", "show", device]))?;
    let links: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let index = links[0]["ifindex"].as_u64().context("no index")?;
    let text = links[0]["address"].as_str().context("no MAC")?;
    let mut mac = [0; 6];
    for (byte, word) in mac.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(word, 16)?;
    }
    Ok((index as u32, mac))
}

/// With its Ethernet header.
fn arp(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    // Ethernet, IPv4, 6 and 4 bytes, a request.
    const HEAD: [u8; 10] = [8, 6, 0, 1, 8, 0, 6, 4, 0, 1];
    let address = address.octets();
    [&[0xff; 6][..], &mac, &HEAD, &mac, &address, &[0; 6], &address].concat()
}

fn advertise(index: u32, mac: [u8; 6], address: Ipv6Addr) -> std::io::Result<()> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.set_multicast_hops_v6(HOP_LIMIT)?;
    socket.bind(&SocketAddrV6::new(address, 0, 0, index).into())?;
    // The kernel puts the checksum in.
    let message = [&[ADVERTISEMENT, 0, 0, 0, FLAGS, 0, 0, 0][..], &address.octets(), &TARGET_LINK_LAYER, &mac].concat();
    socket.send_to(&message, &SocketAddrV6::new(ALL_NODES, 0, 0, index).into()).map(drop)
}
