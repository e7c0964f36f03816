//! What a test needs of the machine. Where something is missing a test is skipped and says why; in CI (the variable
//! `CI` is set) a skip is a failure.

use crate::balancer::binary;
use crate::sys;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Root, and the tools that make and shape networks.
    Network,
    /// nginx with its RTMP module, and ffmpeg.
    Media,
    /// The binary under test.
    Balancer,
}

/// True if everything is there; otherwise says what is not.
///
/// # Panics
/// If something is missing in CI.
pub fn met(needs: &[Need]) -> bool {
    let Some(missing) = needs.iter().find_map(|&need| missing(need)) else { return true };
    assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "cannot be skipped in CI: {missing}");
    eprintln!("skipped: {missing}");
    false
}

fn missing(need: Need) -> Option<String> {
    match need {
        Need::Network if !sys::is_root() => Some("network namespaces want root".into()),
        Need::Network => {
            tools(&[("ip", "iproute2"), ("nsenter", "util-linux"), ("nft", "nftables"), ("ethtool", "ethtool")])
        }
        Need::Media if !Path::new(crate::origin::RTMP_MODULE).exists() => {
            Some(format!("{} is not there: apt-get install libnginx-mod-rtmp", crate::origin::RTMP_MODULE))
        }
        Need::Media => tools(&[("ffmpeg", "ffmpeg"), ("nginx", "nginx")]),
        Need::Balancer => binary().err().map(|error| error.to_string()),
    }
}

fn tools(wanted: &[(&str, &str)]) -> Option<String> {
    let (tool, package) = wanted.iter().find(|(tool, _)| !is_on_path(tool))?;
    Some(format!("no {tool} on the path: apt-get install {package}"))
}

pub fn is_on_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(tool).is_file())
}
