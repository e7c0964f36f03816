//! How every kind of value is written and read: one text form for flags, environment and file. What is shown always
//! reads back as the same value.

mod quantity;

pub use quantity::{BYTES, COUNT, DURATION};

use super::problem::Fault;
use super::store_url::RedisUrl;
use super::{AuthFailure, Candidate, HttpUrl, Listen, LogFormat, Policy, SecondPublisher, Secret, StoreKind, XdpMode};
use crate::registry::{ProbeMode, StatusRange};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

pub struct Codec<T> {
    pub parse: fn(&str) -> Result<T, Fault>,
    pub show: fn(&T) -> String,
}

pub const XDP_MODES: &[&str] = &["auto", "native", "generic", "off"];
pub const POLICIES: &[&str] = &["least-load", "rendezvous", "round-robin"];
pub const PROBE_MODES: &[&str] = &["off", "connect", "protocol"];
pub const SECOND_PUBLISHERS: &[&str] = &["origin", "refuse", "replace", "backup"];
pub const AUTH_FAILURES: &[&str] = &["deny", "allow"];
pub const LOG_FORMATS: &[&str] = &["text", "json"];
pub const SWITCHES: &[&str] = &["on", "off"];

/// Longer than any health page's address.
const REQUEST_PATH_BYTES_MAX: usize = 256;
/// The kernel's IFNAMSIZ, less the final zero.
const INTERFACE_NAME_BYTES_MAX: usize = 15;
const ID_BYTES_MAX: usize = 64;

pub const INTERFACE: Codec<String> = Codec {
    parse: |s| {
        let fits = !s.is_empty() && s.len() <= INTERFACE_NAME_BYTES_MAX && s != "." && s != "..";
        match fits && !s.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) {
            true => Ok(s.into()),
            false => Err(Fault::new(format!("{s:?} cannot be an interface"), "name one that `ip link` lists")),
        }
    },
    show: |s| s.clone(),
};

pub const ADDRESS: Codec<IpAddr> = Codec {
    parse: |s| {
        let plain = s.strip_prefix('[').and_then(|s| s.strip_suffix(']')).unwrap_or(s);
        plain.parse().map_err(|_| Fault::new(format!("{s:?} is not an IP address"), "write 192.0.2.10 or 2001:db8::10"))
    },
    show: |a| a.to_string(),
};

pub const CANDIDATE: Codec<Candidate> = Codec {
    parse: |s| {
        if let Ok(address) = s.parse::<SocketAddr>() {
            port(&address.port().to_string())?;
            return Ok(Candidate { ip: address.ip(), port: Some(address.port()) });
        }
        (ADDRESS.parse)(s).map(|ip| Candidate { ip, port: None })
    },
    show: |c| c.port.map_or_else(|| c.ip.to_string(), |port| SocketAddr::new(c.ip, port).to_string()),
};

pub const NETWORK: Codec<IpNet> = Codec {
    parse: |s| {
        let network = s.parse::<IpNet>().or_else(|_| s.parse::<IpAddr>().map(IpNet::from));
        network.map(|n| n.trunc()).map_err(|_| {
            Fault::new(format!("{s:?} is not a network"), "write 10.0.0.0/8, 2001:db8::/32 or a single address")
        })
    },
    show: |n| n.to_string(),
};

pub const PORT: Codec<u16> = Codec { parse: port, show: |p| p.to_string() };

/// A bare port (`1935`, `:1935`), or an address and port. A wildcard address is a bare port: every VIP.
pub const LISTEN: Codec<Listen> = Codec {
    parse: |s| {
        if let Ok(address) = s.parse::<SocketAddr>() {
            port(&address.port().to_string())?;
            return Ok(match address.ip().is_unspecified() {
                true => Listen::Port(address.port()),
                false => Listen::Address(address),
            });
        }
        port(s.strip_prefix(':').unwrap_or(s)).map(Listen::Port).map_err(|_| {
            Fault::new(
                format!("{s:?} is neither a port nor an address with a port"),
                "write 1935, 192.0.2.10:1935 or [2001:db8::10]:1935",
            )
        })
    },
    show: show_listen,
};

