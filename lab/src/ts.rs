//! MPEG transport streams: packets that can be counted, and a check that none of them is missing.

use std::collections::BTreeMap;

pub const PACKET: usize = 188;
/// As many as senders put into one datagram.
pub const DATAGRAM: usize = 7 * PACKET;
const SYNC: u8 = 0x47;
const NULL_PID: u16 = 0x1fff;
const PID: u16 = 0x100;

/// Counts continuity errors: ISO 13818-1, 2.4.3.3. Takes the stream in any pieces.
#[derive(Clone, Debug, Default)]
pub struct Continuity {
    /// Without those that are only there to fill.
    pub packets: u64,
    /// Jumps of a counter. A jump by a multiple of sixteen cannot be seen.
    pub errors: u64,
    /// Bytes that were in no packet.
    pub stray_bytes: u64,
    rest: Vec<u8>,
    last: BTreeMap<u16, u8>,
}

impl Continuity {
    pub fn push(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        if !self.rest.is_empty() {
            let n = bytes.len().min(PACKET - self.rest.len());
            self.rest.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if self.rest.len() < PACKET {
                return;
            }
            let whole = std::mem::take(&mut self.rest);
            self.packet(&whole);
        }
        while bytes.len() >= PACKET {
            if bytes[0] != SYNC {
                self.stray_bytes += 1;
                bytes = &bytes[1..];
                continue;
            }
            self.packet(&bytes[..PACKET]);
            bytes = &bytes[PACKET..];
        }
        self.rest = bytes.to_vec();
    }

    /// Whether something came, and nothing of it is amiss.
    pub fn is_whole(&self) -> bool {
        self.packets > 0 && self.errors == 0 && self.stray_bytes == 0
    }

    fn packet(&mut self, packet: &[u8]) {
        if packet[0] != SYNC {
            self.stray_bytes += PACKET as u64;
            return;
        }
        let pid = u16::from_be_bytes([packet[1], packet[2]]) & NULL_PID;
        let (control, counter) = (packet[3] >> 4 & 3, packet[3] & 0xf);
        let announced = control & 2 != 0 && packet[4] > 0 && packet[5] & 0x80 != 0;
        if pid == NULL_PID {
            return;
        }
        self.packets += 1;
        let Some(last) = self.last.insert(pid, counter) else { return };
        let carries = control & 1 != 0;
        // A packet may be sent twice; one without payload does not count.
        let expected = if carries { (last + 1) & 0xf } else { last };
        if counter != expected && counter != last && !announced {
            self.errors += 1;
        }
    }
}

/// A stream of packets that carry nothing.
#[derive(Debug, Default)]
pub struct Generator(u64);

impl Generator {
    /// The next seven.
    pub fn datagram(&mut self) -> [u8; DATAGRAM] {
        let mut bytes = [0x5a; DATAGRAM];
        for packet in bytes.chunks_exact_mut(PACKET) {
            let [high, low] = PID.to_be_bytes();
            packet[..4].copy_from_slice(&[SYNC, high, low, 0x10 | (self.0 & 0xf) as u8]);
            self.0 += 1;
        }
        bytes
    }

    /// Seven packets that nobody counts.
    pub fn filler() -> [u8; DATAGRAM] {
        let mut bytes = [0xff; DATAGRAM];
        let [high, low] = NULL_PID.to_be_bytes();
        bytes.chunks_exact_mut(PACKET).for_each(|packet| packet[..4].copy_from_slice(&[SYNC, high, low, 0x10]));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(datagrams: &[[u8; DATAGRAM]], piece: usize) -> Continuity {
        let mut check = Continuity::default();
        datagrams.concat().chunks(piece).for_each(|piece| check.push(piece));
        check
    }

    #[test]
    fn what_is_whole_is_found_whole_in_any_pieces() {
        let mut generator = Generator::default();
        let datagrams: Vec<_> = (0..50).map(|_| generator.datagram()).collect();
        for piece in [1, 100, 188, 1000, 1316, 100_000] {
            let check = check(&datagrams, piece);
            assert!(check.is_whole() && check.packets == 350, "{check:?}");
        }
    }

    #[test]
    fn a_lost_and_a_swapped_datagram_are_seen() {
        let mut generator = Generator::default();
        let mut datagrams: Vec<_> = (0..50).map(|_| generator.datagram()).collect();
        datagrams.remove(10);
        assert_eq!(check(&datagrams, 1316).errors, 1);
        datagrams.insert(5, Generator::filler());
        assert_eq!(check(&datagrams, 1316).packets, 343, "what fills does not count");
        datagrams.remove(5);
        datagrams.swap(20, 21);
        assert_eq!(check(&datagrams, 1316).errors, 4);
        assert!(!Continuity::default().is_whole(), "nothing is not a whole stream");
    }
}
