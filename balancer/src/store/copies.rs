//! What is known of a stream's copies: an operator's word, and how they serve.

use super::Store;
use crate::flow::Role;
use crate::placement::Placement;
use crate::recognize::StreamKey;
use crate::registry::FlowTicket;
use balancer_common::abi::Reason;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopiesError {
    #[error("there is no such stream; `balancer streams` lists them")]
    NoStream,
    #[error("there is no origin {0:?}; `balancer origins` lists them")]
    NoOrigin(Arc<str>),
}

impl Store {
    /// These origins have the stream, too, and no others that were told of.
    pub async fn set_copies(&self, key: &StreamKey, ids: &[Arc<str>], now: Duration) -> Result<(), CopiesError> {
        self.change(|state| {
            let index = state.streams.get(key).ok_or(CopiesError::NoStream)?.index;
            let placed_on = |id: &Arc<str>| {
                let origin = state.registry.index_of(id).ok_or_else(|| CopiesError::NoOrigin(id.clone()))?;
                Ok((origin, state.registry.generation(origin) as u16))
            };
            let copies: Vec<(u16, u16)> = ids.iter().map(placed_on).collect::<Result<_, _>>()?;
            state.streams.set_copies(index, &copies, now);
            Ok(())
        })
    }

    /// As [`Store::flow_opened`], for one that another balancer has made: it may be where only that one knew the stream to
    /// be.
    pub fn flow_taken(&self, ticket: FlowTicket, now: Duration) {
        self.change(|state| {
            state.registry.flow_opened(ticket.origin);
            if ticket.role == Role::Publish || state.registry.is_edge(ticket.origin) {
                state.streams.flow_adopted(ticket, now);
            } else {
                state.streams.flow_opened(ticket);
            }
        });
    }

    /// As [`Store::flow_opened`], for one that another process has made.
    pub fn flow_adopted(&self, ticket: FlowTicket, now: Duration) {
        self.change(|state| {
            state.registry.flow_opened(ticket.origin);
            state.streams.flow_adopted(ticket, now);
        });
    }

    /// A viewer's flow has ended and had brought nothing.
    pub fn left_unfed(&self, ticket: FlowTicket, now: Duration) {
        self.change(|state| state.streams.left_unfed(ticket, now));
    }

    /// A copy was asked and did not do what its protocol asks for.
    pub fn copy_failed(&self, placement: &Placement, now: Duration) {
        if placement.reason == Reason::PlacedCopy {
            let placed_on = (placement.origin, placement.generation);
            self.change(|state| state.streams.bar(placement.stream, placed_on, now));
        }
    }
}
