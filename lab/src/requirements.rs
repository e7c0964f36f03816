//! What a test needs of the machine. Where something is missing a test is skipped and says why; in CI (the variable
//! `CI` is set) a skip is a failure.

use crate::balancer::binary;
use crate::origin::{node_media, srt};
use crate::{clock, rtc, sys};
use std::path::{Path, PathBuf};

/// Debian's own, which has the bindings that Debian packages.
pub const SYSTEM_PYTHON: &str = "/usr/bin/python3";

/// Where `cargo xtask setup` puts what comes from npm.
pub fn node_modules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/node/node_modules")
}

fn rtsp_bindings() -> PathBuf {
    let folder = format!("/usr/lib/{}-linux-gnu/girepository-1.0", std::env::consts::ARCH);
    Path::new(&folder).join("GstRtspServer-1.0.typelib")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Root, and the tools that make and shape networks.
    Network,
    /// nginx with its RTMP module, and ffmpeg.
    Media,
    /// node-media-server, for FLV.
    Flv,
    /// curl.
    Web,
    /// GStreamer's RTSP server.
    Rtsp,
    /// libsrt and its tools.
    Srt,
    /// The WebRTC origin and client of `lab/rtc`.
    Rtc,
    /// aiortc, which encodes and decodes.
    Aiortc,
    /// keepalived, bird, and curl for their scripts.
    Announcing,
    /// A browser without a screen.
    Browser,
    /// Redis, with its Sentinel and its command line.
    Redis,
    /// What makes a process believe another time.
    Clock,
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
        Need::Network => tools(&[
            ("ip", "iproute2"),
            ("tc", "iproute2"),
            ("nsenter", "util-linux"),
            ("nft", "nftables"),
            ("ethtool", "ethtool"),
        ]),
        Need::Media if !Path::new(crate::origin::RTMP_MODULE).exists() => {
            Some(format!("{} is not there: apt-get install libnginx-mod-rtmp", crate::origin::RTMP_MODULE))
        }
        Need::Media => tools(&[("ffmpeg", "ffmpeg"), ("nginx", "nginx")]),
        Need::Flv => node_media::program()
            .err()
            .map(|error| error.to_string())
            .or_else(|| tools(&[("node", "nodejs"), ("ffmpeg", "ffmpeg")])),
        Need::Web => tools(&[("curl", "curl")]),
        Need::Rtsp if !rtsp_bindings().exists() => {
            let path = rtsp_bindings();
            Some(format!("{} is not there: apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi", path.display()))
        }
        Need::Rtsp => tools(&[("ffmpeg", "ffmpeg")]),
        Need::Srt => srt::program()
            .err()
            .map(|error| error.to_string())
            .or_else(|| tools(&[("srt-live-transmit", "srt-tools libsrt1.5-gnutls"), ("ffmpeg", "ffmpeg")])),
        Need::Rtc => rtc::binary().err().map(|error| error.to_string()),
        Need::Aiortc => rtc::python().err().map(|error| error.to_string()),
        Need::Announcing => tools(&[("keepalived", "keepalived"), ("bird", "bird2"), ("curl", "curl")]),
        Need::Browser => tools(&[("chromium", "chromium")]),
        Need::Redis => tools(&[("redis-server", "redis-server"), ("redis-cli", "redis-tools")]),
        Need::Clock if clock::library().exists() => None,
        Need::Clock => Some(format!("{} is not there: apt-get install faketime", clock::library().display())),
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
