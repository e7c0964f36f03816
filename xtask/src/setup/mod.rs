//! `cargo xtask setup`: finds what this machine lacks and installs it, once. Everything already there is left alone, so
//! that every other verb can ask first and lose no time.
//!
//! It never replaces a compiler or a program that is present and never leaves a service running that it installed.

pub mod apt;
pub mod fuzzer;
mod linker;
mod node;
mod programs;
mod python;
pub mod toolchain;

use anyhow::{Result, bail};
use toolchain::Toolchain;

#[derive(clap::Args)]
pub struct Arguments {
    /// Only say what is there and what is missing; fails when something is
    #[arg(long)]
    check: bool,
}

/// How much of it a verb needs. Each level includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// The kernel half's compiler and linker.
    Build,
    /// And the real servers and clients that tests and demo play with.
    Lab,
    /// And the fuzzer.
    Everything,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let missing = if arguments.check { look(Purpose::Everything, Loudness::Full) } else { mend(Purpose::Everything) };
    finish(&missing)
}

/// What the other verbs call: silent and quick when nothing is missing.
pub fn ensure(purpose: Purpose) -> Result<()> {
    if look(purpose, Loudness::Silent).is_empty() { Ok(()) } else { finish(&mend(purpose)) }
}

fn finish(missing: &[String]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    bail!("still missing:\n  {}", missing.join("\n  "))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Loudness {
    Silent,
    Full,
}

/// Everything that is missing, each with what to do about it. Changes nothing.
fn look(purpose: Purpose, loudness: Loudness) -> Vec<String> {
    let mut missing = Vec::new();
    let mut note = |name: &str, found: Option<String>, remedy: &str| {
        match &found {
            Some(found) if loudness == Loudness::Full => say(&format!("{name}: {found}")),
            None if loudness == Loudness::Full => say(&format!("{name}: missing")),
            _ => {}
        }
        if found.is_none() {
            missing.push(format!("{name}: {remedy}"));
        }
    };

    let toolchain = toolchain::find();
    note("eBPF compiler", toolchain.as_ref().map(Toolchain::describe), toolchain::REMEDY);
    let linker = toolchain.as_ref().and_then(linker::find);
    note("bpf-linker", linker.map(|linker| linker.describe()), linker::REMEDY);
    if purpose >= Purpose::Lab {
        let absent = programs::absent();
        let found = absent.is_empty().then(|| format!("all {} there", programs::count()));
        note("servers and clients for the tests", found, &programs::remedy(&absent));
        note("media server for FLV", node::find().map(|path| path.display().to_string()), node::REMEDY);
        note("aiortc", python::find().map(|path| path.display().to_string()), python::REMEDY);
    }
    if purpose >= Purpose::Everything && fuzzer::possible() {
        note("cargo-fuzz", fuzzer::find().map(|path| path.display().to_string()), fuzzer::REMEDY);
    }
    missing
}

/// Installs what is missing, in the order in which one needs the other, and says what is missing still.
fn mend(purpose: Purpose) -> Vec<String> {
    // Packages first: the linker and the fuzzer are built with the C++ compiler among them.
    if purpose >= Purpose::Lab && !programs::absent().is_empty() {
        report("servers and clients for the tests", programs::install());
    }
    if purpose >= Purpose::Lab && node::find().is_none() {
        report("media server for FLV", node::install());
    }
    if purpose >= Purpose::Lab && python::find().is_none() {
        report("aiortc", python::install());
    }
    if toolchain::find().is_none() {
        report("eBPF compiler", toolchain::install());
    }
    if let Some(toolchain) = toolchain::find()
        && linker::find(&toolchain).is_none()
    {
        report("bpf-linker", linker::install(&toolchain));
    }
    if purpose >= Purpose::Everything && fuzzer::possible() && fuzzer::find().is_none() {
        report("cargo-fuzz", fuzzer::install());
    }
    look(purpose, Loudness::Full)
}

/// A failed installation stops nothing: the rest is still worth having, and the last look tells what is left.
fn report(name: &str, outcome: Result<()>) {
    if let Err(error) = outcome {
        say(&format!("{name}: could not be installed: {error:#}"));
    }
}

fn say(line: &str) {
    eprintln!("setup: {line}");
}
