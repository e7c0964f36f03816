//! The PROXY protocol, versions 1 and 2: the header in which a load balancer in front says whom it speaks for, and in
//! which we say it to an origin.
//!
//! By HAProxy's specification, <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>; section numbers below are
//! its own. Reads and writes headers. Who may be believed is the slow path's to decide.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

#[cfg(test)]
mod tests;

/// Section 2.1: the longest line there can be, with its end.
pub const V1_LEN_MAX: usize = 107;
/// Section 2.2 allows 64 KiB, of which TCP6 needs 52 bytes; the rest are extensions (a certificate's name, for one).
pub const V2_LEN_MAX: usize = 4096;

/// What is known of the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// They begin no header: the client spoke for itself.
    NotOne,
    /// Nothing that contradicts one yet.
    Incomplete,
    /// The first `len` bytes are one.
    Complete { header: Announced, len: usize },
}

/// Whom the header speaks for. Without addresses where the sender speaks for itself (its health check), or does not
/// know, or means no IP at all: the connection's own addresses hold then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    pub client: Option<SocketAddr>,
    /// The address that the client dialled.
    pub dialled: Option<SocketAddr>,
}

/// Which of the two forms an origin is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    V1,
    V2,
}

impl ProxyVersion {
    pub const fn label(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::V1, Self::V2].into_iter().find(|version| version.label() == text)
    }

    /// The header of a connection from `client`, which had dialled `dialled`.
    pub fn write(self, client: SocketAddr, dialled: SocketAddr) -> Vec<u8> {
        match self {
            Self::V1 => write_v1(client, dialled),
            Self::V2 => write_v2(client, dialled),
        }
    }
}

/// Begins as a header, and is none. The connection cannot be saved: sections 2.1 and 2.2 ask to close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    #[error("a PROXY line (v1) does not end within {V1_LEN_MAX} bytes")]
    LineTooLong,
    #[error("a PROXY line (v1) that is not \"PROXY TCP4|TCP6 CLIENT DIALLED PORT PORT\" or \"PROXY UNKNOWN\"")]
    Line,
    #[error("a PROXY header (v2) with the version and command {0:#04x}: 0x20 and 0x21 exist")]
    Command(u8),
    #[error("a PROXY header (v2) with the family and transport {0:#04x}, which does not exist")]
    Family(u8),
    #[error("a PROXY header (v2) of {0} bytes; at most {V2_LEN_MAX} are read")]
    TooLong(usize),
    #[error("a PROXY header (v2) of {0} bytes is too short for its addresses")]
    TooShort(usize),
}

/// Looks at the bytes from the connection's first on. The same bytes and more give the same answer once it is
/// [`Progress::NotOne`], [`Progress::Complete`] or an error.
pub fn parse(bytes: &[u8]) -> Result<Progress, ProxyHeaderError> {
    if begins(bytes, V1_SIGNATURE) {
        parse_v1(bytes)
    } else if begins(bytes, V2_SIGNATURE) {
        parse_v2(bytes)
    } else {
        Ok(Progress::NotOne)
    }
}

pub fn write_v1(client: SocketAddr, dialled: SocketAddr) -> Vec<u8> {
    let (client, dialled) = of_one_family(client, dialled);
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {} {} {} {}\r\n", client.ip(), dialled.ip(), client.port(), dialled.port()).into_bytes()
}

pub fn write_v2(client: SocketAddr, dialled: SocketAddr) -> Vec<u8> {
    let (family, addresses) = match of_one_family(client, dialled) {
        (SocketAddr::V4(client), SocketAddr::V4(dialled)) => {
            (TCP4, [client.ip().octets(), dialled.ip().octets()].concat())
        }
        (client, dialled) => (TCP6, [octets(client.ip()), octets(dialled.ip())].concat()),
    };
    let len = (addresses.len() + PORTS_LEN) as u16;
    let mut out = V2_SIGNATURE.to_vec();
    out.extend([VERSION_2 | PROXY, family]);
    out.extend(len.to_be_bytes());
    out.extend(addresses);
    out.extend(client.port().to_be_bytes());
    out.extend(dialled.port().to_be_bytes());
    out
}

const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const V2_FIXED_LEN: usize = 16;
const PORTS_LEN: usize = 4;

const VERSION_2: u8 = 0x20;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// Of the two, the shorter begins the other.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let len = bytes.len().min(signature.len());
    bytes[..len] == signature[..len]
}

