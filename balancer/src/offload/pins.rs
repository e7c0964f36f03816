//! The bpffs directory: what is pinned in it, the ABI check before anything there is adopted, and its removal.

use anyhow::Context;
use aya::maps::{Array, Map, MapData};
use balancer_common::abi::{ABI_VERSION, map};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

const LINK_PREFIX: &str = "link_";
const PROGRAM: &str = "program";
/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// The pin of an interface's link; its name says the mode, which the kernel does not.
pub fn link_path(pins: &Path, interface: &str, mode: &str) -> PathBuf {
    pins.join(format!("{LINK_PREFIX}{mode}_{interface}"))
}

/// (interface, mode, path) of every pinned link.
pub fn links(pins: &Path) -> Vec<(String, String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(pins) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|e| {
            let name = e.file_name().into_string().ok()?;
            let (mode, interface) = name.strip_prefix(LINK_PREFIX)?.split_once('_')?;
            Some((interface.to_owned(), mode.to_owned(), e.path()))
        })
        .collect()
}

pub fn program_path(pins: &Path) -> PathBuf {
    pins.join(PROGRAM)
}

/// Where every distribution mounts the bpf file system, and where we do if nobody has.
const BPFFS: &str = "/sys/fs/bpf";

fn on_bpffs(path: &Path) -> bool {
    let Ok(dir) = File::open(path) else { return false };
    // SAFETY: zeroed statfs is valid, the descriptor is open.
    unsafe {
        let mut fs: libc::statfs = std::mem::zeroed();
        libc::fstatfs(dir.as_raw_fd(), &mut fs) == 0 && fs.f_type as i64 == BPF_FS_MAGIC
    }
}

/// Mounts the bpf file system at its usual place when `pins` is to be there and it is missing.
fn mount_bpffs(pins: &Path) -> anyhow::Result<()> {
    if !pins.starts_with(BPFFS) || on_bpffs(Path::new(BPFFS)) {
        return Ok(());
    }
    // SAFETY: NUL-terminated strings, no data.
    let mounted =
        unsafe { libc::mount(c"bpf".as_ptr(), c"/sys/fs/bpf".as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()) } == 0;
    if mounted {
        tracing::info!("mounted the bpf file system at {BPFFS}");
        return Ok(());
    }
    Err(std::io::Error::last_os_error())
        .with_context(|| format!("{BPFFS} is not mounted and cannot be: mount -t bpf bpf {BPFFS}, as root"))
}

/// Makes the directory and takes it for this process alone.
pub fn lock(pins: &Path) -> anyhow::Result<File> {
    mount_bpffs(pins)?;
    std::fs::create_dir_all(pins)
        .with_context(|| format!("cannot make {}: is bpffs mounted? mount -t bpf bpf {BPFFS}", pins.display()))?;
    let dir = File::open(pins).with_context(|| format!("cannot open {}", pins.display()))?;
    anyhow::ensure!(
        on_bpffs(pins),
        "{} is not on a bpf file system: mount -t bpf bpf /sys/fs/bpf, or set --pin-path to a folder on one",
        pins.display()
    );
    // SAFETY: the descriptor is open.
    let locked = unsafe { libc::flock(dir.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0;
    anyhow::ensure!(locked, "another balancer works on {}: stop it, or set another --pin-path", pins.display());
    Ok(dir)
}

/// ABI version of the maps that are pinned there, if any are.
pub fn abi_version(pins: &Path) -> anyhow::Result<Option<u32>> {
    let path = pins.join(map::ABI);
    if !path.exists() {
        return Ok(None);
    }
    let data = MapData::from_pin(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let abi: Array<_, u32> = Array::try_from(Map::Array(data)).context("the ABI map is no array")?;
    Ok(Some(abi.get(&0, 0).context("cannot read the ABI map")?))
}

/// Refuses maps that this build would misread.
pub fn check_abi(pins: &Path) -> anyhow::Result<()> {
    match abi_version(pins)? {
        // 0: the maps were made, but their maker ended before it wrote the version: nothing in them is in use.
        None | Some(0) => Ok(()),
        Some(ABI_VERSION) => Ok(()),
        Some(other) => anyhow::bail!(
            "the maps in {} are of ABI version {other}, this build reads version {ABI_VERSION}: \
             run `balancer unload` first (it ends the flows in the kernel), or go on with the version that made them",
            pins.display()
        ),
    }
}

/// What [`unload`] took away.
#[derive(Debug, Default)]
pub struct Unloaded {
    pub interfaces: Vec<String>,
    pub pins: usize,
}

/// Detaches the programs and removes every pin. Flows in the kernel end; nothing there to remove is fine.
pub fn unload(pins: &Path) -> anyhow::Result<Unloaded> {
    let mut unloaded = Unloaded::default();
    if !pins.exists() {
        return Ok(unloaded);
    }
    let _lock = lock(pins)?;
    for (interface, _, path) in links(pins) {
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        unloaded.interfaces.push(interface);
        unloaded.pins += 1;
    }
    for path in map::ALL.iter().map(|m| pins.join(m)).chain([program_path(pins)]) {
        match std::fs::remove_file(&path) {
            Ok(()) => unloaded.pins += 1,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).with_context(|| format!("cannot remove {}", path.display())),
        }
    }
    std::fs::remove_dir(pins).with_context(|| format!("cannot remove {}", pins.display()))?;
    Ok(unloaded)
}
