//! `cargo xtask test`: the whole ladder, from formatting to real publishers and players over network namespaces. Every
//! rung runs whatever became of the others, unless it needs what a failed one makes; the last line is the sum.

mod count;
mod rung;
mod stream;

use crate::setup;
use anyhow::{Result, bail};
use count::Count;
use rung::{Outcome, Rung};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Arguments {
    /// Only these rungs (and what they need), separated by commas
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Rung>,
    /// Seconds for each fuzz target
    #[arg(long, default_value_t = FUZZ_SECONDS)]
    fuzz_seconds: u64,
    /// For the test programs: names of tests, and libtest's flags
    #[arg(last = true)]
    tests: Vec<String>,
}

/// Finds what a careless change of a parser breaks; the long hunts are for `cargo xtask fuzz`.
const FUZZ_SECONDS: u64 = 8;

pub struct Plan {
    pub fuzz_seconds: u64,
    pub tests: Vec<String>,
    /// In continuous integration a kernel rung that is skipped has failed.
    pub strict: bool,
}

struct Line {
    rung: Rung,
    outcome: Outcome,
    took: Duration,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let wanted = |rung: Rung| arguments.only.is_empty() || arguments.only.contains(&rung);
    let rungs = Rung::with_needs(wanted);
    let plan = Plan {
        fuzz_seconds: arguments.fuzz_seconds,
        tests: arguments.tests.clone(),
        strict: std::env::var_os("CI").is_some_and(|ci| ci == "true" || ci == "1"),
    };
    let purpose = rungs.iter().map(|rung| rung.purpose()).max().flatten();
    if let Some(purpose) = purpose
        && let Err(error) = setup::ensure(purpose)
    {
        // What cannot be installed here fails the rungs that need it, not the others.
        eprintln!("setup: {error:#}");
    }

    let mut lines: Vec<Line> = Vec::new();
    for rung in rungs {
        let broken = rung.needs().iter().copied().find(|need| {
            lines
                .iter()
                .any(|line| line.rung == *need && !matches!(line.outcome, Outcome::Ran(count) if count.failed == 0))
        });
        eprintln!("\n=== {}: {}", rung.name(), rung.about());
        let start = Instant::now();
        let outcome = match broken {
            Some(need) => Outcome::Skipped(format!("it needs {}", need.name())),
            None => rung.run(&plan),
        };
        lines.push(Line { rung, outcome: outcome.judged(rung, &plan), took: start.elapsed() });
    }
    summarize(&lines)
}

fn summarize(lines: &[Line]) -> Result<()> {
    println!("\n{:<12} {:>7} {:>7} {:>8} {:>9}", "rung", "passed", "failed", "skipped", "seconds");
    let mut sum = Count::default();
    for Line { rung, outcome, took } in lines {
        let count = outcome.count();
        let why = outcome.why().map_or_else(String::new, |why| format!("  {why}"));
        let seconds = took.as_secs_f64();
        let (name, Count { passed, failed, skipped }) = (rung.name(), count);
        println!("{name:<12} {passed:>7} {failed:>7} {skipped:>8} {seconds:>9.1}{why}");
        sum += count;
    }
    println!("\n{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped);
    if sum.failed > 0 {
        bail!("{} failed", sum.failed);
    }
    Ok(())
}
