//! What comes from npm: a media server for FLV, in exactly the versions of `lab/node/package-lock.json`. It goes into the
//! target folder, once; nothing of it runs while it is installed.

use super::say;
use crate::repo;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

pub const REMEDY: &str = "`npm ci --prefix target/node` with the files of lab/node";
const FILES: [&str; 2] = ["package.json", "package-lock.json"];

/// The folder, where everything in it is what the lock file says.
pub fn find() -> Option<PathBuf> {
    let same = |file: &str| fs::read(wanted(file)).is_ok_and(|text| fs::read(folder().join(file)).ok() == Some(text));
    // npm writes this one last.
    let complete = folder().join("node_modules/.package-lock.json").is_file();
    (complete && FILES.iter().all(|file| same(file))).then(folder)
}

pub fn install() -> Result<()> {
    if repo::find_program("npm").is_none() {
        bail!("there is no npm");
    }
    say("fetching the media server for FLV from npm");
    fs::create_dir_all(folder())?;
    for file in FILES {
        fs::copy(wanted(file), folder().join(file)).with_context(|| format!("cannot copy lab/node/{file}"))?;
    }
    let mut command = Command::new("npm");
    command.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder());
    repo::run(&mut command)
}

fn folder() -> PathBuf {
    repo::root().join("target/node")
}

fn wanted(file: &str) -> PathBuf {
    repo::root().join("lab/node").join(file)
}
