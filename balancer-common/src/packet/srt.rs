//! SRT on the wire: the header of every packet and the fixed part of a handshake (draft-sharabayko-srt, sections 3 and
//! 3.2.1), read and written in place.
//!
//! The same source for the fast path, over a view of a frame, and for user space, over a copy of the first bytes of a
//! datagram. Knows no extension and nothing of encryption: those pass as they are.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::View;

pub const HEADER_LEN: usize = 16;
/// Header and handshake, without extensions.
pub const HANDSHAKE_LEN: usize = HEADER_LEN + 48;
/// A header, and four bytes since libsrt never sends a bare one.
pub const SHUTDOWN_LEN: usize = HEADER_LEN + 4;

/// The handshake's version that knows extensions, and with them the stream id.
pub const VERSION: u32 = 5;
/// What a caller of version 4 says, in every handshake, and one of version 5 in the first.
pub const VERSION_LEGACY: u32 = 4;
/// In the extension field of an answer to an induction: the listener knows version 5.
pub const MAGIC: u16 = 0x4a17;

/// First word of control packets: the highest bit, and the type in the upper half.
pub mod control {
    pub const HANDSHAKE: u16 = 0x8000;
    pub const KEEPALIVE: u16 = 0x8001;
    pub const SHUTDOWN: u16 = 0x8005;
}

/// Handshake types.
pub mod kind {
    /// Rendezvous: both ends call.
    pub const WAVEAHAND: u32 = 0;
    pub const INDUCTION: u32 = 1;
    pub const CONCLUSION: u32 = u32::MAX;
    pub const AGREEMENT: u32 = u32::MAX - 1;
    /// From here on, up to [`REJECTION_MAX`], the type is a [`super::reject`] code.
    pub const REJECTION: u32 = 1000;
    pub const REJECTION_MAX: u32 = u32::MAX >> 1;
}

/// Handshake types that say no: 1000 and libsrt's own reasons, or 2000 and those of SRT Access Control, which follow HTTP.
pub mod reject {
    pub const UNKNOWN: u32 = 1000;
    /// "Rejected by the peer".
    pub const PEER: u32 = 1002;
    /// The listener is short of something.
    pub const RESOURCE: u32 = 1003;
    /// The handshake contradicts itself.
    pub const ROGUE: u32 = 1004;
    pub const BACKLOG: u32 = 1005;
    pub const CLOSE: u32 = 1007;
    /// The caller's version of the handshake is too old.
    pub const VERSION: u32 = 1008;
    pub const TIMEOUT: u32 = 1016;

    pub const BAD_REQUEST: u32 = 2400;
    pub const UNAUTHORIZED: u32 = 2401;
    pub const OVERLOAD: u32 = 2402;
    pub const FORBIDDEN: u32 = 2403;
    pub const NOT_FOUND: u32 = 2404;
    pub const BAD_MODE: u32 = 2405;
    pub const CONFLICT: u32 = 2409;
    pub const INTERNAL: u32 = 2500;
    pub const GATEWAY: u32 = 2502;
    pub const DOWN: u32 = 2503;
}

/// Whatever holds the bytes. Offsets are checked at compile time.
pub trait Words: Copy {
    /// The word at `AT`, host order.
    fn get<const AT: usize>(self) -> u32;
    fn set<const AT: usize>(&mut self, word: u32);
}

impl<const N: usize> Words for View<'_, N> {
    #[inline(always)]
    fn get<const AT: usize>(self) -> u32 {
        u32::from_be(self.u32::<AT>())
    }

    #[inline(always)]
    fn set<const AT: usize>(&mut self, word: u32) {
        self.set_u32::<AT>(word.to_be());
    }
}

impl<const N: usize> Words for [u8; N] {
    #[inline(always)]
    fn get<const AT: usize>(self) -> u32 {
        const { assert!(AT + 4 <= N) };
        u32::from_be_bytes([self[AT], self[AT + 1], self[AT + 2], self[AT + 3]])
    }

    #[inline(always)]
    fn set<const AT: usize>(&mut self, word: u32) {
        const { assert!(AT + 4 <= N) };
        [self[AT], self[AT + 1], self[AT + 2], self[AT + 3]] = word.to_be_bytes();
    }
}

/// What every packet begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<B>(B);

impl<'f> Header<View<'f, HEADER_LEN>> {
    #[inline(always)]
    pub fn of(view: View<'f, HEADER_LEN>) -> Self {
        Self(view)
    }
}

impl Header<[u8; HEADER_LEN]> {
    /// Of a datagram; `None` when it is too short for SRT.
    pub fn read(datagram: &[u8]) -> Option<Self> {
        datagram.first_chunk().copied().map(Self)
    }
}

impl<B: Words> Header<B> {
    /// Control bit and type; of a data packet the control bit is missing and the rest is part of a number.
    #[inline(always)]
    fn control(self) -> u16 {
        (self.0.get::<0>() >> 16) as u16
    }

    #[inline(always)]
    pub fn is_data(self) -> bool {
        self.control() & control::HANDSHAKE == 0
    }

