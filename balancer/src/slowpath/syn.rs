//! What a client's SYN says of the way back to it. A client that speaks first has said all it has to say by the time that
//! its connection is accepted, and then the fast path's track of it is still empty.
//!
//! Linux keeps the SYN with its link layer (`TCP_SAVE_SYN` 2, since 5.10) until it is asked for.

use balancer_common::abi::Track;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use super::socket;

const ETHERNET_LEN: usize = 14;
const IPV6_LEN: usize = 40;
const TCP_LEN: usize = 20;
const TIMESTAMPS: u8 = 8;

/// The link layer and the timestamp of a SYN, in the words of a track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Syn {
    ifindex: u32,
    peer_mac: [u8; 6],
    own_mac: [u8; 6],
    tsval: Option<u32>,
}

impl Syn {
    /// Of an accepted connection. `None` when the kernel kept none: it answered with a SYN cookie.
    pub fn of(accepted: &impl AsFd, own: IpAddr) -> io::Result<Option<Self>> {
        let ifindex = socket::arrival_interface(accepted, own)?;
        Ok(socket::saved_syn(accepted)?.and_then(|headers| Self::parse(&headers, ifindex)))
    }

    fn parse(headers: &[u8], ifindex: u32) -> Option<Self> {
        let (ethernet, ip) = headers.split_at_checked(ETHERNET_LEN)?;
        let tcp = match ip.first()? >> 4 {
            4 => ip.get(usize::from(ip[0] & 15) * 4..)?,
            6 => ip.get(IPV6_LEN..)?,
            _ => return None,
        };
        let options = tcp.get(TCP_LEN..usize::from(tcp.get(12)? >> 4) * 4)?;
        let mac = |at: usize| ethernet.get(at..at + 6)?.try_into().ok();
        Some(Self { ifindex, own_mac: mac(0)?, peer_mac: mac(6)?, tsval: tsval(options) })
    }

    /// Fills in what the track has not seen by itself.
    pub fn complete(&self, track: &mut Track) {
        if track.seen & Track::SEEN_L2 == 0 {
            track.seen |= Track::SEEN_L2;
            (track.ifindex, track.peer_mac, track.own_mac) = (self.ifindex, self.peer_mac, self.own_mac);
        }
        if let (0, Some(tsval)) = (track.seen & Track::SEEN_TIMESTAMP, self.tsval) {
            // Older than the client's last. Its next is translated to the same amount later than what we sent last:
            // never to an older one, which is all that counts (RFC 7323 section 5).
            track.seen |= Track::SEEN_TIMESTAMP;
            track.last_tsval = tsval;
        }
    }
}

/// RFC 9293 section 3.1: options are a kind, a length and a value, but for two kinds of one byte.
fn tsval(mut options: &[u8]) -> Option<u32> {
    loop {
        match *options {
            [] | [0, ..] => return None,
            [1, ref rest @ ..] => options = rest,
            [TIMESTAMPS, 10, a, b, c, d, ..] => return Some(u32::from_be_bytes([a, b, c, d])),
            [_, len, ..] if len >= 2 => options = options.get(usize::from(len)..)?,
            [..] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];

    fn headers(version: u8) -> Vec<u8> {
        let mut headers = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        headers.extend(if version == 4 { vec![0x45; 20] } else { vec![0x60; 40] });
        let mut tcp = [0; 20];
        tcp[12] = 10 << 4;
        headers.extend(tcp);
        headers.extend(OPTIONS);
        headers
    }

    #[test]
    fn both_families_give_the_way_back_and_the_timestamp() {
        for version in [4, 6] {
            let syn = Syn::parse(&headers(version), 7).unwrap();
            assert_eq!((syn.ifindex, syn.tsval), (7, Some(0x0102_0304)));
            assert_eq!((syn.own_mac, syn.peer_mac), ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]));
        }
    }

    #[test]
    fn headers_cut_anywhere_are_no_syn() {
        let whole = headers(4);
        for len in 0..whole.len() {
            assert_eq!(Syn::parse(&whole[..len], 1), None, "{len}");
        }
    }

    #[test]
    fn options_that_lie_about_their_length_end_the_search() {
        for options in
            [&[8, 0, 1, 2, 3, 4][..], &[2, 200, 8, 10], &[8, 10, 1, 2], &[5, 1, 8, 10, 1, 2, 3, 4, 0, 0], &[3]]
        {
            assert_eq!(tsval(options), None, "{options:?}");
        }
    }

    #[test]
    fn only_what_the_track_lacks_is_filled_in() {
        let syn = Syn::parse(&headers(4), 7).unwrap();
        let mut empty = Track::default();
        syn.complete(&mut empty);
        assert_eq!((empty.seen, empty.ifindex), (Track::SEEN_L2 | Track::SEEN_TIMESTAMP, 7));
        let seen =
            Track { seen: Track::SEEN_L2 | Track::SEEN_TIMESTAMP, last_tsval: 9, ifindex: 3, ..Track::default() };
        let mut same = seen;
        syn.complete(&mut same);
        assert_eq!(same, seen);
    }
}
