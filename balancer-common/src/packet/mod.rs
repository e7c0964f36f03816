//! Everything that touches the bytes of a packet.
//!
//! Owns bounds checks ([`frame`]), header layouts ([`header`]), checksums ([`checksum`]), parsing ([`parse`]), the
//! translation of TCP options ([`options`]) and the handshake of SRT ([`srt`], [`cookie`]). Knows no table and takes no
//! decision: that is `steer`.

pub mod checksum;
pub mod cookie;
pub mod frame;
pub mod header;
pub mod options;
pub mod parse;
pub mod siphash;
pub mod srt;
pub mod stun;

pub use frame::{Frame, View};
