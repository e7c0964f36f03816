//! ffmpeg as publisher and as player. What is published is encoded once and then only read, so that many publishers
//! cost little; players decode every frame and count.

use crate::net::{self, Netns};
use crate::process::Process;
use crate::{sys, wait};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two attempts of a publisher.
const RETRY: Duration = Duration::from_millis(200);

/// A few seconds of test picture and tone, encoded once: 320x180, 25 frames a second, a key frame every second.
#[derive(Clone)]
pub struct Clip(PathBuf);

impl Clip {
    pub fn make(directory: &Path) -> Result<Self> {
        let path = directory.join("clip.flv");
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"]);
        command.args(["-f", "lavfi", "-i", "sine=frequency=440", "-t", "10", "-c:v", "libx264"]);
        command.args(["-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p", "-g", "25"]);
        command.args(["-b:v", "300k", "-c:a", "aac", "-b:a", "64k"]).arg(&path);
        net::run(&mut command).context("encode the test clip with ffmpeg")?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Ten seconds of test picture in VP8, with a key frame every second: what `lab-rtc publish --ivf` takes.
pub fn vp8_clip(directory: &Path) -> Result<PathBuf> {
    let path = directory.join("clip.ivf");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-t", "10"]);
    command.args(["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-g", "25", "-b:v", "300k"]).arg(&path);
    net::run(&mut command).context("encode the test clip for WebRTC with ffmpeg")?;
    Ok(path)
}

/// Publishes the clip in a loop, in real time, until dropped; dials again when the connection ends, as an encoder does.
pub struct Publisher {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    attempts: Arc<AtomicU32>,
}

impl Publisher {
    /// By RTMP, RTSP, SRT, or POST to an HTTP URL: FLV, or TS where the URL ends so.
    pub fn start(netns: &Netns, directory: &Path, name: &str, clip: &Clip, url: &str) -> Result<Self> {
        Self::start_with(netns, directory, name, clip, url, &[])
    }

    /// With options for the URL.
    pub fn start_with(
        netns: &Netns,
        directory: &Path,
        name: &str,
        clip: &Clip,
        url: &str,
        options: &[&str],
    ) -> Result<Self> {
        let dial = Dial {
            netns: netns.clone(),
            directory: directory.to_owned(),
            name: format!("publish-{name}"),
            clip: clip.clone(),
            url: url.to_owned(),
            options: options.iter().map(ToString::to_string).collect(),
        };
        let (stop, stopped) = mpsc::channel();
        let attempts = Arc::new(AtomicU32::new(1));
        let counter = attempts.clone();
        let mut process = dial.start()?;
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(RETRY) == Err(mpsc::RecvTimeoutError::Timeout) {
                if process.is_running() {
                    continue;
                }
                match dial.start() {
                    Ok(again) => process = again,
                    Err(error) => return eprintln!("{}: {error:#}", dial.name),
                }
                counter.fetch_add(1, Relaxed);
            }
        });
        Ok(Self { stop: Some(stop), thread: Some(thread), attempts })
    }

    /// How often it dialled.
    pub fn attempts(&self) -> u32 {
        self.attempts.load(Relaxed)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// All that it takes to publish, again and again.
struct Dial {
    netns: Netns,
    directory: PathBuf,
    name: String,
    clip: Clip,
    url: String,
    options: Vec<String>,
}

impl Dial {
    fn start(&self) -> Result<Process> {
        Process::start(&self.netns, &self.directory, &self.name, "ffmpeg", |command| {
            command.args(["-v", "warning", "-re", "-stream_loop", "-1", "-i"]).arg(&self.clip.0);
            command.args(["-c", "copy"]).args(container(&self.url)).args(&self.options).arg(&self.url);
        })
    }
}

/// What a URL wants to be sent, and how.
fn container(url: &str) -> &'static [&'static str] {
    match url.split_once(':') {
        Some(("http", rest)) if rest.ends_with(".ts") => &["-method", "POST", "-f", "mpegts"],
        Some(("http", _)) => &["-method", "POST", "-f", "flv"],
        Some(("rtsp", _)) => &["-f", "rtsp"],
        // As many bytes as one datagram of SRT carries.
        Some(("srt", _)) => &["-f", "mpegts", "-pkt_size", "1316"],
        _ => &["-f", "flv"],
    }
}

/// Plays and decodes until dropped.
pub struct Player {
    process: Process,
    progress: PathBuf,
}

impl Player {
    /// Any URL that ffmpeg can read: RTMP, FLV and TS over HTTP, playlists, RTSP.
    pub fn start(netns: &Netns, directory: &Path, name: &str, url: &str) -> Result<Self> {
        Self::start_with(netns, directory, name, url, &[])
    }

    /// With options for the URL.
    pub fn start_with(netns: &Netns, directory: &Path, name: &str, url: &str, options: &[&str]) -> Result<Self> {
        let progress = directory.join(format!("play-{name}.progress"));
        let process = Process::start(netns, directory, &format!("play-{name}"), "ffmpeg", |command| {
            command.args(["-v", "warning", "-stats_period", "0.1", "-progress"]).arg(&progress);
            // Long enough to meet a key frame, of which the clip has one a second: ffmpeg gives up when it has seen none.
            command.args(["-analyzeduration", "3000000"]).args(options);
            command.args(["-i", url, "-map", "0:v:0", "-f", "null", "-"]);
        })?;
        Ok(Self { process, progress })
    }

    /// Video frames decoded so far.
    pub fn frames(&self) -> u64 {
        let text = std::fs::read_to_string(&self.progress).unwrap_or_default();
        let last = text.lines().rev().find_map(|line| line.strip_prefix("frame="));
        last.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    }

    pub fn wait_frames(&self, frames: u64, within: Duration) -> Result<()> {
        let what = format!("{} decoded frames", frames);
        wait::wait_until(&what, within, || self.frames() >= frames)
            .with_context(|| format!("{} frames decoded\n{}", self.frames(), self.process.tail()))
    }

    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Asks ffmpeg to end as Ctrl-C would: it closes the connection in order.
    pub fn stop(&self) -> Result<()> {
        Ok(sys::send_signal(self.process.pid(), libc::SIGINT)?)
    }

    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// Pulls a stream and cuts it into HLS with fragmented MP4, a second each, until dropped.
pub struct Packager {
    process: Process,
}

impl Packager {
    pub fn start(netns: &Netns, directory: &Path, name: &str, source: &str, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let process = Process::start(netns, directory, &format!("package-{name}"), "ffmpeg", |command| {
            command.args(["-v", "warning", "-i", source, "-c", "copy", "-f", "hls", "-hls_time", "1"]);
            command.args(["-hls_list_size", "6", "-hls_flags", "delete_segments", "-hls_segment_type", "fmp4"]);
            command.arg(folder.join("index.m3u8"));
        })?;
        Ok(Self { process })
    }

    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// What `ffprobe` finds at a URL: the names of the codecs, by its own order.
pub fn probe(netns: &Netns, url: &str) -> Result<Vec<String>> {
    let mut command = netns.command("timeout");
    command.args(["30", "ffprobe", "-v", "error", "-analyzeduration", "3000000"]);
    command.args(["-show_entries", "stream=codec_name", "-of", "csv=p=0", url]);
    let output = net::run(&mut command).with_context(|| format!("probe {url}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().map(|line| line.trim().trim_end_matches(',').to_owned()).filter(|line| !line.is_empty()).collect())
}
