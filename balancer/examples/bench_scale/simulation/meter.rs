//! What the server and this process have done so far, by their own counts.

use anyhow::{Context, Result};
use balancer_lab::redis::Server;
use std::time::Instant;

/// Of `/proc/PID/stat`.
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_BYTES: u64 = 4096;

#[derive(Clone, Copy, Debug)]
pub struct Reading {
    pub at: Instant,
    /// Commands, those within scripts too.
    pub commands: u64,
    /// Scripts: writes, but for one a second and balancer that asks for the time.
    pub scripts: u64,
    /// Bytes to the server, and from it.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub server_memory: u64,
    pub server_cpu_s: f64,
    pub own_cpu_s: f64,
    pub own_memory: u64,
}

impl Reading {
    pub fn take(server: &Server) -> Result<Self> {
        let text = server.cli(&["INFO", "everything"])?;
        let field = |name: &str| {
            text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':')).unwrap_or_default()
        };
        let number = |name: &str| field(name).parse::<u64>().with_context(|| format!("INFO has no {name}"));
        let calls = field("cmdstat_evalsha").split(',').find_map(|part| part.strip_prefix("calls="));
        Ok(Self {
            at: Instant::now(),
            commands: number("total_commands_processed")?,
            scripts: calls.and_then(|calls| calls.parse().ok()).unwrap_or_default(),
            bytes_in: number("total_net_input_bytes")?,
            bytes_out: number("total_net_output_bytes")?,
            server_memory: number("used_memory")?,
            server_cpu_s: cpu_s(&server.pid().to_string())?,
            own_cpu_s: cpu_s("self")?,
            own_memory: memory()?,
        })
    }
}

/// User and system, of all threads.
fn cpu_s(process: &str) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in brackets, may have spaces. Fields are counted from the third on.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<f64>().ok());
    let both = ticks(14).zip(ticks(15)).context("no times in /proc/PID/stat")?;
    Ok((both.0 + both.1) / TICKS_PER_SECOND)
}

/// Resident bytes.
fn memory() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok());
    Ok(pages.context("no pages in /proc/self/statm")? * PAGE_BYTES)
}
