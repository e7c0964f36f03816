//! What is on the wire: draft-sharabayko-srt, sections 3.1 and 3.2. Bytes in, numbers out, and back.

/// Of any packet.
pub const HEADER: usize = 16;
/// A handshake without extensions, header included.
pub const HANDSHAKE: usize = HEADER + 48;
pub const INDUCTION: u32 = 1;
pub const WAVE_A_HAND: u32 = 0;
pub const CONCLUSION: u32 = 0xffff_ffff;
pub const AGREEMENT: u32 = 0xffff_fffe;
/// What a listener of version 5 says in the field for extensions of its answer to an induction.
pub const MAGIC: u16 = 0x4a17;
/// A handshake's type, where it is a refusal, is this and the reason.
pub const REFUSED: u32 = 1000;
pub const EXTENSION_HANDSHAKE: u16 = 1;
const EXTENSION_HANDSHAKE_ANSWER: u16 = 2;
pub const EXTENSION_STREAM_ID: u16 = 5;
pub const EXTENSION_GROUP: u16 = 8;
/// Bits of the field for extensions: a handshake request, and configuration.
const HAS_REQUEST: u16 = 1;
const HAS_CONFIG: u16 = 4;
/// The version and the abilities that libsrt 1.5 names; and half a second of latency each way.
const ABILITIES: [u32; 3] = [0x0001_0501, 0xbf, 0x01f4_01f4];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Data,
    Handshake,
    KeepAlive,
    Shutdown,
    OtherControl(u16),
}

/// What a packet is, by its first word; None where there is no header.
pub fn kind(packet: &[u8]) -> Option<Kind> {
    let first = word(packet, 0)?;
    word(packet, 3)?;
    if first >> 31 == 0 {
        return Some(Kind::Data);
    }
    Some(match (first >> 16 & 0x7fff) as u16 {
        0 => Kind::Handshake,
        1 => Kind::KeepAlive,
        5 => Kind::Shutdown,
        other => Kind::OtherControl(other),
    })
}

/// To which socket of its receiver.
pub fn destination(packet: &[u8]) -> Option<u32> {
    word(packet, 3)
}

/// The number of a data packet.
pub fn sequence(packet: &[u8]) -> Option<u32> {
    word(packet, 0)
}

