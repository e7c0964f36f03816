//! The topology for several balancers. Every balancer's host has one link to the clients, one to the origins and one to
//! the store; what is between them is either a switch on each side, so that addresses move between hosts, or a router,
//! which has all hosts for next hops of one address.

use crate::balancer::API_PORT;
use crate::data_centre::{DEVICE, DataCentre, Family, Host, Layout, configure, v4, v6};
use crate::net::{self, Netns};
use crate::pass_all::PassAll;
use anyhow::Result;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// A balancer's links: to the clients, to the origins.
pub const SIDES: [&str; 2] = ["eth0", "eth1"];
const STORE_LINK: &str = "eth2";
/// Bridged: the subnet of each side.
const SUBNETS: [u8; 2] = [1, 2];
/// Bridged: the host part of a balancer's own address, and of the address that is at home there.
const OWN: u8 = 11;
const FLOATING: u8 = 100;
/// Routed: the subnets of each side's links, and of clients and origins.
const LINKS: [u8; 2] = [200, 210];
const ENDS: [u8; 2] = [10, 100];
/// Routed: the host part of the first balancer's source address, in the VIP's subnet.
const SOURCE: u8 = 10;
const SOURCE_SUBNET: u8 = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Addresses are on one host at a time, and move.
    Bridged,
    /// All hosts have the VIP, and a router chooses; each has a source address of its own.
    Routed,
}

/// What clients dial, and what connections to origins leave from. They move together.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    pub vip4: Ipv4Addr,
    pub vip6: Ipv6Addr,
    pub source4: Ipv4Addr,
    pub source6: Ipv6Addr,
}

impl Pair {
    pub fn vip(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.vip4.into(),
            Family::V6 => self.vip6.into(),
        }
    }

    pub fn source(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.source4.into(),
            Family::V6 => self.source6.into(),
        }
    }

    /// By the side on which they are.
    pub(super) fn sides(&self) -> [(Ipv4Addr, Ipv6Addr); 2] {
        [(self.vip4, self.vip6), (self.source4, self.source6)]
    }
}

/// A balancer's host.
pub struct Machine {
    pub netns: Netns,
    pub number: usize,
    /// At home here. Routed, all machines have the same VIP.
    pub pair: Pair,
    pub pin_path: PathBuf,
    pub directory: PathBuf,
}

/// What lies between the hosts.
pub struct Fabric {
    pub network: Network,
    /// The router, or what has both switches.
    pub middle: Netns,
    /// Where a store is to run, reached by all balancers.
    pub store: Netns,
    _hearing: Vec<PassAll>,
}

/// Of the store, for balancers.
pub const STORE: Ipv4Addr = Ipv4Addr::new(10, 72, 0, 1);

pub(super) fn build(layout: &Layout, hosts: u8, network: Network) -> Result<(DataCentre, Vec<Machine>, Fabric)> {
    let mut dc = DataCentre::empty()?;
    let name = dc.name().to_owned();
    let middle = Netns::create(format!("{name}-m"))?;
    let store = Netns::create(format!("{name}-s"))?;
    store.ip(&format!("link add br0 type bridge\nlink set br0 up\naddr add {STORE}/24 dev br0\n"))?;
    let mut fabric = Fabric { network, middle, store, _hearing: Vec::new() };
    fabric.prepare(layout.mtu)?;
    let mut machines = Vec::new();
    for number in 0..hosts {
        machines.push(machine(&dc, number, network)?);
        fabric.plug_machine(&machines[usize::from(number)], layout.mtu)?;
    }
    dc.lb_devices = SIDES.map(str::to_owned).to_vec();
    (dc.vip4, dc.vip6) = (machines[0].pair.vip4, machines[0].pair.vip6);
    for number in 0..layout.clients {
        dc.clients.push(fabric.end(&name, 0, number, layout.mtu)?);
    }
    for number in 0..layout.origins {
        dc.origins.push(fabric.end(&name, 1, number, layout.mtu)?);
    }
    Ok((dc, machines, fabric))
}

