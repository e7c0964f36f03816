//! `bpf-linker`: turns the compiler's LLVM bitcode into one BPF object. It is linked against an LLVM of its own, which
//! must not be older than the one that the compiler has.

use super::toolchain::{Toolchain, cargo_bin_folders};
use super::{apt, say};
use crate::repo;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

pub const REMEDY: &str = "`cargo binstall bpf-linker`, or install LLVM's development files and \
     `LLVM_PREFIX=… cargo install bpf-linker --no-default-features --features llvm-…`";

const VERSION: &str = "^0.13.0";
/// How many LLVM releases newer than the compiler's are worth looking for.
const NEWER_MAX: u32 = 2;

pub struct Linker {
    path: PathBuf,
    /// `None` when it was linked statically: nothing tells which LLVM it has.
    llvm: Option<u32>,
}

impl Linker {
    pub fn describe(&self) -> String {
        let llvm = self.llvm.map_or_else(String::new, |llvm| format!(" (LLVM {llvm})"));
        format!("{}{llvm}", self.path.display())
    }
}

pub fn find(toolchain: &Toolchain) -> Option<Linker> {
    let own = cargo_bin_folders().into_iter().map(|folder| folder.join("bpf-linker")).find(|file| file.is_file());
    let path = own.or_else(|| repo::find_program("bpf-linker"))?;
    let libraries = repo::read(Command::new("ldd").arg(&path)).unwrap_or_default();
    let llvm = llvm_of(&libraries);
    // It may be there and not run: its LLVM was removed.
    repo::read(Command::new(&path).arg("--version"))?;
    llvm.is_none_or(|llvm| llvm >= toolchain.version().llvm).then_some(Linker { path, llvm })
}

/// The number in `libLLVM.so.22.1` or `libLLVM-22.so.1`.
fn llvm_of(libraries: &str) -> Option<u32> {
    let name = libraries.split_whitespace().find(|word| word.starts_with("libLLVM"))?;
    name.trim_start_matches(|c: char| !c.is_ascii_digit()).split(['.', '-']).next()?.parse().ok()
}

pub fn install(toolchain: &Toolchain) -> Result<()> {
    let oldest = toolchain.version().llvm;
    let Some((llvm, prefix)) = find_llvm(oldest).or_else(|| install_llvm(oldest)) else {
        if repo::find_program("cargo-binstall").is_none() {
            bail!("no LLVM {oldest} or newer with its development files; {REMEDY}");
        }
        say("bpf-linker: fetching a built one");
        return cargo_install(Command::new("cargo").args(["binstall", "--no-confirm", "bpf-linker"]));
    };
    say(&format!("bpf-linker: building with LLVM {llvm} from {} (about a minute)", prefix.display()));
    let feature = format!("llvm-{llvm}");
    let mut command = Command::new("cargo");
    command.args(["install", "bpf-linker", "--force", "--locked", "--version", VERSION]);
    command.args(["--no-default-features", "--features", &feature]).env("LLVM_PREFIX", prefix);
    cargo_install(&mut command)
}

/// The variable that says where to install is the caller's wish, not the outer cargo's.
fn cargo_install(command: &mut Command) -> Result<()> {
    repo::forget_outer_cargo(command);
    if let Some(folder) = std::env::var_os("CARGO_INSTALL_ROOT") {
        command.env("CARGO_INSTALL_ROOT", folder);
    }
    repo::run(command)
}

fn find_llvm(oldest: u32) -> Option<(u32, PathBuf)> {
    let packaged = (oldest..=oldest + NEWER_MAX).map(|llvm| (llvm, PathBuf::from(format!("/usr/lib/llvm-{llvm}"))));
    packaged.chain(configured(oldest)).find(|(_, prefix)| has_development_files(prefix))
}

/// The LLVM that `llvm-config` on `PATH` speaks for, where distributions do not number their folders.
fn configured(oldest: u32) -> Option<(u32, PathBuf)> {
    let version = repo::read(Command::new("llvm-config").arg("--version"))?;
    let llvm = version.split('.').next()?.parse().ok().filter(|llvm| *llvm >= oldest)?;
    Some((llvm, PathBuf::from(repo::read(Command::new("llvm-config").arg("--prefix"))?)))
}

fn has_development_files(prefix: &Path) -> bool {
    prefix.join("include/llvm-c/Core.h").is_file() || Path::new("/usr/include/llvm-c/Core.h").is_file()
}

fn install_llvm(oldest: u32) -> Option<(u32, PathBuf)> {
    if !apt::available() {
        return None;
    }
    for llvm in oldest..=oldest + NEWER_MAX {
        match apt::install(&[&format!("llvm-{llvm}-dev")]) {
            Ok(()) => return find_llvm(oldest),
            Err(error) => say(&format!("LLVM {llvm}: {error:#}")),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_of_a_dynamic_linker_is_read_from_its_libraries() {
        assert_eq!(llvm_of("\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x0)"), Some(22));
        assert_eq!(llvm_of("\tlibLLVM-19.so.1 => /usr/lib/libLLVM-19.so.1 (0x0)"), Some(19));
        assert_eq!(llvm_of("\tlibc.so.6 => /lib/libc.so.6 (0x0)"), None);
    }
}