/// The 32 bits at this place, counted in words.
pub fn word(packet: &[u8], number: usize) -> Option<u32> {
    let bytes = packet.get(number * 4..number * 4 + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

pub fn data(sequence: u32, destination: u32, payload: &[u8]) -> Vec<u8> {
    // A message of its own, in order, in clear.
    let message = 0xe000_0000 | (sequence + 1) & 0x03ff_ffff;
    let mut packet = words(&[sequence & 0x7fff_ffff, message, 0, destination]);
    packet.extend_from_slice(payload);
    packet
}

/// A control packet without content but for one word.
pub fn control(kind: Kind, destination: u32) -> Vec<u8> {
    let number = match kind {
        Kind::KeepAlive => 1,
        Kind::Shutdown => 5,
        Kind::OtherControl(number) => u32::from(number),
        Kind::Data | Kind::Handshake => 0,
    };
    words(&[0x8000_0000 | number << 16, 0, 0, destination, 0])
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    pub destination: u32,
    pub version: u32,
    pub encryption: u16,
    pub extension_field: u16,
    pub sequence: u32,
    pub mtu: u32,
    pub window: u32,
    pub kind: u32,
    pub socket: u32,
    pub cookie: u32,
    pub peer: [u8; 16],
    /// Type and content, whole words.
    pub extensions: Vec<(u16, Vec<u8>)>,
}

impl Handshake {
    fn new(kind: u32, version: u32, socket: u32) -> Self {
        Self {
            destination: 0,
            version,
            encryption: 0,
            extension_field: 0,
            sequence: 0x1234_5678,
            mtu: 1500,
            window: 8192,
            kind,
            socket,
            cookie: 0,
            peer: [0; 16],
            extensions: Vec::new(),
        }
    }

    /// A caller's first word: of version 4, with 2 (a datagram socket) for the extensions.
    pub fn induction(socket: u32) -> Self {
        Self { extension_field: 2, ..Self::new(INDUCTION, 4, socket) }
    }

    pub fn conclusion(socket: u32, cookie: u32, stream_id: &[u8]) -> Self {
        let mut this = Self { cookie, extension_field: HAS_REQUEST, ..Self::new(CONCLUSION, 5, socket) };
        this.extensions.push((EXTENSION_HANDSHAKE, words(&ABILITIES)));
        if !stream_id.is_empty() {
            this.extension_field |= HAS_CONFIG;
            this.extensions.push((EXTENSION_STREAM_ID, swapped(stream_id)));
        }
        this
    }

    /// Member of a group of main and backup links.
    pub fn in_group(mut self, group: u32, weight: u16) -> Self {
        const BACKUP: u32 = 2 << 24;
        self.extension_field |= HAS_CONFIG;
        self.extensions.push((EXTENSION_GROUP, words(&[group | 0x4000_0000, BACKUP | u32::from(weight)])));
        self
    }

    pub fn answer_to_induction(&self, cookie: u32) -> Self {
        let answer = Self::new(INDUCTION, 5, self.socket);
        Self { destination: self.socket, extension_field: MAGIC, cookie, ..answer }
    }

    pub fn answer_to_conclusion(&self, socket: u32) -> Self {
        let answer = Self::new(CONCLUSION, 5, socket);
        let extensions = vec![(EXTENSION_HANDSHAKE_ANSWER, words(&ABILITIES))];
        let sequence = self.sequence;
        Self {
            destination: self.socket,
            extension_field: HAS_REQUEST,
            cookie: self.cookie,
            sequence,
            extensions,
            ..answer
        }
    }

    pub fn refusal(&self, reason: u32) -> Self {
        Self { destination: self.socket, kind: REFUSED + reason, cookie: self.cookie, ..Self::new(0, 5, self.socket) }
    }

    pub fn stream_id(&self) -> Option<Vec<u8>> {
        let (_, content) = self.extensions.iter().find(|(kind, _)| *kind == EXTENSION_STREAM_ID)?;
        let mut text = swapped(content);
        while text.last() == Some(&0) {
            text.pop();
        }
        Some(text)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let field = u32::from(self.encryption) << 16 | u32::from(self.extension_field);
        let fixed = [self.version, field, self.sequence, self.mtu, self.window, self.kind, self.socket, self.cookie];
        let mut packet = words(&[0x8000_0000, 0, 0, self.destination]);
        packet.extend(words(&fixed));
        packet.extend_from_slice(&self.peer);
        for (kind, content) in &self.extensions {
            packet.extend(words(&[u32::from(*kind) << 16 | (content.len() / 4) as u32]));
            packet.extend_from_slice(content);
        }
        packet
    }

    pub fn parse(packet: &[u8]) -> Option<Self> {
        if kind(packet)? != Kind::Handshake {
            return None;
        }
        let field = word(packet, 5)?;
        let mut extensions = Vec::new();
        let mut rest = packet.get(HANDSHAKE..)?;
        while let Some(head) = word(rest, 0) {
            let end = 4 + (head & 0xffff) as usize * 4;
            extensions.push(((head >> 16) as u16, rest.get(4..end)?.to_vec()));
            rest = &rest[end..];
        }
        Some(Self {
            destination: word(packet, 3)?,
            version: word(packet, 4)?,
            encryption: (field >> 16) as u16,
            extension_field: field as u16,
            sequence: word(packet, 6)?,
            mtu: word(packet, 7)?,
            window: word(packet, 8)?,
            kind: word(packet, 9)?,
            socket: word(packet, 10)?,
            cookie: word(packet, 11)?,
            peer: packet.get(HANDSHAKE - 16..HANDSHAKE)?.try_into().ok()?,
            extensions,
        })
    }
}

/// Text as it is written into words: filled up with zeros, the bytes of each word from its end.
fn swapped(text: &[u8]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    bytes.resize(text.len().next_multiple_of(4), 0);
    bytes.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conclusion_survives_the_wire() {
        let conclusion = Handshake::conclusion(7, 9, b"#!::r=live/s1,m=publish").in_group(3, 10);
        let parsed = Handshake::parse(&conclusion.bytes()).unwrap();
        assert_eq!(parsed, conclusion);
        assert_eq!(parsed.stream_id().unwrap(), b"#!::r=live/s1,m=publish");
        assert_eq!(&conclusion.extensions[1].1[..8], b"::!#il=r", "each word from its end");
        assert_eq!(Handshake::parse(&conclusion.bytes()[..100]), None);
    }

    #[test]
    fn kinds_are_told_apart() {
        let kinds = [data(1, 2, b"x"), control(Kind::Shutdown, 2), Handshake::induction(1).bytes()];
        assert_eq!(kinds.map(|packet| kind(&packet).unwrap()), [Kind::Data, Kind::Shutdown, Kind::Handshake]);
        assert_eq!(kind(&[0x80; 15]), None);
    }
}
