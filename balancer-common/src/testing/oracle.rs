//! What must hold of every frame that goes through the fast path, whatever it is: for fuzzing and property tests.
//!
//! Reads frames with a parser of its own over slices, so that it agrees with the fast path only where both are right.

use std::vec::Vec;

use super::build::checksum;
use crate::{
    abi::Reason,
    packet::header::{proto, tcp},
    steer::{Outcome, Verdict},
};

/// A frame's layers.
struct Layers<'b> {
    /// Ethernet header and tags.
    link: &'b [u8],
    ip: &'b [u8],
    proto: u8,
    hops: u8,
    /// As long as the IP header says.
    l4: &'b [u8],
    padding: &'b [u8],
}

fn layers(frame: &[u8]) -> Option<Layers<'_>> {
    let mut at = 12;
    while matches!(frame.get(at..at + 2)?, [0x81, 0x00] | [0x88, 0xa8]) {
        at += 4;
    }
    let (link, rest) = frame.split_at_checked(at + 2)?;
    let (ip_len, len, proto, hops) = match &frame[at..at + 2] {
        [0x08, 0x00] if *rest.first()? == 0x45 && rest.len() >= 20 => {
            (20, usize::from(u16::from_be_bytes([rest[2], rest[3]])), rest[9], rest[8])
        }
        [0x86, 0xdd] if *rest.first()? >> 4 == 6 && rest.len() >= 40 => {
            (40, 40 + usize::from(u16::from_be_bytes([rest[4], rest[5]])), rest[6], rest[7])
        }
        _ => return None,
    };
    let (packet, padding) = rest.split_at_checked(len)?;
    let (ip, l4) = packet.split_at_checked(ip_len)?;
    Some(Layers { link, ip, proto, hops, l4, padding })
}

impl Layers<'_> {
    fn is_ip_valid(&self) -> bool {
        self.ip.len() == 40 || checksum(&[self.ip]) == 0
    }

    fn is_l4_valid(&self) -> bool {
        let addresses = if self.ip.len() == 40 { &self.ip[8..40] } else { &self.ip[12..20] };
        let mut pseudo: Vec<u8> = addresses.to_vec();
        pseudo.extend((self.l4.len() as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, self.proto]);
        match self.proto {
            proto::ICMP => checksum(&[self.l4]) == 0,
            proto::UDP if self.l4[6..8] == [0, 0] => true,
            _ => checksum(&[&pseudo, self.l4]) == 0,
        }
    }

    fn source(&self) -> &[u8] {
        if self.ip.len() == 40 { &self.ip[8..24] } else { &self.ip[12..16] }
    }

    fn destination(&self) -> &[u8] {
        if self.ip.len() == 40 { &self.ip[24..40] } else { &self.ip[16..20] }
    }

    /// Header length of TCP or UDP.
    fn header_len(&self) -> usize {
        if self.proto == proto::TCP { usize::from(self.l4[tcp::DATA_OFFSET] >> 4) * 4 } else { 8 }
    }
}

/// Every checksum of the frame verifies.
pub fn is_valid(frame: &[u8]) -> bool {
    layers(frame).is_some_and(|layers| layers.is_ip_valid() && layers.is_l4_valid())
}

/// Panics when the fast path broke one of its promises.
pub fn judge(before: &[u8], outcome: Outcome, after: &[u8]) {
    match (outcome.verdict, outcome.reason) {
        (Verdict::Drop, _) => {}
        (Verdict::Pass, Reason::HoldTrimmed) => judge_trimmed(before, after),
        (Verdict::Pass, _) => assert_eq!(before, after, "passed frames are untouched: {outcome:?}"),
        (_, Reason::OriginDown | Reason::AnotherRequest) => judge_reset(before, after),
        (Verdict::Tx, Reason::SrtAnswered | Reason::SrtRendezvous) => judge_answered(before, after),
        (Verdict::Tx, Reason::TooBig) => judge_too_big(before, after),
        (_, Reason::ToOrigin | Reason::ToClient | Reason::Icmp | Reason::IceMade) => {
            judge_forwarded(before, outcome.reason, after)
        }
        (_, reason) => panic!("{reason:?} is no reason to forward"),
    }
}

