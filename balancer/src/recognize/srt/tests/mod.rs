//! Tests of the recognizer of SRT. Conclusions are written by the lab's own encoder.

mod captures;
mod extensions;
mod properties;
mod stream_ids;

use super::*;
use balancer_lab::srt_lite::packet::Handshake;

/// A conclusion with this stream id.
fn conclusion(stream_id: &[u8]) -> Handshake {
    Handshake::conclusion(0x0102_0304, 0x0a0b_0c0d, stream_id)
}
