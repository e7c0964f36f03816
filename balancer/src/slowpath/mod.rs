//! The slow path.
pub mod socket;
