//! What was measured of a contender, and what is said about it: medians over the rounds, and the difference to plain
//! routing.

use crate::costs::{self, Costs, MemoryUse, quantile};
use balancer_lab::load::{Delivered, Shape};
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Memory {
    pub connections: usize,
    pub before: MemoryUse,
    pub after: MemoryUse,
}

#[derive(Clone, Debug)]
pub struct SetUps {
    pub count: usize,
    pub elapsed: Duration,
    pub costs: Costs,
}

impl SetUps {
    fn machine_ms(&self) -> f64 {
        self.costs.machine_s * 1e3 / self.count as f64
    }
}

/// One round of streaming.
#[derive(Clone, Debug)]
pub struct Sample {
    gbit: f64,
    machine_s_per_gbit: f64,
    process_s_per_gbit: f64,
    latency_p50_us: f64,
    latency_p99_us: f64,
    relayed_bytes: Option<f64>,
    /// Datagrams, where nobody sends them again.
    pub lost: Option<u64>,
    /// CPUs that something else kept busy just before: what the round may be wrong by.
    busy_beforehand: f64,
}

impl Sample {
    pub fn new(delivered: Delivered, costs: Costs, busy_beforehand: f64, relayed_bytes: Option<f64>) -> Self {
        let mut latencies = delivered.latencies_ns;
        latencies.sort_unstable();
        let gbit = delivered.bytes as f64 * 8e-9;
        Self {
            gbit,
            machine_s_per_gbit: costs.machine_s / gbit,
            process_s_per_gbit: costs.process_s / gbit,
            latency_p50_us: quantile(&latencies, 0.5) / 1e3,
            latency_p99_us: quantile(&latencies, 0.99) / 1e3,
            relayed_bytes,
            lost: None,
            busy_beforehand,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Figures {
    pub name: &'static str,
    pub samples: Vec<Sample>,
    pub set_ups: Option<SetUps>,
    pub memory: Option<Memory>,
    skipped: Option<String>,
    failures: Vec<String>,
}

impl Figures {
    pub fn new(name: &'static str) -> Self {
        Self { name, samples: Vec::new(), set_ups: None, memory: None, skipped: None, failures: Vec::new() }
    }

    pub fn skipped(&mut self, why: &str) {
        self.skipped = Some(why.to_owned());
    }

    pub fn failed(&mut self, error: &anyhow::Error) {
        self.failures.push(format!("{error:#}"));
    }

    fn median(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        costs::median(&self.samples, |s| s.busy_beforehand, of)
    }

    pub fn json(&self, routed: Option<&Self>) -> Value {
        let added = |of: fn(&Sample) -> f64| routed.map(|routed| self.median(of) - routed.median(of));
        let mut line = json!({
            "way": self.name,
            "skipped": self.skipped,
            "failures": self.failures,
            "gbit": self.median(|s| s.gbit),
            "cpu_seconds_per_gbit": self.median(|s| s.machine_s_per_gbit),
            "cpu_seconds_per_gbit_rounds": self.samples.iter().map(|s| s.machine_s_per_gbit).collect::<Vec<_>>(),
            "added_cpu_seconds_per_gbit": added(|s| s.machine_s_per_gbit),
            "process_cpu_seconds_per_gbit": self.median(|s| s.process_s_per_gbit),
            "latency_p50_us": self.median(|s| s.latency_p50_us),
            "latency_p99_us": self.median(|s| s.latency_p99_us),
            "added_latency_p50_us": added(|s| s.latency_p50_us),
            "added_latency_p99_us": added(|s| s.latency_p99_us),
            "busy_cpus_beforehand": self.median(|s| s.busy_beforehand),
            "lost_datagrams": self.samples.iter().filter_map(|s| s.lost).max(),
            "relayed_bytes": self.samples.iter().filter_map(|s| s.relayed_bytes).reduce(f64::max),
        });
        if let Some(set_ups) = &self.set_ups {
            line["cpu_ms_per_setup"] = json!(set_ups.machine_ms());
            line["process_cpu_ms_per_setup"] = json!(set_ups.costs.process_s * 1e3 / set_ups.count as f64);
            let base = routed.and_then(|routed| routed.set_ups.as_ref()).map(SetUps::machine_ms);
            line["added_cpu_ms_per_setup"] = json!(base.map(|base| set_ups.machine_ms() - base));
            line["setups_per_second"] = json!(set_ups.count as f64 / set_ups.elapsed.as_secs_f64());
        }
        if let Some(memory) = &self.memory {
            line["process_bytes_per_connection"] = json!(memory.process_bytes());
            line["kernel_bytes_per_connection"] = json!(memory.kernel_bytes());
            let base = routed.and_then(|routed| routed.memory.as_ref()).map(Memory::kernel_bytes);
            line["memory_bytes_per_connection"] =
                json!(base.map(|base| memory.process_bytes() + memory.kernel_bytes() - base));
        }
        line
    }
}

impl Memory {
    fn process_bytes(&self) -> f64 {
        self.per_connection(|memory| memory.process_bytes)
    }

    fn kernel_bytes(&self) -> f64 {
        self.per_connection(|memory| memory.kernel_bytes)
    }

    fn per_connection(&self, of: impl Fn(&MemoryUse) -> u64) -> f64 {
        (of(&self.after) as f64 - of(&self.before) as f64) / self.connections as f64
    }
}

/// What holds for all of them.
pub fn circumstances(protocol: &str, shape: Shape, rounds: usize, window: Duration) -> Value {
    let mut all = costs::circumstances();
    all["protocol"] = json!(protocol);
    all["players"] = json!(shape.players);
    all["bits_per_second_each"] = json!(shape.bits_per_second_each());
    all["burst_bytes"] = json!(shape.frame_bytes);
    all["frames_per_second"] = json!(shape.frames_per_second);
    all["rounds"] = json!(rounds);
    all["window_s"] = json!(window.as_secs_f64());
    all
}
