//! Tests of the proxied part of HTTP: clients over in-memory streams, origins on loopback.

mod asking;
mod files;
mod intake;
mod limits;
mod origins;
mod passing;
mod playing;
mod signalling;
pub mod world;
