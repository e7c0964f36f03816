//! One publisher or player: its ICE, DTLS and RTP, what it said and got. Sends where the last binding request came from
//! that proved to be its peer's and named its candidate: as the other ICE-lite servers do, and at once.

use crate::tally::Tally;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;
use str0m::change::SdpOffer;
use str0m::format::PayloadParams;
use str0m::media::{KeyframeRequest, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpPacket;
use str0m::{Candidate, Event, IceConnectionState, IceCreds, Input, Output, Rtc, RtcError};

pub struct Session {
    pub rtc: Rtc,
    pub token: String,
    pub stream: String,
    pub publishes: bool,
    /// Counts ICE restarts: a part of the entity tag.
    pub generation: u64,
    pub deadline: Instant,
    pub connected: bool,
    pub sent: u64,
    pub unmatched: u64,
    pub keyframes_asked: u64,
    medias: Vec<(Mid, MediaKind)>,
    tallies: BTreeMap<u32, Tally>,
    peer: Option<SocketAddr>,
    moves: u64,
    errors: u64,
    over: bool,
}

/// What others have to do now.
#[derive(Default)]
pub struct Outcome {
    pub packets: Vec<RtpPacket>,
    pub keyframes: Vec<KeyframeRequest>,
    pub over: bool,
}

impl Session {
    /// Answers an offer. VP8 and Opus alone, so that whoever publishes is understood by whoever plays.
    pub fn new(
        offer: SdpOffer,
        addresses: impl Iterator<Item = SocketAddr>,
        stream: &str,
        publishes: bool,
    ) -> Result<(Self, String), RtcError> {
        let now = Instant::now();
        let config = Rtc::builder().set_ice_lite(true).set_rtp_mode(true).clear_codecs();
        let mut rtc = config.enable_vp8(true).enable_opus(true, false).build(now);
        for address in addresses {
            rtc.add_local_candidate(Candidate::host(address, "udp")?);
        }
        let answer = rtc.sdp_api().accept_offer(offer)?.to_sdp_string();
        let token = IceCreds::new().pass;
        let session = Self {
            rtc,
            token,
            stream: stream.to_owned(),
            publishes,
            generation: 0,
            deadline: now,
            connected: false,
            sent: 0,
            unmatched: 0,
            keyframes_asked: 0,
            medias: Vec::new(),
            tallies: BTreeMap::new(),
            peer: None,
            moves: 0,
            errors: 0,
            over: false,
        };
        Ok((session, answer))
    }

    pub fn ufrag(&mut self) -> String {
        self.rtc.direct_api().local_ice_credentials().ufrag
    }

    pub fn etag(&self) -> String {
        format!("\"{}-{}\"", &self.token[..8], self.generation)
    }

    pub fn media(&self, kind: MediaKind) -> Option<Mid> {
        self.medias.iter().find(|(_, other)| *other == kind).map(|(mid, _)| *mid)
    }

    pub fn codec(&self, pt: str0m::media::Pt) -> Option<PayloadParams> {
        self.rtc.codec_config().find(|params| params.pt() == pt).copied()
    }

    pub fn payload_type(&self, params: PayloadParams) -> Option<str0m::media::Pt> {
        self.rtc.codec_config().match_params(params).map(PayloadParams::pt)
    }

    pub fn accepts(&self, bytes: &[u8], from: SocketAddr, to: SocketAddr, now: Instant) -> bool {
        received(bytes, from, to, now).is_some_and(|input| self.rtc.accepts(&input))
    }

    pub fn receive(&mut self, bytes: &[u8], from: SocketAddr, to: SocketAddr, now: Instant) {
        let Some(input) = received(bytes, from, to, now) else { return };
        if names_candidate(bytes) && self.peer != Some(from) {
            self.moves += u64::from(self.peer.is_some());
            self.peer = Some(from);
        }
        self.handle(input);
    }

    pub fn tick(&mut self, now: Instant) {
        self.handle(Input::Timeout(now));
    }

    fn handle(&mut self, input: Input<'_>) {
        if self.rtc.handle_input(input).is_err() {
            self.errors += 1;
        }
    }

    pub fn drain(&mut self, sockets: &[(SocketAddr, Arc<UdpSocket>)]) -> Outcome {
        let mut outcome = Outcome::default();
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.deadline = at;
                    break;
                }
                Ok(Output::Transmit(transmit)) => {
                    let answer = is_stun(&transmit.contents);
                    let to = self.peer.filter(|_| !answer).unwrap_or(transmit.destination);
                    if let Some((_, socket)) = sockets.iter().find(|(at, _)| *at == transmit.source) {
                        // A peer that is gone shows by its silence.
                        let _ = socket.send_to(&transmit.contents, to);
                    }
                }
                Ok(Output::Event(event)) => self.note(event, &mut outcome),
                Err(_) => {
                    self.errors += 1;
                    self.over = true;
                    break;
                }
            }
        }
        outcome.over = self.over || !self.rtc.is_alive();
        outcome
    }

    fn note(&mut self, event: Event, outcome: &mut Outcome) {
        match event {
            Event::Connected => self.connected = true,
            Event::MediaAdded(media) => self.medias.push((media.mid, media.kind)),
            Event::RtpPacket(packet) => {
                let tally = self.tallies.entry(*packet.header.ssrc).or_default();
                if tally.note(*packet.seq_no) {
                    outcome.packets.push(packet);
                }
            }
            Event::KeyframeRequest(request) => outcome.keyframes.push(request),
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) | Event::Closed => self.over = true,
            _ => {}
        }
    }

    /// Tells the peer.
    pub fn close(&mut self, sockets: &[(SocketAddr, Arc<UdpSocket>)]) {
        let _ = self.rtc.close();
        self.drain(sockets);
    }

    pub fn report(&self) -> Value {
        let sum = |part: fn(&Tally) -> u64| self.tallies.values().map(part).sum::<u64>();
        json!({
            "stream": self.stream,
            "role": if self.publishes { "publish" } else { "play" },
            "peer": self.peer.map(|peer| peer.to_string()),
            "connected": self.connected,
            "received": sum(|tally| tally.received),
            "lost": sum(Tally::lost),
            "sent": self.sent,
            "unmatched": self.unmatched,
            "keyframes_asked": self.keyframes_asked,
            "moves": self.moves,
            "restarts": self.generation,
            "errors": self.errors,
        })
    }
}

