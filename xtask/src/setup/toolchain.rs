//! Which compiler can build the kernel half: it must have the source of `core` beside it, because no binary of `core`
//! for BPF is distributed. Two kinds are known:
//!
//! - rustup's nightly with the component `rust-src`;
//! - Debian's own compiler with its source package, told by `RUSTC_BOOTSTRAP` to accept nightly's flags.
//!
//! What is already there wins. Debian's goes first: a release compiler with the LLVM that Debian ships for it stays as
//! it is, while a nightly may move to an LLVM that no package has yet.

use super::{apt, say};
use crate::repo;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

pub const SYSTEM_RUSTC: &str = "/usr/bin/rustc";
pub const SYSTEM_CARGO: &str = "/usr/bin/cargo";
pub const REMEDY: &str = "`rustup toolchain install nightly --component rust-src`, \
     or on Debian `apt-get install rustc-web cargo-web rust-web-src`";

/// What Debian calls the compiler that it keeps new enough for browsers.
const SYSTEM_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
const NIGHTLY: &str = "nightly";
/// `rust-version` of the workspace: what `balancer-common` needs, whoever compiles it.
const MINOR_MIN: u32 = 95;
/// Forces one of the two: `nightly` or `system`.
const CHOICE: &str = "BALANCER_BPF_TOOLCHAIN";

#[derive(Debug)]
pub enum Toolchain {
    Nightly { name: &'static str, version: Version },
    System { version: Version },
}

#[derive(Debug, PartialEq, Eq)]
pub struct Version {
    pub release: String,
    pub minor: u32,
    pub llvm: u32,
}

impl Toolchain {
    pub fn version(&self) -> &Version {
        match self {
            Self::Nightly { version, .. } | Self::System { version } => version,
        }
    }

    pub fn describe(&self) -> String {
        let Version { release, llvm, .. } = self.version();
        match self {
            Self::Nightly { name, .. } => format!("rustup's {name}, {release} (LLVM {llvm}), with rust-src"),
            Self::System { .. } => format!("{SYSTEM_RUSTC} {release} (LLVM {llvm}), with its source"),
        }
    }
}

pub fn find() -> Option<Toolchain> {
    match std::env::var(CHOICE).as_deref() {
        Ok("nightly") => nightly(),
        Ok("system") => system(),
        _ => system().or_else(nightly),
    }
}

fn system() -> Option<Toolchain> {
    if !has_source(Path::new("/usr")) || !Path::new(SYSTEM_CARGO).is_file() {
        return None;
    }
    let version = usable(&verbose_version(&mut Command::new(SYSTEM_RUSTC))?)?;
    Some(Toolchain::System { version })
}

fn nightly() -> Option<Toolchain> {
    let sysroot = repo::read(rustup_run().args(["rustc", "--print", "sysroot"]))?;
    if !has_source(Path::new(&sysroot)) {
        return None;
    }
    let version = usable(&verbose_version(rustup_run().arg("rustc"))?)?;
    Some(Toolchain::Nightly { name: NIGHTLY, version })
}

fn rustup_run() -> Command {
    let mut command = Command::new("rustup");
    // A question must not start a download.
    command.args(["run", NIGHTLY]).env("RUSTUP_AUTO_INSTALL", "0");
    repo::forget_outer_cargo(&mut command);
    command
}

fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file()
}

fn verbose_version(rustc: &mut Command) -> Option<String> {
    repo::forget_outer_cargo(rustc);
    repo::read(rustc.args(["--version", "--verbose"]))
}

fn usable(verbose: &str) -> Option<Version> {
    parse_version(verbose).filter(|version| version.minor >= MINOR_MIN)
}

fn parse_version(verbose: &str) -> Option<Version> {
    let field = |name: &str| verbose.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let release = field("release:")?;
    let minor = release.split('.').nth(1)?.parse().ok()?;
    let llvm = field("LLVM version:")?.split('.').next()?.parse().ok()?;
    Some(Version { release: release.to_owned(), minor, llvm })
}

/// Where cargo puts the programs that it installs.
pub fn cargo_bin_folders() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let install_root = std::env::var_os("CARGO_INSTALL_ROOT").map(PathBuf::from);
    install_root.into_iter().chain(cargo_home).map(|folder| folder.join("bin")).collect()
}

/// Tries rustup, which answers within a second or two when it cannot, then Debian's packages.
pub fn install() -> Result<()> {
    let choice = std::env::var(CHOICE).unwrap_or_default();
    if choice != "system" && repo::find_program("rustup").is_some() {
        say("eBPF compiler: asking rustup for nightly with rust-src");
        let mut command = Command::new("rustup");
        command.args(["toolchain", "install", NIGHTLY, "--profile", "minimal", "--component", "rust-src"]);
        command.arg("--no-self-update");
        // An installed nightly only gets the component: updating it is its owner's business.
        if repo::read(rustup_run().args(["rustc", "--version"])).is_some() {
            command = Command::new("rustup");
            command.args(["component", "add", "rust-src", "--toolchain", NIGHTLY]);
        }
        repo::forget_outer_cargo(&mut command);
        match repo::run(&mut command) {
            Ok(()) if nightly().is_some() => return Ok(()),
            Ok(()) => say("eBPF compiler: that nightly is too old"),
            Err(error) => say(&format!("eBPF compiler: rustup cannot: {error:#}")),
        }
    }
    if choice == "nightly" || !apt::available() {
        bail!("{REMEDY}");
    }
    apt::install(&SYSTEM_PACKAGES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read_from_what_rustc_prints() {
        let printed = "rustc 1.96.0 (ac68faa20 2026-05-25)\nhost: x86_64\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        let expected = Version { release: "1.96.0".into(), minor: 96, llvm: 22 };
        assert_eq!(parse_version(printed), Some(expected));
        let nightly = "release: 1.97.0-nightly\nLLVM version: 22.1.4";
        assert_eq!(parse_version(nightly).map(|version| version.minor), Some(97));
        assert_eq!(parse_version("rustc 1.96.0"), None);
    }
}
