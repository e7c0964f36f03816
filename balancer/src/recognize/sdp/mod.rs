//! Answers to WebRTC offers: by which name an origin knows the session, where it wants the media, and the same text with
//! our addresses in it. Pure: text in, text out.
//!
//! Sources: RFC 8866 (SDP), RFC 8839 (ICE in SDP), RFC 8840 (trickling, fragments), RFC 8445 (priorities), RFC 3605
//! (`a=rtcp`).
//!
//! [`read`] takes what it needs from any text, a whole description or a fragment of one; [`rewrite`] changes addresses
//! and ports line by line and leaves every other byte as it is. Nothing is said here about whether an origin may be at
//! an address that it names.

mod candidate;
mod lines;
mod rewrite;
#[cfg(test)]
mod tests;

pub use candidate::{Candidate, CandidateKind};
pub use rewrite::rewrite;

use candidate::CandidateLine;
use lines::lines;
use std::net::{IpAddr, SocketAddr};

/// Sections of one description. A conference of 64 is a large one, and a publisher has two.
pub const SECTIONS_MAX: usize = 128;
/// UDP candidates of one description that are looked at.
pub const CANDIDATES_MAX: usize = 512;
/// RFC 8839 section 5.4.
const UFRAG_LEN_MAX: usize = 256;

/// What an agent has said about its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// One for each user name, in the order of the text: one alone when everything is bundled.
    pub transports: Vec<Transport>,
    /// It only answers checks: what every server with one port says.
    pub is_lite: bool,
    /// More candidates are not to come.
    pub has_ended: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    pub ufrag: String,
    pub candidates: Vec<Candidate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    #[error("more than {SECTIONS_MAX} media sections or {CANDIDATES_MAX} candidates")]
    TooMuch,
    #[error("its ice-ufrag is none: 4 to {UFRAG_LEN_MAX} letters, digits, + or /")]
    Ufrag,
    #[error("it wants RTCP on a port of its own: rtcp-mux is missing")]
    RtcpApart,
}

/// Where clients are told to send their media, the first one preferred, and by far to those of the other family: from
/// one family to the other only user space can bring them. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised(Vec<SocketAddr>);

impl Advertised {
    /// A client checks each of them.
    pub const MAX: usize = 8;

    /// `None` where there is none.
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Option<Self> {
        let mut distinct = Vec::new();
        for address in addresses {
            if distinct.len() < Self::MAX && !distinct.contains(&address) {
                distinct.push(address);
            }
        }
        (!distinct.is_empty()).then_some(Self(distinct))
    }

    /// For an origin whose media are at this address.
    pub fn near(mut self, media: IpAddr) -> Self {
        self.0.sort_by_key(|address| address.is_ipv4() != media.is_ipv4());
        self
    }

    pub fn first(&self) -> SocketAddr {
        self.0[0]
    }

    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.0.iter().copied()
    }
}

#[derive(Default)]
struct Section<'a> {
    ufrag: Option<&'a str>,
    candidates: Vec<Candidate>,
    has_rtcp_mux: bool,
}

pub fn read(text: &str) -> Result<Answer, SdpError> {
    let mut answer = Answer::default();
    let mut sections = vec![Section::default()];
    let mut candidates = 0;
    for line in lines(text) {
        if line.field('m').is_some() {
            sections.push(Section::default());
            if sections.len() > SECTIONS_MAX {
                return Err(SdpError::TooMuch);
            }
        }
        // There is the one of the session.
        let Some(section) = sections.last_mut() else { continue };
        if let Some(value) = line.attribute("candidate") {
            section.candidates.extend(CandidateLine::parse(value).map(|line| line.candidate));
            candidates += 1;
            if candidates > CANDIDATES_MAX {
                return Err(SdpError::TooMuch);
            }
        } else if let Some(value) = line.attribute("ice-ufrag") {
            section.ufrag = Some(ufrag(value.trim())?);
        } else if line.attribute("rtcp-mux").is_some() {
            section.has_rtcp_mux = true;
        } else if line.attribute("ice-lite").is_some() {
            answer.is_lite = true;
        } else if line.attribute("end-of-candidates").is_some() {
            answer.has_ended = true;
        }
    }
    // Fragments do not say it.
    let is_whole = text.starts_with("v=");
    let is_apart = |section: &Section| !section.has_rtcp_mux && section.candidates.iter().any(|c| c.component > 1);
    if is_whole && sections.iter().any(is_apart) {
        return Err(SdpError::RtcpApart);
    }
    answer.transports = by_name(sections);
    Ok(answer)
}

/// Sections that are bundled have one name, and mostly only the first of them has candidates.
fn by_name(sections: Vec<Section<'_>>) -> Vec<Transport> {
    let of_session = sections.first().and_then(|session| session.ufrag);
    let mut transports: Vec<Transport> = Vec::new();
    for section in sections {
        let Some(ufrag) = section.ufrag.or(of_session) else { continue };
        let candidates = section.candidates.into_iter().filter(|candidate| candidate.component == 1);
        match transports.iter_mut().find(|transport| transport.ufrag == ufrag) {
            Some(known) => known.candidates.extend(candidates),
            None => transports.push(Transport { ufrag: ufrag.to_owned(), candidates: candidates.collect() }),
        }
    }
    transports
}

/// Some use other characters than the RFC has; none uses the colon, which stands between two of them in STUN.
fn ufrag(text: &str) -> Result<&str, SdpError> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    if text.is_empty() || text.len() > UFRAG_LEN_MAX || !is_plain { Err(SdpError::Ufrag) } else { Ok(text) }
}
