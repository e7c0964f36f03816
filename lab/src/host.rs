//! What /proc says about a process or about the whole machine.

use crate::net::Netns;
use crate::sys;
use anyhow::{Context, Result};
use std::fs;
use std::sync::OnceLock;
use std::time::Instant;

/// Resident memory of a process.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("/proc/{pid}/status"))?;
    Ok(field(&text, "VmRSS:")? * 1024)
}

/// CPU time that a process used, all threads, user and system; not in ticks, as `/proc/<pid>/stat` has it.
pub fn process_cpu_seconds(pid: u32) -> Result<f64> {
    let used = sys::process_cpu_time(pid).with_context(|| format!("CPU clock of process {pid}"))?;
    Ok(used.as_secs_f64())
}

/// CPU time that the whole machine did not idle, interrupts included; only differences mean anything. Taken from the
/// idle time, which the kernel measures: what it says it was busy with is sampled by the tick, and misses short bursts
/// that begin with a timer.
pub fn machine_busy_seconds() -> Result<f64> {
    static START: OnceLock<Instant> = OnceLock::new();
    let text = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let elapsed = START.get_or_init(Instant::now).elapsed().as_secs_f64();
    let mut lines = text.lines().take_while(|line| line.starts_with("cpu"));
    let fields: Vec<u64> =
        lines.next().context("empty /proc/stat")?.split_whitespace().skip(1).flat_map(str::parse).collect();
    // user nice system idle iowait irq softirq steal
    let idle: u64 = [3, 4, 7].iter().filter_map(|&i| fields.get(i)).sum();
    Ok(elapsed * lines.count() as f64 - idle as f64 / sys::clock_ticks() as f64)
}

/// Kernel memory that is not page cache: slab, page tables, stacks, and per-CPU.
pub fn kernel_memory_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let names = ["Slab:", "KernelStack:", "PageTables:", "Percpu:", "VmallocUsed:"];
    names.iter().map(|name| field(&text, name)).sum::<Result<u64>>().map(|kib| kib * 1024)
}

/// Established TCP connections of a namespace with `port` at either end.
pub fn established(netns: &Netns, port: u16) -> Result<usize> {
    const ESTABLISHED: &str = "01";
    let suffix = format!(":{port:04X}");
    let mut count = 0;
    for table in ["tcp", "tcp6"] {
        // /proc/net would show the namespace of the process, not of the thread.
        let text = netns.run(|| fs::read_to_string(format!("/proc/thread-self/net/{table}")))??;
        count += text
            .lines()
            .skip(1)
            .filter(|line| {
                let words: Vec<_> = line.split_whitespace().take(4).collect();
                matches!(words[..], [_, local, remote, ESTABLISHED] if local.ends_with(&suffix) || remote.ends_with(&suffix))
            })
            .count();
    }
    Ok(count)
}

/// UDP sockets of a namespace that are bound to a port in this range.
pub fn udp_sockets(netns: &Netns, ports: std::ops::RangeInclusive<u16>) -> Result<usize> {
    let mut count = 0;
    for table in ["udp", "udp6"] {
        let text = netns.run(|| fs::read_to_string(format!("/proc/thread-self/net/{table}")))??;
        let port = |line: &str| u16::from_str_radix(line.split_whitespace().nth(1)?.rsplit(':').next()?, 16).ok();
        count += text.lines().skip(1).filter_map(port).filter(|port| ports.contains(port)).count();
    }
    Ok(count)
}

/// Whether anything listens on this TCP port in a namespace. Asks the kernel, not the port.
pub fn listens(netns: &Netns, port: u16) -> Result<bool> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    for table in ["tcp", "tcp6"] {
        let text = netns.run(|| fs::read_to_string(format!("/proc/thread-self/net/{table}")))??;
        let mut rows = text.lines().skip(1).map(|line| line.split_whitespace().take(4).collect::<Vec<_>>());
        if rows.any(|row| matches!(row[..], [_, local, _, LISTEN] if local.ends_with(&suffix))) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn field(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name}"))?;
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).with_context(|| format!("{name} has no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_can_be_measured() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 100_000);
        assert!(process_cpu_seconds(pid).unwrap() >= 0.0);
        assert!(machine_busy_seconds().unwrap() <= machine_busy_seconds().unwrap());
        assert!(kernel_memory_bytes().unwrap() > 0);
    }
}
