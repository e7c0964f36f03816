//! What a figure was measured on: without it, it says nothing.

use crate::repo;
use serde_json::{Value, json};
use std::process::Command;
use std::thread::available_parallelism;

pub struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    commit: String,
    date: String,
}

pub fn describe() -> Machine {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let read = |program: &str, arguments: &[&str]| {
        repo::read(Command::new(program).args(arguments).current_dir(repo::root()))
            .unwrap_or_else(|| "unknown".to_owned())
    };
    Machine {
        processor: model.map_or_else(|| "unknown processor".to_owned(), |(_, model)| model.trim().to_owned()),
        cores: available_parallelism().map_or(1, usize::from),
        kernel: read("uname", &["-r"]),
        commit: read("git", &["rev-parse", "--short", "HEAD"]),
        date: read("date", &["-u", "+%Y-%m-%d"]),
    }
}

impl Machine {
    pub fn line(&self) -> String {
        let Self { processor, cores, kernel, commit, date } = self;
        format!("Measured {date} at commit {commit} on {processor}, {cores} cores, Linux {kernel}.")
    }

    pub fn json(&self) -> Value {
        let Self { processor, cores, kernel, commit, date } = self;
        json!({ "processor": processor, "cores": cores, "kernel": kernel, "commit": commit, "date": date })
    }
}
