//! Child processes inside a namespace: output in a file, killed by pid on drop, and gone when this process goes,
//! however it goes. When a test panics, the end of the output is printed.

use crate::net::Netns;
use crate::{sys, wait};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::Duration;

/// How much of a log is worth showing.
const TAIL_LINES: usize = 60;

pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` in `netns`; its standard output and error go to `directory/name.log`, which is appended to.
    pub fn start(
        netns: &Netns,
        directory: &Path,
        name: &str,
        program: &str,
        arguments: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let mut command = netns.command(program);
        arguments(&mut command);
        Self::start_command(directory, name, command)
    }

    /// The same of a command that needs no namespace, or has one.
    pub fn start_command(directory: &Path, name: &str, mut command: Command) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log).context("log file")?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        sys::die_with_parent(&mut command);
        let child = spawn(command).with_context(|| format!("start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn signal(&self, signal: i32) -> Result<()> {
        sys::send_signal(self.pid(), signal).with_context(|| format!("signal {signal} to {}", self.name))
    }

    pub fn terminate(&self) -> Result<()> {
        self.signal(libc::SIGTERM)
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub fn is_running(&mut self) -> bool {
        self.exit_status().is_none()
    }

    pub fn wait_exit(&mut self, within: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait::wait_for(&what, within, || self.exit_status()).with_context(|| self.tail())
    }

    /// Waits for a condition on a process that has to stay alive meanwhile.
    pub fn wait_ready(&mut self, what: &str, within: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let mut ended = None;
        wait::wait_until(what, within, || {
            ended = self.exit_status();
            ended.is_some() || ready()
        })
        .with_context(|| self.tail())?;
        match ended {
            Some(status) => bail!("{} ended with {status} before: {what}\n{}", self.name, self.tail()),
            None => Ok(()),
        }
    }

    pub fn log_path(&self) -> &Path {
        &self.log
    }

    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last lines of its output, with a heading.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let from = lines.len().saturating_sub(TAIL_LINES);
        format!("---- {} (pid {}) ----\n{}", self.name, self.pid(), lines[from..].join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
        self.kill();
    }
}

type Spawned = std::io::Result<Child>;
type Request = (Command, mpsc::Sender<Spawned>);

/// The kernel kills a child that asked for it (PR_SET_PDEATHSIG) when the thread that spawned it ends, and test
/// threads end early. So one thread, which lives as long as the process, spawns them all.
fn spawn(command: Command) -> Spawned {
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Request>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, reply) in requests {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (reply, answer) = mpsc::channel();
    let gone = || std::io::Error::other("the spawner thread is gone");
    spawner.lock().map_err(|_| gone())?.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}
