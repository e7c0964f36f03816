//! What may stand on the command line. The flags of the settings are made from their table.

use super::ask::{VIEWS, View};
use crate::config::table::{SETTINGS, Setting};
use crate::config::text;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use clap_complete::Shell;
use std::path::PathBuf;

pub fn command() -> Command {
    Command::new("balancer")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A load balancer for live video that forwards in the kernel")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(
            "Start with `balancer check`, then `balancer run`. `balancer help COMMAND` explains a command.\n\
             Exit status: 0 done, 1 it failed, 2 the command or the configuration is wrong.",
        )
        .subcommand(run())
        .subcommand(check())
        .subcommands(VIEWS.iter().map(view))
        .subcommand(drain())
        .subcommand(origin("undrain").about("Let a drained origin take new streams again, or this balancer clients"))
        .subcommand(unload())
        .subcommand(Command::new("example-config").about("Print a balancer.toml with every setting explained"))
        .subcommand(
            Command::new("completions")
                .about("Print completions for a shell")
                .after_help("Example:  balancer completions bash > /etc/bash_completion.d/balancer")
                .arg(Arg::new("shell").value_name("SHELL").required(true).value_parser(value_parser!(Shell))),
        )
}

fn run() -> Command {
    with_settings(Command::new("run"), |_| true)
        .about("Balance: listen on the VIPs, place streams on origins, forward in the kernel")
        .after_help(
            "Each setting comes from its flag, else its environment variable, else the configuration file, else the \
             default.\n\n\
             Examples:\n  \
             balancer run\n  \
             balancer run --interface eth0 --vip 192.0.2.10 --allow-register 10.0.0.0/8\n  \
             PROXY_RTMP_SERVER=11935 balancer run --print-config",
        )
        .arg(
            Arg::new("print_config")
                .long("print-config")
                .action(ArgAction::SetTrue)
                .help("Print the resulting settings, where each came from, and end"),
        )
}

fn check() -> Command {
    with_settings(Command::new("check"), |_| true)
        .about("Look over settings and host: is everything there that `run` with the same flags needs?")
        .after_help(
            "Changes nothing, and may run beside a running balancer, whose origins it then tries to reach. What keeps \
             the kernel from forwarding is a warning with --xdp-mode auto (all would be relayed) and an error with \
             native or generic. Exit status 1 if there is an error.",
        )
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print the findings as JSON"))
}

fn view(view: &'static View) -> Command {
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print the system API's answer unchanged");
    let example =
        format!("Example:  balancer {0}\n          balancer {0} --system-api 10.0.0.5:12025 --json", view.command);
    asking(Command::new(view.command)).about(view.about).after_help(example).arg(json)
}

fn drain() -> Command {
    let duration = |name: &'static str| {
        Arg::new(name).long(name).value_name("DURATION").value_parser(|text: &str| {
            (text::DURATION.parse)(text).map_err(|fault| format!("{}: {}", fault.what, fault.remedy))
        })
    };
    origin("drain")
        .about("Let an origin run empty: no new streams, live ones stay until they end; or this balancer")
        .arg(duration("deadline").help("When what is left is reset [default: never]"))
        .arg(
            Arg::new("wait")
                .long("wait")
                .action(ArgAction::SetTrue)
                .help("Show how many flows are left, until there are none"),
        )
        .arg(duration("timeout").requires("wait").help("How long to wait at most [default: for ever]"))
        .after_help(
            "A balancer that drains (--self) says so at /readyz and by its announce_command, so that clients go to others. \
             Its flows go on, and who still comes is served.\n\n\
             Examples:\n  \
             balancer drain o1 --deadline 10m --wait && ssh o1 systemctl stop srs\n  \
             balancer drain --self --wait --timeout 1h\n\n\
             Exit status: 0 done, and with --wait nothing is left; 1 it failed, or it is not drained any more; 2 the command \
             is wrong; 3 the timeout has come and flows are left.",
        )
}

fn origin(verb: &'static str) -> Command {
    let id = Arg::new("origin").value_name("ORIGIN").help("Its id, as `balancer origins` shows it");
    let own = Arg::new("self").long("self").action(ArgAction::SetTrue).help("The balancer that is asked");
    let which = ArgGroup::new("which").args(["origin", "self"]).required(true);
    asking(Command::new(verb)).arg(id).arg(own).group(which)
}

/// Adds what finds a running balancer.
fn asking(command: Command) -> Command {
    with_settings(command, |row| ["system_api", "token", "token_file"].contains(&row.name))
}

fn unload() -> Command {
    with_settings(Command::new("unload"), |row| row.name == "pin_path")
        .about("Take the fast path off this host: programs, links, maps and pins; flows in the kernel end")
        .after_help("Stop the balancer first. Nothing loaded is fine: it says so and succeeds.")
}

/// Adds `--config` and the flags of the chosen settings.
fn with_settings(command: Command, chosen: fn(&Setting) -> bool) -> Command {
    let config =
        Arg::new("config").long("config").value_name("FILE").value_parser(value_parser!(PathBuf)).help(
            "Configuration file [env: BALANCER_CONFIG] [default: ./balancer.toml, else /etc/balancer/balancer.toml]",
        );
    command.arg(config).args(SETTINGS.iter().filter(|row| chosen(row)).map(flag))
}

fn flag(row: &'static Setting) -> Arg {
    let (short, _) = row.help.split_once('\n').unwrap_or((row.help, ""));
    let default = match (row.default, row.unset) {
        ("", unset) => format!("[unset: {unset}]"),
        (default, _) => format!("[default: {default}]"),
    };
    let variables: Vec<&str> = std::iter::once(row.variable()).chain(row.proxy.iter().copied()).collect();
    let range = row.within.map(|(least, greatest)| format!("\n[from {least} to {greatest}]")).unwrap_or_default();
    let arg = Arg::new(row.name)
        .long(row.flag())
        .value_name(row.value)
        .help_heading(row.group.title())
        .help(format!("{short} {default}"))
        .long_help(format!("{}\n\n{default}{range}\n[env: {}]", row.help, variables.join(", ")))
        .action(if row.is_list() { ArgAction::Append } else { ArgAction::Set });
    match row.choices {
        [] => arg,
        choices => arg.value_parser(PossibleValuesParser::new(choices)),
    }
}

pub fn completions(args: &ArgMatches) -> String {
    let mut script = Vec::new();
    if let Some(shell) = args.get_one::<Shell>("shell").copied() {
        clap_complete::generate(shell, &mut command(), "balancer", &mut script);
    }
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_setting_is_a_flag_with_its_default_and_variables_in_the_help() {
        let mut run = command().find_subcommand("run").unwrap().clone();
        let help = run.render_long_help().to_string();
        for row in SETTINGS {
            assert!(help.contains(&format!("--{} <", row.flag())), "{}", row.name);
            assert!(help.contains(row.variable()) && help.contains(row.default), "{}", row.name);
        }
    }

    #[test]
    fn lists_repeat_and_single_values_do_not() {
        let parse = |args: &[&str]| command().try_get_matches_from([&["balancer", "run"], args].concat());
        assert!(parse(&["--vip", "192.0.2.1", "--vip", "192.0.2.2"]).is_ok());
        assert!(parse(&["--policy", "least-load", "--policy", "round-robin"]).is_err());
        assert!(parse(&["--policy", "least"]).is_err());
    }
}
