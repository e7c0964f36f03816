//! Balancers on one real redis-server, all in this process: what they cost, and how long they take.

mod flows;
mod meter;
pub mod moment;
pub mod node;
pub mod streams;
pub mod takeover;
