//! Tells whoever steers clients to this host whether to do so, by running the operator's program: when this balancer is
//! ready, when it drains and when it stops. One run at a time, each within a limit; one that fails is tried again.

use crate::readiness::{State, Word};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tracing::{info, warn};

const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Of what it writes, this much is logged.
const OUTPUT_BYTES_MAX: usize = 2048;
/// The program has ended; somebody that it has started may still hold its output.
const OUTPUT_TIME_MAX: Duration = Duration::from_millis(200);

pub struct Announcer {
    /// The program and its arguments; the word is added.
    command: Vec<String>,
    time_max: Duration,
    status: Mutex<Announced>,
    said: watch::Sender<Option<Word>>,
}

/// How announcing goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// `None`: nothing yet, or the last run has failed and nobody knows.
    pub said: Option<Word>,
    pub runs: u64,
    pub failures: u64,
    /// Why the last run failed.
    pub problem: Option<String>,
}

impl Announcer {
    /// `None`: there is nobody to tell.
    pub fn new(command: &[String], time_max: Duration) -> Option<Arc<Self>> {
        let this =
            Self { command: command.to_vec(), time_max, status: Mutex::default(), said: watch::Sender::new(None) };
        (!command.is_empty()).then(|| Arc::new(this))
    }

    pub fn status(&self) -> Announced {
        self.lock().clone()
    }

