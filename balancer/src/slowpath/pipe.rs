//! One direction of a relay: a bounded buffer between two sockets, with or without a translator in between.

use super::wire::Wire;
use crate::recognize::rtmp::Translator;
use std::io;

/// Reads in one call at the most, so that one fast sender does not keep its worker from the other connections.
const ROUNDS: u32 = 16;

/// What one round of pumping did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    pub read: u64,
    pub written: u64,
}

/// A client that may say nothing more did.
#[derive(Debug, thiserror::Error)]
#[error("another request on a connection whose one request is under way")]
pub struct AnotherRequest;

pub struct Pipe {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were written already.
    written: usize,
    limit: usize,
    translator: Option<Translator>,
    /// The source has said all that it may.
    mute: bool,
    /// The source has ended; what is buffered still goes out.
    source_ended: bool,
    /// The end was passed on.
    closed: bool,
}

impl Pipe {
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            written: 0,
            limit,
            translator: None,
            mute: false,
            source_ended: false,
            closed: false,
        }
    }

    pub fn translate(&mut self, translator: Translator) {
        self.translator = Some(translator);
    }

    /// From now on a byte of the source's is an error: it belongs to another request.
    pub fn mute(&mut self) {
        self.mute = true;
    }

    /// Puts bytes in that were read before the relay began.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.translator {
            None => self.buffer.extend_from_slice(bytes),
            Some(translator) => {
                translator.feed(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
                let out = translator.take_output();
                self.buffer.extend_from_slice(&out);
            }
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.written == self.buffer.len()
    }

    pub fn wants_input(&self) -> bool {
        !self.source_ended && self.buffer.len() - self.written < self.limit
    }

    /// The source ended and everything was passed on.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    pub fn source_ended(&self) -> bool {
        self.source_ended
    }

    /// Moves what can be moved without waiting.
    pub fn pump(&mut self, from: &mut Wire, to: &mut Wire, scratch: &mut [u8]) -> io::Result<Moved> {
        let mut moved = Moved::default();
        for _ in 0..ROUNDS {
            let before = moved;
            if self.wants_input() {
                match from.try_read(scratch) {
                    Ok(0) => self.source_ended = true,
                    Ok(_) if self.mute => return Err(io::Error::other(AnotherRequest)),
                    Ok(n) => {
                        moved.read += n as u64;
                        let direct = self.pass(&scratch[..n], to)?;
                        moved.written += direct as u64;
                        self.push(&scratch[direct..n])?;
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(e) => return Err(e),
                }
            }
            moved.written += self.flush(to)?;
            if self.source_ended && self.is_empty() && !self.closed {
                match to.shutdown_write() {
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(e) => return Err(e),
                    Ok(()) => self.closed = true,
                }
            }
            if moved == before {
                break;
            }
        }
        Ok(moved)
    }

    /// Writes straight on what need not wait behind other bytes or be translated; how much of it went.
    fn pass(&self, bytes: &[u8], to: &mut Wire) -> io::Result<usize> {
        if !self.is_empty() || self.translator.is_some() {
            return Ok(0);
        }
        match to.try_write(bytes) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
            written => written,
        }
    }

    fn flush(&mut self, to: &mut Wire) -> io::Result<u64> {
        let mut total = 0;
        while !self.is_empty() {
            match to.try_write(&self.buffer[self.written..]) {
                Ok(n) => {
                    self.written += n;
                    total += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        if self.is_empty() {
            self.buffer.clear();
            self.written = 0;
            // An idle relay keeps no large buffer.
            self.buffer.shrink_to(16 * 1024);
        }
        Ok(total)
    }
}
