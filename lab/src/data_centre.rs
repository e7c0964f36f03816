//! The topology: client hosts, one host for the balancer, origin hosts; IPv4 and IPv6 everywhere.
//!
//! Two-armed: every client and origin has a link and a subnet of its own to the balancer's host, which routes between
//! them. One-armed: all on one bridge, the balancer with a single interface.

use crate::cleanup;
use crate::net::{self, Netns};
use crate::pass_all::PassAll;
use anyhow::Result;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arms {
    Two,
    One,
}

#[derive(Clone, Debug)]
pub struct Layout {
    pub clients: u8,
    pub origins: u8,
    pub arms: Arms,
    pub mtu: u32,
}

impl Default for Layout {
    fn default() -> Self {
        Self { clients: 1, origins: 1, arms: Arms::Two, mtu: 1500 }
    }
}

/// One machine: a namespace, its interface and its addresses.
pub struct Host {
    pub netns: Netns,
    pub device: &'static str,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

impl Host {
    pub fn ip(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }
}

pub struct DataCentre {
    pub clients: Vec<Host>,
    pub origins: Vec<Host>,
    pub lb: Netns,
    /// The balancer's interfaces, in the order of its `--interface` flags.
    pub lb_devices: Vec<String>,
    pub vip4: Ipv4Addr,
    pub vip6: Ipv6Addr,
    /// See [`DataCentre::hear_answers`].
    pub hearing: Vec<PassAll>,
    name: String,
    directory: PathBuf,
    _switch: Option<(PassAll, Netns)>,
}

/// Where every address of the data centre comes from: for `--allow-register` and `--origin-networks`.
pub const NETWORKS: [&str; 2] = ["10.71.0.0/16", "fd71::/16"];
const ROUTED_VIP4: Ipv4Addr = Ipv4Addr::new(10, 71, 9, 9);
const ROUTED_VIP6: Ipv6Addr = Ipv6Addr::new(0xfd71, 0, 0, 9, 0, 0, 0, 9);
/// One-armed: everything in one subnet.
const BRIDGED: u8 = 1;
pub(crate) const DEVICE: &str = "eth0";

pub(crate) fn v4(subnet: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 71, subnet, host)
}

pub(crate) fn v6(subnet: u8, host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd71, 0, 0, subnet.into(), 0, 0, 0, host.into())
}

impl DataCentre {
    pub fn build(layout: &Layout) -> Result<Self> {
        let mut this = Self::empty()?;
        let host_names = |kind: &str, n: u8| (0..n).map(|i| format!("{}-{kind}{i}", this.name)).collect::<Vec<_>>();
        let (clients, origins) = (host_names("c", layout.clients), host_names("o", layout.origins));
        match layout.arms {
            Arms::Two => this.two_armed(&clients, &origins, layout.mtu)?,
            Arms::One => this.one_armed(&clients, &origins, layout.mtu)?,
        }
        Ok(this)
    }

    /// A directory, and a host for a balancer that has no link yet.
    pub(crate) fn empty() -> Result<Self> {
        let name = cleanup::unique_name();
        let directory = std::env::temp_dir().join(&name);
        cleanup::make(cleanup::Made::Directory(directory.clone()), || std::fs::create_dir_all(&directory))?;
        let lb = Netns::create(format!("{name}-lb"))?;
        lb.sysctl("net.ipv4.ip_forward", "1")?;
        lb.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        Ok(Self {
            clients: Vec::new(),
            origins: Vec::new(),
            lb,
            lb_devices: Vec::new(),
            vip4: ROUTED_VIP4,
            vip6: ROUTED_VIP6,
            hearing: Vec::new(),
            name,
            directory,
            _switch: None,
        })
    }

