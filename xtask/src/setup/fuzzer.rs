//! `cargo-fuzz`, where a nightly compiler can run it. Without one the fuzz targets still run their corpus as tests.

use super::say;
use super::toolchain::cargo_bin_folders;
use crate::repo;
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

pub const REMEDY: &str = "`cargo install cargo-fuzz --locked`";

/// Needs any nightly: the sanitizers come with it, its source does not matter.
pub fn possible() -> bool {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "rustc", "--version"]).env("RUSTUP_AUTO_INSTALL", "0");
    repo::forget_outer_cargo(&mut command);
    repo::read(&mut command).is_some()
}

pub fn find() -> Option<PathBuf> {
    let own = cargo_bin_folders().into_iter().map(|folder| folder.join("cargo-fuzz")).find(|file| file.is_file());
    own.or_else(|| repo::find_program("cargo-fuzz"))
}

pub fn install() -> Result<()> {
    say("cargo-fuzz: building (about a minute)");
    let mut command = Command::new("cargo");
    command.args(["install", "cargo-fuzz", "--locked"]);
    repo::forget_outer_cargo(&mut command);
    repo::run(&mut command)
}
