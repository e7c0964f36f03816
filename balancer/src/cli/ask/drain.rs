//! `balancer drain` and `undrain`, of an origin or of the balancer itself, and waiting until nothing is left.

use crate::cli::client::Client;
use crate::cli::{TimeOver, inputs, output};
use anyhow::{Context, bail};
use clap::ArgMatches;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A balancer that is restarted meanwhile is back by then.
const SILENCE_MAX: Duration = Duration::from_secs(30);

pub fn drain(args: &ArgMatches) -> anyhow::Result<()> {
    let client = Client::new(&inputs::without_host(args))?;
    let target = Target::of(args);
    let deadline = args.get_one::<Duration>("deadline");
    // Less than a second is none.
    let body = deadline.map(|d| json!({ "deadline_s": d.as_millis().div_ceil(1000) as u64 }).to_string());
    client.post(&target.path("drain"), body.as_deref().unwrap_or_default())?;
    let until = deadline.map_or("they end".into(), |d| format!("they end, {} at most", output::age(*d)));
    output::emit(&match &target {
        Target::Origin(id) => {
            format!("{} takes no new streams; those it has stay until {until}\n", output::harmless(id))
        }
        Target::Balancer => format!("this balancer sends clients to others; flows that it has stay until {until}\n"),
    })?;
    match args.get_flag("wait") {
        true => wait(&client, &target, args.get_one::<Duration>("timeout").copied()),
        false => Ok(()),
    }
}

pub fn undrain(args: &ArgMatches) -> anyhow::Result<()> {
    let client = Client::new(&inputs::without_host(args))?;
    let target = Target::of(args);
    client.post(&target.path("undrain"), "")?;
    Ok(output::emit(&match &target {
        Target::Origin(id) => format!("{} takes new streams again\n", output::harmless(id)),
        Target::Balancer => "this balancer wants clients again\n".into(),
    })?)
}

enum Target {
    Origin(String),
    Balancer,
}

/// What is left.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    Flows(u64),
    /// Somebody has ended the drain.
    Undrained,
    /// There is no such origin any more.
    Gone,
}

impl Target {
    fn of(args: &ArgMatches) -> Self {
        match args.get_one::<String>("origin") {
            Some(origin) => Self::Origin(origin.clone()),
            None => Self::Balancer,
        }
    }

    fn path(&self, verb: &str) -> String {
        match self {
            Self::Origin(id) => format!("/api/v1/origins/{}/{verb}", path_segment(id)),
            Self::Balancer => format!("/api/v1/{verb}"),
        }
    }

    fn look(&self, client: &Client) -> anyhow::Result<Left> {
        let path = if let Self::Origin(_) = self { "/api/v1/origins" } else { "/api/v1/status" };
        let answer: Value = serde_json::from_str(&client.get(path)?).with_context(|| format!("{path} is not JSON"))?;
        self.left(&answer).with_context(|| format!("the answer to {path} is of another version"))
    }

    fn left(&self, answer: &Value) -> Option<Left> {
        let (is_draining, flows) = match self {
            Self::Origin(id) => {
                let Some(origin) = answer["origins"].as_array()?.iter().find(|o| o["id"] == id.as_str()) else {
                    return Some(Left::Gone);
                };
                (origin["draining"].as_bool()?, origin["flows"].as_u64()?)
            }
            Self::Balancer => {
                let flows = &answer["flows"];
                (!answer.get("drain")?.is_null(), flows["kernel"].as_u64()? + flows["relay"].as_u64()?)
            }
        };
        Some(if is_draining { Left::Flows(flows) } else { Left::Undrained })
    }
}

/// Says how many are left whenever that has changed.
fn wait(client: &Client, target: &Target, timeout: Option<Duration>) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut heard_at = started;
    let mut before = None;
    loop {
        match target.look(client) {
            Ok(Left::Flows(0)) => return Ok(output::emit("no flows are left\n")?),
            Ok(Left::Gone) => return Ok(output::emit("the origin is gone, and its flows with it\n")?),
            Ok(Left::Undrained) => {
                bail!("it is not drained any more: somebody has ended that, or the balancer has started anew")
            }
            Ok(Left::Flows(flows)) => {
                heard_at = Instant::now();
                if before.replace(flows) != Some(flows) {
                    output::emit(&format!("{flows} flows are left\n"))?;
                }
            }
            Err(error) if heard_at.elapsed() > SILENCE_MAX => return Err(error),
            Err(_) => {}
        }
        if timeout.is_some_and(|timeout| started.elapsed() >= timeout) {
            let flows = before.map_or("flows".into(), |flows| format!("{flows} flows"));
            return Err(TimeOver(format!("{flows} are left; the drain goes on")).into());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// An origin's id as one segment of a path (RFC 3986, unreserved characters stay).
fn path_segment(id: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:".contains(&b);
    id.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_one_segment() {
        assert_eq!(path_segment("edge-1:1935"), "edge-1:1935");
        assert_eq!(path_segment("a/b ü"), "a%2Fb%20%C3%BC");
    }

    #[test]
    fn what_is_left_is_read_from_the_lists() {
        let origin = Target::Origin("o1".into());
        let answer = |draining| json!({"origins": [{"id": "o2"}, {"id": "o1", "draining": draining, "flows": 3}]});
        assert_eq!(origin.left(&answer(true)), Some(Left::Flows(3)));
        assert_eq!(origin.left(&answer(false)), Some(Left::Undrained));
        assert_eq!(origin.left(&json!({"origins": []})), Some(Left::Gone));
        assert_eq!(origin.left(&json!({})), None);
        let status = |drain: Value| json!({"flows": {"kernel": 2, "relay": 1}, "drain": drain});
        assert_eq!(Target::Balancer.left(&status(json!({"since_s": 1}))), Some(Left::Flows(3)));
        assert_eq!(Target::Balancer.left(&status(Value::Null)), Some(Left::Undrained));
    }
}
