//! The two ends of SRT, over the system's libsrt: `origin at=ADDRESS`, `play to=ADDRESS stream=ID`,
//! `publish to=ADDRESS stream=ID`. Each is a process of its own, so that it can live in a namespace and be killed there.
//! What happens is said in JSON lines; transport streams are checked on the way.
//!
//! Also: `count=` callers at once, `latency=` milliseconds, `passphrase=`, `packets=` of TS to publish before the end.

mod caller;
mod library;
mod origin;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let role = words.next().context("origin, play or publish?")?;
    let mut settings = Settings(BTreeMap::new());
    for word in words {
        let (name, value) = word.split_once('=').with_context(|| format!("{word}: not name=value"))?;
        settings.0.insert(name.to_owned(), value.to_owned());
    }
    match role.as_str() {
        "origin" => origin::run(settings.number("at")?.context("at=")?),
        "play" => caller::run(&settings, false),
        "publish" => caller::run(&settings, true),
        _ => bail!("{role}: origin, play or publish?"),
    }
}

struct Settings(BTreeMap<String, String>);

impl Settings {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        let parse = |text: &str| text.parse().ok().with_context(|| format!("{name}={text}"));
        self.text(name).map(parse).transpose()
    }

    fn to(&self) -> Result<SocketAddr> {
        self.number("to")?.context("to=")
    }
}

/// One line, at once: others read it while we run.
fn say(event: &Value) {
    println!("{event}");
}
