//! The project's own chores: one verb, one file. Nothing of the balancer is linked in here; its processes are started.

mod bench;
mod build;
mod demo;
mod ebpf;
mod fuzz;
mod repo;
mod run;
mod setup;
mod test;
mod tidy;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own chores", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what building and testing need and this machine lacks
    Setup(setup::Arguments),
    /// Build the kernel half and the balancer
    Build(build::Arguments),
    /// Build, then run the balancer on this host: `cargo xtask run -- [flags of balancer run]`
    Run(run::Arguments),
    /// Show a small data centre on this machine, with a live table
    Demo(demo::Arguments),
    /// Climb the whole test ladder
    Test(test::Arguments),
    /// Measure, and write tables, JSON and plots under docs/bench
    Bench(bench::Arguments),
    /// Hunt with the fuzz targets
    Fuzz(fuzz::Arguments),
    /// Check the rules of the house that the compiler does not know
    Tidy,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::Setup(arguments) => setup::run(&arguments),
        Verb::Build(arguments) => build::run(&arguments),
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Demo(arguments) => demo::run(&arguments),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Fuzz(arguments) => fuzz::run(&arguments),
        Verb::Tidy => tidy::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
