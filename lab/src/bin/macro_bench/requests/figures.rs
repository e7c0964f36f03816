//! What was measured of a contender for each file, and what is said about it.

use super::contender::Contender;
use super::origin::File;
use super::tools::{CONNECTIONS, Seen, WRK_S};
use crate::costs::{self, Costs};
use serde_json::{Value, json};

/// One run of one client.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub seen: Seen,
    pub costs: Costs,
    pub busy_beforehand: f64,
}

impl Sample {
    fn process_us(&self) -> f64 {
        self.costs.process_s * 1e6 / self.seen.requests as f64
    }

    fn machine_us(&self) -> f64 {
        self.costs.machine_s * 1e6 / self.seen.requests as f64
    }
}

#[derive(Clone, Debug, Default)]
struct Samples(Vec<Sample>);

impl Samples {
    fn median(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        costs::median(&self.0, |s| s.busy_beforehand, of)
    }

    fn all(&self, of: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.0.iter().map(of).collect()
    }
}

#[derive(Clone, Debug, Default)]
pub struct Figures {
    h2load: [Samples; File::ALL.len()],
    /// For the smallest file only.
    wrk: Samples,
    skipped: Option<String>,
    failures: Vec<String>,
}

impl Figures {
    pub fn skipped(&mut self, why: &str) {
        self.skipped = Some(why.to_owned());
    }

    pub fn failed(&mut self, error: &anyhow::Error) {
        self.failures.push(format!("{error:#}"));
    }

    pub fn push_h2load(&mut self, file: File, sample: Sample) {
        self.h2load[file as usize].0.push(sample);
    }

    pub fn push_wrk(&mut self, sample: Sample) {
        self.wrk.0.push(sample);
    }

    fn process_us(&self, file: File) -> f64 {
        self.h2load[file as usize].median(Sample::process_us)
    }
}

type All = [(Contender, Figures)];

/// The least that any of the established proxies' processes needs for a request.
fn better_us(all: &All, file: File) -> Option<f64> {
    let costs = all.iter().filter(|(contender, _)| !matches!(contender, Contender::Direct | Contender::Balancer));
    costs.map(|(_, figures)| figures.process_us(file)).filter(|us| us.is_finite()).reduce(f64::min)
}

/// One object for each file and contender.
pub fn json(all: &All) -> Vec<Value> {
    let direct = all.iter().find(|(contender, _)| *contender == Contender::Direct).map(|(_, figures)| figures);
    let lines = File::ALL.into_iter().flat_map(|file| all.iter().map(move |one| (file, one)));
    lines
        .map(|(file, (contender, figures))| {
            let samples = &figures.h2load[file as usize];
            let base = direct.map(|direct| direct.h2load[file as usize].median(Sample::machine_us));
            let better = better_us(all, file).filter(|_| *contender != Contender::Direct);
            let machine_us = samples.median(Sample::machine_us);
            let mut line = json!({
                "way": contender.name(),
                "file": file.name(),
                "skipped": figures.skipped,
                "failures": figures.failures,
                "requests": file.requests(),
                "process_cpu_us_per_request": samples.median(Sample::process_us),
                "process_cpu_us_per_request_rounds": samples.all(Sample::process_us),
                "of_better_proxy": better.map(|us| figures.process_us(file) / us),
                "cpu_us_per_request": machine_us,
                "cpu_us_per_request_rounds": samples.all(Sample::machine_us),
                "added_cpu_us_per_request": base.map(|base| machine_us - base),
                "requests_per_second": samples.median(|s| s.seen.per_second),
                "latency_p50_us": samples.median(|s| s.seen.p50_us),
                "latency_p99_us": samples.median(|s| s.seen.p99_us),
                "busy_cpus_beforehand": samples.median(|s| s.busy_beforehand),
            });
            if file == File::Playlist {
                line["wrk_requests"] = json!(figures.wrk.median(|s| s.seen.requests as f64));
                line["wrk_process_cpu_us_per_request"] = json!(figures.wrk.median(Sample::process_us));
                line["wrk_cpu_us_per_request"] = json!(figures.wrk.median(Sample::machine_us));
                line["wrk_requests_per_second"] = json!(figures.wrk.median(|s| s.seen.per_second));
                line["wrk_latency_p50_us"] = json!(figures.wrk.median(|s| s.seen.p50_us));
                line["wrk_latency_p99_us"] = json!(figures.wrk.median(|s| s.seen.p99_us));
            }
            line
        })
        .collect()
}

/// What holds for all of them.
pub fn circumstances(rounds: usize) -> Value {
    let mut all = costs::circumstances();
    all["origin"] = json!("nginx, one process, files by sendfile");
    all["clients"] = json!(format!("h2load --h1 with a number of requests; wrk for {WRK_S} s with the smallest file"));
    all["connections"] = json!(CONNECTIONS);
    all["load"] = json!("each connection asks again at once: latencies are those of a saturated machine");
    all["rounds"] = json!(rounds);
    all
}
