//! CPU time and memory of the process in the middle and of the whole machine, and how quiet that is.

use anyhow::Result;
use balancer_lab::host;
use serde_json::{Value, json};
use std::time::Duration;

/// A round is worth more when no more than this was going on before it.
const QUIET_CPUS: f64 = 0.2;
/// How long it is looked whether the machine has something else to do.
const QUIET: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug)]
pub struct Costs {
    pub machine_s: f64,
    pub process_s: f64,
}

impl Costs {
    /// So far; without a process, of the machine alone.
    pub fn now(pid: Option<u32>) -> Result<Self> {
        let process_s = pid.map(host::process_cpu_seconds).transpose()?;
        Ok(Self { machine_s: host::machine_busy_seconds()?, process_s: process_s.unwrap_or(0.0) })
    }

    pub fn since(&self, before: &Self) -> Self {
        Self { machine_s: self.machine_s - before.machine_s, process_s: self.process_s - before.process_s }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct MemoryUse {
    pub process_bytes: u64,
    pub kernel_bytes: u64,
}

impl MemoryUse {
    pub fn now(pid: Option<u32>) -> Result<Self> {
        let process_bytes = pid.map(host::resident_bytes).transpose()?;
        Ok(Self { process_bytes: process_bytes.unwrap_or(0), kernel_bytes: host::kernel_memory_bytes()? })
    }
}

/// CPUs that something keeps busy while nothing is measured: what a round may be wrong by.
pub fn busy_cpus() -> Result<f64> {
    let before = Costs::now(None)?;
    std::thread::sleep(QUIET);
    let busy = Costs::now(None)?.since(&before).machine_s / QUIET.as_secs_f64();
    if busy > QUIET_CPUS {
        eprintln!("  this machine is not idle: {busy:.1} CPUs are busy with something else");
    }
    Ok(busy)
}

/// Of the rounds before which the machine was quiet, if there are any.
pub fn median<S>(samples: &[S], busy: impl Fn(&S) -> f64, of: impl Fn(&S) -> f64) -> f64 {
    let disturbed = samples.iter().all(|s| busy(s) > QUIET_CPUS);
    let mut values: Vec<_> = samples.iter().filter(|s| disturbed || busy(s) <= QUIET_CPUS).map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The value below which the share `q` of the values is, which must be in order.
pub fn quantile(values: &[u64], q: f64) -> f64 {
    let i = (values.len().saturating_sub(1) as f64 * q) as usize;
    values.get(i).map_or(f64::NAN, |&value| value as f64)
}

/// What holds for every kind of load.
pub fn circumstances() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    json!({
        "kernel": read("/proc/sys/kernel/osrelease"),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "mtu": 1500,
        "offloads": "tx checksum, TSO and GSO off, GRO on, on every interface",
        "topology": "client - balancer - origin over two veth pairs, all on one machine",
        "cpu": "whole machine but for its idle time, endpoints included",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disturbed_rounds_count_only_where_there_are_no_others() {
        let median = |samples: &[(f64, f64)]| median(samples, |s| s.0, |s| s.1);
        assert_eq!(median(&[(0.1, 3.0), (0.0, 1.0), (0.1, 2.0)]), 2.0);
        assert_eq!(median(&[(0.9, 3.0), (0.0, 1.0), (0.9, 2.0)]), 1.0);
        assert_eq!(median(&[(0.9, 3.0), (0.9, 1.0), (0.9, 2.0)]), 2.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!((quantile(&values, 0.5), quantile(&values, 0.99)), (50.0, 99.0));
        assert!(quantile(&[], 0.5).is_nan());
    }
}