/// As [`LISTEN`], but a wildcard address is meant as such: this is about the host, not the VIPs.
pub const LISTEN_HOST: Codec<Listen> = Codec {
    parse: |s| match s.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(Listen::Address(address)),
        _ => (LISTEN.parse)(s),
    },
    show: show_listen,
};

pub const PORT_RANGE: Codec<RangeInclusive<u16>> = Codec {
    parse: |s| {
        let bounds = s.split_once('-').and_then(|(a, b)| Some((port(a.trim()).ok()?, port(b.trim()).ok()?)));
        match bounds {
            Some((first, last)) if first <= last => Ok(first..=last),
            _ => Err(Fault::new(format!("{s:?} is not a range of ports"), "write first-last, such as 20000-32767")),
        }
    },
    show: |r| format!("{}-{}", r.start(), r.end()),
};

pub const ABSOLUTE_PATH: Codec<PathBuf> = Codec {
    parse: |s| match s.starts_with('/') {
        true => Ok(s.into()),
        false => Err(Fault::new(format!("{s:?} is not an absolute path"), "start it with a slash")),
    },
    show: |p| p.display().to_string(),
};

/// `https` would need the certificates of the world: put a local forwarder in between.
pub const HTTP_URL: Codec<HttpUrl> = Codec {
    parse: |s| {
        let uri = s.parse::<http::Uri>().ok().filter(|uri| uri.scheme_str() == Some("http") && uri.host().is_some());
        match uri {
            Some(_) => Ok(HttpUrl(s.into())),
            None => Err(Fault::new(format!("{s:?} is not an http URL"), "write http://127.0.0.1:8085/auth")),
        }
    },
    show: |u| u.0.clone(),
};

pub const PROBE_MODE: Codec<ProbeMode> =
    Codec { parse: |s| choose(s, PROBE_MODES, &ProbeMode::ALL), show: |m| m.label().into() };

/// What can stand in the first line of a request.
pub const REQUEST_PATH: Codec<Arc<str>> = Codec {
    parse: |s| match is_request_path(s) {
        true => Ok(s.into()),
        false => Err(Fault::new(format!("{s:?} is not a path of a request"), "start it with a slash: /health")),
    },
    show: |p| p.to_string(),
};

pub const STATUS_RANGE: Codec<StatusRange> = Codec {
    parse: |s| {
        StatusRange::parse(s)
            .ok_or_else(|| Fault::new(format!("{s:?} is not a status of HTTP"), "write 200, or 200-399"))
    },
    show: |r| r.to_string(),
};

pub const AUTH_FAILURE: Codec<AuthFailure> = Codec {
    parse: |s| match s.to_ascii_lowercase().as_str() {
        "deny" => Ok(AuthFailure::Deny),
        "allow" => Ok(AuthFailure::Allow),
        _ => Err(Fault::new(format!("{s:?} is not an answer"), "write deny or allow")),
    },
    show: |a| match a {
        AuthFailure::Deny => "deny".into(),
        AuthFailure::Allow => "allow".into(),
    },
};

pub const PATH: Codec<PathBuf> = Codec { parse: |s| Ok(s.into()), show: |p| p.display().to_string() };

/// Sent in an HTTP header, so visible ASCII only. The message must not repeat it.
pub const SECRET: Codec<Secret> = Codec {
    parse: |s| match s.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(Secret(s.into())),
        false => Err(Fault::new("the secret has characters that HTTP cannot carry", "use letters, digits and signs")),
    },
    show: |_| "<secret>".into(),
};

pub const SWITCH: Codec<bool> = Codec {
    parse: |s| match s.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err(not_one_of(s, SWITCHES)),
    },
    show: |b| if *b { "on" } else { "off" }.into(),
};

pub const XDP_MODE: Codec<XdpMode> = Codec {
    parse: |s| choose(s, XDP_MODES, &[XdpMode::Auto, XdpMode::Native, XdpMode::Generic, XdpMode::Off]),
    show: |m| XDP_MODES[*m as usize].into(),
};

