//! Runs a command, shows its output as it comes, counts in it, and ends it when it takes too long.

use super::count::Counter;
use crate::repo;
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Between asking test programs to end, so that they tidy up, and ending them.
const GRACE: Duration = Duration::from_secs(15);

pub struct Ended {
    pub status: ExitStatus,
    pub counter: Counter,
    pub timed_out: bool,
}

pub fn run(command: &mut Command, time_max: Duration) -> Result<Ended> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", repo::show(command)))?;
    let output = child.stdout.take().expect("it was asked for");
    let (finished, end) = mpsc::channel::<()>();
    let pid = child.id();
    let watchdog = std::thread::spawn(move || match end.recv_timeout(time_max) {
        Err(RecvTimeoutError::Timeout) => {
            end_all(pid, &end);
            true
        }
        _ => false,
    });
    let counter = show_and_count(output);
    let status = wait(&mut child)?;
    drop(finished);
    let timed_out = watchdog.join().expect("the watchdog only waits and signals");
    Ok(Ended { status, counter, timed_out })
}

fn show_and_count(output: impl std::io::Read) -> Counter {
    let mut counter = Counter::default();
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    // Bytes, not lines of text: a test may print anything.
    while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        let mut stdout = std::io::stdout().lock();
        // A closed terminal is no reason to stop counting.
        let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
        counter.feed(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    counter
}

fn wait(child: &mut Child) -> Result<ExitStatus> {
    child.wait().context("cannot wait for a test program")
}

/// Ends the process and all its descendants, and nothing else.
fn end_all(pid: u32, ended: &mpsc::Receiver<()>) {
    let family = family(pid);
    eprintln!("time is up: ending {} processes", family.len());
    signal("TERM", &family);
    if ended.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) {
        signal("KILL", &family);
    }
}

fn signal(name: &str, pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    let _ = Command::new("kill").arg(format!("-{name}")).args(pids).stderr(Stdio::null()).status();
}

/// The process and everything that it and its children started, as it is now.
fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        next += 1;
        // One file per thread: a child belongs to the thread that made it.
        let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_command_that_hangs_is_ended_with_its_children() {
        let start = Instant::now();
        let script = "sleep 100 & sleep 100; wait";
        let ended = run(Command::new("sh").args(["-c", script]), Duration::from_millis(300)).expect("sh starts");
        assert!(ended.timed_out && !ended.status.success());
        assert!(start.elapsed() < Duration::from_secs(10), "the pipe is closed: nobody is left");
    }

    #[test]
    fn a_command_that_ends_is_left_alone() {
        let ended = run(Command::new("true").arg("x"), Duration::from_secs(60)).expect("true starts");
        assert!(!ended.timed_out && ended.status.success());
    }
}
