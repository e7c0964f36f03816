//! What the table of live flows says.

use super::Flows;
use crate::live::Journal;
use balancer_common::abi::FlowKey;
use std::sync::Weak;

/// Not the flows themselves: the table of live flows is among their parts.
pub(super) struct Told(pub Weak<Flows>);

impl Journal for Told {
    fn touched(&self, client: FlowKey, origin: FlowKey) {
        if let Some(flows) = self.0.upgrade() {
            flows.change(client, origin);
        }
    }

    fn missed(&self, key: FlowKey) {
        if let Some(flows) = self.0.upgrade() {
            flows.missed(key);
        }
    }

    fn stray(&self, client: FlowKey) {
        if let Some(flows) = self.0.upgrade() {
            flows.stray(client);
        }
    }

    fn ended(&self, client: FlowKey, is_told: bool) {
        if let Some(flows) = self.0.upgrade().filter(|f| is_told || f.peers().share(client.addresses().1.ip())) {
            flows.end_elsewhere(client);
        }
    }

    fn guest_end(&self, client: FlowKey, origin: FlowKey, bits: u8) {
        if let Some(flows) = self.0.upgrade() {
            flows.see_end((client, origin), bits);
        }
    }
}
