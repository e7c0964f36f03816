//! The same description with our addresses in it: where media go is what changes, and nothing else does.

use super::Advertised;
use super::candidate::CandidateLine;
use super::lines::{Line, lines};
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

/// What a port says that is not known yet, RFC 8840 section 4.1.1, and that of a section that is refused.
const PORTS_KEPT: [u16; 2] = [9, 0];

/// A description, or a fragment of one (RFC 8840), that sends its reader to our addresses. Of each section the first UDP
/// candidate becomes one for each address, and the others go, with all that are by TCP or by a relay.
pub fn rewrite(text: &str, to: &Advertised) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut is_told = false;
    for line in lines(text) {
        if line.field('m').is_some() {
            is_told = false;
        }
        if let Some(value) = line.attribute("candidate") {
            if !is_told
                && let Some(candidate) = CandidateLine::parse(value).filter(|line| line.candidate.component == 1)
            {
                is_told = true;
                candidates(&mut out, &candidate, to, line.end);
            }
            continue;
        }
        out.push_str(&changed(&line, to.first()));
        out.push_str(line.end);
    }
    out
}

fn candidates(out: &mut String, candidate: &CandidateLine<'_>, to: &Advertised, end: &str) {
    for (nth, address) in to.iter().enumerate() {
        if nth > 0 && end.is_empty() {
            out.push_str("\r\n");
        }
        out.push_str(&candidate.at(nth, address, address.is_ipv4() != to.first().is_ipv4()));
        out.push_str(end);
    }
}

fn changed<'a>(line: &Line<'a>, to: SocketAddr) -> Cow<'a, str> {
    let changed = match line.text.as_bytes() {
        [b'o', b'=', ..] => line.field('o').and_then(|value| origin(value, to.ip())).map(|value| format!("o={value}")),
        [b'c', b'=', ..] => line.field('c').and_then(|value| connection(value, to.ip())).map(|to| format!("c={to}")),
        [b'm', b'=', ..] => line.field('m').and_then(|value| media(value, to.port())).map(|value| format!("m={value}")),
        _ => line.attribute("rtcp").and_then(|value| rtcp(value, to)).map(|value| format!("a=rtcp:{value}")),
    };
    changed.map_or(Cow::Borrowed(line.text), Cow::Owned)
}

/// `- 3461 2 IN IP4 192.0.2.1`. Most write no address of theirs there.
fn origin(value: &str, to: IpAddr) -> Option<String> {
    let words: Vec<&str> = value.split(' ').collect();
    let [name, id, version, network, _, address] = words[..] else { return None };
    let is_nobodys = address.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified() || ip.is_loopback());
    (!is_nobodys).then(|| format!("{name} {id} {version} {network} {} {to}", family(to)))
}

/// `IN IP4 192.0.2.1`, of multicast with a TTL behind it.
fn connection(value: &str, to: IpAddr) -> Option<String> {
    let words: Vec<&str> = value.trim_end().split(' ').collect();
    let [network, _, address] = words[..] else { return None };
    let address = address.split('/').next().unwrap_or(address);
    let is_open = address.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified());
    (!is_open).then(|| format!("{network} {} {to}", family(to)))
}

/// `video 8000 UDP/TLS/RTP/SAVPF 96`.
fn media(value: &str, to: u16) -> Option<String> {
    let (kind, rest) = value.split_once(' ')?;
    let (port, rest) = rest.split_once(' ')?;
    let is_kept = port.parse().is_ok_and(|port: u16| PORTS_KEPT.contains(&port));
    (!is_kept).then(|| format!("{kind} {to} {rest}"))
}

/// `8001 IN IP4 192.0.2.1`, RFC 3605: the address is optional.
fn rtcp(value: &str, to: SocketAddr) -> Option<String> {
    let (port, rest) = value.split_once(' ').unwrap_or((value, ""));
    let is_kept = port.parse().is_ok_and(|port: u16| PORTS_KEPT.contains(&port));
    let port = if is_kept { port.to_owned() } else { to.port().to_string() };
    let address = connection(rest, to.ip()).unwrap_or_else(|| rest.to_owned());
    Some(if address.is_empty() { port } else { format!("{port} {address}") })
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IP4" } else { "IP6" }
}
