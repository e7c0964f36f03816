//! curl, as the client that everybody has.

use crate::net::Netns;
use crate::web::client::Answer;
use crate::web::head::Head;
use anyhow::{Context, Result, bail};
use std::io::Read;
use std::process::Stdio;

/// curl's own exit status for `--max-time`.
const TIME_IS_UP: i32 = 28;
const SECONDS_MAX: &str = "30";

/// One request; `arguments` are curl's own.
pub fn curl(netns: &Netns, url: &str, arguments: &[&str]) -> Result<Answer> {
    let (answer, status) = run(netns, url, SECONDS_MAX, arguments)?;
    if status != 0 {
        bail!("curl {url} ended with {status}: {:?}", answer.map(|answer| answer.head.line));
    }
    answer.with_context(|| format!("curl {url}: no response"))
}

/// What comes within some seconds of a response without end.
pub fn curl_for(netns: &Netns, url: &str, seconds: u32, arguments: &[&str]) -> Result<Answer> {
    let (answer, status) = run(netns, url, &seconds.to_string(), arguments)?;
    if ![0, TIME_IS_UP].contains(&status) {
        bail!("curl {url} ended with {status}");
    }
    answer.with_context(|| format!("curl {url}: no response"))
}

fn run(netns: &Netns, url: &str, seconds: &str, arguments: &[&str]) -> Result<(Option<Answer>, i32)> {
    let mut command = netns.command("curl");
    command.args(["-sS", "-i", "--noproxy", "*", "--max-time", seconds]).args(arguments).arg(url);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {command:?}"))?;
    if !output.stderr.is_empty() {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok((parse(&output.stdout)?, output.status.code().unwrap_or(-1)))
}

/// The last head that is not an interim one, and everything behind it.
fn parse(mut wire: &[u8]) -> Result<Option<Answer>> {
    while let Some(head) = Head::read(&mut wire)? {
        if !(100..200).contains(&head.status()) || head.status() == 101 {
            let mut body = Vec::new();
            wire.read_to_end(&mut body)?;
            return Ok(Some(Answer { head, body, trailers: Vec::new() }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interim_responses_are_passed_over() {
        let wire = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 206 Partial\r\nA: b\r\n\r\nbody";
        let answer = parse(wire).unwrap().unwrap();
        assert_eq!((answer.status(), answer.text().as_str()), (206, "body"));
        assert!(parse(b"").unwrap().is_none());
    }
}
