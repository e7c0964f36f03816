//! The files that are asked for, and nginx, which serves them.

use crate::middle::{nginx_globals, nginx_http};
use anyhow::Result;
use balancer_lab::data_centre::DataCentre;
use balancer_lab::process::Process;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const START_WITHIN: Duration = Duration::from_secs(60);

/// One of the files, and how often it is asked for in a round: not much over a second's work on two CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    Playlist,
    Segment,
    LongSegment,
}

impl File {
    pub const ALL: [Self; 3] = [Self::Playlist, Self::Segment, Self::LongSegment];

    pub fn name(self) -> &'static str {
        match self {
            Self::Playlist => "1 KB",
            Self::Segment => "100 KB",
            Self::LongSegment => "1 MB",
        }
    }

    /// All three of one stream, by the names that HLS packagers give them.
    pub fn path(self) -> &'static str {
        match self {
            Self::Playlist => "/live/s1.m3u8",
            Self::Segment => "/live/s1-7.ts",
            Self::LongSegment => "/live/s1-8.ts",
        }
    }

    pub fn bytes(self) -> usize {
        match self {
            Self::Playlist => 1000,
            Self::Segment => 100_000,
            Self::LongSegment => 1_000_000,
        }
    }

    /// The playlist is one: who reads it finds what it expects.
    fn content(self) -> Vec<u8> {
        let mut text = String::new();
        if self == Self::Playlist {
            text.push_str("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n");
            let segments = (7..).map(|number| format!("#EXTINF:2.000,\ns1-{number}.ts\n"));
            segments.take(35).for_each(|segment| text.push_str(&segment));
        }
        let mut content = text.into_bytes();
        content.resize(self.bytes(), b'#');
        content
    }

    pub fn requests(self) -> usize {
        match self {
            Self::Playlist => 15_000,
            Self::Segment => 1500,
            Self::LongSegment => 150,
        }
    }
}

pub struct FileOrigin {
    _process: Process,
}

impl FileOrigin {
    pub fn start(dc: &DataCentre, at: SocketAddr) -> Result<Self> {
        let root = dc.directory().join("www");
        std::fs::create_dir_all(root.join("live"))?;
        for file in File::ALL {
            std::fs::write(root.join(&file.path()[1..]), file.content())?;
        }
        let configuration = format!(
            "{}http {{\n{}keepalive_requests 1000000;\nserver {{ listen {at}; root {}; }}\n}}\n",
            nginx_globals(dc, "origin"),
            nginx_http(dc, "origin"),
            root.display()
        );
        let file = dc.directory().join("origin.conf");
        std::fs::write(&file, configuration)?;
        let netns = &dc.origins[0].netns;
        let mut process = Process::start(netns, dc.directory(), "origin", "nginx", |command| {
            command.arg("-c").arg(&file);
        })?;
        process.wait_ready("the origin to listen", START_WITHIN, || {
            netns.run(|| TcpStream::connect_timeout(&at, Duration::from_secs(1)).is_ok()).unwrap_or(false)
        })?;
        Ok(Self { _process: process })
    }
}
