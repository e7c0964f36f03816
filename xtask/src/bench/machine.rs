//! What a figure was measured on: without it, it says nothing.

use crate::repo;
use serde_json::{Value, json};
use std::process::Command;
use std::thread::available_parallelism;
use std::time::Duration;

pub struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    commit: String,
    date: String,
    busy_cores: f64,
}

/// Above this, somebody else's work is in the figures.
const BUSY_CORES_MAX: f64 = 0.2;

pub fn describe() -> Machine {
    let cores = available_parallelism().map_or(1, usize::from);
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let read = |program: &str, arguments: &[&str]| {
        repo::read(Command::new(program).args(arguments).current_dir(repo::root()))
            .unwrap_or_else(|| "unknown".to_owned())
    };
    Machine {
        processor: model.map_or_else(|| "unknown processor".to_owned(), |(_, model)| model.trim().to_owned()),
        cores,
        kernel: read("uname", &["-r"]),
        commit: read("git", &["rev-parse", "--short", "HEAD"]),
        date: read("date", &["-u", "+%Y-%m-%d"]),
        busy_cores: busy_cores(cores),
    }
}

/// Cores that do something during a second in which nothing is measured yet.
fn busy_cores(cores: usize) -> f64 {
    let (before, idle_before) = ticks();
    std::thread::sleep(Duration::from_secs(1));
    let (after, idle_after) = ticks();
    let all = after.saturating_sub(before).max(1) as f64;
    (1.0 - idle_after.saturating_sub(idle_before) as f64 / all) * cores as f64
}

/// All ticks of all cores, and the idle ones among them (`/proc/stat`).
fn ticks() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    const IDLE: usize = 3;
    (ticks.iter().sum(), ticks.get(IDLE).copied().unwrap_or(0))
}

impl Machine {
    /// To be looked at before the measurement itself is the load.
    pub fn warn(&self) {
        if self.busy_cores > BUSY_CORES_MAX {
            eprintln!("bench: {:.1} cores are busy already: the figures will not be worth keeping", self.busy_cores);
        }
    }

    pub fn line(&self) -> String {
        let Self { processor, cores, kernel, commit, date, busy_cores } = self;
        let busy = match busy_cores {
            busy if *busy > BUSY_CORES_MAX => format!(" Busy with something else: {busy:.1} cores."),
            _ => String::new(),
        };
        format!("Measured {date} at commit {commit} on {processor}, {cores} cores, Linux {kernel}.{busy}")
    }

    pub fn json(&self) -> Value {
        let Self { processor, cores, kernel, commit, date, busy_cores } = self;
        json!({
            "processor": processor, "cores": cores, "kernel": kernel, "commit": commit, "date": date, "busy_cores_before": busy_cores,
        })
    }
}
