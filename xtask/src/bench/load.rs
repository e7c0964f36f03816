//! The macro bench: the same players through the same topology, by routing, NAT, proxies and the balancer in turn. The
//! lab's program `macro_bench` plays them and prints one JSON object a line, the first with the circumstances:
//!
//! `{"way": "nft DNAT", "cpu_seconds_per_gbit": 0.9, "added_cpu_seconds_per_gbit": 0.1, "latency_p50_us": 60, …}`
//!
//! A figure that a way does not have is left out or null. `routed` is no balancer at all: what is above it is the price.

use super::Report;
use super::machine::{self, Machine};
use super::plot::{Bar, Bars};
use super::table::{Table, number};
use crate::repo;
use anyhow::{Context, Result, bail};
use serde_json::Value;

const ROUTED: &str = "routed";
const OWN: &str = "balancer";

/// Heads and the figures below them. "Own" is the process that forwards; what the kernel does shows in the whole
/// machine's CPU only, as a range over the rounds: where the ranges overlap, the machine was too noisy to tell.
const COLUMNS: [(&str, &str); 7] = [
    ("p50 µs", "latency_p50_us"),
    ("p99 µs", "latency_p99_us"),
    ("own CPU s/Gbit", "process_cpu_seconds_per_gbit"),
    ("own bytes/connection", "process_bytes_per_connection"),
    ("own CPU ms/set-up", "process_cpu_ms_per_setup"),
    ("set-ups/s", "setups_per_second"),
    ("bytes copied", "relayed_bytes"),
];

const MACHINE_CPU: &str = "machine CPU s/Gbit";

pub fn measure() -> Result<Report> {
    let program = ["--release", "--quiet", "--package", "balancer-lab", "--bin", "macro_bench"];
    repo::run(repo::cargo().arg("build").args(program))?;
    let machine = machine::describe();
    machine.warn();
    eprintln!("bench: a hundred players, several minutes ({})", machine.line());
    let mut command = repo::cargo();
    command.arg("run").args(program);
    command.env("BALANCER_BIN", repo::built("release", "balancer"));
    command.stderr(std::process::Stdio::inherit()).stdin(std::process::Stdio::null());
    let output = command.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("{} failed ({})", repo::show(&command), output.status);
    }
    report(machine, &String::from_utf8_lossy(&output.stdout))
}

struct Way(Value);

impl Way {
    fn name(&self) -> &str {
        self.0.get("way").and_then(Value::as_str).unwrap_or("unnamed")
    }

    /// Why there are no figures, or not all.
    fn trouble(&self) -> Option<&str> {
        let skipped = self.0.get("skipped").and_then(Value::as_str);
        skipped.or_else(|| self.0.pointer("/failures/0")?.as_str())?.lines().next()
    }

    /// Least and most of the whole machine's CPU over the rounds, endpoints included.
    fn rounds(&self) -> String {
        let rounds = self.0.get("cpu_seconds_per_gbit_rounds").and_then(Value::as_array);
        let seconds = || rounds.into_iter().flatten().filter_map(Value::as_f64);
        match (seconds().reduce(f64::min), seconds().reduce(f64::max)) {
            (Some(least), Some(most)) => format!("{least:.2}–{most:.2}"),
            _ => number(None),
        }
    }

    fn figure(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.as_f64()
    }
}

fn report(machine: Machine, printed: &str) -> Result<Report> {
    let ways = printed
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).map(Way).with_context(|| format!("not a measurement: {line}")))
        .collect::<Result<Vec<_>>>()?;
    if !ways.iter().any(|way| way.name() == ROUTED) {
        bail!("plain routing was not measured: nothing to compare with");
    }
    let row = |way: &Way| {
        let name = match way.trouble() {
            Some(why) => format!("{} ({why})", way.name()),
            None => way.name().to_owned(),
        };
        let figures = COLUMNS.iter().map(|(_, figure)| number(way.figure(figure)));
        std::iter::once(name).chain(figures).chain([way.rounds()]).collect()
    };
    let bars = |name: &'static str, title: &str, value: &dyn Fn(&Way) -> Option<f64>| Bars {
        name,
        title: title.to_owned(),
        bars: ways
            .iter()
            .filter_map(|way| {
                let value = value(way)?;
                let own = way.name().starts_with(OWN);
                Some(Bar { label: way.name().to_owned(), value, text: number(Some(value)), own })
            })
            .collect(),
    };
    let plots = vec![
        bars("cpu", "CPU-seconds of the forwarding process for each Gbit", &|way| {
            way.figure("process_cpu_seconds_per_gbit")
        }),
        bars("latency", "latency of a message, median, µs", &|way| way.figure("latency_p50_us")),
    ];
    Ok(Report {
        machine,
        name: "macro",
        json: ways.iter().map(|way| way.0.clone()).collect(),
        table: Table {
            heads: std::iter::once("way").chain(COLUMNS.iter().map(|(head, _)| *head)).chain([MACHINE_CPU]).collect(),
            rows: ways.iter().map(row).collect(),
        },
        plots,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_shows_as_missing() {
        let printed = "{\"way\":\"routed\",\"latency_p50_us\":50.0,\"cpu_seconds_per_gbit_rounds\":[1.0]}\n\
                       {\"way\":\"balancer (kernel)\",\"latency_p50_us\":51.5,\"process_cpu_seconds_per_gbit\":0.25,\
                        \"cpu_seconds_per_gbit_rounds\":[0.75,1.25,0.5]}\n\
                       {\"way\":\"HAProxy\",\"skipped\":\"not installed\"}\n";
        let report = report(machine::describe(), printed).expect("well formed");
        assert_eq!(report.table.rows[1][..4], ["balancer (kernel)", "51.5", "–", "0.250"]);
        assert_eq!(report.table.rows[1].last().map(String::as_str), Some("0.50–1.25"));
        assert_eq!(report.table.rows[2][0], "HAProxy (not installed)");
        assert!(report.plots[0].bars[0].own, "routing has no process");
    }
}
