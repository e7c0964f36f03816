//! The real servers and clients that the tests, the demo and the benches play with: nothing here is a part of the
//! balancer, and a program that is present counts, wherever it came from.

use super::apt;
use crate::repo;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

enum Sign {
    /// On `PATH`.
    Program(&'static str),
    /// A module of nginx; its folder.
    Nginx(&'static str),
    /// A plug-in of GStreamer.
    Gstreamer(&'static str),
    /// A library's description for other languages.
    Introspected(&'static str),
    /// A library that a program of the lab loads.
    Library(&'static str),
    /// A module of the system's own Python.
    Python(&'static str),
    /// A module of the standard library, which a distribution may have cut off it.
    StandardPython(&'static str),
}

struct Program {
    sign: Sign,
    package: &'static str,
}

const fn program(name: &'static str, package: &'static str) -> Program {
    Program { sign: Sign::Program(name), package }
}

const PROGRAMS: [Program; 34] = [
    // namespaces, loss, offloads
    program("ip", "iproute2"),
    program("ethtool", "ethtool"),
    program("nft", "nftables"),
    program("sysctl", "procps"),
    // origins
    program("nginx", "nginx"),
    Program { sign: Sign::Nginx("ngx_rtmp_module.so"), package: "libnginx-mod-rtmp" },
    // publishers and players
    program("ffmpeg", "ffmpeg"),
    program("rtmpdump", "rtmpdump"),
    program("gst-launch-1.0", "gstreamer1.0-tools"),
    Program { sign: Sign::Gstreamer("libgstvideotestsrc.so"), package: "gstreamer1.0-plugins-base" },
    Program { sign: Sign::Gstreamer("libgstflv.so"), package: "gstreamer1.0-plugins-good" },
    Program { sign: Sign::Gstreamer("libgstrtmp2.so"), package: "gstreamer1.0-plugins-bad" },
    Program { sign: Sign::Gstreamer("libgstx264.so"), package: "gstreamer1.0-plugins-ugly" },
    Program { sign: Sign::Gstreamer("libgstlibav.so"), package: "gstreamer1.0-libav" },
    program("curl", "curl"),
    program("python3", "python3"),
    Program { sign: Sign::Python("gi"), package: "python3-gi" },
    Program { sign: Sign::StandardPython("ensurepip"), package: "python3-venv" },
    Program { sign: Sign::Introspected("GstRtspServer-1.0.typelib"), package: "gir1.2-gst-rtsp-server-1.0" },
    program("node", "nodejs"),
    program("npm", "npm"),
    program("chromium", "chromium"),
    Program { sign: Sign::Library("libsrt-gnutls.so.1.5"), package: "libsrt1.5-gnutls" },
    program("srt-live-transmit", "srt-tools"),
    // state, and the peers of the benches
    program("redis-server", "redis-server"),
    program("haproxy", "haproxy"),
    Program { sign: Sign::Nginx("ngx_stream_module.so"), package: "libnginx-mod-stream" },
    program("h2load", "nghttp2-client"),
    program("wrk", "wrk"),
    // what moves addresses between balancers
    program("keepalived", "keepalived"),
    program("bird", "bird2"),
    // clocks that are wrong
    program("faketime", "faketime"),
    // compilers of C in our dependencies and of the fuzzer's runtime
    program("cc", "gcc"),
    program("c++", "g++"),
];

pub fn count() -> usize {
    PROGRAMS.len()
}

/// The packages of the programs that are not there.
pub fn absent() -> Vec<&'static str> {
    PROGRAMS.iter().filter(|program| !program.sign.seen()).map(|program| program.package).collect()
}

pub fn remedy(absent: &[&str]) -> String {
    format!("install (names as in Debian): {}", absent.join(" "))
}

pub fn install() -> Result<()> {
    let absent = absent();
    if !apt::available() {
        bail!("this machine has no apt; {}", remedy(&absent));
    }
    apt::install(&absent)
}

impl Sign {
    fn seen(&self) -> bool {
        match self {
            Self::Program(name) => repo::find_program(name).is_some(),
            Self::Nginx(module) => ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules"]
                .iter()
                .any(|folder| Path::new(folder).join(module).is_file()),
            Self::Gstreamer(plugin) => library_has("gstreamer-1.0", plugin),
            Self::Library(file) => library_has("", file),
            Self::Python(module) => Path::new("/usr/lib/python3/dist-packages").join(module).is_dir(),
            Self::StandardPython(module) => {
                repo::read(Command::new("python3").args(["-c", &format!("import {module}")])).is_some()
            }
            Self::Introspected(library) => library_has("girepository-1.0", library),
        }
    }
}

/// Whether a file is in this folder of any of the places where distributions keep libraries.
fn library_has(folder: &str, file: &str) -> bool {
    let triplet = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    [&triplet, "/usr/lib64", "/usr/lib"].iter().any(|place| Path::new(place).join(folder).join(file).is_file())
}
