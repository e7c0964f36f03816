//! Which way a request came, in the fields that origins read: `X-Forwarded-For`, `X-Real-IP`, `X-Forwarded-Proto`, and
//! `Forwarded` of RFC 7239.

use std::net::{IpAddr, SocketAddr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via {
    pub client: SocketAddr,
    /// Whether the client's connection is encrypted.
    pub tls: bool,
    /// What the client dialled.
    pub vip: SocketAddr,
    /// `true`: the client is a proxy of ours, its own claims are added to. `false`: they are replaced.
    pub trust_forwarded: bool,
}

/// The names of what [`forwarded`] gives, in its order.
pub const FORWARDED: [&str; 4] = ["x-forwarded-for", "x-real-ip", "x-forwarded-proto", "forwarded"];

/// The fields that a forwarded request has *instead of* those of the same names that it came with. `claimed` gives the
/// values that it came with.
pub fn forwarded<'a, V>(claimed: impl Fn(&'static str) -> V, via: &Via) -> [(&'static str, Vec<u8>); 4]
where
    V: Iterator<Item = &'a [u8]>,
{
    let address = via.client.ip().to_canonical();
    let protocol = if via.tls { "https" } else { "http" };
    let element = format!("for={};by={};proto={protocol}", node(address), node(via.vip.ip().to_canonical()));
    let [list, real, proto, standard] = FORWARDED;
    let appended = |name, own: &str| {
        let mut value = Vec::new();
        for claim in claimed(name).filter(|claim| via.trust_forwarded && !claim.is_empty()) {
            value.extend_from_slice(claim);
            value.extend_from_slice(b", ");
        }
        value.extend_from_slice(own.as_bytes());
        value
    };
    // Whoever was first to see the client knows these.
    let kept = |name, own: &str| {
        let claim = claimed(name).find(|claim| via.trust_forwarded && !claim.is_empty());
        claim.unwrap_or(own.as_bytes()).to_vec()
    };
    let address = address.to_string();
    [
        (list, appended(list, &address)),
        (real, kept(real, &address)),
        (proto, kept(proto, protocol)),
        (standard, appended(standard, &element)),
    ]
}

/// Whether `name` is one of [`FORWARDED`] to an origin that reads fields through variables, in which `-` becomes `_`.
pub fn is_forwarded(name: &[u8]) -> bool {
    let plain = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    FORWARDED.iter().any(|wanted| name.len() == wanted.len() && name.iter().map(plain).eq(wanted.bytes()))
}

/// RFC 7239 section 6: an IPv6 address stands in brackets, and brackets stand in quotes.
fn node(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    }
}