fn parse_v1(bytes: &[u8]) -> Result<Progress, ProxyHeaderError> {
    let seen = &bytes[..bytes.len().min(V1_LEN_MAX)];
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        let full = seen.len() == V1_LEN_MAX;
        return if full { Err(ProxyHeaderError::LineTooLong) } else { Ok(Progress::Incomplete) };
    };
    let rest = seen.get(V1_SIGNATURE.len()..end).ok_or(ProxyHeaderError::Line)?;
    let header = line(rest).ok_or(ProxyHeaderError::Line)?;
    Ok(Progress::Complete { header, len: end + 2 })
}

/// What stands between "PROXY " and the end of the line.
fn line(rest: &[u8]) -> Option<Announced> {
    // Section 2.1: whatever follows UNKNOWN is to be ignored.
    if rest == b"UNKNOWN" || rest.starts_with(b"UNKNOWN ") {
        return Some(Announced::default());
    }
    let mut words = std::str::from_utf8(rest).ok()?.split(' ');
    let address: fn(&str) -> Option<IpAddr> = match words.next()? {
        "TCP4" => |word| word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |word| word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return None,
    };
    let (client, dialled) = (address(words.next()?)?, address(words.next()?)?);
    let (client_port, dialled_port) = (port(words.next()?)?, port(words.next()?)?);
    if words.next().is_some() {
        return None;
    }
    Some(announced(SocketAddr::new(client, client_port), SocketAddr::new(dialled, dialled_port)))
}

/// Digits without a sign or a leading zero.
fn port(word: &str) -> Option<u16> {
    let digits = word.bytes().all(|b| b.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| digits)
}

fn parse_v2(bytes: &[u8]) -> Result<Progress, ProxyHeaderError> {
    // What is wrong is said as soon as it is there: its sender may never send the rest.
    let command = match bytes.get(12) {
        Some(byte @ (0x20 | 0x21)) => byte & 0x0f,
        Some(other) => return Err(ProxyHeaderError::Command(*other)),
        None => return Ok(Progress::Incomplete),
    };
    let Some(fixed) = bytes.first_chunk::<V2_FIXED_LEN>() else { return Ok(Progress::Incomplete) };
    let len = V2_FIXED_LEN + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if len > V2_LEN_MAX {
        return Err(ProxyHeaderError::TooLong(len));
    }
    let family = fixed[13];
    let addresses_len = match (command, family) {
        // Section 2.2: the family of a LOCAL header is to be ignored.
        (LOCAL, _) => 0,
        (_, TCP4) => 2 * 4 + PORTS_LEN,
        (_, TCP6) => 2 * 16 + PORTS_LEN,
        // Unspecified, datagrams (over a stream, but not ours to judge) and Unix sockets: nothing that we could use.
        (_, 0x00..=0x02 | 0x10 | 0x12 | 0x20 | 0x22 | 0x30..=0x32) => 0,
        (_, other) => return Err(ProxyHeaderError::Family(other)),
    };
    if len < V2_FIXED_LEN + addresses_len {
        return Err(ProxyHeaderError::TooShort(len));
    }
    if bytes.len() < len {
        return Ok(Progress::Incomplete);
    }
    let addresses = &bytes[V2_FIXED_LEN..V2_FIXED_LEN + addresses_len];
    Ok(Progress::Complete { header: read_addresses(addresses), len })
}

fn read_addresses(bytes: &[u8]) -> Announced {
    let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    if let Some((ips, _)) = bytes.split_first_chunk::<32>() {
        let (client, dialled) = ips.split_at(16);
        let ip = |half: &[u8]| half.first_chunk::<16>().map_or(Ipv6Addr::UNSPECIFIED, |b| Ipv6Addr::from(*b));
        announced((ip(client), port(32)).into(), (ip(dialled), port(34)).into())
    } else if let Some(ips) = bytes.first_chunk::<8>() {
        let [a, b, c, d, e, f, g, h] = *ips;
        announced(([a, b, c, d], port(8)).into(), ([e, f, g, h], port(10)).into())
    } else {
        Announced::default()
    }
}

/// An IPv4 address is one, also where a sender that knows IPv6 sockets only has mapped it.
fn announced(client: SocketAddr, dialled: SocketAddr) -> Announced {
    Announced { client: Some(canonical(client)), dialled: Some(canonical(dialled)) }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A header has one family for both: IPv4 beside IPv6 is written mapped.
fn of_one_family(client: SocketAddr, dialled: SocketAddr) -> (SocketAddr, SocketAddr) {
    let (client, dialled) = (canonical(client), canonical(dialled));
    if client.is_ipv4() == dialled.is_ipv4() {
        return (client, dialled);
    }
    let mapped = |address: SocketAddr| SocketAddr::new(IpAddr::V6(octets(address.ip()).into()), address.port());
    (mapped(client), mapped(dialled))
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}