fn machine(dc: &DataCentre, number: u8, network: Network) -> Result<Machine> {
    let (netns, directory, pin_path) = match number {
        0 => (dc.lb.clone(), dc.directory().to_owned(), dc.pin_path()),
        n => {
            let netns = Netns::create(format!("{}-lb{n}", dc.name()))?;
            let directory = dc.directory().join(format!("lb{n}"));
            std::fs::create_dir_all(&directory)?;
            (netns, directory, dc.pin_path().with_file_name(format!("{}-lb{n}", dc.name())))
        }
    };
    // Listeners are there before the VIP is, as a host that waits for its turn wants it.
    for (setting, value) in [
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv6.conf.all.forwarding", "1"),
        ("net.ipv4.ip_nonlocal_bind", "1"),
        ("net.ipv6.ip_nonlocal_bind", "1"),
        ("net.ipv4.conf.all.rp_filter", "0"),
        ("net.ipv4.conf.default.rp_filter", "0"),
    ] {
        netns.sysctl(setting, value)?;
    }
    let float = FLOATING + number;
    let pair = match network {
        Network::Bridged => Pair {
            vip4: v4(SUBNETS[0], float),
            vip6: v6(SUBNETS[0], float),
            source4: v4(SUBNETS[1], float),
            source6: v6(SUBNETS[1], float),
        },
        Network::Routed => Pair {
            vip4: dc.vip4,
            vip6: dc.vip6,
            source4: v4(SOURCE_SUBNET, SOURCE + number),
            source6: v6(SOURCE_SUBNET, SOURCE + number),
        },
    };
    Ok(Machine { netns, number: number.into(), pair, pin_path, directory })
}

/// The fabric's end of a machine's link.
pub(super) fn port(side: usize, machine: usize) -> String {
    format!("{}{machine}", ["c-lb", "o-lb"][side])
}

/// The fabric's end of a machine's link to the store.
pub(super) fn store_port(machine: usize) -> String {
    format!("lb{machine}")
}

impl Fabric {
    fn prepare(&self, mtu: u32) -> Result<()> {
        match self.network {
            Network::Bridged => self.middle.ip(&format!(
                "link add br0 mtu {mtu} type bridge\nlink set br0 up\nlink add br1 mtu {mtu} type bridge\nlink set br1 up\n"
            )),
            Network::Routed => {
                for setting in ["ipv4.ip_forward", "ipv6.conf.all.forwarding"] {
                    self.middle.sysctl(&format!("net.{setting}"), "1")?;
                }
                // By ports, as routers do.
                for family in ["ipv4", "ipv6"] {
                    self.middle.sysctl(&format!("net.{family}.fib_multipath_hash_policy"), "1")?;
                }
                self.middle.sysctl("net.ipv4.conf.all.rp_filter", "0")
            }
        }
    }

    fn plug_machine(&mut self, machine: &Machine, mtu: u32) -> Result<()> {
        let number = machine.number as u8;
        for side in [0, 1] {
            let port = port(side, machine.number);
            net::link((&machine.netns, SIDES[side]), (&self.middle, &port), mtu)?;
            // What a balancer answers on the link that it was asked on.
            self._hearing.push(PassAll::attach(&self.middle, &port)?);
            match self.network {
                Network::Bridged => {
                    self.middle.ip(&format!("link set {port} master br{side}\n"))?;
                    let subnet = SUBNETS[side];
                    configure(&machine.netns, SIDES[side], v4(subnet, OWN + number), v6(subnet, OWN + number))?;
                }
                Network::Routed => {
                    let subnet = LINKS[side] + number;
                    configure(&self.middle, &port, v4(subnet, 1), v6(subnet, 1))?;
                    configure(&machine.netns, SIDES[side], v4(subnet, 2), v6(subnet, 2))?;
                }
            }
        }
        if self.network == Network::Routed {
            machine.route_by_the_router()?;
        }
        let port = store_port(machine.number);
        net::link((&machine.netns, STORE_LINK), (&self.store, &port), 1500)?;
        self.store.ip(&format!("link set {port} master br0\n"))?;
        machine.netns.ip(&format!("addr add 10.72.0.{}/24 dev {STORE_LINK}\n", OWN + number))
    }

    /// A client's or an origin's host.
    fn end(&self, name: &str, side: usize, number: u8, mtu: u32) -> Result<Host> {
        let letter = ["c", "o"][side];
        let (netns, port) = (Netns::create(format!("{name}-{letter}{number}"))?, format!("{letter}{number}"));
        net::link((&netns, DEVICE), (&self.middle, &port), mtu)?;
        let (subnet, own, gateway) = match self.network {
            Network::Bridged => {
                self.middle.ip(&format!("link set {port} master br{side}\n"))?;
                (SUBNETS[side], 20 + number, FLOATING)
            }
            Network::Routed => {
                let subnet = ENDS[side] + number;
                configure(&self.middle, &port, v4(subnet, 1), v6(subnet, 1))?;
                (subnet, 2, 1)
            }
        };
        let host = Host { netns, device: DEVICE, v4: v4(subnet, own), v6: v6(subnet, own) };
        configure(&host.netns, DEVICE, host.v4, host.v6)?;
        let (via4, via6) = (v4(subnet, gateway), v6(subnet, gateway));
        host.netns.ip(&format!("route add default via {via4}\nroute add ::/0 via {via6}\n"))?;
        Ok(host)
    }
}

