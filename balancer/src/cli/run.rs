//! `balancer run`: settings, log, runtime, and over to [`crate::app`].

use super::{inputs, logging, output};
use crate::config::problem::ConfigError;
use crate::config::resolve::{Resolved, resolve};
use crate::config::{show, validate};
use anyhow::Context;
use clap::ArgMatches;

pub fn run(args: &ArgMatches) -> anyhow::Result<()> {
    let inputs = inputs::inputs(args);
    let resolved = resolve(&inputs)?;
    if args.get_flag("print_config") {
        for warning in &resolved.warnings {
            eprintln!("balancer: warning: {warning}");
        }
        return Ok(output::emit(&show::print_config(&resolved.draft, &resolved.sources))?);
    }
    let problems = validate::host_problems(&resolved.settings, &resolved.sources, &inputs.host);
    if !problems.is_empty() {
        return Err(ConfigError(problems).into());
    }
    let Resolved { settings, warnings, file, .. } = resolved;
    logging::start(&settings)?;
    if let Some(file) = file {
        tracing::info!(file = %file.display(), "configuration read");
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(crate::app::run(settings))
}
