//! For tests of others: a process of which there is nothing to tell.

use super::{Facts, Forwarded, InterfaceStatus, MapUsage};
use crate::flow::FlowRecord;
use balancer_common::abi::{Reason, ReasonCount};

pub struct NoFacts;

impl Facts for NoFacts {
    fn flows(&self) -> Vec<FlowRecord> {
        vec![]
    }

    fn reasons(&self) -> Vec<(Reason, ReasonCount)> {
        vec![]
    }

    fn relayed(&self) -> Forwarded {
        Forwarded::default()
    }

    fn interfaces(&self) -> Vec<InterfaceStatus> {
        vec![]
    }

    fn map_usage(&self) -> Vec<MapUsage> {
        vec![]
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}
