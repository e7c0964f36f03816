//! What this process made on the machine, so that it goes away however the process ends: by drop, by panic, on SIGINT
//! or SIGTERM, and, after a `kill -9`, by the next process that uses the lab.

use crate::sys;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, Once, RwLock};

/// Everything the lab makes is called `lab-<pid>-<number>…`.
const PREFIX: &str = "lab-";
pub const BPFFS: &str = "/sys/fs/bpf";
const NETNS: &str = "/run/netns";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    Netns(String),
    Directory(PathBuf),
}

static MADE: Mutex<Vec<Made>> = Mutex::new(Vec::new());
static NUMBER: AtomicU32 = AtomicU32::new(0);
static START: Once = Once::new();

/// A name that no other process and no other thread has.
pub fn unique_name() -> String {
    START.call_once(|| {
        sweep();
        if let Err(error) = sys::on_termination(remove_all) {
            eprintln!("lab: no clean-up on signals: {error}");
        }
    });
    format!("{PREFIX}{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed))
}

/// Whoever makes something holds it to read; the end of the process holds it to write, for good.
static MAKING: RwLock<()> = RwLock::new(());

/// Remembers it, then makes it. While the process is being ended nothing is made any more: this waits for the end.
pub fn make<T>(made: Made, create: impl FnOnce() -> T) -> T {
    let _making = MAKING.read();
    list().push(made);
    create()
}

/// Removes it now and forgets it.
pub fn remove(made: &Made) {
    list().retain(|other| other != made);
    destroy(made);
}

fn remove_all() {
    std::mem::forget(MAKING.write());
    let all = std::mem::take(&mut *list());
    all.iter().rev().for_each(destroy);
}

fn list() -> std::sync::MutexGuard<'static, Vec<Made>> {
    MADE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn destroy(made: &Made) {
    match made {
        Made::Netns(name) => {
            let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
        }
        Made::Directory(path) => {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Removes what processes left that no longer live. Their children died with them, so nothing uses it.
fn sweep() {
    for name in stale(Path::new(NETNS)) {
        destroy(&Made::Netns(name));
    }
    for parent in [Path::new(BPFFS), &std::env::temp_dir()] {
        for name in stale(parent) {
            destroy(&Made::Directory(parent.join(name)));
        }
    }
}

fn stale(parent: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_stale(name)).collect()
}

fn is_stale(name: &str) -> bool {
    let Some(pid) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else { return false };
    pid.parse::<u32>().is_ok_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_dead_processes_are_stale() {
        assert!(!is_stale(&unique_name()));
        assert!(is_stale("lab-4194305-0-client0"));
        assert!(!is_stale("lab-x-0"));
        assert!(!is_stale("other-4194305-0"));
    }
}
