//! HTTP spoken by hand: a synthetic media origin and a client that say exactly what a test wants, right or wrong, and
//! check every byte of a body. No library between the test and the wire.

pub mod client;
pub mod head;
pub mod origin;
pub mod plan;
mod serve;
pub mod socket;
pub mod viewer;