fn received(bytes: &[u8], from: SocketAddr, to: SocketAddr, now: Instant) -> Option<Input<'_>> {
    let contents = bytes.try_into().ok()?;
    Some(Input::Receive(now, Receive { proto: Protocol::Udp, source: from, destination: to, contents }))
}

pub fn is_stun(bytes: &[u8]) -> bool {
    matches!(bytes, [0 | 1, _, _, _, 0x21, 0x12, 0xA4, 0x42, ..])
}

/// The attributes of a STUN message (RFC 8489, section 14), as far as they go.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    const HEADER: usize = 20;
    let mut rest = bytes.get(HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let [a, b, c, d, after @ ..] = rest else { return None };
        let (kind, length) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]).into());
        let value = after.get(..length)?;
        rest = after.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn names_candidate(bytes: &[u8]) -> bool {
    const BINDING_REQUEST: [u8; 2] = [0, 1];
    const USE_CANDIDATE: u16 = 0x0025;
    is_stun(bytes) && bytes.starts_with(&BINDING_REQUEST) && attributes(bytes).any(|(kind, _)| kind == USE_CANDIDATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nominating_request_is_told_from_others() {
        let mut request = vec![0, 1, 0, 12, 0x21, 0x12, 0xA4, 0x42];
        request.resize(20, 7);
        request.extend([0, 6, 0, 3, b'a', b':', b'b', 0]);
        assert!(!names_candidate(&request));
        request.extend([0, 0x25, 0, 0]);
        assert!(names_candidate(&request));
        assert_eq!(attributes(&request).next(), Some((6, &b"a:b"[..])));
        request[1] = 0x11;
        assert!(!names_candidate(&request));
    }
}