pub const POLICY: Codec<Policy> = Codec {
    parse: |s| choose(s, POLICIES, &[Policy::LeastLoad, Policy::Rendezvous, Policy::RoundRobin]),
    show: |p| POLICIES[*p as usize].into(),
};

pub const SECOND_PUBLISHER: Codec<SecondPublisher> = Codec {
    parse: |s| {
        use SecondPublisher::{Backup, Origin, Refuse, Replace};
        choose(s, SECOND_PUBLISHERS, &[Origin, Refuse, Replace, Backup])
    },
    show: |p| SECOND_PUBLISHERS[*p as usize].into(),
};

pub const LOG_FORMAT: Codec<LogFormat> = Codec {
    parse: |s| choose(s, LOG_FORMATS, &[LogFormat::Text, LogFormat::Json]),
    show: |l| LOG_FORMATS[*l as usize].into(),
};

pub const LOG_LEVEL: Codec<String> = Codec {
    parse: |s| match tracing_subscriber::EnvFilter::try_new(s) {
        Ok(_) => Ok(s.into()),
        Err(error) => Err(Fault::new(
            format!("{s:?} is not a log level ({error})"),
            "write error, warn, info, debug or trace, or info,balancer::slowpath=debug",
        )),
    },
    show: |s| s.clone(),
};

/// What the SRS proxy calls `redis` is a server on this host, unless more is said.
pub const STORE: Codec<StoreKind> = Codec {
    parse: |s| match s {
        "memory" => Ok(StoreKind::Memory),
        "redis" => RedisUrl::parse("redis://127.0.0.1").map(StoreKind::Redis),
        _ => RedisUrl::parse(s).map(StoreKind::Redis),
    },
    show: |store| match store {
        StoreKind::Memory => "memory".into(),
        StoreKind::Redis(url) => url.shown(),
    },
};

/// Of a balancer, in names of keys and in messages.
pub const ID: Codec<String> = Codec {
    parse: |s| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        match (1..=ID_BYTES_MAX).contains(&s.len()) && s.bytes().all(is_plain) {
            true => Ok(s.into()),
            false => Err(Fault::new(format!("{s:?} is not a name"), "use up to 64 letters, digits, '.', '-' and '_'")),
        }
    },
    show: |s| s.clone(),
};

/// Before the names of all keys. Braces mean something to Redis Cluster.
pub const PREFIX: Codec<String> = Codec {
    parse: |s| {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}');
        match (1..=ID_BYTES_MAX).contains(&s.len()) && s.bytes().all(is_plain) {
            true => Ok(s.into()),
            false => Err(Fault::new(format!("{s:?} cannot begin a key"), "use up to 64 letters, digits and signs")),
        }
    },
    show: |s| s.clone(),
};

/// Visible ASCII behind a slash: nothing that ends a line or splits a word.
pub fn is_request_path(text: &str) -> bool {
    text.len() <= REQUEST_PATH_BYTES_MAX && text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic())
}

fn port(s: &str) -> Result<u16, Fault> {
    match s.parse() {
        Ok(port) if port != 0 && s.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err(Fault::new(format!("{s:?} is not a port"), "write a number from 1 to 65535")),
    }
}

fn show_listen(listen: &Listen) -> String {
    match listen {
        Listen::Port(port) => port.to_string(),
        Listen::Address(address) => address.to_string(),
    }
}

fn choose<T: Copy>(s: &str, names: &[&str], values: &[T]) -> Result<T, Fault> {
    let found = names.iter().position(|name| *name == s).and_then(|i| values.get(i));
    found.copied().ok_or_else(|| not_one_of(s, names))
}

fn not_one_of(s: &str, names: &[&str]) -> Fault {
    let near = super::problem::nearest(s, names.iter().copied());
    let remedy = match near {
        Some(near) => format!("did you mean {near}? It can be {}", names.join(", ")),
        None => format!("write one of {}", names.join(", ")),
    };
    Fault::new(format!("{s:?} is not a choice"), remedy)
}

#[cfg(test)]
mod tests;
