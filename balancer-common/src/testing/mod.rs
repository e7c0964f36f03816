//! Packets, tables and cases for tests and benches: everything here is behind the feature `testing`, and only here may
//! this crate use `std`.

pub mod build;
pub mod cases;
pub mod oracle;
pub mod simulated;
pub mod world;
