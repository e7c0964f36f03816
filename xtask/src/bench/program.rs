//! The programs that measure: built for release, run, and what they print read. One JSON object a line; what else they
//! say is for whoever watches.

use super::machine::{self, Machine};
use crate::repo;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::process::Stdio;

/// `target` is how cargo names the program: package, then `--bin` or `--example` and a name.
pub fn run(target: [&str; 3], arguments: &[&str], what: &str) -> Result<(Machine, String)> {
    let [package, kind, name] = target;
    let program = ["--release", "--quiet", "--package", package, kind, name];
    repo::run(repo::cargo().arg("build").args(program))?;
    let machine = machine::describe();
    machine.warn();
    eprintln!("bench: {what} ({})", machine.line());
    let mut command = repo::cargo();
    command.arg("run").args(program).arg("--").args(arguments);
    command.env("BALANCER_BIN", repo::built("release", "balancer"));
    command.stderr(Stdio::inherit()).stdin(Stdio::null());
    let output = command.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("{} failed ({})", repo::show(&command), output.status);
    }
    Ok((machine, String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// The lab's bench: in the middle of one kind of load, one contender after the other.
pub fn macro_bench(load: &str, what: &str) -> Result<(Machine, String)> {
    run(["balancer-lab", "--bin", "macro_bench"], &[load], what)
}

pub fn objects(printed: &str) -> Result<Vec<Value>> {
    let lines = printed.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).with_context(|| format!("not a measurement: {line}"))).collect()
}

/// A contender's line, whatever was measured of it.
pub struct Way(pub Value);

impl Way {
    pub fn name(&self) -> &str {
        self.text("way").unwrap_or("unnamed")
    }

    /// With the reason why there are no figures, or not all.
    pub fn title(&self) -> String {
        let trouble = self.text("skipped").or_else(|| self.0.pointer("/failures/0")?.as_str());
        match trouble.and_then(|trouble| trouble.lines().next()) {
            Some(why) => format!("{} ({why})", self.name()),
            None => self.name().to_owned(),
        }
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    pub fn figure(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.as_f64()
    }

    /// Least and most over the rounds.
    pub fn range(&self, name: &str) -> Option<(f64, f64)> {
        let rounds = || self.0.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_f64);
        Some((rounds().reduce(f64::min)?, rounds().reduce(f64::max)?))
    }
}
