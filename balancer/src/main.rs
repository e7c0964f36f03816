//! Raw flags to validated settings to a thin `main`.
fn main() {}
