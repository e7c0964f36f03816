//! A process whose clock of the day is wrong. What it measures time with goes right, as on any host.

use std::path::{Path, PathBuf};

pub fn library() -> PathBuf {
    let folder = format!("/usr/lib/{}-linux-gnu/faketime", std::env::consts::ARCH);
    Path::new(&folder).join("libfaketimeMT.so.1")
}

/// For a process that is `minutes` ahead, or behind.
pub fn environment(minutes: i32) -> Vec<(String, String)> {
    let library = library().display().to_string();
    let wrong = format!("{minutes:+}m");
    [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME", &wrong),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("NO_FAKE_STAT", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// The library shares what it counts with children, under names that a process which is killed leaves behind. Ours has
/// none, so that they may go as soon as it runs.
pub fn tidy(pid: u32) {
    for name in [format!("faketime_shm_{pid}"), format!("sem.faketime_sem_{pid}")] {
        // Most processes have the right time.
        let _ = std::fs::remove_file(Path::new("/dev/shm").join(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirements::{Need, met};
    use std::process::Command;
    use std::time::SystemTime;

    #[test]
    fn a_process_is_as_wrong_as_it_is_told() {
        if !met(&[Need::Clock]) {
            return;
        }
        for minutes in [7, -5] {
            let output = Command::new("date").arg("+%s").envs(environment(minutes)).output().unwrap();
            let there: i64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
            let here = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
            assert_eq!((there - here + 30).div_euclid(60), i64::from(minutes));
        }
    }
}
