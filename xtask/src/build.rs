//! `cargo xtask build`: the kernel half first, because the balancer embeds it.

use crate::{ebpf, repo, setup};
use anyhow::Result;
use std::process::Command;

#[derive(clap::Args)]
pub struct Arguments {
    /// With optimisations
    #[arg(long)]
    release: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    all(arguments.release)
}

/// Everything that `balancer` consists of, installing the tools for it when they are missing.
pub fn all(release: bool) -> Result<()> {
    setup::ensure(setup::Purpose::Build)?;
    ebpf::build()?;
    let mut command = repo::cargo();
    command.args(["build", "--package", "balancer"]);
    if release {
        command.arg("--release");
    }
    repo::run(&mut command)
}

/// The WebRTC origin and client of the lab. Always with optimisations: they encrypt every packet for every player.
pub fn lab_rtc() -> Command {
    let mut command = repo::cargo();
    command.args(["build", "--release", "--package", "balancer-lab-rtc"]);
    command
}