    #[inline(always)]
    pub fn is_handshake(self) -> bool {
        self.control() == control::HANDSHAKE
    }

    #[inline(always)]
    pub fn is_keepalive(self) -> bool {
        self.control() == control::KEEPALIVE
    }

    #[inline(always)]
    pub fn is_shutdown(self) -> bool {
        self.control() == control::SHUTDOWN
    }

    /// The receiver's socket id; 0 while the caller does not know one.
    #[inline(always)]
    pub fn destination(self) -> u32 {
        self.0.get::<12>()
    }
}

/// A handshake's header and fixed part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake<B>(B);

impl<'f> Handshake<View<'f, HANDSHAKE_LEN>> {
    /// `None` when the packet is no handshake.
    #[inline(always)]
    pub fn of(view: View<'f, HANDSHAKE_LEN>) -> Option<Self> {
        if Header(view).is_handshake() { Some(Self(view)) } else { None }
    }
}

impl Handshake<[u8; HANDSHAKE_LEN]> {
    /// Of a datagram, less its extensions; `None` when it is no handshake or not a whole one.
    pub fn read(datagram: &[u8]) -> Option<Self> {
        let bytes = *datagram.first_chunk()?;
        if Header(bytes).is_handshake() { Some(Self(bytes)) } else { None }
    }

    /// One of version 5 with nothing in it: a caller fills in what it wants to say.
    pub fn new(kind: u32) -> Self {
        let mut handshake = Self([0; HANDSHAKE_LEN]);
        handshake.0.set::<0>((control::HANDSHAKE as u32) << 16);
        handshake.set_version(VERSION);
        handshake.set_kind(kind);
        handshake
    }

    /// What is to be sent; a handshake with extensions gets these in place of its first bytes.
    pub fn bytes(&self) -> &[u8; HANDSHAKE_LEN] {
        &self.0
    }

    /// The address that the sender sends to, as it sees it. libsrt writes each word of it swapped.
    pub fn peer_address(&self) -> IpAddr {
        let words = [self.0.get::<48>(), self.0.get::<52>(), self.0.get::<56>(), self.0.get::<60>()];
        if words[1..] == [0; 3] {
            return IpAddr::V4(Ipv4Addr::from(words[0].to_le_bytes()));
        }
        let mut octets = [0; 16];
        for (octets, word) in octets.chunks_mut(4).zip(words) {
            octets.copy_from_slice(&word.to_le_bytes());
        }
        IpAddr::V6(Ipv6Addr::from(octets))
    }

