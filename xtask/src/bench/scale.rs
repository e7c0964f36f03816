//! How a cluster grows, simulated: ten balancers in one process, on one real redis-server beside it.
//! `balancer/examples/bench_scale` prints one JSON object a run; each size is a run of its own.

use super::Report;
use super::machine::Machine;
use super::plot::{Bar, Bars};
use super::program;
use super::table::{Table, number};
use anyhow::{Context, Result};
use serde_json::Value;

const EXAMPLE: [&str; 3] = ["balancer", "--example", "bench_scale"];
const SIZES: [(&str, &str); 5] =
    [("1000", "1 k"), ("3000", "3 k"), ("10000", "10 k"), ("30000", "30 k"), ("100000", "100 k")];
const MEGABYTE: f64 = 1e6;

/// One line of a table: what it is called, where it stands, and what it is divided by.
type Row = (&'static str, &'static str, f64);

const STREAMS: [Row; 31] = [
    ("registrations a second", "/registrations_per_second", 1.0),
    ("new placements a second", "/placements_per_second", 1.0),
    ("placements of known streams a second", "/known_placements_per_second", 1.0),
    ("all ten know the last one after, ms", "/all_know_after_ms", 1.0),
    ("a stream and its publisher: scripts", "/stream/scripts", 1.0),
    ("… commands, those in scripts too", "/stream/commands", 1.0),
    ("… bytes to the server", "/stream/bytes_to_server", 1.0),
    ("… bytes from the server, to all ten", "/stream/bytes_from_server", 1.0),
    ("… µs of the server's CPU", "/stream/server_cpu_us", 1.0),
    ("… µs of all ten's CPU", "/stream/balancers_cpu_us", 1.0),
    ("a further balancer with viewers: scripts", "/carrier/scripts", 1.0),
    ("… bytes to the server", "/carrier/bytes_to_server", 1.0),
    ("… bytes from the server, to all ten", "/carrier/bytes_from_server", 1.0),
    ("the publisher's end: scripts", "/end/scripts", 1.0),
    ("server's memory, MB", "/server_memory", MEGABYTE),
    ("a balancer's memory, MB", "/balancer_memory", MEGABYTE),
    ("server's memory a stream, bytes", "/server_bytes_per_stream", 1.0),
    ("a balancer's memory a stream, bytes", "/balancer_bytes_per_stream", 1.0),
    ("at rest: commands a second", "/rest/commands", 1.0),
    ("… kB a second to the server", "/rest/bytes_to_server", 1e3),
    ("… kB a second from the server", "/rest/bytes_from_server", 1e3),
    ("… cores, all ten", "/rest/balancers_cores", 1.0),
    ("… longest wait for a balancer's store, ms", "/rest_longest_wait_ms", 1.0),
    ("200 origins beat in 10 s: cores, all ten", "/beats/balancers_cores", 1.0),
    ("… longest wait for a balancer's store, ms", "/beats_longest_wait_ms", 1.0),
    ("all ten read everything again, ms", "/reconnect_all_ms", 1.0),
    ("… longest wait for a balancer's store, ms", "/reconnect_longest_wait_ms", 1.0),
    ("an eleventh comes and knows all, ms", "/join_ms", 1.0),
    ("… MB from the server", "/join_bytes", MEGABYTE),
    ("… MB of memory", "/join_memory_bytes", MEGABYTE),
    ("races lost, in all", "/troubles/record_raced", 1.0),
];

const FLOWS: [Row; 5] = [
    ("records written a second, one balancer", "/written_per_second", 1.0),
    ("a flow's life: bytes to the server", "/bytes_per_flow", 1.0),
    ("… commands", "/commands_per_flow", 1.0),
    ("server's memory a flow, bytes", "/server_bytes_per_flow", 1.0),
    ("reading them all, ms", "/read_ms", 1.0),
];
/// Of each round.
const ROUND: [Row; 4] = [
    ("take-over until the kernel forwards all, ms", "/forwarded_ms", 1.0),
    ("… until the records have their new owner, ms", "/written_ms", 1.0),
    ("… ms of the balancer's CPU", "/balancer_cpu_ms", 1.0),
    ("… ms of the server's CPU", "/server_cpu_ms", 1.0),
];