    /// Says what the state means, as long as there is somebody who may change it.
    pub async fn follow(&self, mut state: watch::Receiver<State>) {
        let mut pause = RETRY_FIRST;
        loop {
            let word = state.borrow_and_update().word();
            let Some(word) = word.filter(|word| self.status().said != Some(*word)) else {
                match state.changed().await {
                    Ok(()) => continue,
                    Err(_) => return,
                }
            };
            if self.say(word).await {
                pause = RETRY_FIRST;
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_MAX),
                changed = state.changed() => match changed {
                    Ok(()) => pause = RETRY_FIRST,
                    Err(_) => return,
                },
            }
        }
    }

    /// Waits until this has been said, as long as a run and another one may take.
    pub async fn wait_said(&self, word: Word) {
        let mut said = self.said.subscribe();
        let is_said = said.wait_for(|said| *said == Some(word));
        if tokio::time::timeout(self.time_max * 2 + RETRY_FIRST, is_said).await.is_err() {
            warn!(word = word.label(), "announce_command has not said so: clients may still be sent here");
        }
    }

    async fn say(&self, word: Word) -> bool {
        let result = self.run(word).await;
        let mut status = self.lock();
        status.runs += 1;
        status.said = result.is_ok().then_some(word);
        match result {
            Ok(output) => {
                status.problem = None;
                info!(word = word.label(), output, "announced");
            }
            Err(problem) => {
                status.failures += 1;
                warn!(word = word.label(), problem, "announce_command failed: it is tried again");
                status.problem = Some(problem);
            }
        }
        self.said.send_replace(status.said);
        status.said.is_some()
    }

    /// Answers what it has written; an error says what has failed.
    async fn run(&self, word: Word) -> Result<String, String> {
        let Some((program, arguments)) = self.command.split_first() else { return Ok(String::new()) };
        let mut command = Command::new(program);
        command.args(arguments).arg(word.label());
        // In a group of its own: what it starts ends with it, and Ctrl-C at a terminal ends the balancer alone.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
        let output = Arc::<Mutex<Vec<u8>>>::default();
        let readers = tokio::spawn(read_both(child.stdout.take(), child.stderr.take(), output.clone()));
        let ended = tokio::time::timeout(self.time_max, child.wait()).await;
        if ended.is_err() {
            end_group(&mut child).await;
        }
        let reading = readers.abort_handle();
        let _ = tokio::time::timeout(OUTPUT_TIME_MAX, readers).await;
        reading.abort();
        let output = std::mem::take(&mut *output.lock().unwrap_or_else(PoisonError::into_inner));
        let output = String::from_utf8_lossy(&output).trim().to_owned();
        let with_output = |what: String| if output.is_empty() { what } else { format!("{what}: {output}") };
        match ended {
            Ok(Ok(status)) if status.success() => Ok(output),
            Ok(Ok(status)) => Err(with_output(status.to_string())),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(with_output(format!("it took more than {} ms", self.time_max.as_millis()))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Announced> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// With everything that it has started: the next run is to be the only one.
async fn end_group(child: &mut Child) {
    let group = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill().await;
}

async fn read_both(
    out: Option<impl AsyncRead + Unpin>,
    err: Option<impl AsyncRead + Unpin>,
    into: Arc<Mutex<Vec<u8>>>,
) {
    tokio::join!(read(out, &into), read(err, &into));
}

/// Keeps the beginning, and takes the rest too: a writer whose pipe is full would wait for ever.
async fn read(from: Option<impl AsyncRead + Unpin>, into: &Mutex<Vec<u8>>) {
    let Some(mut from) = from else { return };
    let mut buffer = [0; 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
        let room = OUTPUT_BYTES_MAX.saturating_sub(into.len());
        into.extend_from_slice(&buffer[..len.min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readiness::Readiness;
    use std::path::Path;

    const SOON: Duration = Duration::from_secs(30);

    fn announcer(script: &str, time_max: Duration) -> Arc<Announcer> {
        let command = ["/bin/sh", "-c", script, "announce"].map(str::to_owned);
        Announcer::new(&command, time_max).unwrap()
    }

    async fn until(announcer: &Announcer, condition: impl Fn(&Announced) -> bool) -> Announced {
        let wait = async {
            while !condition(&announcer.status()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, wait).await.unwrap();
        announcer.status()
    }

    fn lines(file: &Path) -> Vec<String> {
        std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn each_change_is_said_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("said");
        let announcer = announcer(&format!("echo $1 >>{}", file.display()), SOON);
        let readiness = Readiness::default();
        let state = readiness.subscribe();
        let follower = announcer.clone();
        tokio::spawn(async move { follower.follow(state).await });
        readiness.serving();
        until(&announcer, |status| status.said == Some(Word::Up)).await;
        readiness.drain(None, Duration::ZERO);
        until(&announcer, |status| status.said == Some(Word::Down)).await;
        readiness.undrain();
        until(&announcer, |status| status.said == Some(Word::Up)).await;
        readiness.stopping();
        announcer.wait_said(Word::Down).await;
        assert_eq!(lines(&file), ["up", "down", "up", "down"]);
        assert_eq!(announcer.status(), Announced { said: Some(Word::Down), runs: 4, failures: 0, problem: None });
    }

    #[tokio::test]
    async fn a_run_that_fails_is_counted_told_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bird");
        let announcer = announcer(&format!("test -e {} || {{ echo no bird >&2; exit 3; }}", file.display()), SOON);
        let readiness = Readiness::default();
        readiness.serving();
        let (follower, state) = (announcer.clone(), readiness.subscribe());
        tokio::spawn(async move { follower.follow(state).await });
        let failed = until(&announcer, |status| status.failures == 1).await;
        assert_eq!(failed.problem.as_deref(), Some("exit status: 3: no bird"));
        std::fs::write(&file, "").unwrap();
        let done = until(&announcer, |status| status.said.is_some()).await;
        assert_eq!((done.said, done.problem), (Some(Word::Up), None));
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_ended_with_what_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! >{0}; head -c 100000 /dev/zero; wait", file.display());
        let announcer = announcer(&script, Duration::from_secs(2));
        let problem = announcer.run(Word::Up).await.unwrap_err();
        assert!(problem.starts_with("it took more than 2000 ms") && problem.len() < 2 * OUTPUT_BYTES_MAX, "{problem}");
        let sleeper = lines(&file)[0].clone();
        let is_gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{sleeper}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        let wait = async {
            while !is_gone() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, wait).await.unwrap();
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let announcer = Announcer::new(&["/nowhere/announce".to_owned()], SOON).unwrap();
        let problem = announcer.run(Word::Up).await.unwrap_err();
        assert!(problem.starts_with("/nowhere/announce: "), "{problem}");
    }
}
