//! Whether the origins that a running balancer knows, and the configured one, can be reached from here.

use super::finding::Findings;
use crate::cli::client::Client;
use crate::config::Settings;
use serde_json::Value;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

const AREA: &str = "origins";
/// Addresses that are tried, all at once; more are said to be left out.
const PROBES_MAX: usize = 64;
/// Endpoints that take TCP connections.
const TCP: [&str; 3] = ["rtmp", "http", "api"];

/// Somebody answers as a balancer does.
pub fn is_running(client: &Client) -> bool {
    client.get("/api/v1/versions").is_ok_and(|body| serde_json::from_str::<Value>(&body).is_ok())
}

pub fn judge(settings: &Settings, client: &Client, is_running: bool, findings: &mut Findings) {
    let mut targets: Vec<(String, SocketAddr)> = Vec::new();
    if let Some(origin) = &settings.default_origin
        && let Some(port) = origin.rtmp
    {
        targets.push(("default_origin".into(), SocketAddr::new(origin.ip, port)));
    }
    if is_running {
        match registered(client) {
            Ok(found) if found.is_empty() => {
                findings.warn(AREA, "none is registered with the running balancer", "see `balancer origins`");
            }
            Ok(found) => targets.extend(found),
            Err(error) => findings.warn(AREA, format!("cannot be listed: {error:#}"), "see `balancer origins`"),
        }
    } else {
        findings.ok(AREA, "no balancer runs here, so no registered origins to try");
    }
    if targets.len() > PROBES_MAX {
        let what = format!("only {PROBES_MAX} of {} addresses are tried", targets.len());
        findings.warn(AREA, what, "look at the rest with `balancer origins`");
        targets.truncate(PROBES_MAX);
    }
    for ((origin, address), connected) in targets.iter().zip(connect_all(&targets, settings.connect_timeout)) {
        match connected {
            Ok(()) => findings.ok(AREA, format!("{origin}: {address} accepts connections")),
            Err(error) => findings.warn(
                AREA,
                format!("{origin}: {address} cannot be reached: {error}"),
                "is the origin up, and do routes and firewalls let this host in?",
            ),
        }
    }
}

fn registered(client: &Client) -> anyhow::Result<Vec<(String, SocketAddr)>> {
    let answer: Value = serde_json::from_str(&client.get("/api/v1/origins")?)?;
    let origins = answer.get("origins").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let targets = origins.iter().flat_map(|origin| {
        let id = origin.get("id").and_then(Value::as_str).unwrap_or("?").to_owned();
        tcp_endpoints(origin).into_iter().map(move |address| (id.clone(), address))
    });
    Ok(targets.collect())
}

/// Endpoints stand as `ip:port` or as a port of the origin's address.
fn tcp_endpoints(origin: &Value) -> Vec<SocketAddr> {
    let ip: Option<IpAddr> = origin.get("ip").and_then(Value::as_str).and_then(|ip| ip.parse().ok());
    let address = |endpoint: &Value| -> Option<SocketAddr> {
        let text = endpoint.as_str().map_or_else(|| endpoint.to_string(), str::to_owned);
        text.parse().ok().or_else(|| Some(SocketAddr::new(ip?, text.parse().ok()?)))
    };
    let endpoints = |kind: &&str| match origin.get("endpoints").and_then(|all| all.get(kind)) {
        Some(Value::Array(endpoints)) => endpoints.iter().filter_map(address).collect(),
        Some(endpoint) => address(endpoint).into_iter().collect(),
        None => Vec::new(),
    };
    let mut found: Vec<SocketAddr> = TCP.iter().flat_map(endpoints).collect();
    found.dedup();
    found
}

/// In the order of the targets; takes as long as the slowest.
fn connect_all(targets: &[(String, SocketAddr)], timeout: Duration) -> Vec<io::Result<()>> {
    std::thread::scope(|scope| {
        let connect = |address: SocketAddr| move || TcpStream::connect_timeout(&address, timeout).map(drop);
        let started: Vec<_> = targets.iter().map(|(_, address)| scope.spawn(connect(*address))).collect();
        let finish = |thread: std::thread::ScopedJoinHandle<'_, io::Result<()>>| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the probe failed")))
        };
        started.into_iter().map(finish).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn endpoints_are_addresses_or_ports() {
        let origin = json!({"ip": "10.0.0.1", "endpoints": {
            "rtmp": ["10.0.0.2:1935", "1936"], "http": 8080, "srt": ["10.0.0.1:10080"], "api": null,
        }});
        let found: Vec<String> = tcp_endpoints(&origin).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.2:1935", "10.0.0.1:1936", "10.0.0.1:8080"]);
        assert_eq!(tcp_endpoints(&json!({"id": "x"})), []);
    }

    #[test]
    fn reachable_and_unreachable_origins_are_told_apart_in_order() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let results = connect_all(&[("a".into(), closed), ("b".into(), open)], Duration::from_secs(2));
        assert!(results[0].is_err() && results[1].is_ok());
    }
}
