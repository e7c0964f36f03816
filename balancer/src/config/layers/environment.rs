//! `BALANCER_*`, and the SRS proxy's `PROXY_*` with their old meaning. A name of ours that is unknown is an error; one
//! of theirs is a warning, because other programs use the prefix too.

use super::Layers;
use crate::config::problem::{Fault, Problem, Source, nearest};
use crate::config::store_url::encoded;
use crate::config::table::{PROXY_PREFIX, PROXY_REDIS, PROXY_STORE, SETTINGS, VARIABLE_PREFIX};
use std::collections::BTreeMap;

/// Read by `cargo xtask` and the tests, whose children inherit them.
const OF_THE_CHORES: [&str; 2] = ["BALANCER_BIN", "BALANCER_BPF_TOOLCHAIN"];

pub(super) fn read(layers: &mut Layers, environment: &BTreeMap<String, String>) {
    for row in SETTINGS {
        // Ours wins over theirs; an empty one is no value, so it hides nothing.
        for name in row.proxy.iter().copied().chain([row.variable()]) {
            if let Some(value) = environment.get(name) {
                let url = (name == PROXY_STORE && value.trim() == "redis").then(|| proxy_redis(environment));
                let value = url.as_ref().unwrap_or(value);
                layers.give(row, Source::Environment(name.into()), std::iter::once(value.as_str()));
            }
        }
    }
    for (name, value) in environment {
        if name.starts_with(VARIABLE_PREFIX) {
            unknown_of_ours(layers, name);
        } else if name.starts_with(PROXY_PREFIX) && !value.is_empty() {
            unknown_of_theirs(layers, name);
        }
    }
}

fn unknown_of_ours(layers: &mut Layers, name: &str) {
    let known = || SETTINGS.iter().map(|row| row.variable()).chain(["BALANCER_CONFIG"]);
    if known().any(|k| k == name) || OF_THE_CHORES.contains(&name) || is_service_link(name) {
        return;
    }
    let remedy = match nearest(name, known()) {
        Some(near) => format!("did you mean {near}? Else unset it"),
        None => "unset it; `balancer run --help` lists the variables".into(),
    };
    let source = Source::Environment(name.into());
    layers.problems.push(Problem::new(name, Some(&source), Fault::new("no such setting", remedy)));
}

fn unknown_of_theirs(layers: &mut Layers, name: &str) {
    let known = || SETTINGS.iter().flat_map(|row| row.proxy.iter().copied());
    if known().any(|k| k == name) || PROXY_REDIS.contains(&name) || is_service_link(name) {
        return;
    }
    layers.warnings.push(match nearest(name, known()) {
        Some(near) => format!("{name} is not known and has no effect; did you mean {near}?"),
        None => format!("{name} is not known and has no effect"),
    });
}

/// The URL of what the SRS proxy says in parts.
fn proxy_redis(environment: &BTreeMap<String, String>) -> String {
    let [host, port, password, database] = PROXY_REDIS.map(|name| environment.get(name).map_or("", |text| text.trim()));
    let or = |text: &'static str, given: &str| if given.is_empty() { text.to_owned() } else { given.to_owned() };
    let host = if host.contains(':') { format!("[{host}]") } else { or("127.0.0.1", host) };
    // A link of Kubernetes to a service of that name, which also sets such a variable, is no number.
    let port = or("6379", if port.contains("://") { "" } else { port });
    let credentials = if password.is_empty() { String::new() } else { format!(":{}@", encoded(password)) };
    format!("redis://{credentials}{host}:{port}/{}", or("0", database))
}

/// Kubernetes and Docker announce a service called `balancer` or `proxy` to every container by variables such as
/// `BALANCER_SERVICE_HOST`, `BALANCER_PORT` and `BALANCER_PORT_1935_TCP_ADDR`: nobody set those, and they must not
/// keep the program from starting.
fn is_service_link(name: &str) -> bool {
    if name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT") || name.ends_with("_PORT") {
        return true;
    }
    let Some((_, rest)) = name.rsplit_once("_PORT_") else { return false };
    let mut parts = rest.split('_');
    let number = parts.next().is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    number && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
}
