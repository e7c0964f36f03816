//! What several balancers share, so that they work as one: origins, streams, sessions of WebRTC, each other, and the
//! flows that the kernel carries.
//!
//! Everything is a small record in a [`Shelf`], under a [`Key`], with a [`Version`] that every write changes: who writes
//! says which version he has seen, and of two that write at once one loses and is told what the other has written. Each
//! balancer keeps a copy of all records but the flows', follows the others' writes, and never waits for the shelf where
//! packets or connected clients are concerned.
//!
//! Records are what anybody with access to the shelf has written: they are read by [`record`], which knows what may be
//! believed, and nothing of them reaches a map unchecked.

#[cfg(test)]
pub mod fake;
pub mod flows;
pub mod record;
pub mod redis;
pub mod secret;
mod shelf;

pub use self::redis::remedy;
pub use shelf::{Entry, FlowAt, FlowPage, FoundFlow, Key, Kind, News, Put, Shelf, ShelfError, ShelfFuture, Version};
