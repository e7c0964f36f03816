//! WebRTC: the origin and the client of `lab-rtc`, aiortc and Chromium, each a process on a host. What they say about
//! themselves is JSON, and is read here; nothing here speaks ICE or RTP.

mod aiortc;
mod client;
mod origin;
mod page;
pub mod stun;

pub use aiortc::Aiortc;
pub use client::{RtcClient, Seen};
pub use origin::{OriginStats, RtcOrigin};
pub use page::{PageSeen, RtcPage};

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// The port for all media, of origins and of the balancer.
pub const RTC_PORT: u16 = 8000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtcRole {
    Publish,
    Play,
}

impl RtcRole {
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Play => "play",
        }
    }

    /// The path of WHIP or WHEP for a stream.
    pub fn path(self, app: &str, stream: &str) -> String {
        let kind = if self == Self::Publish { "whip" } else { "whep" };
        format!("/rtc/v1/{kind}/?app={app}&stream={stream}")
    }
}

/// `LAB_RTC_BIN`, or the release build of this checkout.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("LAB_RTC_BIN") {
        return Ok(path.into());
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let path = target.join("release/lab-rtc");
    if !path.exists() {
        bail!("{} is not there: `cargo build --release --package balancer-lab-rtc` makes it", path.display());
    }
    Ok(path)
}

/// aiortc's interpreter, which `cargo xtask setup` makes.
pub fn python() -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/bin/python");
    if !path.exists() {
        bail!("{} is not there: `cargo xtask setup` makes it", path.display());
    }
    Ok(path)
}
