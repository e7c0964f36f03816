//! Tests over several parts of the registry.

mod origins;
mod streams;