pub fn streams() -> Result<Report> {
    let (machine, sizes) = run("streams")?;
    let rows = STREAMS.iter().map(|row| line(row, &sizes)).collect();
    let plots = vec![
        bars("placements", "new placements a second", "/placements_per_second", 1.0, &sizes),
        bars("server-memory", "server's memory, bytes a stream", "/server_bytes_per_stream", 1.0, &sizes),
        bars("rest", "cores of all ten, 200 origins beating", "/beats/balancers_cores", 1.0, &sizes),
        bars("join", "an eleventh comes and knows all, ms", "/join_ms", 1.0, &sizes),
    ];
    let remark = "Ten balancers, the server and the clients share the cores of one machine: figures a second are lower \
                  than where each has its own, and the times higher.";
    report(machine, "scale", sizes, rows, plots, remark)
}

pub fn flows() -> Result<Report> {
    let (machine, sizes) = run("flows")?;
    let mut rows: Vec<_> = FLOWS.iter().map(|row| line(row, &sizes)).collect();
    rows.extend(ROUND.iter().map(|row| range(row, &sizes)));
    let plots = vec![bars(
        "forwarded",
        "until the kernel forwards all, ms, first round",
        "/rounds/0/forwarded_ms",
        1.0,
        &sizes,
    )];
    let last = sizes.last().map_or_else(String::new, |most| range(&ROUND[0], std::slice::from_ref(most)).remove(1));
    let remark = format!(
        "Least and most of three take-overs, each into an empty kernel, from the moment at which the owner is known to be \
         dead. Aimed for: 100 000 flows forwarded within 2000 ms; measured: {last} ms."
    );
    report(machine, "takeover", sizes, rows, plots, &remark)
}

/// Every size, in a process of its own.
fn run(what: &str) -> Result<(Machine, Vec<Value>)> {
    let mut machine = None;
    let mut sizes = Vec::new();
    for (size, label) in SIZES {
        let (before, printed) = program::run(EXAMPLE, &[what, size], &format!("{label} {what}"))?;
        machine.get_or_insert(before);
        sizes.extend(program::objects(&printed)?);
    }
    Ok((machine.context("nothing was measured")?, sizes))
}

fn report(
    machine: Machine,
    name: &'static str,
    sizes: Vec<Value>,
    rows: Vec<Vec<String>>,
    plots: Vec<Bars>,
    remark: &str,
) -> Result<Report> {
    anyhow::ensure!(sizes.len() == SIZES.len(), "{} of {} sizes were measured", sizes.len(), SIZES.len());
    let heads = std::iter::once("").chain(SIZES.iter().map(|(_, label)| *label)).collect();
    let table = Table { heads, rows };
    Ok(Report { name, machine, json: Value::Array(sizes), table, remarks: vec![remark.to_owned()], plots })
}

fn figure(value: &Value, (_, place, unit): &Row) -> Option<f64> {
    Some(value.pointer(place)?.as_f64()? / unit)
}

fn line(row: &Row, sizes: &[Value]) -> Vec<String> {
    std::iter::once(row.0.to_owned()).chain(sizes.iter().map(|size| number(figure(size, row)))).collect()
}

/// Least and most of all rounds.
fn range(row: &Row, sizes: &[Value]) -> Vec<String> {
    let cell = |size: &Value| {
        let rounds = || size.pointer("/rounds").and_then(Value::as_array).into_iter().flatten();
        let figures = || rounds().filter_map(|round| figure(round, row));
        match (figures().reduce(f64::min), figures().reduce(f64::max)) {
            (Some(least), Some(most)) => format!("{}–{}", number(Some(least)), number(Some(most))),
            _ => number(None),
        }
    };
    std::iter::once(row.0.to_owned()).chain(sizes.iter().map(cell)).collect()
}

fn bars(name: &'static str, title: &str, place: &'static str, unit: f64, sizes: &[Value]) -> Bars {
    let bar = |((_, label), size): (&(&str, &str), &Value)| {
        let value = figure(size, &("", place, unit)).unwrap_or_default();
        Bar { label: (*label).to_owned(), value, text: number(Some(value)), own: true }
    };
    Bars { name, title: title.to_owned(), bars: SIZES.iter().zip(sizes).map(bar).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_size_has_its_column_and_what_is_missing_a_dash() {
        let sizes =
            [json!({ "join_bytes": 2_000_000, "rounds": [{ "written_ms": 3 }, { "written_ms": 2 }] }), json!({})];
        assert_eq!(line(&("MB", "/join_bytes", MEGABYTE), &sizes), ["MB", "2.0", "–"]);
        assert_eq!(range(&("ms", "/written_ms", 1.0), &sizes), ["ms", "2.0–3.0", "–"]);
    }
}
