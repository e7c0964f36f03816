//! The Redis that all balancers reach, on a host of its own.

use super::layout::STORE;
use crate::net::Netns;
use crate::process::Process;
use anyhow::{Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const STORE_PORT: u16 = 6379;
const START_WITHIN: Duration = Duration::from_secs(60);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

pub struct SharedStore {
    netns: Netns,
    directory: PathBuf,
    process: Option<Process>,
}

impl SharedStore {
    pub fn start(netns: &Netns, directory: &Path) -> Result<Self> {
        let mut this = Self { netns: netns.clone(), directory: directory.to_owned(), process: None };
        this.launch()?;
        Ok(this)
    }

    /// Starts it (again); it remembers nothing.
    pub fn launch(&mut self) -> Result<()> {
        let (port, bind) = (STORE_PORT.to_string(), STORE.to_string());
        let mut process = Process::start(&self.netns, &self.directory, "redis", "redis-server", |command| {
            command.args(["--port", &port, "--bind", &bind, "--save", "", "--appendonly", "no"]);
            command.args(["--protected-mode", "no"]);
        })?;
        process.wait_ready("Redis to answer", START_WITHIN, || {
            self.ask(&["PING"]).is_ok_and(|answer| answer == "+PONG")
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// The first line of the answer to a command.
    pub fn ask(&self, words: &[&str]) -> Result<String> {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command += &format!("${}\r\n{word}\r\n", word.len());
        }
        let answer = self.netns.run(|| -> std::io::Result<Vec<u8>> {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::new(STORE.into(), STORE_PORT), ANSWER_WITHIN)?;
            stream.set_read_timeout(Some(ANSWER_WITHIN))?;
            stream.write_all(command.as_bytes())?;
            let mut answer = Vec::new();
            let mut byte = [0];
            while !answer.ends_with(b"\r\n") {
                stream.read_exact(&mut byte)?;
                answer.push(byte[0]);
            }
            Ok(answer)
        })??;
        let text = String::from_utf8_lossy(&answer).trim_end().to_owned();
        if text.starts_with('-') {
            bail!("Redis: {text}");
        }
        Ok(text)
    }

    /// Runs a script that answers with a number.
    pub fn number(&self, script: &str) -> Result<i64> {
        let answer = self.ask(&["EVAL", script, "0"])?;
        Ok(answer.trim_start_matches(':').parse()?)
    }

    /// Records of flows, of all balancers. Needs no knowledge of the keys but that their names end in `:flows`.
    pub fn flows(&self) -> Result<i64> {
        self.number(
            "local n = 0 for _, key in ipairs(redis.call('KEYS', '*:flows')) do n = n + redis.call('HLEN', key) end return n",
        )
    }
}
