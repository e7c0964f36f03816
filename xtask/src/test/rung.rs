//! The rungs of the ladder, in their order: what each runs, what it needs, and how its outcome counts.

use super::Plan;
use super::count::Count;
use super::stream::{self, Ended};
use crate::setup::Purpose;
use crate::{build, ebpf, fuzz, repo, tidy};
use anyhow::Result;
use clap::ValueEnum;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rung {
    Format,
    Tidy,
    Ebpf,
    Clippy,
    Unit,
    Kernel,
    Release,
    EndToEnd,
    Fuzz,
}

const ALL: [Rung; 9] = [
    Rung::Format,
    Rung::Tidy,
    Rung::Ebpf,
    Rung::Clippy,
    Rung::Unit,
    Rung::Kernel,
    Rung::Release,
    Rung::EndToEnd,
    Rung::Fuzz,
];

/// Any rung: a machine that is this slow tests nothing that depends on time.
const TIME_MAX: Duration = Duration::from_secs(40 * 60);

pub enum Outcome {
    Ran(Count),
    Skipped(String),
    Failed(String),
}

impl Rung {
    /// The wanted ones and those that they need, in order.
    pub fn with_needs(wanted: impl Fn(Self) -> bool) -> Vec<Self> {
        let needed = |rung: &Self| ALL.iter().any(|other| wanted(*other) && other.needs().contains(rung));
        ALL.into_iter().filter(|rung| wanted(*rung) || needed(rung)).collect()
    }

    pub const fn needs(self) -> &'static [Self] {
        match self {
            Self::Format | Self::Tidy | Self::Ebpf | Self::Clippy | Self::Unit | Self::Fuzz => &[],
            Self::Kernel | Self::Release => &[Self::Ebpf],
            Self::EndToEnd => &[Self::Ebpf, Self::Release],
        }
    }

    pub const fn purpose(self) -> Option<Purpose> {
        match self {
            Self::Format | Self::Tidy => None,
            Self::Ebpf | Self::Clippy | Self::Unit | Self::Kernel | Self::Release => Some(Purpose::Build),
            Self::EndToEnd => Some(Purpose::Lab),
            Self::Fuzz => Some(Purpose::Everything),
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Tidy => "tidy",
            Self::Ebpf => "ebpf",
            Self::Clippy => "clippy",
            Self::Unit => "unit",
            Self::Kernel => "kernel",
            Self::Release => "release",
            Self::EndToEnd => "end-to-end",
            Self::Fuzz => "fuzz",
        }
    }

    pub const fn about(self) -> &'static str {
        match self {
            Self::Format => "rustfmt has nothing to change",
            Self::Tidy => "the rules of the house",
            Self::Ebpf => "the kernel half builds",
            Self::Clippy => "no warning",
            Self::Unit => "pure code, natively",
            Self::Kernel => "the fast path in the kernel's own test-run",
            Self::Release => "the balancer as it is shipped",
            Self::EndToEnd => "real origins, publishers and players over network namespaces",
            Self::Fuzz => "a short hunt with every fuzz target",
        }
    }

    pub fn run(self, plan: &Plan) -> Outcome {
        let outcome = match self {
            Self::Format => once(format()),
            Self::Tidy => once(tidy::run()),
            Self::Ebpf => once(ebpf::build()),
            Self::Clippy => {
                once(repo::run(repo::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])))
            }
            Self::Unit => tests(&mut unit(plan)),
            Self::Kernel if !repo::is_root() => Ok(Outcome::Skipped("only root may load a program".to_owned())),
            Self::Kernel => tests(&mut [kernel(plan)]),
            Self::Release => once(repo::run(repo::cargo().args(["build", "--release", "--package", "balancer"]))),
            Self::EndToEnd if !repo::is_root() => {
                Ok(Outcome::Skipped("only root may make network namespaces".to_owned()))
            }
            Self::EndToEnd => repo::run(&mut build::lab_rtc()).and_then(|()| tests(&mut [end_to_end(plan)])),
            Self::Fuzz => Ok(fuzz_all(plan)),
        };
        outcome.unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")))
    }
}

