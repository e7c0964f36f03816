//! A look at the whole flow tables, a few thousand entries a system call (`BPF_MAP_LOOKUP_BATCH`), with descriptors of
//! its own: hand-overs do not wait for it.

use super::maps::{Half, SplicedFlow};
use super::words::{half4, half6};
use anyhow::Context;
use aya::maps::MapData;
use balancer_common::abi::{Flow4, Flow6, FlowFlags, FlowKey, FlowKey4, FlowKey6, map};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

/// Entries a call. A bucket that does not fit makes the call fail; a bucket this full does not exist.
const BATCH: usize = 4096;
/// `BPF_MAP_LOOKUP_BATCH` of linux/bpf.h.
const LOOKUP_BATCH: libc::c_long = 24;

pub struct Walk {
    flows4: MapData,
    flows6: MapData,
}

/// The part of `union bpf_attr` that a batch look-up reads and writes.
#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

impl Walk {
    pub fn open(pins: &Path) -> anyhow::Result<Self> {
        let open = |name| MapData::from_pin(pins.join(name)).with_context(|| format!("cannot open map {name}"));
        Ok(Self { flows4: open(map::FLOWS4)?, flows6: open(map::FLOWS6)? })
    }

    /// Every half-flow.
    pub fn halves(&self) -> io::Result<HashMap<FlowKey, Half>> {
        let mut halves = HashMap::new();
        entries(&self.flows4, |k: FlowKey4, f: Flow4| {
            halves.insert(FlowKey::V4(k), half4(k, f));
        })?;
        entries(&self.flows6, |k: FlowKey6, f: Flow6| {
            halves.insert(FlowKey::V6(k), half6(k, f));
        })?;
        Ok(halves)
    }
}

/// Pairs the halves up. The second list are the keys of halves whose partner is missing: one that is just being
/// inserted or removed looks like that too.
pub fn pair(halves: &HashMap<FlowKey, Half>) -> (Vec<SplicedFlow>, Vec<FlowKey>) {
    let mut flows = Vec::with_capacity(halves.len() / 2);
    let mut alone = Vec::new();
    for (key, half) in halves {
        let partner_key = half.egress.reversed();
        let Some(partner) = halves.get(&partner_key) else {
            alone.push(*key);
            continue;
        };
        if half.splice.flags & FlowFlags::TO_CLIENT == 0 {
            flows.push(SplicedFlow { client: *key, origin: partner_key, to_origin: *half, to_client: *partner });
        }
    }
    (flows, alone)
}

fn entries<K: aya::Pod + Default, V: aya::Pod + Default>(map: &MapData, mut each: impl FnMut(K, V)) -> io::Result<()> {
    let fd = map.fd().as_fd().as_raw_fd();
    let mut keys = vec![K::default(); BATCH];
    let mut values = vec![V::default(); BATCH];
    // The kernel's place in the table: opaque, as long as a key at most.
    let mut place = [0u64; 8];
    let mut first = true;
    loop {
        let at = place.as_mut_ptr() as u64;
        let mut attr = BatchAttr {
            in_batch: if first { 0 } else { at },
            out_batch: at,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: BATCH as u32,
            map_fd: fd as u32,
            ..BatchAttr::default()
        };
        // SAFETY: the arrays hold BATCH entries of the map's own key and value types, `place` holds a key.
        let result = unsafe { libc::syscall(libc::SYS_bpf, LOOKUP_BATCH, &raw mut attr, size_of::<BatchAttr>()) };
        let error = io::Error::last_os_error();
        let end = result < 0 && error.raw_os_error() == Some(libc::ENOENT);
        if result < 0 && !end {
            return Err(error);
        }
        for (key, value) in keys.iter().zip(&values).take(attr.count as usize) {
            each(*key, *value);
        }
        if end {
            return Ok(());
        }
        first = false;
    }
}
