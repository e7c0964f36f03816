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

/// Heads and the figures below them.
const COLUMNS: [(&str, &str); 8] = [
    ("CPU s/Gbit", "cpu_seconds_per_gbit"),
    ("added CPU s/Gbit", "added_cpu_seconds_per_gbit"),
    ("p50 µs", "latency_p50_us"),
    ("p99 µs", "latency_p99_us"),
    ("bytes/connection", "memory_bytes_per_connection"),
    ("own CPU ms/set-up", "process_cpu_ms_per_setup"),
    ("set-ups/s", "setups_per_second"),
    ("bytes copied", "relayed_bytes"),
];

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
        std::iter::once(name).chain(COLUMNS.iter().map(|(_, figure)| number(way.figure(figure)))).collect()
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
        bars("cpu", "CPU-seconds of the whole machine for each Gbit, above routing", &|way| {
            way.figure("added_cpu_seconds_per_gbit")
        }),
        bars("latency", "latency of a message, median, µs", &|way| way.figure("latency_p50_us")),
    ];
    Ok(Report {
        machine,
        name: "macro",
        json: ways.iter().map(|way| way.0.clone()).collect(),
        table: Table {
            heads: std::iter::once("way").chain(COLUMNS.iter().map(|(head, _)| *head)).collect(),
            rows: ways.iter().map(row).collect(),
        },
        plots,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn price_is_what_is_above_routing() {
        let printed = "{\"way\":\"routed\",\"cpu_seconds_per_gbit\":1.0,\"added_cpu_seconds_per_gbit\":0.0}\n\
                       {\"way\":\"balancer (kernel)\",\"cpu_seconds_per_gbit\":1.25,\"added_cpu_seconds_per_gbit\":0.25}\n\
                       {\"way\":\"HAProxy\",\"skipped\":\"not installed\"}\n";
        let report = report(machine::describe(), printed).expect("well formed");
        assert_eq!(report.table.rows[1][..4], ["balancer (kernel)", "1.2", "0.250", "–"]);
        assert_eq!(report.table.rows[2][0], "HAProxy (not installed)");
        assert!(report.plots[0].bars[1].own);
    }
}
