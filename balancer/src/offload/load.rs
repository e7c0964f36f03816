//! Loads the program, adopts or makes the pinned maps, attaches to the interfaces.

use super::cluster::ClusterMaps;
use super::maps::Maps;
use super::next_hops::NextHops;
use super::walk::Walk;
use super::{Offload, object, pins};
use crate::config::XdpMode as Wanted;
use anyhow::Context;
use aya::maps::{Array, Map, MapData};
use aya::programs::Xdp;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::{Ebpf, EbpfLoader};
use balancer_common::abi::{ABI_VERSION, capacity, map};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// An interface that carries the program.
#[derive(Clone, Debug)]
pub struct Interface {
    pub name: String,
    pub ifindex: u32,
    /// `native` or `generic`.
    pub mode: &'static str,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("this binary was built without the kernel half: `cargo xtask build` builds both")]
    NoObject,
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

const NATIVE: &str = "native";
const GENERIC: &str = "generic";

impl Offload {
    /// Loads the fast path onto `interfaces`. What an earlier process pinned there is adopted when it fits.
    pub fn load(pin_path: &Path, interfaces: &[String], mode: Wanted) -> Result<Self, LoadError> {
        let object = object::object().ok_or(LoadError::NoObject)?;
        let lock = pins::lock(pin_path)?;
        pins::check_abi(pin_path)?;
        let mut loader = EbpfLoader::new();
        for name in map::ALL {
            loader.map_pin_path(name, pin_path.join(name));
        }
        let mut ebpf = loader.load(object).context("the kernel refused the maps or the object")?;
        let mut maps = take_maps(&mut ebpf).context("the embedded object lacks a map: build both halves again")?;
        let mut abi: Array<MapData, u32> = typed(&mut ebpf, map::ABI)?;
        abi.set(0, ABI_VERSION, 0).context("cannot write the ABI version")?;
        let walk = Walk::open(pin_path)?;
        maps.adopt(&walk.halves().context("cannot read the flow tables")?);

        let program: &mut Xdp = ebpf
            .program_mut(map::PROGRAM)
            .context("the embedded object has no program")?
            .try_into()
            .context("the embedded program is no XDP program")?;
        program.load().context("the kernel's verifier refused the program")?;
        repin_program(program, pin_path)?;
        let attached = attach_all(program, pin_path, interfaces, mode)?;
        maps.set_devices(&attached).context("DEVICES refused an interface")?;
        Ok(Self::new(maps, walk, attached, lock))
    }
}

fn repin_program(program: &mut Xdp, pin_path: &Path) -> anyhow::Result<()> {
    let path = pins::program_path(pin_path);
    if path.exists() {
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    program.pin(&path).with_context(|| format!("cannot pin the program at {}", path.display()))
}

fn attach_all(
    program: &mut Xdp,
    pin_path: &Path,
    interfaces: &[String],
    mode: Wanted,
) -> anyhow::Result<Vec<Interface>> {
    for (name, _, path) in pins::links(pin_path) {
        if !interfaces.contains(&name) {
            std::fs::remove_file(&path).with_context(|| format!("cannot detach from {name}"))?;
        }
    }
    interfaces.iter().map(|name| attach(program, pin_path, name, mode)).collect()
}

/// Attaches to one interface: a pinned link gets the new program without a gap, otherwise a new link is made.
fn attach(program: &mut Xdp, pin_path: &Path, name: &str, wanted: Wanted) -> anyhow::Result<Interface> {
    let c_name = std::ffi::CString::new(name).with_context(|| format!("interface name {name:?}"))?;
    // SAFETY: a NUL-terminated string.
    let ifindex = unsafe { libc::if_nametoindex(c_name.as_ptr()) };
    anyhow::ensure!(ifindex != 0, "there is no interface {name}: see `ip link`");

    let modes: &[(&'static str, XdpMode)] = match wanted {
        Wanted::Native => &[(NATIVE, XdpMode::Driver)],
        Wanted::Generic => &[(GENERIC, XdpMode::Skb)],
        _ => &[(NATIVE, XdpMode::Driver), (GENERIC, XdpMode::Skb)],
    };
    for (link_name, link_mode, path) in pins::links(pin_path) {
        if link_name != name {
            continue;
        }
        if let Some((mode, _)) = modes.iter().find(|(m, _)| *m == link_mode)
            && replace(program, &path).is_ok()
        {
            return Ok(Interface { name: name.to_owned(), ifindex, mode });
        }
        // Another mode is wanted, or the interface was made anew under the old name.
        std::fs::remove_file(&path).with_context(|| format!("cannot detach from {name}"))?;
    }
    let mut refused = None;
    for (mode, flag) in modes {
        match program.attach_to_if_index(ifindex, *flag) {
            Ok(id) => {
                let link: FdLink = program.take_link(id)?.try_into().context("the kernel made no BPF link")?;
                let path = pins::link_path(pin_path, name, mode);
                link.pin(&path).with_context(|| format!("cannot pin the link at {}", path.display()))?;
                return Ok(Interface { name: name.to_owned(), ifindex, mode });
            }
            Err(error) => refused = Some((*mode, error)),
        }
    }
    match refused {
        Some((mode, error)) => Err(anyhow::Error::new(error).context(format!(
            "interface {name} does not take an XDP program in {mode} mode: is another one attached (`ip link show {name}`)? \
             `--xdp-mode generic` works on every interface, `off` relays in user space"
        ))),
        None => anyhow::bail!("no XDP mode to try on {name}"),
    }
}

fn replace(program: &mut Xdp, path: &Path) -> anyhow::Result<()> {
    let link: FdLink = PinnedLink::from_pin(path)?.into();
    program.attach_to_link(XdpLink::try_from(link)?)?;
    Ok(())
}

fn typed<T: TryFrom<Map, Error = aya::maps::MapError>>(ebpf: &mut Ebpf, name: &str) -> anyhow::Result<T> {
    let map = ebpf.take_map(name).with_context(|| format!("map {name} is missing"))?;
    T::try_from(map).with_context(|| format!("map {name} is of another type"))
}

fn take_maps(ebpf: &mut Ebpf) -> anyhow::Result<Maps> {
    Ok(Maps {
        flows4: typed(ebpf, map::FLOWS4)?,
        flows6: typed(ebpf, map::FLOWS6)?,
        tracks4: typed(ebpf, map::TRACKS4)?,
        tracks6: typed(ebpf, map::TRACKS6)?,
        controls: typed(ebpf, map::CONTROLS)?,
        next_hops: typed(ebpf, map::NEXT_HOPS)?,
        origins: typed(ebpf, map::ORIGINS)?,
        services: typed(ebpf, map::SERVICES)?,
        streams: typed(ebpf, map::STREAMS)?,
        stream_names: typed(ebpf, map::STREAM_NAMES)?,
        ice: typed(ebpf, map::ICE)?,
        ports4: typed(ebpf, map::PORTS4)?,
        ports6: typed(ebpf, map::PORTS6)?,
        neighbours: typed(ebpf, map::NEIGHBOURS)?,
        arrivals: typed(ebpf, map::ARRIVALS)?,
        secrets: typed(ebpf, map::SECRETS)?,
        cluster: ClusterMaps {
            words: typed(ebpf, map::CLUSTER)?,
            sources: typed(ebpf, map::SOURCES)?,
            misses: typed(ebpf, map::MISSES)?,
        },
        devices: typed(ebpf, map::DEVICES)?,
        reasons: typed(ebpf, map::REASONS)?,
        events: typed(ebpf, map::EVENTS)?,
        hops: NextHops::default(),
        slots: BTreeMap::new(),
        mtus: BTreeMap::new(),
        ice_keys: BTreeSet::new(),
        free_controls: (0..capacity::CONTROLS).rev().collect(),
        flow_count: [0, 0],
        track_count: [0, 0],
    })
}

fn clock(id: libc::clockid_t) -> Duration {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec; the clocks used here exist on every kernel that has XDP.
    unsafe { libc::clock_gettime(id, &mut t) };
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// The clock against which the fast path compares deadlines.
pub fn kernel_now() -> Duration {
    clock(libc::CLOCK_MONOTONIC_COARSE)
}

/// The same in the unit of a flow's `last_seen`.
pub fn coarse_now() -> u32 {
    (kernel_now().as_nanos() >> 20) as u32
}

/// Seconds since boot, suspend included; modulo 2^24 in a flow's `seen` word.
pub fn boot_seconds() -> u32 {
    clock(libc::CLOCK_BOOTTIME).as_secs() as u32
}
