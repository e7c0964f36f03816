//! `cargo xtask fuzz`: hunts with one fuzz target or with all. What is found new goes below `target/`; only a corpus
//! file that somebody named belongs into the repository.

use crate::repo;
use crate::setup::{self, fuzzer};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    /// One target; all in turn without it
    target: Option<String>,
    /// For each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(setup::Purpose::Everything)?;
    if !possible() {
        bail!("fuzzing needs a nightly compiler: `rustup toolchain install nightly`, then `cargo xtask setup`");
    }
    let targets = targets();
    match &arguments.target {
        Some(target) if targets.contains(target) => hunt(target, arguments.seconds),
        Some(target) => bail!("no target {target}; there are: {}", targets.join(" ")),
        None => targets.iter().try_for_each(|target| hunt(target, arguments.seconds)),
    }
}

pub fn possible() -> bool {
    fuzzer::possible() && fuzzer::find().is_some()
}

fn folder() -> PathBuf {
    repo::root().join("fuzz")
}

/// Named as their files.
pub fn targets() -> Vec<String> {
    let files = std::fs::read_dir(folder().join("fuzz_targets")).into_iter().flatten().flatten();
    let name = |file: std::fs::DirEntry| Some(file.file_name().to_str()?.strip_suffix(".rs")?.to_owned());
    let mut targets: Vec<String> = files.filter_map(name).collect();
    targets.sort();
    targets
}

pub fn hunt(target: &str, seconds: u64) -> Result<()> {
    let found = repo::root().join("target/fuzz").join(target);
    std::fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let cargo_fuzz = fuzzer::find().context("cargo-fuzz is missing: `cargo xtask setup`")?;
    let mut command = std::process::Command::new("rustup");
    command.args(["run", "nightly"]).arg(cargo_fuzz);
    // The first folder is written to, the others are only read.
    command.args(["run", "--fuzz-dir"]).arg(folder()).arg(target).arg(found);
    let corpus = folder().join("corpus").join(target);
    if corpus.is_dir() {
        command.arg(corpus);
    }
    command.arg("--").arg(format!("-max_total_time={seconds}")).args(["-verbosity=0", "-print_final_stats=1"]);
    repo::forget_outer_cargo(&mut command);
    command.current_dir(repo::root());
    repo::run(&mut command).with_context(|| format!("target {target}"))
}
