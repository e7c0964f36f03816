//! The commands. Each module takes what [`args`] found and does one of them; deciding what a setting is belongs to
//! [`crate::config`].

mod args;
mod ask;
mod check;
mod client;
mod inputs;
mod logging;
mod output;
mod run;
mod unload;

use clap::ArgMatches;
use std::process::ExitCode;

/// Something did not work.
const FAILURE: u8 = 1;
/// The command or the configuration is wrong: trying again without changing it is useless.
const USAGE: u8 = 2;
const TIME_OVER: u8 = 3;

/// The time to wait is over, what was waited for has not come.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct TimeOver(String);

/// The command has said itself what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("failed")]
struct Failed;

/// The whole program, from the process's arguments to its exit status.
pub fn main() -> ExitCode {
    let matches = match args::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version come this way too, with status 0.
            let status = if error.use_stderr() { USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    let Err(error) = dispatch(&matches) else { return ExitCode::SUCCESS };
    if error.is::<Failed>() {
        return ExitCode::from(FAILURE);
    }
    let is_usage = error.is::<crate::config::problem::ConfigError>();
    for line in format!("{error:#}").lines() {
        eprintln!("balancer: {line}");
    }
    ExitCode::from(match () {
        () if is_usage => USAGE,
        () if error.is::<TimeOver>() => TIME_OVER,
        () => FAILURE,
    })
}

fn dispatch(matches: &ArgMatches) -> anyhow::Result<()> {
    let Some((command, args)) = matches.subcommand() else { unreachable!("clap demands a command") };
    match command {
        "run" => run::run(args),
        "check" => check::check(args),
        "drain" => ask::drain(args),
        "undrain" => ask::undrain(args),
        "unload" => unload::unload(args),
        "example-config" => Ok(output::emit(&crate::config::show::example())?),
        "completions" => Ok(output::emit(&args::completions(args))?),
        _ => match ask::VIEWS.iter().find(|view| view.command == command) {
            Some(view) => ask::show(view, args),
            None => unreachable!("clap knows the commands"),
        },
    }
}
