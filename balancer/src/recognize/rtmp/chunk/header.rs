//! One chunk header from its bytes. Knows nothing of the chunks before it.

use super::{ID_MEDIUM, TIMESTAMP_EXTENDED};

/// A message's header with nothing left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageHeader {
    pub timestamp: u32,
    pub length: u32,
    pub kind: u8,
    pub stream_id: u32,
}

/// How much of the message header a chunk spells out (section 5.3.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Full,
    SameStream,
    SameLength,
    Same,
}

/// What the bytes of a chunk header say.
pub struct RawHeader {
    pub format: Format,
    pub chunk_stream: u32,
    /// Timestamp or delta; absent in [`Format::Same`].
    pub time: Option<u32>,
    pub length_and_kind: Option<(u32, u8)>,
    pub stream_id: Option<u32>,
    /// The timestamp field sent the reader to four more bytes.
    pub extended: bool,
    pub len: usize,
}

impl RawHeader {
    /// `None`: not all of it is here yet.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor { bytes, at: 0 };
        let [first] = cursor.array()?;
        let format = match first >> 6 {
            0 => Format::Full,
            1 => Format::SameStream,
            2 => Format::SameLength,
            _ => Format::Same,
        };
        // Section 5.3.1.1: 0 and 1 announce the longer forms.
        let chunk_stream = match first & 0x3f {
            0 => ID_MEDIUM + u32::from(cursor.array::<1>()?[0]),
            1 => ID_MEDIUM + u32::from(u16::from_le_bytes(cursor.array()?)),
            id => u32::from(id),
        };
        let field = if format == Format::Same { None } else { Some(cursor.u24()?) };
        let length_and_kind = match format {
            Format::Full | Format::SameStream => Some((cursor.u24()?, cursor.array::<1>()?[0])),
            Format::SameLength | Format::Same => None,
        };
        // The one little-endian field of the protocol.
        let stream_id = if format == Format::Full { Some(u32::from_le_bytes(cursor.array()?)) } else { None };
        let extended = field == Some(TIMESTAMP_EXTENDED);
        let time = if extended { Some(u32::from_be_bytes(cursor.array()?)) } else { field };
        Some(Self { format, chunk_stream, time, length_and_kind, stream_id, extended, len: cursor.at })
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let found = self.bytes.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(*found)
    }

    fn u24(&mut self) -> Option<u32> {
        let [a, b, c] = self.array()?;
        Some(u32::from_be_bytes([0, a, b, c]))
    }
}
