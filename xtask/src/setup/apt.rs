//! Packages on Debian and its children. Nothing that a package brings is started or left enabled by us.

use super::say;
use crate::repo;
use anyhow::{Result, bail};
use std::process::Command;

/// Run as root with the packages as its arguments.
///
/// Debian starts and enables a server as soon as it is installed. The tests start their own, inside their own network
/// namespaces: `policy-rc.d` forbids the start, unless the machine's owner has one already, and where systemd runs, the
/// units that are new are disabled, so that the next boot does not start them either. What a new package would push out
/// (another compiler, say) is its owner's to remove: then nothing is installed.
const INSTALL: &str = r#"
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
units=
for unit in nginx redis-server haproxy keepalived bird; do
    [ -e "/lib/systemd/system/$unit.service" ] || units="$units $unit"
done
apt-get install -y -q --no-remove --no-install-recommends -o Dpkg::Use-Pty=0 "$@"
if [ -d /run/systemd/system ]; then
    for unit in $units; do
        [ ! -e "/lib/systemd/system/$unit.service" ] || systemctl disable --quiet "$unit" || true
    done
fi
"#;

pub fn available() -> bool {
    repo::find_program("apt-get").is_some() && repo::find_program("dpkg").is_some()
}

/// Installs packages, with fresh lists when the present ones do not know them or are out of date.
pub fn install(packages: &[&str]) -> Result<()> {
    say(&format!("installing {}", packages.join(" ")));
    let known = all_known(packages);
    if !known {
        update();
        if !all_known(packages) {
            bail!("no package source of this machine has all of: {}", packages.join(" "));
        }
    }
    let first = install_once(packages);
    if first.is_ok() || !known {
        return first;
    }
    update();
    install_once(packages)
}

fn install_once(packages: &[&str]) -> Result<()> {
    repo::run(privileged("sh").args(["-e", "-c", INSTALL, "install"]).args(packages))
        .map_err(|_| anyhow::anyhow!("apt-get could not install {}", packages.join(" ")))
}

/// A source that does not answer is not fatal: the others may have what is wanted.
fn update() {
    say("fetching package lists");
    if let Err(error) = repo::run(privileged("apt-get").args(["update", "-q"])) {
        say(&format!("{error:#}"));
    }
}

/// Whether each has a version to install.
fn all_known(packages: &[&str]) -> bool {
    let known = |package: &&str| {
        let policy = repo::read(Command::new("apt-cache").args(["policy", package]).env("LC_ALL", "C"));
        let policy = policy.unwrap_or_default();
        policy.lines().any(|line| line.trim().starts_with("Candidate:") && !line.contains("(none)"))
    };
    packages.iter().all(known)
}

fn privileged(program: &str) -> Command {
    let mut command = Command::new("env");
    if !repo::is_root() {
        command = Command::new("sudo");
        command.arg("env");
    }
    command.args(["DEBIAN_FRONTEND=noninteractive", program]);
    command
}
