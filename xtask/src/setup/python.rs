//! What comes from PyPI: aiortc, a WebRTC client that encodes and decodes, in exactly the versions of
//! `lab/python/requirements.txt`. It has an environment of its own in the target folder.

use super::say;
use crate::repo;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

pub const REMEDY: &str = "`python3 -m venv target/python`, and pip there with lab/python/requirements.txt";
const FILE: &str = "requirements.txt";

/// The interpreter, where its environment is what the file says.
pub fn find() -> Option<PathBuf> {
    let wanted = fs::read(wanted()).ok()?;
    let complete = fs::read(folder().join(FILE)).ok() == Some(wanted);
    let python = folder().join("bin/python");
    (complete && python.exists()).then_some(python)
}

pub fn install() -> Result<()> {
    say("fetching aiortc from PyPI");
    repo::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder()))?;
    let mut command = Command::new(folder().join("bin/python"));
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "-r"]);
    repo::run(command.arg(wanted()))?;
    // Last, so that it is there only when all of the rest is.
    fs::copy(wanted(), folder().join(FILE)).map(drop).context("cannot copy lab/python/requirements.txt")
}

fn folder() -> PathBuf {
    repo::root().join("target/python")
}

fn wanted() -> PathBuf {
    repo::root().join("lab/python").join(FILE)
}
