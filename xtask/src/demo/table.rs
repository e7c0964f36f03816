//! The table: one row a stream, drawn over itself on a terminal and printed now and then where there is none.

use super::flows::{Flow, Path};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

/// How often a log gets a table.
const LOG_EVERY: u32 = 5;
const CLEAR: &str = "\x1b[H\x1b[2J";

pub struct Table {
    terminal: bool,
    shown: u32,
    /// By stream, at the last look.
    bytes: BTreeMap<String, (Duration, u64)>,
}

#[derive(Default)]
struct Row {
    origins: Vec<String>,
    protocols: BTreeSet<String>,
    players: usize,
    kernel: usize,
    relay: usize,
    bytes: u64,
    kernel_packets: u64,
    relay_bytes: u64,
}

impl Table {
    pub fn new(terminal: bool) -> Self {
        Self { terminal, shown: 0, bytes: BTreeMap::new() }
    }

    pub fn show(&mut self, elapsed: Duration, flows: &[Flow], copied: f64, frames: &[u64]) {
        let text = self.draw(elapsed, flows, copied, frames);
        if self.terminal {
            println!("{CLEAR}{text}\nCtrl-C ends it and leaves nothing behind.");
        } else if self.shown.is_multiple_of(LOG_EVERY) {
            println!("\n{text}");
        }
        self.shown += 1;
    }

    fn draw(&mut self, elapsed: Duration, flows: &[Flow], copied: f64, frames: &[u64]) -> String {
        let rows = rows(flows);
        let mut text = format!(
            "{:<14} {:<10} {:<14} {:>7} {:<16} {:>8} {:>18} {:>20}\n",
            "stream", "origin", "seen by", "players", "path", "Mbit/s", "packets in kernel", "bytes by user space"
        );
        for (stream, row) in &rows {
            let rate = self.megabits_per_second(stream, elapsed, row.bytes);
            let (origin, path) = (row.origins.join(","), path(row.kernel, row.relay));
            let protocols = row.protocols.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
            let Row { players, kernel_packets, relay_bytes, .. } = row;
            let line = format!(
                "{stream:<14} {origin:<10} {protocols:<14} {players:>7} {path:<16} {rate:>8.2} {kernel_packets:>18} \
                 {relay_bytes:>20}"
            );
            let _ = writeln!(text, "{line}");
        }
        let decoding = frames.iter().filter(|frames| **frames > 0).count();
        let sum = |part: fn(&Row) -> usize| rows.values().map(part).sum::<usize>();
        let _ = write!(
            text,
            "\n{:.0} s: {} flows in the kernel, {} relayed; {decoding} of {} players decode, {} frames so far; \
             {copied:.0} bytes copied by user space since the start",
            elapsed.as_secs_f64(),
            sum(|row| row.kernel),
            sum(|row| row.relay),
            frames.len(),
            frames.iter().sum::<u64>(),
        );
        text
    }

    fn megabits_per_second(&mut self, stream: &str, now: Duration, bytes: u64) -> f64 {
        let (then, before) = self.bytes.insert(stream.to_owned(), (now, bytes)).unwrap_or((now, bytes));
        let seconds = now.saturating_sub(then).as_secs_f64();
        if seconds == 0.0 { 0.0 } else { bytes.saturating_sub(before) as f64 * 8.0 / seconds / 1e6 }
    }
}

fn rows(flows: &[Flow]) -> BTreeMap<String, Row> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for flow in flows {
        let row = rows.entry(flow.stream.clone()).or_default();
        if !row.origins.contains(&flow.origin) {
            row.origins.push(flow.origin.clone());
        }
        row.protocols.insert(flow.protocol.clone());
        row.players += usize::from(!flow.publishes);
        row.bytes += flow.bytes;
        match flow.path {
            Path::Kernel => {
                row.kernel += 1;
                row.kernel_packets += flow.packets.iter().sum::<u64>();
            }
            Path::Relay => {
                row.relay += 1;
                row.relay_bytes += flow.bytes;
            }
        }
    }
    rows
}

fn path(kernel: usize, relay: usize) -> String {
    match (kernel, relay) {
        (_, 0) => "kernel".to_owned(),
        (0, _) => "relay".to_owned(),
        (kernel, relay) => format!("{kernel} kernel {relay} relay"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::flows::fixture;
    use super::*;

    #[test]
    fn a_row_sums_the_flows_of_its_stream() {
        let player = Flow { publishes: false, path: Path::Relay, ..fixture() };
        let rows = rows(&[fixture(), player.clone(), player]);
        let row = &rows["live/camera1"];
        assert_eq!((row.players, row.kernel, row.relay), (2, 1, 2));
        assert_eq!((row.kernel_packets, row.relay_bytes), (1010, 2_000_200));
        assert_eq!(path(row.kernel, row.relay), "1 kernel 2 relay");
    }

    #[test]
    fn rate_is_what_was_forwarded_since_the_last_look() {
        let mut table = Table::new(false);
        assert_eq!(table.megabits_per_second("a", Duration::from_secs(1), 1_000), 0.0);
        assert_eq!(table.megabits_per_second("a", Duration::from_secs(3), 501_000), 2.0);
    }
}
