//! Everything that touches the bytes of a packet.
//!
//! Owns bounds checks ([`frame`]), header layouts ([`header`]), checksums ([`checksum`]), parsing ([`parse`]) and the
//! translation of TCP options ([`options`]). Knows no table and takes no decision: that is `steer`.

pub mod checksum;
pub mod frame;
pub mod header;
pub mod options;
pub mod parse;

pub use frame::{Frame, View};
