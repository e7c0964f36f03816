//! The macro bench with players: the same players through the same topology, by routing, NAT, proxies and the balancer
//! in turn. The lab's program `macro_bench` plays them and prints one JSON object a line, the first with the
//! circumstances:
//!
//! `{"way": "nft DNAT", "cpu_seconds_per_gbit": 0.9, "added_cpu_seconds_per_gbit": 0.1, "latency_p50_us": 60, …}`
//!
//! A figure that a way does not have is left out or null. `routed` is no balancer at all: what is above it is the price.

use super::Report;
use super::machine::Machine;
use super::plot::{Bar, Bars};
use super::program::{self, Way};
use super::table::{Table, number};
use anyhow::{Result, bail};

const ROUTED: &str = "routed";
const DNAT: &str = "nft DNAT";
const OWN: &str = "balancer";
const KERNEL: &str = "balancer (kernel)";

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

/// The same where nobody sends again what is lost, and nothing but streaming is measured.
const DATAGRAM_COLUMNS: [(&str, &str); 5] = [
    ("p50 µs", "latency_p50_us"),
    ("p99 µs", "latency_p99_us"),
    ("own CPU s/Gbit", "process_cpu_seconds_per_gbit"),
    ("datagrams lost", "lost_datagrams"),
    ("bytes copied", "relayed_bytes"),
];

const MACHINE_CPU: &str = "machine CPU s/Gbit";
const ROUNDS: &str = "cpu_seconds_per_gbit_rounds";
const ADDED: &str = "added_cpu_seconds_per_gbit";
/// How much of what NAT adds to plain routing the kernel path may add.
const DNAT_FACTOR_MAX: f64 = 1.2;
/// Of what nginx adds when it forwards datagrams.
const NGINX: &str = "nginx stream";
const NGINX_SHARE_MAX: f64 = 0.2;

pub fn rtmp() -> Result<Report> {
    let (machine, printed) = program::macro_bench("rtmp", "a hundred players of RTMP, several minutes")?;
    report(machine, "macro", &COLUMNS, &printed, target)
}

pub fn flv() -> Result<Report> {
    let (machine, printed) = program::macro_bench("flv", "a hundred players of HTTP-FLV, two minutes and a half")?;
    report(machine, "flv", &COLUMNS, &printed, target)
}

pub fn srt() -> Result<Report> {
    let (machine, printed) = program::macro_bench("srt", "a hundred players of SRT, two minutes")?;
    report(machine, "srt", &DATAGRAM_COLUMNS, &printed, datagram_target)
}

fn report(
    machine: Machine,
    name: &'static str,
    columns: &[(&'static str, &'static str)],
    printed: &str,
    target: fn(&[Way]) -> Option<String>,
) -> Result<Report> {
    let ways: Vec<Way> = program::objects(printed)?.into_iter().map(Way).collect();
    if !ways.iter().any(|way| way.name() == ROUTED) {
        bail!("plain routing was not measured: nothing to compare with");
    }
    let row = |way: &Way| {
        let figures = columns.iter().map(|(_, figure)| number(way.figure(figure)));
        let rounds = way.range(ROUNDS).map_or_else(|| number(None), |(least, most)| format!("{least:.2}–{most:.2}"));
        std::iter::once(way.title()).chain(figures).chain([rounds]).collect()
    };
    let bars = |name: &'static str, title: &str, figure: &str| Bars {
        name,
        title: title.to_owned(),
        bars: ways
            .iter()
            .filter_map(|way| {
                let value = way.figure(figure)?;
                let own = way.name().starts_with(OWN);
                Some(Bar { label: way.name().to_owned(), value, text: number(Some(value)), own })
            })
            .collect(),
    };
    let plots = vec![
        bars("cpu", "CPU-seconds of the forwarding process for each Gbit", "process_cpu_seconds_per_gbit"),
        bars("latency", "latency of a message, median, µs", "latency_p50_us"),
    ];
    Ok(Report {
        machine,
        name,
        json: ways.iter().map(|way| way.0.clone()).collect(),
        table: Table {
            heads: std::iter::once("way").chain(columns.iter().map(|(head, _)| *head)).chain([MACHINE_CPU]).collect(),
            rows: ways.iter().map(row).collect(),
        },
        remarks: target(&ways).into_iter().collect(),
        plots,
    })
}

