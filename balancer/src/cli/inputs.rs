//! From what clap found and the process's environment to the inputs of the configuration.

use crate::config::host::HostFacts;
use crate::config::layers::Inputs;
use crate::config::table::SETTINGS;
use clap::ArgMatches;
use clap::parser::ValueSource;
use std::fs;
use std::path::PathBuf;

pub fn inputs(args: &ArgMatches) -> Inputs<'static> {
    Inputs { host: HostFacts::look(), ..without_host(args) }
}

/// For commands whose settings do not depend on the host.
pub fn without_host(args: &ArgMatches) -> Inputs<'static> {
    let flags = SETTINGS.iter().filter_map(|row| {
        // A command may have only some of the flags.
        let given = args.try_contains_id(row.name).unwrap_or(false);
        let given = given && args.value_source(row.name) == Some(ValueSource::CommandLine);
        given.then(|| (row.name, args.get_many::<String>(row.name).into_iter().flatten().cloned().collect()))
    });
    // Variables that are not Unicode cannot be ours.
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Inputs {
        config: args.get_one::<PathBuf>("config").cloned(),
        flags: flags.collect(),
        environment: variables.collect(),
        read: &|path| fs::read_to_string(path),
        host: HostFacts::default(),
    }
}
