//! The extensions of a conclusion (draft-sharabayko-srt, section 3.2.1): blocks of a type, a length in words, and that
//! many words.

use super::SrtError;
use balancer_common::packet::srt::{HANDSHAKE_LEN, Handshake};

/// `SRTO_STREAMID` takes no more.
pub const STREAM_ID_BYTES_MAX: usize = 512;
/// libsrt knows eight, and sends each once.
pub const EXTENSIONS_MAX: usize = 16;

const STREAM_ID: u16 = 5;
/// Of the extension field: blocks of configuration follow. Without it, libsrt looks at none, and a stream id that we
/// found would not be the one that the origin goes by.
const HAS_CONFIGURATION: u16 = 4;
const HEAD_LEN: usize = 4;

/// The stream id of a conclusion.
pub fn stream_id(conclusion: &[u8]) -> Result<String, SrtError> {
    let handshake = Handshake::read(conclusion).ok_or(SrtError::Short)?;
    let mut found = None;
    for block in Blocks::of(&conclusion[HANDSHAKE_LEN..]) {
        let (kind, content) = block?;
        if kind == STREAM_ID && found.replace(content).is_some() {
            return Err(SrtError::Twice);
        }
    }
    match found {
        Some(content) if handshake.extension() & HAS_CONFIGURATION != 0 => text(content),
        _ => Err(SrtError::Missing),
    }
}

/// Each word's bytes come from its end, and the last word is filled up with NULs.
fn text(content: &[u8]) -> Result<String, SrtError> {
    if content.len() > STREAM_ID_BYTES_MAX {
        return Err(SrtError::TooLong { bytes: content.len() });
    }
    let mut bytes: Vec<u8> = content.chunks_exact(4).flat_map(|word| word.iter().rev().copied()).collect();
    let len = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(len);
    if bytes.is_empty() {
        return Err(SrtError::Missing);
    }
    let text = String::from_utf8(bytes).map_err(|_| SrtError::Text)?;
    // A NUL in between would end it for the origin, and not for us.
    if text.chars().any(char::is_control) { Err(SrtError::Text) } else { Ok(text) }
}

/// One block after another; ends with the first that is not whole.
struct Blocks<'a> {
    rest: &'a [u8],
    count: usize,
}

impl<'a> Blocks<'a> {
    fn of(rest: &'a [u8]) -> Self {
        Self { rest, count: 0 }
    }

    fn take(&mut self) -> Option<(u16, &'a [u8])> {
        let (head, rest) = self.rest.split_first_chunk::<HEAD_LEN>()?;
        let [kind_high, kind_low, words_high, words_low] = *head;
        let words = usize::from(u16::from_be_bytes([words_high, words_low]));
        let (content, rest) = rest.split_at_checked(words * 4)?;
        self.rest = rest;
        self.count += 1;
        (self.count <= EXTENSIONS_MAX).then_some((u16::from_be_bytes([kind_high, kind_low]), content))
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<(u16, &'a [u8]), SrtError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let block = self.take();
        if block.is_none() {
            self.rest = &[];
        }
        Some(block.ok_or(SrtError::Extensions))
    }
}
