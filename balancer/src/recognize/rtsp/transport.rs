//! The `Transport` header (RFC 2326 section 12.39): how media travel, as a list of alternatives in order of preference.

use super::message::number;
use super::{RtspError, TRANSPORTS_MAX};
use std::fmt;

/// Ports of RTP and RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortPair {
    pub rtp: u16,
    pub rtcp: u16,
}

/// One alternative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// `RTP/AVP`, `RTP/AVP/TCP`, …
    spec: String,
    /// Name and, if it has one, value.
    parameters: Vec<(String, Option<String>)>,
}

/// How an alternative would carry media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lower {
    /// In the control connection itself.
    Interleaved,
    /// Datagrams between the two ends.
    Udp,
    /// Datagrams to a group, or something that we do not know how to carry.
    Other,
}

impl fmt::Display for PortPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.rtp, self.rtcp)
    }
}

impl PortPair {
    /// `8000-8001`; a single port means that RTCP has the next one.
    fn parse(text: &str) -> Option<Self> {
        let port = |text| number(text).and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
        match text.split_once('-') {
            Some((rtp, rtcp)) => Some(Self { rtp: port(rtp)?, rtcp: port(rtcp)? }),
            None => port(text).and_then(|rtp| Some(Self { rtp, rtcp: rtp.checked_add(1)? })),
        }
    }
}

impl Transport {
    pub fn parse_list(header: &str) -> Result<Vec<Self>, RtspError> {
        let mut list = Vec::new();
        for text in split_outside_quotes(header, ',') {
            if list.len() == TRANSPORTS_MAX {
                return Err(RtspError::Malformed("too many alternatives in Transport"));
            }
            list.push(Self::parse(text.trim())?);
        }
        Ok(list)
    }

    fn parse(text: &str) -> Result<Self, RtspError> {
        let mut parts = split_outside_quotes(text, ';').into_iter().map(str::trim);
        let spec = parts.next().unwrap_or_default();
        if spec.is_empty() {
            return Err(RtspError::Malformed("an empty alternative in Transport"));
        }
        let parameter = |part: &str| match part.split_once('=') {
            Some((name, value)) => (name.trim().to_owned(), Some(value.trim().to_owned())),
            None => (part.to_owned(), None),
        };
        // An empty parameter (`;;`, or a `;` at the end) says nothing.
        let parameters = parts.filter(|part| !part.is_empty()).map(parameter).collect();
        Ok(Self { spec: spec.to_owned(), parameters })
    }

    pub fn lower(&self) -> Lower {
        let mut words = self.spec.split('/');
        let (protocol, _profile, lower) = (words.next().unwrap_or_default(), words.next(), words.next());
        match lower {
            _ if !protocol.eq_ignore_ascii_case("RTP") || self.has("multicast") => Lower::Other,
            Some(lower) if lower.eq_ignore_ascii_case("TCP") => Lower::Interleaved,
            Some(lower) if !lower.eq_ignore_ascii_case("UDP") => Lower::Other,
            // Section 12.39: without a word RTP goes over UDP. Its default of multicast is nobody's practice.
            _ => Lower::Udp,
        }
    }

    fn has(&self, name: &str) -> bool {
        self.parameters.iter().any(|(n, _)| n.eq_ignore_ascii_case(name))
    }

    /// The first value of that name, without quotes.
    pub fn value(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| value.as_deref()).map(|value| value.trim_matches('"'))
    }

    pub fn ports(&self, name: &str) -> Option<PortPair> {
        self.value(name).and_then(PortPair::parse)
    }

    /// RFC 2326 section 12.39: `mode=RECORD`, quoted or not, one of several or not.
    pub fn records(&self) -> bool {
        self.value("mode").is_some_and(|mode| {
            mode.split([',', ' ']).any(|m| ["record", "receive"].iter().any(|r| m.eq_ignore_ascii_case(r)))
        })
    }

    /// In the place of the first of that name, or at the end; further ones go.
    pub fn set(&mut self, name: &str, value: String) {
        let is = |(n, _): &(String, Option<String>)| n.eq_ignore_ascii_case(name);
        let at = self.parameters.iter().position(is).unwrap_or(self.parameters.len());
        self.parameters.retain(|p| !is(p));
        self.parameters.insert(at, (name.to_owned(), Some(value)));
    }

    pub fn remove(&mut self, name: &str) {
        self.parameters.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    pub fn replace(&mut self, name: &str, value: String) {
        if self.has(name) {
            self.set(name, value);
        }
    }

    pub fn list(all: &[Self]) -> String {
        all.iter().map(Self::to_string).collect::<Vec<_>>().join(",")
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spec)?;
        for (name, value) in &self.parameters {
            match value {
                Some(value) => write!(f, ";{name}={value}")?,
                None => write!(f, ";{name}")?,
            }
        }
        Ok(())
    }
}

/// `mode="PLAY,RECORD"` is one parameter.
fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
    .collect()
}
