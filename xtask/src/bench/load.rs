//! The macro bench: the same players through the same topology, by routing, NAT, proxies and the balancer in turn. The
//! lab's program `macro_bench` plays them and prints one JSON object a line:
//!
//! `{"way": "nft DNAT", "gbit": 20.0, "cpu_seconds_per_gbit": 0.9, "latency_p50_us": 60, "latency_p99_us": 200,
//!   "memory_bytes_per_connection": 300, "cpu_ms_per_setup": 0.3, "setups_per_second": 900}`
//!
//! A figure that a way does not have is left out or null. `routed` is no balancer at all: what is above it is the price.

use super::plot::{Bar, Bars};
use super::table::{Table, number};
use super::{Report, machine};
use crate::repo;
use anyhow::{Context, Result, bail};
use serde_json::Value;

const ROUTED: &str = "routed";
const OWN: &str = "balancer";

pub fn measure() -> Result<Report> {
    eprintln!("bench: a hundred players, several minutes ({})", machine::describe().line());
    let mut command = repo::cargo();
    command.args(["run", "--release", "--quiet", "--package", "balancer-lab", "--bin", "macro_bench"]);
    command.env("BALANCER_BIN", repo::built("release", "balancer"));
    command.stderr(std::process::Stdio::inherit()).stdin(std::process::Stdio::null());
    let output = command.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("{} failed ({})", repo::show(&command), output.status);
    }
    report(&String::from_utf8_lossy(&output.stdout))
}

struct Way(Value);

impl Way {
    fn name(&self) -> &str {
        self.0.get("way").and_then(Value::as_str).unwrap_or("unnamed")
    }

    fn figure(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.as_f64()
    }
}

fn report(printed: &str) -> Result<Report> {
    let ways = printed
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).map(Way).with_context(|| format!("not a measurement: {line}")))
        .collect::<Result<Vec<_>>>()?;
    let routed = ways.iter().find(|way| way.name() == ROUTED).context("plain routing was not measured")?;
    let added = |way: &Way, name: &str| Some(way.figure(name)? - routed.figure(name)?);
    let row = |way: &Way| {
        vec![
            way.name().to_owned(),
            number(way.figure("cpu_seconds_per_gbit")),
            number(added(way, "cpu_seconds_per_gbit")),
            number(way.figure("latency_p50_us")),
            number(way.figure("latency_p99_us")),
            number(way.figure("memory_bytes_per_connection")),
            number(way.figure("cpu_ms_per_setup")),
            number(way.figure("setups_per_second")),
        ]
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
            added(way, "cpu_seconds_per_gbit")
        }),
        bars("latency", "latency of a message, median, µs", &|way| way.figure("latency_p50_us")),
    ];
    Ok(Report {
        name: "macro",
        json: ways.iter().map(|way| way.0.clone()).collect(),
        table: Table {
            heads: vec![
                "way",
                "CPU s/Gbit",
                "added to routing",
                "p50 µs",
                "p99 µs",
                "bytes/connection",
                "CPU ms/set-up",
                "set-ups/s",
            ],
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
        let printed = "{\"way\":\"routed\",\"cpu_seconds_per_gbit\":1.0}\n\
                       {\"way\":\"balancer (kernel)\",\"cpu_seconds_per_gbit\":1.25,\"latency_p50_us\":60}\n";
        let report = report(printed).expect("well formed");
        assert_eq!(report.table.rows[1][..4], ["balancer (kernel)", "1.2", "0.250", "60.0"]);
        assert!(report.plots[0].bars[1].own);
    }
}