/// The difference of two sums that are much larger than itself: said together with what it can be wrong by.
fn target(ways: &[Way]) -> Option<String> {
    let way = |name: &str| ways.iter().find(|way| way.name() == name);
    let (own, nat) = (way(KERNEL)?.figure(ADDED)?, way(DNAT)?.figure(ADDED)?);
    let (least, most) = way(ROUTED)?.range(ROUNDS)?;
    let met = if own <= DNAT_FACTOR_MAX * nat { "met" } else { "missed" };
    Some(format!(
        "Target: the kernel path adds at most {DNAT_FACTOR_MAX} times the CPU that NAT adds to plain routing. It adds \
         {own:.3} CPU-seconds a Gbit, NAT {nat:.3}: {met}, where rounds of plain routing differ by {:.3}.",
        most - least
    ))
}

fn datagram_target(ways: &[Way]) -> Option<String> {
    let added = |name: &str| ways.iter().find(|way| way.name() == name)?.figure(ADDED);
    let (own, nginx) = (added(KERNEL)?, added(NGINX)?);
    let met = if own <= NGINX_SHARE_MAX * nginx { "met" } else { "missed" };
    Some(format!(
        "Target: the kernel path adds at most {NGINX_SHARE_MAX} of the CPU that {NGINX} adds to plain routing. It adds \
         {own:.3} CPU-seconds a Gbit, {NGINX} {nginx:.3}: {met}."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::machine;

    #[test]
    fn what_is_missing_shows_as_missing() {
        let printed = "{\"way\":\"routed\",\"latency_p50_us\":50.0,\"cpu_seconds_per_gbit_rounds\":[1.0]}\n\
                       {\"way\":\"balancer (kernel)\",\"latency_p50_us\":51.5,\"process_cpu_seconds_per_gbit\":0.25,\
                        \"cpu_seconds_per_gbit_rounds\":[0.75,1.25,0.5]}\n\
                       {\"way\":\"HAProxy\",\"skipped\":\"not installed\"}\n";
        let report = report(machine::describe(), "macro", &COLUMNS, printed, target).expect("well formed");
        assert_eq!(report.table.rows[1][..4], ["balancer (kernel)", "51.5", "–", "0.250"]);
        assert_eq!(report.table.rows[1].last().map(String::as_str), Some("0.50–1.25"));
        assert_eq!(report.table.rows[2][0], "HAProxy (not installed)");
        assert!(report.plots[0].bars[0].own, "routing has no process");
        assert!(report.remarks.is_empty(), "NAT was not measured");
    }

    #[test]
    fn the_target_is_compared_with_nat() {
        let printed = "{\"way\":\"routed\",\"cpu_seconds_per_gbit_rounds\":[0.35,0.37]}\n\
                       {\"way\":\"nft DNAT\",\"added_cpu_seconds_per_gbit\":0.02}\n\
                       {\"way\":\"balancer (kernel)\",\"added_cpu_seconds_per_gbit\":0.03}\n";
        let report = report(machine::describe(), "flv", &COLUMNS, printed, target).expect("well formed");
        assert!(report.remarks[0].contains("0.030 CPU-seconds a Gbit, NAT 0.020: missed"), "{:?}", report.remarks);
    }

    #[test]
    fn datagrams_are_compared_with_nginx() {
        let printed = "{\"way\":\"routed\"}\n{\"way\":\"nginx stream\",\"added_cpu_seconds_per_gbit\":0.5}\n\
                       {\"way\":\"balancer (kernel)\",\"added_cpu_seconds_per_gbit\":0.05,\"lost_datagrams\":0}\n";
        let report = report(machine::describe(), "srt", &DATAGRAM_COLUMNS, printed, datagram_target);
        let report = report.expect("well formed");
        assert!(
            report.remarks[0].contains("0.050 CPU-seconds a Gbit, nginx stream 0.500: met"),
            "{:?}",
            report.remarks
        );
        assert_eq!(report.table.rows[2][4], "0.000");
    }
}