impl Outcome {
    pub fn count(&self) -> Count {
        match self {
            Self::Ran(count) => *count,
            Self::Skipped(_) => Count::SKIPPED,
            Self::Failed(_) => Count::FAILED,
        }
    }

    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Ran(_) => None,
            Self::Skipped(why) | Self::Failed(why) => Some(why),
        }
    }

    /// Where a skip may not hide a missing kernel feature, it is a failure.
    pub fn judged(self, rung: Rung, plan: &Plan) -> Self {
        let kernel = matches!(rung, Rung::Kernel | Rung::EndToEnd);
        match self {
            Self::Skipped(why) if plan.strict && kernel => Self::Failed(format!("skipped: {why}")),
            Self::Ran(count) if plan.strict && kernel && count.skipped > 0 => {
                Self::Ran(Count { failed: count.failed + count.skipped, skipped: 0, ..count })
            }
            other => other,
        }
    }
}

/// A step without tests of its own counts as one.
fn once(result: Result<()>) -> Result<Outcome> {
    result.map(|()| Outcome::Ran(Count::PASSED))
}

fn format() -> Result<()> {
    repo::run(repo::cargo().args(["fmt", "--all", "--check"]))?;
    // Outside of the workspace: another target, another tool chain.
    for folder in ["balancer-ebpf", "fuzz"] {
        let folder = repo::root().join(folder);
        if folder.join("Cargo.toml").is_file() {
            repo::run(repo::cargo().args(["fmt", "--check"]).current_dir(folder))?;
        }
    }
    Ok(())
}

fn cargo_test(arguments: &[&str], plan: &Plan, more: &[&str]) -> Command {
    let mut command = repo::cargo();
    command.args(["test", "--no-fail-fast"]).args(arguments).arg("--").args(more).args(&plan.tests);
    command
}

fn unit(plan: &Plan) -> Vec<Command> {
    let workspace = ["--workspace", "--exclude", "balancer-lab", "--exclude", "balancer-lab-rtc"];
    let mut commands = vec![cargo_test(&[&workspace[..], &["--lib", "--bins"]].concat(), plan, &[])];
    // Those of `balancer` and of the lab are rungs of their own.
    if repo::root().join("balancer-common/tests").is_dir() {
        commands.push(cargo_test(&["--package", "balancer-common", "--test", "*"], plan, &[]));
    }
    commands.push(cargo_test(&[&workspace[..], &["--doc"]].concat(), plan, &[]));
    commands
}

/// The output of a passing test is shown for the sake of its `skipped:` line.
const SHOW: &str = "--show-output";

fn kernel(plan: &Plan) -> Command {
    cargo_test(&["--package", "balancer", "--test", "*"], plan, &[SHOW])
}

fn end_to_end(plan: &Plan) -> Command {
    // Each test runs half a dozen processes, most of them waiting.
    let threads = format!("--test-threads={}", available_parallelism().map_or(2, usize::from).clamp(2, 8));
    let packages = ["--package", "balancer-lab", "--package", "balancer-lab-rtc", "--release"];
    let mut command = cargo_test(&packages, plan, &[SHOW, &threads]);
    command.env("BALANCER_BIN", repo::built("release", "balancer"));
    command
}

fn tests(commands: &mut [Command]) -> Result<Outcome> {
    let mut sum = Count::default();
    for command in commands {
        let Ended { status, counter, timed_out } = stream::run(command, TIME_MAX)?;
        sum += counter.count();
        for why in &counter.skips {
            eprintln!("skipped: {why}");
        }
        if timed_out {
            eprintln!("{} took more than {} s", repo::show(command), TIME_MAX.as_secs());
        }
        // Nothing failed that was counted, and yet it failed: a build, a crash or the time limit.
        if !status.success() && counter.count().failed == 0 {
            sum += Count::FAILED;
        }
    }
    Ok(Outcome::Ran(sum))
}

fn fuzz_all(plan: &Plan) -> Outcome {
    let targets = fuzz::targets();
    if targets.is_empty() {
        return Outcome::Skipped("no fuzz target".to_owned());
    }
    if !fuzz::possible() {
        return Outcome::Skipped("no nightly compiler with cargo-fuzz".to_owned());
    }
    let mut sum = Count::default();
    for target in targets {
        sum += match fuzz::hunt(&target, plan.fuzz_seconds) {
            Ok(()) => Count::PASSED,
            Err(error) => {
                eprintln!("fuzz: {error:#}");
                Count::FAILED
            }
        };
    }
    Outcome::Ran(sum)
}