    /// What the names of its hosts begin with.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub fn vip(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.vip4.into(),
            Family::V6 => self.vip6.into(),
        }
    }

    /// Lets clients hear what the balancer answers right on the interface that it was asked on, as [`PassAll`] explains.
    /// It makes what the host's own stack sends dearer: nothing is measured meanwhile.
    pub fn hear_answers(&self) -> Result<Vec<PassAll>> {
        self.clients.iter().map(|host| PassAll::attach(&host.netns, host.device)).collect()
    }

    /// Logs, configurations and the like; removed with the data centre.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where a balancer of this data centre pins its maps; nobody else uses it.
    pub fn pin_path(&self) -> PathBuf {
        Path::new(cleanup::BPFFS).join(&self.name)
    }

    fn two_armed(&mut self, clients: &[String], origins: &[String], mtu: u32) -> Result<()> {
        for (i, name) in clients.iter().enumerate() {
            let host = self.routed_host(name, format!("c{i}"), 10 + i as u8, mtu)?;
            self.clients.push(host);
        }
        for (i, name) in origins.iter().enumerate() {
            let host = self.routed_host(name, format!("o{i}"), 100 + i as u8, mtu)?;
            self.origins.push(host);
        }
        self.lb.ip(&format!("addr add {ROUTED_VIP4}/32 dev lo\naddr add {ROUTED_VIP6}/128 dev lo nodad\n"))
    }

    fn routed_host(&mut self, name: &str, lb_device: String, subnet: u8, mtu: u32) -> Result<Host> {
        let netns = Netns::create(name.to_owned())?;
        net::link((&netns, DEVICE), (&self.lb, &lb_device), mtu)?;
        let host = Host { netns, device: DEVICE, v4: v4(subnet, 2), v6: v6(subnet, 2) };
        configure(&self.lb, &lb_device, v4(subnet, 1), v6(subnet, 1))?;
        configure(&host.netns, DEVICE, host.v4, host.v6)?;
        let (gateway4, gateway6) = (v4(subnet, 1), v6(subnet, 1));
        host.netns.ip(&format!("route add default via {gateway4}\nroute add ::/0 via {gateway6}\n"))?;
        self.lb_devices.push(lb_device);
        Ok(host)
    }

    fn one_armed(&mut self, clients: &[String], origins: &[String], mtu: u32) -> Result<()> {
        let switch = Netns::create(format!("{}-sw", self.name))?;
        switch.ip(&format!("link add br0 mtu {mtu} type bridge\nlink set br0 up\n"))?;
        let plug = |netns: &Netns, port: &str| -> Result<()> {
            net::link((netns, DEVICE), (&switch, port), mtu)?;
            switch.ip(&format!("link set {port} master br0\n"))
        };
        plug(&self.lb, "lb")?;
        configure(&self.lb, DEVICE, v4(BRIDGED, 1), v6(BRIDGED, 1))?;
        self.lb_devices.push(DEVICE.to_owned());
        (self.vip4, self.vip6) = (v4(BRIDGED, 9), v6(BRIDGED, 9));
        configure(&self.lb, DEVICE, self.vip4, self.vip6)?;
        let all = clients.iter().chain(origins);
        for (i, name) in all.enumerate() {
            let netns = Netns::create(name.clone())?;
            plug(&netns, &format!("p{i}"))?;
            let number = 20 + i as u8;
            let host = Host { netns, device: DEVICE, v4: v4(BRIDGED, number), v6: v6(BRIDGED, number) };
            configure(&host.netns, DEVICE, host.v4, host.v6)?;
            if i < clients.len() { self.clients.push(host) } else { self.origins.push(host) }
        }
        // The balancer sends back by the one interface that it received on.
        self._switch = Some((PassAll::attach(&switch, "lb")?, switch));
        Ok(())
    }
}

impl Drop for DataCentre {
    fn drop(&mut self) {
        if std::env::var_os("LAB_KEEP").is_none() {
            cleanup::remove(&cleanup::Made::Directory(self.directory.clone()));
        }
    }
}

pub(crate) fn configure(netns: &Netns, device: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<()> {
    netns.ip(&format!("addr add {v4}/24 dev {device}\naddr add {v6}/64 dev {device} nodad\n"))
}
