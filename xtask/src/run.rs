//! `cargo xtask run`: the balancer on this host, from source.

use crate::{build, repo};
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::process::Command;

#[derive(clap::Args)]
pub struct Arguments {
    /// Flags of `balancer run`
    #[arg(last = true)]
    flags: Vec<String>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    build::all(true)?;
    let balancer = repo::built("release", "balancer");
    let mut command = if repo::is_root() {
        Command::new(balancer)
    } else {
        // XDP, raw queues and low ports need root; the settings come from the caller's environment.
        let mut sudo = Command::new("sudo");
        sudo.arg("--preserve-env").arg(balancer);
        sudo
    };
    command.arg("run").args(&arguments.flags);
    // In place of this process: signals and the exit status are the balancer's own.
    Err(command.exec()).with_context(|| format!("cannot start {}", repo::show(&command)))
}
