//! Tests over several parts of the registry.

mod claims;
mod origins;
mod streams;
mod whose;
