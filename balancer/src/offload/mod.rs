//! Everything that speaks to the kernel's fast path.

pub mod object;
