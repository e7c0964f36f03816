//! The clients: h2load, which makes so many requests as it is told and writes down how long each took, and wrk, which
//! makes so many as it can in a while: a second opinion.

use super::contender::Running;
use super::origin::File;
use crate::costs::quantile;
use anyhow::{Context, Result, bail};
use balancer_lab::process::Process;
use std::time::Duration;

pub const CONNECTIONS: usize = 50;
/// How long wrk asks.
pub const WRK_S: u64 = 1;
/// Nothing here takes longer, unless something hangs.
const RUN_WITHIN: Duration = Duration::from_secs(20);

/// What a client saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    pub requests: usize,
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// Fails unless every single request was answered with the whole file.
pub fn h2load(running: &Running, file: File, requests: usize) -> Result<Seen> {
    let log = running.dc.directory().join("requests.tsv");
    let _ = std::fs::remove_file(&log);
    let (count, connections) = (requests.to_string(), CONNECTIONS.to_string());
    let flags = ["--h1", "-t", "1", "-n", &count, "-c", &connections, "--log-file", &log.display().to_string()];
    let printed = run(running, "h2load", &flags, file)?;
    let bytes = requests * file.bytes();
    for proof in [format!("status codes: {requests} 2xx,"), format!(" ({bytes}) data")] {
        if !printed.contains(&proof) {
            bail!("not \"{proof}\":\n{printed}");
        }
    }
    let log = std::fs::read_to_string(&log).context("h2load's log")?;
    // Start, status, and microseconds to the end.
    let mut latencies: Vec<u64> = log.lines().filter_map(|line| line.split('\t').nth(2)?.parse().ok()).collect();
    latencies.sort_unstable();
    Ok(Seen {
        requests,
        per_second: number_before(&printed, " req/s,").context("no rate")?,
        p50_us: quantile(&latencies, 0.5),
        p99_us: quantile(&latencies, 0.99),
    })
}

pub fn wrk(running: &Running, file: File) -> Result<Seen> {
    let connections = CONNECTIONS.to_string();
    let flags = ["-t", "1", "-c", &connections, "-d", &format!("{WRK_S}s"), "--latency"];
    let printed = run(running, "wrk", &flags, file)?;
    parse_wrk(&printed).with_context(|| format!("wrk:\n{printed}"))
}

fn run(running: &Running, program: &str, flags: &[&str], file: File) -> Result<String> {
    let url = format!("http://{}{}", running.dial, file.path());
    let directory = running.dc.directory();
    let _ = std::fs::remove_file(directory.join(format!("{program}.log")));
    let mut process = Process::start(&running.dc.clients[0].netns, directory, program, program, |command| {
        command.args(flags).arg(url);
    })?;
    let status = process.wait_exit(RUN_WITHIN)?;
    if !status.success() {
        bail!("{program} ended with {status}\n{}", process.tail());
    }
    Ok(process.log())
}

fn parse_wrk(printed: &str) -> Result<Seen> {
    if let Some(trouble) = printed.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors")) {
        bail!("{}", trouble.trim());
    }
    let latency = |name: &str| {
        let word = printed.lines().find_map(|line| line.trim().strip_prefix(name))?.trim();
        let unit = word.find(|c: char| c.is_ascii_alphabetic())?;
        let factor = [("us", 1.0), ("ms", 1e3), ("s", 1e6)].iter().find(|(name, _)| *name == &word[unit..])?.1;
        Some(word[..unit].parse::<f64>().ok()? * factor)
    };
    Ok(Seen {
        requests: number_before(printed, " requests in").context("no count")? as usize,
        per_second: printed
            .lines()
            .find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok())
            .context("no rate")?,
        p50_us: latency("50%").context("no median")?,
        p99_us: latency("99%").context("no 99th percentile")?,
    })
}

fn number_before(text: &str, what: &str) -> Option<f64> {
    text.split_once(what)?.0.split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_read() {
        let printed = "Running 1s test @ http://10.71.9.9:8080/\n  1 threads and 50 connections\n  Latency Distribution\n     \
                       50%  635.00us\n     99%    1.38ms\n  12345 requests in 1.00s, 12.5MB read\nRequests/sec:  12340.5\n";
        let seen = Seen { requests: 12345, per_second: 12340.5, p50_us: 635.0, p99_us: 1380.0 };
        assert_eq!(parse_wrk(printed).unwrap(), seen);
        assert!(parse_wrk(&format!("{printed}  Non-2xx or 3xx responses: 3\n")).is_err());
    }

    #[test]
    fn the_rate_stands_before_its_unit() {
        assert_eq!(number_before("finished in 1.02s, 9780.21 req/s, 10.00MB/s\n", " req/s,"), Some(9780.21));
    }
}
