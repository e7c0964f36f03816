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
}

/// Publishes the clip in a loop, in real time, until dropped; dials again when the connection ends, as an encoder does.
pub struct Publisher {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    attempts: Arc<AtomicU32>,
}

impl Publisher {
    pub fn start(netns: &Netns, directory: &Path, name: &str, clip: &Clip, url: &str) -> Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let attempts = Arc::new(AtomicU32::new(1));
        let (netns, directory, name) = (netns.clone(), directory.to_owned(), format!("publish-{name}"));
        let (clip, url, counter) = (clip.clone(), url.to_owned(), attempts.clone());
        let mut process = publish(&netns, &directory, &name, &clip, &url)?;
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(RETRY) == Err(mpsc::RecvTimeoutError::Timeout) {
                if process.is_running() {
                    continue;
                }
                match publish(&netns, &directory, &name, &clip, &url) {
                    Ok(again) => process = again,
                    Err(error) => return eprintln!("{name}: {error:#}"),
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

fn publish(netns: &Netns, directory: &Path, name: &str, clip: &Clip, url: &str) -> Result<Process> {
    Process::start(netns, directory, name, "ffmpeg", |command| {
        command.args(["-v", "warning", "-re", "-stream_loop", "-1", "-i"]).arg(&clip.0);
        command.args(["-c", "copy", "-f", "flv", url]);
    })
}

/// Plays and decodes until dropped.
pub struct Player {
    process: Process,
    progress: PathBuf,
}

impl Player {
    pub fn start(netns: &Netns, directory: &Path, name: &str, url: &str) -> Result<Self> {
        let progress = directory.join(format!("play-{name}.progress"));
        let process = Process::start(netns, directory, &format!("play-{name}"), "ffmpeg", |command| {
            command.args(["-v", "warning", "-stats_period", "0.1", "-progress"]).arg(&progress);
            // Long enough to meet a key frame, of which the clip has one a second: ffmpeg gives up when it has seen none.
            command.args(["-analyzeduration", "3000000", "-i", url, "-map", "0:v:0", "-f", "null", "-"]);
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
