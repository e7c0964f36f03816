//! Builds the kernel half with its own tool chain and puts the objects where the rest of the build looks for them.
//! Which tool chain that is, `setup` decides.

use crate::repo;
use crate::setup::toolchain::{self, Toolchain};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

const TARGET: &str = "bpfel-unknown-none";
/// The product, and the empty program that the micro bench measures beside it.
const OBJECTS: [&str; 2] = ["balancer-ebpf", "balancer-ebpf-bench"];

/// Builds every object and copies those that changed. Nothing to do takes a few tenths of a second.
pub fn build() -> Result<()> {
    let Some(toolchain) = toolchain::find() else {
        bail!("no tool chain for the kernel half: run `cargo xtask setup`");
    };
    let folder = repo::root().join("balancer-ebpf");
    repo::run(cargo(&toolchain).args(["build", "--release"]).current_dir(&folder))?;
    let built = folder.join("target").join(TARGET).join("release");
    for object in OBJECTS {
        copy_if_changed(&built.join(object), &repo::bpf_objects().join(object))?;
    }
    Ok(())
}

/// A cargo of that tool chain, free of the settings of the cargo that runs this program.
pub fn cargo(toolchain: &Toolchain) -> Command {
    let mut command = match toolchain {
        Toolchain::Nightly { name, .. } => {
            let mut command = Command::new("rustup");
            command.args(["run", name, "cargo"]);
            command
        }
        Toolchain::System { .. } => Command::new(toolchain::SYSTEM_CARGO),
    };
    repo::forget_outer_cargo(&mut command);
    if let Toolchain::System { .. } = toolchain {
        // A release compiler accepts `-Z build-std` only when told that it is building itself.
        command.env("RUSTC", toolchain::SYSTEM_RUSTC).env("RUSTC_BOOTSTRAP", "1");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Build scripts that ask for `rustc` by name must meet the same one.
    let system = matches!(toolchain, Toolchain::System { .. }).then(|| "/usr/bin".into());
    let folders = system.into_iter().chain(toolchain::cargo_bin_folders()).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(folders).expect("folders of PATH hold no colon"));
    command
}

/// `balancer/build.rs` watches the copy: it must not look newer than it is.
fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let Ok(new) = std::fs::read(from) else {
        return Ok(());
    };
    if std::fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    std::fs::create_dir_all(to.parent().expect("objects live in a folder"))?;
    std::fs::write(to, new).with_context(|| format!("cannot write {}", to.display()))
}
