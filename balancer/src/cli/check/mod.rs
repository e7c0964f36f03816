//! `balancer check`: are the settings right, and is this host ready for them? Changes nothing.
//!
//! Each part first looks, then judges what it saw; the judging is pure and tested with made-up hosts.

mod finding;
mod genetlink;
mod hook;
mod interfaces;
mod network;
mod origins;
mod store;
mod system;
mod tls;

use super::client::Client;
use super::{Failed, inputs, output};
use crate::config::XdpMode;
use crate::config::layers::Inputs;
use crate::config::resolve::resolve;
use clap::ArgMatches;
use finding::{Findings, Level};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// For a balancer on this host to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

pub fn check(args: &ArgMatches) -> anyhow::Result<()> {
    let findings = findings(&inputs::inputs(args));
    let text = match args.get_flag("json") {
        true => format!("{:#}\n", findings.to_json()),
        false => findings.to_text(),
    };
    output::emit(&text)?;
    // The findings have said all there is to say.
    if findings.count(Level::Error) > 0 { Err(Failed.into()) } else { Ok(()) }
}

fn findings(inputs: &Inputs) -> Findings {
    let resolved = match resolve(inputs) {
        Ok(resolved) => resolved,
        Err(error) => {
            let mut findings = Findings::new(XdpMode::Auto);
            for problem in error.0 {
                let source = problem.source.map(|source| format!(" (from {source})")).unwrap_or_default();
                findings.error("settings", format!("{}: {}{source}", problem.setting, problem.what), &problem.remedy);
            }
            findings.warn("settings", "the host is not looked at before they are right", "");
            return findings;
        }
    };
    let settings = &resolved.settings;
    let mut findings = Findings::new(settings.xdp_mode);
    let from = resolved.file.as_ref().map_or("no configuration file".into(), |file| file.display().to_string());
    findings.ok("settings", format!("valid, {from}; `balancer run --print-config` shows them"));
    for warning in &resolved.warnings {
        findings.warn("settings", warning, "");
    }
    if let Some(file) = &resolved.draft.token_file
        && is_readable_by_all(file)
    {
        let what = format!("token_file: {} is readable by everybody on this host", file.display());
        findings.warn("settings", what, &format!("chmod 600 {}", file.display()));
    }
    let client = Client::to(settings.system_api, "the settings".into(), settings.token.clone(), ASK_TIMEOUT);
    let is_running = origins::is_running(&client);
    system::System::look().judge(settings, &mut findings);
    interfaces::look_and_judge(settings, &inputs.host, &mut findings);
    network::judge(settings, &resolved.sources, &inputs.host, is_running, &mut findings);
    tls::look_and_judge(settings, &mut findings);
    hook::look_and_judge(settings, &mut findings);
    store::look_and_judge(settings, &mut findings);
    origins::judge(settings, &client, is_running, &mut findings);
    findings
}

fn is_readable_by_all(file: &Path) -> bool {
    const READ_BY_OTHERS: u32 = 0o004;
    fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & READ_BY_OTHERS != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixtures;

    #[test]
    fn wrong_settings_are_findings_with_their_source() {
        let findings = findings(&fixtures::flags(&[("vip", "example.com")]));
        assert_eq!(findings.count(Level::Error), 1);
        assert_eq!(findings.all[0].what, "vip: \"example.com\" is not an IP address (from --vip)");
        assert_eq!(findings.all[0].remedy, "write 192.0.2.10 or 2001:db8::10");
    }
}
