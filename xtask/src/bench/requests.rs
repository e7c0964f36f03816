//! What a request costs that is proxied: playlists and segments over connections that stay. The lab's program
//! `macro_bench http` prints one JSON object for each file and way:
//!
//! `{"way": "nginx", "file": "1 KB", "process_cpu_us_per_request": 20.5, "added_cpu_us_per_request": 40, …}`
//!
//! `direct` is no proxy at all.

use super::Report;
use super::machine::Machine;
use super::plot::{Bar, Bars};
use super::program::{self, Way};
use super::table::{Table, number};
use anyhow::{Result, bail};

const DIRECT: &str = "direct";
const OWN: &str = "balancer";
/// What the smallest file costs says most about a proxy: the larger ones cost what copying costs.
const PLOTTED: &str = "1 KB";

/// "Own" is the process that proxies, "added" what the whole machine does more than without one; "× better" is own CPU
/// beside that of the better of HAProxy and nginx.
const COLUMNS: [(&str, &str); 7] = [
    ("own CPU µs", "process_cpu_us_per_request"),
    ("× better", BETTER),
    ("added CPU µs", "added_cpu_us_per_request"),
    ("machine CPU µs", "cpu_us_per_request"),
    ("requests/s", "requests_per_second"),
    ("p50 µs", "latency_p50_us"),
    ("p99 µs", "latency_p99_us"),
];
/// The same of the client that gives the second opinion.
const SECOND: &str = "wrk_";

const BETTER: &str = "of_better_proxy";
const BETTER_FACTOR_MAX: f64 = 1.2;

pub fn measure() -> Result<Report> {
    let (machine, printed) = program::macro_bench("http", "requests for playlists and segments, a minute and a half")?;
    report(machine, &printed)
}

fn report(machine: Machine, printed: &str) -> Result<Report> {
    let ways: Vec<Way> = program::objects(printed)?.into_iter().map(Way).collect();
    if !ways.iter().any(|way| way.name() == DIRECT) {
        bail!("the origin itself was not measured: nothing to compare with");
    }
    let file = |way: &Way| way.text("file").unwrap_or("unnamed").to_owned();
    let row = |way: &Way, client: &str, prefix: &str| {
        let figures = COLUMNS.iter().map(|(_, figure)| number(way.figure(&format!("{prefix}{figure}"))));
        std::iter::once(format!("{}{client}, {}", file(way), way.title())).chain(figures).collect()
    };
    let second = ways.iter().filter(|way| way.figure("wrk_requests").is_some());
    let rows = ways.iter().map(|way| row(way, "", "")).chain(second.map(|way| row(way, " by wrk", SECOND)));
    let plotted = ways.iter().filter(|way| way.text("file") == Some(PLOTTED) && way.name() != DIRECT);
    let bar = |way: &Way| {
        let value = way.figure("process_cpu_us_per_request")?;
        Some(Bar { label: way.name().to_owned(), value, text: number(Some(value)), own: way.name() == OWN })
    };
    Ok(Report {
        machine,
        name: "http",
        json: ways.iter().map(|way| way.0.clone()).collect(),
        table: Table {
            heads: std::iter::once("file, way").chain(COLUMNS.iter().map(|(head, _)| *head)).collect(),
            rows: rows.collect(),
        },
        remarks: target(&ways).into_iter().collect(),
        plots: vec![Bars {
            name: "cpu",
            title: format!("CPU of the proxying process for a request of {PLOTTED}, µs"),
            bars: plotted.filter_map(bar).collect(),
        }],
    })
}

fn target(ways: &[Way]) -> Option<String> {
    let own = ways.iter().filter(|way| way.name() == OWN);
    let factors = own.filter_map(|way| {
        let factor = way.figure(BETTER)?;
        let met = if factor <= BETTER_FACTOR_MAX { "met" } else { "missed" };
        Some(format!("{} {factor:.2} ({met})", way.text("file")?))
    });
    let factors: Vec<_> = factors.collect();
    (!factors.is_empty()).then(|| {
        format!(
            "Target: own CPU at most {BETTER_FACTOR_MAX} times that of the better of HAProxy and nginx. It is: {}.",
            factors.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::machine;

    #[test]
    fn each_file_is_held_against_the_target() {
        let printed = "{\"way\":\"direct\",\"file\":\"1 KB\",\"requests_per_second\":9000.0}\n\
                       {\"way\":\"balancer\",\"file\":\"1 KB\",\"of_better_proxy\":1.1,\"process_cpu_us_per_request\":22.0,\
                        \"wrk_requests\":8000,\"wrk_process_cpu_us_per_request\":21.0}\n\
                       {\"way\":\"balancer\",\"file\":\"1 MB\",\"of_better_proxy\":1.3,\"failures\":[\"too late\\nmore\"]}\n";
        let report = report(machine::describe(), printed).expect("well formed");
        assert_eq!(report.table.rows[1][..3], ["1 KB, balancer", "22.0", "1.1"]);
        assert_eq!(report.table.rows[2][..2], ["1 MB, balancer (too late)", "–"]);
        assert_eq!(report.table.rows[3][..3], ["1 KB by wrk, balancer", "21.0", "–"]);
        assert!(report.remarks[0].ends_with("1 KB 1.10 (met), 1 MB 1.30 (missed)."), "{:?}", report.remarks);
        assert_eq!(report.plots[0].bars.len(), 1);
    }
}
