//! The simple handshake (RTMP 1.0 section 5.2), both sides.
//!
//! Simple serves everyone: Flash's digest handshake is asked for by a version number in C1's second word, and a server
//! that answers with zero there says that it does not speak it. ffmpeg, librtmp and GStreamer then skip their check and
//! only compare S2 with C1, so S2 is C1's exact echo. What C2 holds is not checked: nobody gains by it.

use super::RtmpError;

/// C1, C2, S1 and S2.
pub const PACKET_LEN: usize = 1536;
/// C0 and C1 together, or S0 and S1.
pub const HELLO_LEN: usize = 1 + PACKET_LEN;
const VERSION: u8 = 3;

/// C0 and C1, or S0 and S1: time 0, the zero word that says "simple", and filler.
///
/// The filler exists to tell an echo from another peer's; it need not be secret, so nothing random is asked for.
pub fn hello() -> Vec<u8> {
    let mut out = vec![VERSION, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut state = 0x2545_f491_u32;
    while out.len() < HELLO_LEN {
        // xorshift32: cheap, never zero.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        out.extend(state.to_be_bytes());
    }
    out.truncate(HELLO_LEN);
    out
}

/// What the other side's C0 or S0 must say.
pub fn check_version(first: u8) -> Result<(), RtmpError> {
    if first == VERSION { Ok(()) } else { Err(RtmpError::Version(first)) }
}
