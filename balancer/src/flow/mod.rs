//! A flow: one conversation between a client and an origin, and the state machine of its life. Pure.

pub mod life;
mod record;
pub mod splice;

pub use record::{Counter, FlowId, FlowRecord, FlowState, FlowTable, Path, Protocol, Role};
