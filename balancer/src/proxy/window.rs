//! A bounded read buffer: memory that is set once and used again, filled at its end and taken from its start.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

pub struct Window {
    memory: Vec<u8>,
    start: usize,
    end: usize,
    len_max: usize,
}

/// Holds nearly every request's head; more memory is taken only for longer ones.
const FIRST_LEN: usize = 2 * 1024;

impl Window {
    /// `len_max` is for what is read; `already_read` may be longer.
    pub fn new(already_read: &[u8], len_max: usize) -> Self {
        let mut memory = already_read.to_vec();
        let end = memory.len();
        memory.resize(end.max(FIRST_LEN.min(len_max)), 0);
        Self { memory, start: 0, end, len_max }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    pub fn len(&self) -> usize {
        self.end - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub fn take(&mut self, n: usize) {
        self.start += n.min(self.len());
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads what fits; there must be room.
    pub fn poll_fill(&mut self, stream: impl AsyncRead + Unpin, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.make_room();
        debug_assert!(self.end < self.memory.len(), "a full window holds a head, or is refused");
        let mut into = ReadBuf::new(&mut self.memory[self.end..]);
        ready!(Pin::new(&mut { stream }).poll_read(cx, &mut into))?;
        let read = into.filled().len();
        self.end += read;
        Poll::Ready(Ok(read))
    }

    fn make_room(&mut self) {
        if self.end < self.memory.len() {
            return;
        }
        self.memory.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.len());
        if self.end == self.memory.len() && self.end < self.len_max {
            self.memory.resize((self.end * 2).min(self.len_max), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test]
    async fn what_is_filled_is_taken_in_order_within_the_bound() {
        let stream: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
        let (mut rest, mut taken) = (std::io::Cursor::new(&stream[..]), Vec::new());
        let mut window = Window::new(b"ab", 3000);
        for step in 0.. {
            if window.len() < 3000 && poll_fn(|cx| window.poll_fill(&mut rest, cx)).await.unwrap() == 0 {
                break;
            }
            assert!(window.len() <= 3000);
            let n = (step * 37 % 4000).min(window.len());
            taken.extend_from_slice(&window.bytes()[..n]);
            window.take(n);
        }
        taken.extend_from_slice(window.bytes());
        assert_eq!(taken, [b"ab", &stream[..]].concat());
    }
}
