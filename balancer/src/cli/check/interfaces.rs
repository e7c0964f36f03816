//! The interfaces that the fast path is to sit on: what XDP mode each can have, and what on them gets in its way.

use super::finding::Findings;
use super::genetlink::{self, XDP_BASIC, XDP_NDO_XMIT, XDP_RX_SG};
use crate::config::host::{HostFacts, Interface};
use crate::config::{Settings, XdpMode};
use crate::offload;
use std::collections::BTreeSet;
use std::fs;

const AREA: &str = "interface";
/// A page less headroom and tail: what fits one buffer in most drivers.
const MTU_OF_ONE_BUFFER: u32 = 3498;

/// Drivers with native XDP since before the kernel could be asked (6.3).
const NATIVE_DRIVERS: &[&str] = &[
    "atlantic",
    "bnxt_en",
    "bonding",
    "dpaa2-eth",
    "dpaa_eth",
    "ena",
    "enetc",
    "fec",
    "fsl_dpaa2_eth",
    "gve",
    "hv_netvsc",
    "i40e",
    "iavf",
    "ice",
    "igb",
    "igc",
    "ixgbe",
    "ixgbevf",
    "mana",
    "mlx4_en",
    "mlx5_core",
    "mtk_soc_eth",
    "mvneta",
    "mvpp2",
    "nfp",
    "qede",
    "sfc",
    "stmmac",
    "thunder-nicvf",
    "tsnep",
    "tun",
    "veth",
    "virtio_net",
    "vmxnet3",
    "xen-netfront",
];

/// One interface, looked at.
#[derive(Clone, Debug, Default)]
pub struct Device {
    pub interface: Interface,
    pub driver: Option<String>,
    /// `NETDEV_XDP_ACT_*`, where the kernel can tell.
    pub xdp_features: Option<u64>,
    pub offloads: BTreeSet<String>,
    /// This project's program is what is attached.
    pub is_ours: bool,
}

impl Device {
    fn look(interface: &Interface, settings: &Settings) -> Self {
        let driver = fs::read_link(format!("/sys/class/net/{}/device/driver", interface.name)).ok();
        let driver = driver.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
        Self {
            driver: driver.or_else(|| interface.kind.clone()),
            xdp_features: genetlink::xdp_features(interface.index).ok(),
            offloads: genetlink::active_offloads(interface.index).unwrap_or_default(),
            is_ours: offload::links(&settings.pin_path).iter().any(|(name, _, _)| *name == interface.name),
            interface: interface.clone(),
        }
    }

    fn is(&self, kind: &str) -> bool {
        self.driver.as_deref() == Some(kind)
    }
}

pub fn look_and_judge(settings: &Settings, host: &HostFacts, findings: &mut Findings) {
    if settings.xdp_mode == XdpMode::Off {
        return;
    }
    let known = settings.interfaces.iter().filter_map(|name| host.interface(name));
    let devices: Vec<Device> = known.map(|interface| Device::look(interface, settings)).collect();
    judge(&devices, settings.xdp_mode, findings);
}

/// Interfaces that do not exist are the business of [`crate::config::validate::host_problems`].
pub fn judge(devices: &[Device], mode: XdpMode, findings: &mut Findings) {
    for device in devices {
        judge_state(device, findings);
        judge_mode(device, mode, findings);
        judge_offloads(device, findings);
    }
    judge_mtus(devices, findings);
}

fn judge_state(device: &Device, findings: &mut Findings) {
    let Device { interface, .. } = device;
    let name = &interface.name;
    if !interface.is_up {
        findings.error(AREA, format!("{name} is down or has no carrier"), &format!("ip link set {name} up"));
    }
    match (interface.xdp_program, device.is_ours) {
        (Some(id), false) => findings.no_fast_path(
            AREA,
            format!("{name} carries another XDP program, id {id}"),
            &format!("see `bpftool net`; detach it with `ip link set {name} xdp off`, or name another interface"),
        ),
        (Some(_), true) => findings.ok(AREA, format!("{name} carries the balancer's program")),
        (None, _) => {}
    }
}

fn judge_mode(device: &Device, mode: XdpMode, findings: &mut Findings) {
    let Device { interface, driver, xdp_features, .. } = device;
    let name = &interface.name;
    let driver = driver.as_deref().unwrap_or(if interface.is_loopback { "loopback" } else { "unknown driver" });
    let (has_native, told_by) = match xdp_features {
        Some(features) => (features & XDP_BASIC != 0, "says the kernel"),
        None => (NATIVE_DRIVERS.contains(&driver), "going by the driver's name"),
    };
    let line = |what: &str| format!("{name} ({driver}, MTU {}): {what}", interface.mtu);
    match (has_native, mode) {
        (_, XdpMode::Generic) => findings.ok(AREA, line("generic XDP, as set; slower than native")),
        (true, _) => findings.ok(AREA, line(&format!("native XDP, {told_by}"))),
        (false, XdpMode::Native) => findings.error(
            AREA,
            line(&format!("no native XDP, {told_by}")),
            "set xdp_mode to auto or generic, or name the interface below (a VLAN's or bridge's port)",
        ),
        (false, _) => findings.warn(
            AREA,
            line(&format!("generic XDP only, {told_by}: works, but each packet costs several times as much")),
            "if it is a VLAN, bridge or macvlan, name the interface below",
        ),
    }
    if !has_native || mode == XdpMode::Generic {
        return;
    }
    let has_fragments = xdp_features.is_some_and(|features| features & XDP_RX_SG != 0);
    if interface.mtu > MTU_OF_ONE_BUFFER && !has_fragments {
        findings.warn(
            AREA,
            format!("{name}: MTU {} may be too large for native XDP in one buffer", interface.mtu),
            &format!("ip link set {name} mtu 1500, or {MTU_OF_ONE_BUFFER} at most"),
        );
    }
    // Most drivers set this one when a program is attached, veth when its *peer* has a program or GRO.
    if let Some(features) = xdp_features
        && features & XDP_NDO_XMIT == 0
        && (device.is("veth") || device.is_ours)
    {
        let remedy = match device.is("veth") {
            true => "at its other end: ethtool -K PEER gro on, or attach any XDP program there",
            false => "let clients and origins be reached by one interface, or set xdp_mode to generic",
        };
        findings.warn(AREA, format!("{name} does not take redirected packets"), remedy);
    }
}