    pub fn set_peer_address(&mut self, address: IpAddr) {
        let mut octets = [0; 16];
        match address {
            IpAddr::V4(ip) => octets[..4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => octets = ip.octets(),
        }
        let word = |at: usize| u32::from_le_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        self.0.set::<48>(word(0));
        self.0.set::<52>(word(4));
        self.0.set::<56>(word(8));
        self.0.set::<60>(word(12));
    }
}

macro_rules! fields {
    ($($(#[doc = $doc:literal])* $get:ident $set:ident $at:literal;)+) => {$(
        $(#[doc = $doc])*
        #[inline(always)]
        pub fn $get(self) -> u32 {
            self.0.get::<$at>()
        }

        #[inline(always)]
        pub fn $set(&mut self, word: u32) {
            self.0.set::<$at>(word);
        }
    )+};
}

impl<B: Words> Handshake<B> {
    fields! {
        /// Microseconds since the sender's start.
        timestamp_us set_timestamp_us 8;
        /// The receiver's socket id; 0 while the caller does not know one.
        destination set_destination 12;
        version set_version 16;
        initial_sequence_number set_initial_sequence_number 24;
        /// Largest IP packet, in bytes.
        mtu set_mtu 28;
        /// In packets.
        flow_window set_flow_window 32;
        /// One of [`kind`] or [`reject`].
        kind set_kind 36;
        /// The sender's socket id.
        socket_id set_socket_id 40;
        cookie set_cookie 44;
    }

    /// Length of the key, advertised in units of eight bytes.
    #[inline(always)]
    pub fn encryption(self) -> u16 {
        (self.0.get::<20>() >> 16) as u16
    }

    /// Which extensions follow; [`MAGIC`] in the answer to an induction; in version 4 the type of the socket.
    #[inline(always)]
    pub fn extension(self) -> u16 {
        self.0.get::<20>() as u16
    }

    #[inline(always)]
    pub fn set_encryption_extension(&mut self, encryption: u16, extension: u16) {
        self.0.set::<20>((encryption as u32) << 16 | extension as u32);
    }

    /// An induction becomes its answer. Version 5 whatever the caller said: one of version 4 ignores it, and shows with
    /// its conclusion that it is one (section 4.3.1.1).
    #[inline(always)]
    pub fn answer_induction(&mut self, cookie: u32) {
        self.set_destination(self.socket_id());
        self.set_timestamp_us(0);
        self.set_version(VERSION);
        self.set_encryption_extension(0, MAGIC);
        self.set_cookie(cookie);
    }

    /// A handshake becomes the refusal of it, for one of the reasons in [`reject`]. Its extensions are to be cut off.
    #[inline(always)]
    pub fn reject(&mut self, code: u32) {
        self.set_destination(self.socket_id());
        self.set_timestamp_us(0);
        self.set_encryption_extension(0, 0);
        self.set_kind(code);
    }

    #[inline(always)]
    pub fn is_rejection(self) -> bool {
        self.kind() >= kind::REJECTION && self.kind() <= kind::REJECTION_MAX
    }
}

/// The datagram that ends a connection at its receiver, whose socket id is `destination`.
pub fn shutdown(destination: u32) -> [u8; SHUTDOWN_LEN] {
    let mut bytes = [0; SHUTDOWN_LEN];
    bytes.set::<0>((control::SHUTDOWN as u32) << 16);
    bytes.set::<12>(destination);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What srt-live-transmit 1.5.1 says first, but for its numbers.
    const INDUCTION: [u8; HANDSHAKE_LEN] = [
        0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x1c, 0, 0, 0, 0, // header
        0, 0, 0, 4, 0, 0, 0, 2, 0x11, 0x22, 0x33, 0x44, 0, 0, 0x05, 0xdc, // version .. MTU
        0, 0, 0x20, 0, 0, 0, 0, 1, 0x3a, 0xbc, 0xde, 0xf1, 0, 0, 0, 0, // window .. cookie
        10, 113, 0, 203, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // 203.0.113.10
    ];

    #[test]
    fn every_field_is_where_the_draft_has_it() {
        let handshake = Handshake::read(&INDUCTION).unwrap();
        assert_eq!((handshake.version(), handshake.encryption(), handshake.extension()), (4, 0, 2));
        assert_eq!(handshake.initial_sequence_number(), 0x1122_3344);
        assert_eq!((handshake.mtu(), handshake.flow_window()), (1500, 8192));
        assert_eq!((handshake.kind(), handshake.cookie()), (kind::INDUCTION, 0));
        assert_eq!((handshake.socket_id(), handshake.destination()), (0x3abc_def1, 0));
        assert_eq!(handshake.timestamp_us(), 540);
        assert_eq!(handshake.peer_address(), IpAddr::from([203, 0, 113, 10]));
    }

    #[test]
    fn the_answer_to_an_induction_names_the_caller_and_keeps_what_it_asked_for() {
        let mut handshake = Handshake::read(&INDUCTION).unwrap();
        handshake.answer_induction(0xc00c_1e55);
        let mut expected = INDUCTION;
        expected[8..16].copy_from_slice(&[0, 0, 0, 0, 0x3a, 0xbc, 0xde, 0xf1]);
        expected[16..24].copy_from_slice(&[0, 0, 0, 5, 0, 0, 0x4a, 0x17]);
        expected[44..48].copy_from_slice(&[0xc0, 0x0c, 0x1e, 0x55]);
        assert_eq!(handshake.bytes(), &expected);
    }

    #[test]
    fn a_rejection_is_told_from_every_other_type() {
        let mut handshake = Handshake::read(&INDUCTION).unwrap();
        handshake.reject(reject::NOT_FOUND);
        assert_eq!((handshake.kind(), handshake.destination()), (2404, 0x3abc_def1));
        assert!(handshake.is_rejection());
        for kind in [kind::WAVEAHAND, kind::INDUCTION, kind::CONCLUSION, kind::AGREEMENT, 999, 1 << 31] {
            handshake.set_kind(kind);
            assert!(!handshake.is_rejection(), "{kind}");
        }
    }

    #[test]
    fn nothing_shorter_than_itself_is_read() {
        for len in 0..HANDSHAKE_LEN {
            assert_eq!(Handshake::read(&INDUCTION[..len]), None);
            assert_eq!(Header::read(&INDUCTION[..len]).is_some(), len >= HEADER_LEN);
        }
    }

    #[test]
    fn data_and_other_control_packets_are_no_handshakes() {
        for first in [0x00, 0x7f] {
            let mut data = INDUCTION;
            data[0] = first;
            assert!(Header::read(&data).unwrap().is_data());
            assert_eq!(Handshake::read(&data), None);
        }
        let mut keepalive = INDUCTION;
        keepalive[1] = 1;
        let header = Header::read(&keepalive).unwrap();
        assert!(header.is_keepalive() && !header.is_data() && !header.is_shutdown() && !header.is_handshake());
        assert_eq!(Handshake::read(&keepalive), None);
    }

    #[test]
    fn a_shutdown_names_its_receiver() {
        let bytes = shutdown(0x0102_0304);
        assert_eq!(bytes, [0x80, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0]);
        assert!(Header::read(&bytes).unwrap().is_shutdown());
    }

    #[test]
    fn peer_addresses_of_both_families_survive() {
        let mut handshake = Handshake::new(kind::CONCLUSION);
        for address in ["192.0.2.7".parse().unwrap(), "2001:db8::17".parse::<IpAddr>().unwrap()] {
            handshake.set_peer_address(address);
            assert_eq!(handshake.peer_address(), address);
        }
        assert_eq!(handshake.version(), VERSION);
    }
}