impl Fabric {
    /// The router's next hops for an address of this side.
    pub(super) fn route(&self, side: usize, to: (Ipv4Addr, Ipv6Addr), hops: &[usize]) -> Result<()> {
        let via = |address: &dyn Fn(u8) -> IpAddr| -> String {
            hops.iter().map(|hop| format!(" nexthop via {}", address(LINKS[side] + *hop as u8))).collect()
        };
        let (via4, via6) = (via(&|subnet| v4(subnet, 2).into()), via(&|subnet| v6(subnet, 2).into()));
        self.middle.ip(&format!("route replace {}/32{via4}\nroute replace {}/128{via6}\n", to.0, to.1))
    }

    /// Routes of all addresses that balancers have are somebody else's to make, from now on.
    pub(super) fn forget_routes(&self, machines: &[Machine]) -> Result<()> {
        let mut all: Vec<_> = machines.iter().flat_map(|machine| machine.pair.sides()).collect();
        all.sort();
        all.dedup();
        let lines = all.into_iter().map(|(v4, v6)| format!("route del {v4}/32\nroute del {v6}/128\n"));
        self.middle.ip(&lines.collect::<String>())
    }

    /// Each packet gets a mark by chance, and each mark has a table of routes that lead to one machine. Not those of the
    /// system API, by which origins register: its connections are a balancer's own, and stay where they began.
    pub(super) fn spray(&self, machines: &[Machine]) -> Result<()> {
        for machine in machines {
            let number = machine.number as u8;
            let (mark, table) = (number + 1, 100 + u32::from(number));
            let mut batch = String::new();
            for (side, (to4, to6)) in machines.iter().flat_map(|to| to.pair.sides().into_iter().enumerate()) {
                let subnet = LINKS[side] + number;
                batch += &format!("route replace {to4}/32 via {} table {table}\n", v4(subnet, 2));
                batch += &format!("route replace {to6}/128 via {} table {table}\n", v6(subnet, 2));
            }
            self.middle.ip(&batch)?;
            for family in ["-4", "-6"] {
                let words = ["ip", family, "rule", "add", "fwmark", &mark.to_string(), "lookup", &table.to_string()];
                net::run(self.middle.command(words[0]).args(&words[1..]))?;
            }
        }
        let own = format!("tcp dport {API_PORT} return\ntcp sport {API_PORT} return\n");
        let mark = format!("meta l4proto {{ tcp, udp }} meta mark set numgen random mod {} offset 1\n", machines.len());
        let hook = "type filter hook prerouting priority mangle; policy accept;\n";
        self.middle.nft(&format!("table inet spray {{\nchain each {{\n{hook}{own}{mark}}}\n}}\n"))
    }
}

impl Machine {
    /// Routed: the addresses of the link to the clients, the machine's and the router's.
    pub fn uplink(&self) -> [(Ipv4Addr, Ipv6Addr); 2] {
        let subnet = LINKS[0] + self.number as u8;
        [2, 1].map(|end| (v4(subnet, end), v6(subnet, end)))
    }

    /// Has both addresses of a pair from now on; nobody is told. Connections that do not ask for them do not leave from
    /// them.
    pub(super) fn hold(&self, pair: &Pair) -> Result<()> {
        self.addresses("replace", pair, " preferred_lft 0")
    }

    pub(super) fn release(&self, pair: &Pair) -> Result<()> {
        self.addresses("del", pair, "")
    }

    fn addresses(&self, verb: &str, pair: &Pair, more: &str) -> Result<()> {
        let sides = pair.sides().into_iter().zip(SIDES);
        let lines = sides.map(|((v4, v6), device)| {
            format!("addr {verb} {v4}/32 dev {device}\naddr {verb} {v6}/128 dev {device}{more}\n")
        });
        self.netns.ip(&lines.collect::<String>())
    }

    fn route_by_the_router(&self) -> Result<()> {
        let number = self.number as u8;
        let (clients, origins) = (LINKS[0] + number, LINKS[1] + number);
        let mut batch = String::new();
        for (v4, v6) in self.pair.sides() {
            batch += &format!("addr add {v4}/32 dev lo\naddr add {v6}/128 dev lo nodad\n");
        }
        batch += &format!("route add default via {}\nroute add ::/0 via {}\n", v4(clients, 1), v6(clients, 1));
        for origin in ENDS[1]..ENDS[1] + 16 {
            batch += &format!("route add {}/24 via {}\n", v4(origin, 0), v4(origins, 1));
            batch += &format!("route add {}/64 via {}\n", v6(origin, 0), v6(origins, 1));
        }
        self.netns.ip(&batch)
    }
}