fn judge_offloads(device: &Device, findings: &mut Findings) {
    let name = &device.interface.name;
    let is_on = |offload: &str| device.offloads.contains(offload);
    if is_on("rx-lro") {
        findings.no_fast_path(
            AREA,
            format!("{name}: large receive offload merges packets before XDP sees them"),
            &format!("ethtool -K {name} lro off"),
        );
    }
    if is_on("rx-gro-hw") {
        findings.warn(
            AREA,
            format!("{name}: hardware GRO may merge packets before XDP sees them, or keep XDP from attaching"),
            &format!("ethtool -K {name} rx-gro-hw off"),
        );
    }
    if device.is("veth") && device.offloads.iter().any(|offload| offload.starts_with("tx-checksum-")) {
        findings.warn(
            AREA,
            format!("{name}: a veth pair leaves checksums unfinished, and a forwarded packet carries them as they are"),
            &format!("ethtool -K {name} tx off, and the same at its other end"),
        );
    }
}

fn judge_mtus(devices: &[Device], findings: &mut Findings) {
    let ends = devices.iter().map(|d| &d.interface);
    let (Some(least), Some(most)) = (ends.clone().min_by_key(|i| i.mtu), ends.max_by_key(|i| i.mtu)) else { return };
    if least.mtu != most.mtu {
        // The slow path announces the smaller segment size in that case, so TCP does not run into it.
        let what = format!("{} has MTU {}, {} has {}", least.name, least.mtu, most.name, most.mtu);
        findings.ok(AREA, format!("{what}: clients are told segments that fit the smaller"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn device(name: &str, driver: &str, features: Option<u64>) -> Device {
        let interface = Interface { name: name.into(), mtu: 1500, is_up: true, ..Interface::default() };
        Device { interface, driver: Some(driver.into()), xdp_features: features, ..Device::default() }
    }

    fn judged(devices: &[Device], mode: XdpMode) -> Vec<(Level, String)> {
        let mut findings = Findings::new(mode);
        judge(devices, mode, &mut findings);
        findings.all.into_iter().map(|finding| (finding.level, finding.what)).collect()
    }

    const ALL: u64 = XDP_BASIC | 2 | XDP_NDO_XMIT;

    #[test]
    fn the_kernel_s_word_counts_more_than_the_driver_s_name() {
        let told = |device: Device| judged(&[device], XdpMode::Auto).remove(0);
        assert_eq!(
            told(device("a", "ixgbe", Some(ALL))),
            (Level::Ok, "a (ixgbe, MTU 1500): native XDP, says the kernel".into())
        );
        assert_eq!(told(device("a", "ixgbe", None)).1, "a (ixgbe, MTU 1500): native XDP, going by the driver's name");
        assert_eq!(told(device("a", "ixgbe", Some(0))).0, Level::Warn);
        assert_eq!(told(device("a", "mystery", None)).0, Level::Warn);
        assert_eq!(judged(&[device("a", "mystery", None)], XdpMode::Native)[0].0, Level::Error);
        assert_eq!(judged(&[device("a", "mystery", None)], XdpMode::Generic)[0].0, Level::Ok);
    }

    #[test]
    fn what_hurts_is_named() {
        let warned = |device: Device, part: &str| {
            let found = judged(&[device], XdpMode::Auto);
            assert!(
                found.iter().any(|(level, what)| *level == Level::Warn && what.contains(part)),
                "{part}: {found:?}"
            );
        };
        let with = |offload: &str| Device { offloads: [offload.to_owned()].into(), ..device("a", "veth", Some(ALL)) };
        warned(with("rx-lro"), "large receive offload");
        warned(with("rx-gro-hw"), "hardware GRO");
        warned(with("tx-checksum-ip-generic"), "checksums unfinished");
        warned(device("a", "veth", Some(XDP_BASIC)), "does not take redirected packets");
        let mut large = device("a", "ena", Some(ALL));
        large.interface.mtu = 9001;
        warned(large.clone(), "MTU 9001 may be too large");
        large.interface.xdp_program = Some(7);
        warned(large.clone(), "another XDP program, id 7");
        large.is_ours = true;
        assert!(!judged(&[large], XdpMode::Auto).iter().any(|(_, what)| what.contains("another XDP program")));
    }

    #[test]
    fn an_interface_that_is_down_is_an_error_and_unequal_mtus_are_mentioned() {
        let mut devices = [device("a", "ice", Some(ALL)), device("b", "ice", Some(ALL))];
        assert!(judged(&devices, XdpMode::Native).iter().all(|(level, _)| *level == Level::Ok));
        devices[0].interface.is_up = false;
        devices[1].interface.mtu = 1400;
        let found = judged(&devices, XdpMode::Auto);
        assert!(found.contains(&(Level::Error, "a is down or has no carrier".into())), "{found:?}");
        assert_eq!(
            found.last().unwrap().1,
            "b has MTU 1400, a has 1500: clients are told segments that fit the smaller"
        );
    }
}
