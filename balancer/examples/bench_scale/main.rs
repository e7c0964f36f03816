//! How a cluster grows: many balancers on one real redis-server, in this process, without kernel and clients. One JSON
//! object for each run, so that no run finds the memory of an earlier one.
//!
//! `bench_scale streams 10000`: 200 origins and so many streams; `bench_scale flows 10000`: so many flows of a dead
//! balancer, taken over into the maps of a real kernel.

mod simulation;

use anyhow::{Context, Result, bail};
use simulation::streams::{self, Size};
use simulation::takeover;
use std::time::Duration;

const BALANCERS: usize = 10;
const ORIGINS: usize = 200;
/// Half as long as SRS waits between two beats.
const REST: Duration = Duration::from_secs(5);
/// Take-overs, each into an empty kernel.
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, count] = &arguments[..] else { bail!("say `streams` or `flows`, and how many") };
    let count: usize = count.parse().with_context(|| format!("{count:?} is no number"))?;
    let measured = match what.as_str() {
        "streams" => streams::measure(Size { streams: count, origins: ORIGINS, balancers: BALANCERS, rest: REST })?,
        "flows" => takeover::measure(count, ROUNDS)?,
        other => bail!("{other:?} is neither `streams` nor `flows`"),
    };
    println!("{measured}");
    Ok(())
}
