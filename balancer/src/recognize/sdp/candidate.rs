//! One candidate line, RFC 8839 section 5.1: read, and written anew for another address.

use super::Advertised;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// What an agent says about how it has come by an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CandidateKind {
    /// Its own.
    Host,
    /// Its own as others see it: by the word of a STUN server, or of its configuration.
    Reflexive,
}

/// A place where an agent says that it takes media by UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// 1, or 2 for RTCP that has a port of its own.
    pub component: u16,
    pub kind: CandidateKind,
    /// `None`: a name (mDNS) that only the agent's own network knows.
    pub ip: Option<IpAddr>,
    pub port: u16,
}

impl Candidate {
    pub fn address(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.ip?, self.port))
    }
}

/// The words of a line that is a UDP candidate which can be had without a relay in between.
#[derive(Clone, Copy, Debug)]
pub struct CandidateLine<'a> {
    pub candidate: Candidate,
    foundation: &'a str,
    transport: &'a str,
    priority: Option<u32>,
    /// What follows the type.
    extensions: &'a str,
}

/// RFC 8839 section 5.1.
const FOUNDATION_LEN_MAX: usize = 32;
const PRIORITY_MAX: u32 = (1 << 31) - 1;
/// RFC 8445 section 5.1.2.1: a host candidate of the first component, preferred to all others.
const PRIORITY_DEFAULT: u32 = 126 << 24 | 65_535 << 8 | 255;
/// The local preference stands above the component.
const PREFERENCE: u32 = 256;
const PREFERENCES: u32 = 65_535 * PREFERENCE;
/// What stands below them.
const COMPONENT: u32 = 255;
/// More of them than we have addresses.
const LEAST: u32 = Advertised::MAX as u32;

impl<'a> CandidateLine<'a> {
    /// `None`: it is by TCP or by a relay, or cannot be read.
    pub fn parse(value: &'a str) -> Option<Self> {
        let mut rest = value.trim_ascii();
        let mut word = || {
            let (word, behind) = rest.split_once(' ').unwrap_or((rest, ""));
            rest = behind.trim_ascii_start();
            Some(word).filter(|word| !word.is_empty())
        };
        let (foundation, component, transport) = (word()?, word()?.parse().ok()?, word()?);
        let priority = word()?.parse().ok().filter(|priority| (1..=PRIORITY_MAX).contains(priority));
        let (address, port, typ, kind) = (word()?, word()?.parse().ok()?, word()?, word()?);
        if !transport.eq_ignore_ascii_case("udp") || !typ.eq_ignore_ascii_case("typ") || port == 0 {
            return None;
        }
        let kind = match kind {
            kind if kind.eq_ignore_ascii_case("host") => CandidateKind::Host,
            kind if kind.eq_ignore_ascii_case("srflx") || kind.eq_ignore_ascii_case("prflx") => {
                CandidateKind::Reflexive
            }
            _ => return None,
        };
        let ip = address.parse().ok().map(|ip: IpAddr| ip.to_canonical());
        let candidate = Candidate { component, kind, ip, port };
        Some(Self { candidate, foundation, transport, priority, extensions: rest })
    }

    /// The line for the `nth` of our addresses: one foundation for each, the first preferred. Those that are `far` come
    /// below whatever a client prefers by itself, and without the share of a host candidate: behind an address that is
    /// translated, and ours are, what the client has is a peer-reflexive one, and of a pair the lesser counts.
    pub fn at(&self, nth: usize, address: SocketAddr, far: bool) -> String {
        let mut line = String::from("a=candidate:");
        match nth {
            0 => line.push_str(self.foundation),
            nth => {
                let nth = nth.to_string();
                // Of one byte each, or it is cut where a character ends.
                let kept = self.foundation.floor_char_boundary(FOUNDATION_LEN_MAX - nth.len());
                line.push_str(&self.foundation[..kept]);
                line.push_str(&nth);
            }
        }
        let has_room = |priority: &u32| priority & PREFERENCES >= 2 * LEAST * PREFERENCE;
        let priority = self.priority.filter(has_room).unwrap_or(PRIORITY_DEFAULT);
        let below = u32::try_from(nth).unwrap_or(LEAST).min(LEAST - 1);
        let priority = match far {
            true => (priority & COMPONENT) | ((LEAST - below) * PREFERENCE),
            false => priority - below * PREFERENCE,
        };
        // Writing to a String cannot fail.
        let _ = write!(line, " 1 {} {priority} {} {} typ host", self.transport, address.ip(), address.port());
        let mut words = self.extensions.split_ascii_whitespace();
        while let Some(name) = words.next() {
            let value = words.next();
            // A host candidate is related to nothing: RFC 8839 section 5.1.
            if name.eq_ignore_ascii_case("raddr") || name.eq_ignore_ascii_case("rport") {
                continue;
            }
            [Some(name), value].into_iter().flatten().for_each(|word| {
                line.push(' ');
                line.push_str(word);
            });
        }
        line
    }
}