fn judge_forwarded(before: &[u8], reason: Reason, after: &[u8]) {
    let (old, new) = (layers(before).expect("forwarded what it cannot read"), layers(after).expect("broke a header"));
    assert_eq!(before.len(), after.len());
    assert_eq!(old.link[12..], new.link[12..], "tags and type");
    assert_eq!((old.proto, old.l4.len(), old.padding), (new.proto, new.l4.len(), new.padding));
    assert_eq!(new.hops, old.hops - 1);
    assert_eq!(old.is_ip_valid(), new.is_ip_valid(), "the IP checksum");
    assert_eq!(old.is_l4_valid(), new.is_l4_valid(), "the L4 checksum");
    if reason != Reason::Icmp {
        let header_len = old.header_len();
        assert_eq!(header_len, new.header_len());
        assert_eq!(old.l4[header_len..], new.l4[header_len..], "the payload");
    }
}

fn judge_trimmed(before: &[u8], after: &[u8]) {
    let (old, new) = (layers(before).expect("trimmed what it cannot read"), layers(after).expect("broke a header"));
    let header_len = old.header_len();
    assert_eq!(old.link, new.link);
    assert_eq!(new.l4.len(), header_len);
    assert!(new.padding.is_empty());
    assert_eq!(old.is_ip_valid(), new.is_ip_valid(), "the IP checksum");
    assert!(new.is_l4_valid(), "the L4 checksum");
    assert_eq!(old.l4[..tcp::FLAGS], new.l4[..tcp::FLAGS]);
    assert_eq!(old.l4[tcp::LEN..header_len], new.l4[tcp::LEN..], "the options");
}

fn judge_reset(before: &[u8], after: &[u8]) {
    let (old, new) = (layers(before).expect("answered what it cannot read"), layers(after).expect("broke a header"));
    assert!(new.is_ip_valid() && new.is_l4_valid());
    assert_eq!((new.l4.len(), new.padding.len()), (tcp::LEN, 0));
    assert_eq!(new.l4[tcp::FLAGS], tcp::RST);
    assert_eq!(new.l4[tcp::SEQ..tcp::SEQ + 4], old.l4[tcp::ACK..tcp::ACK + 4]);
    assert_eq!((&new.l4[..2], &new.l4[2..4]), (&old.l4[2..4], &old.l4[..2]));
    assert_eq!((&new.link[..6], &new.link[6..12]), (&old.link[6..12], &old.link[..6]));
}

/// An answer of SRT's: valid whatever the question was, and no longer.
fn judge_answered(before: &[u8], after: &[u8]) {
    let (old, new) = (layers(before).expect("answered what it cannot read"), layers(after).expect("broke a header"));
    assert!(new.is_ip_valid() && new.is_l4_valid() && new.l4[6..8] != [0, 0]);
    assert!(after.len() <= before.len());
    assert_eq!((new.l4.len(), new.padding.len()), (72, 0));
    assert_eq!((&new.l4[..2], &new.l4[2..4]), (&old.l4[2..4], &old.l4[..2]), "the ports");
    assert_eq!((new.source(), new.destination()), (old.destination(), old.source()));
    assert_eq!((&new.link[..6], &new.link[6..12]), (&old.link[6..12], &old.link[..6]));
    assert_eq!(new.l4[20..24], old.l4[48..52], "the caller's socket");
}

/// An error about the datagram, in the name of whom it was sent to.
fn judge_too_big(before: &[u8], after: &[u8]) {
    let (old, new) = (layers(before).expect("answered what it cannot read"), layers(after).expect("broke a header"));
    assert!(new.is_ip_valid() && new.is_l4_valid());
    assert!(after.len() <= before.len().max(old.link.len() + 92));
    assert_eq!((new.source(), new.destination()), (old.destination(), old.source()));
    assert_eq!((&new.link[..6], &new.link[6..12]), (&old.link[6..12], &old.link[..6]));
    assert_eq!(old.link[12..], new.link[12..], "tags and type");
    assert!([old.ip, old.l4].concat().starts_with(&new.l4[8..]) && new.l4.len() >= 8 + old.ip.len() + 8);
}
