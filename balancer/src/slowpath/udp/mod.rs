//! UDP in user space: the sockets of the VIP, what comes in without a flow, and the flows that are relayed until the
//! kernel has them, or for good. Knows no protocol: who a client is and what it wants is `srt`'s and `rtc`'s to say.
//!
//! A flow's life: [`dial`] takes a port and a socket towards the origin; [`Flow::open`] gives it a record and relays;
//! as soon as it is known by which way the client came (`ARRIVALS`) and by which way the origin is reached, both halves
//! are written into the kernel, the socket goes, and the table of live flows owns what is left.

mod dial;
mod farewell;
mod flow;
mod listener;
mod tries;

pub use dial::{DialError, Leg, dial};
pub use farewell::Speaker;
pub use flow::{Flow, Spec};
pub use listener::{Listener, bind, serve};

use super::admission::{Admission, Admitted};
use balancer_common::abi::Reason;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// What the listeners and the flows of UDP share.
pub struct Udp {
    places: Arc<Admission>,
    /// Flows that user space carries, by client and VIP.
    flows: Mutex<HashMap<(SocketAddr, SocketAddr), Arc<Flow>>>,
    listeners: OnceLock<Vec<Arc<Listener>>>,
}

/// Flows that user space carries at once. Each has a task, and a socket with room for a burst.
const FLOWS_MAX: usize = 16_384;
const FLOWS_PER_CLIENT_MAX: usize = 1_024;

impl Default for Udp {
    fn default() -> Self {
        let places = Admission::of_relayed(FLOWS_MAX, FLOWS_PER_CLIENT_MAX);
        Self { places, flows: Mutex::default(), listeners: OnceLock::new() }
    }
}

impl Udp {
    /// A place for one more flow of that address.
    pub fn admit(&self, client: IpAddr) -> Result<Admitted, Reason> {
        self.places.admit(Some(client))
    }

    /// Once, at the start.
    pub fn set_listeners(&self, listeners: Vec<Arc<Listener>>) {
        // A second time would be a mistake of the caller's; the first stays.
        let _ = self.listeners.set(listeners);
    }

    /// The socket at which clients of this VIP are served.
    pub fn listener(&self, vip: SocketAddr) -> Option<&Arc<Listener>> {
        self.listeners.get()?.iter().find(|listener| listener.address == vip)
    }

    /// The flow of a client that user space carries.
    pub fn flow(&self, client: SocketAddr, vip: SocketAddr) -> Option<Arc<Flow>> {
        self.flows().get(&(client, vip)).cloned()
    }

    /// Carried by user space now.
    pub fn len(&self) -> usize {
        self.flows().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn flows(&self) -> MutexGuard<'_, HashMap<(SocketAddr, SocketAddr), Arc<Flow>>> {
        // Whole between statements.
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client begins anew: its earlier flow ends.
    fn insert(&self, flow: Arc<Flow>) -> Option<Arc<Flow>> {
        self.flows().insert(flow.key(), flow)
    }

    /// Unless the client has another one by now.
    fn remove(&self, flow: &Arc<Flow>) {
        let mut flows = self.flows();
        if flows.get(&flow.key()).is_some_and(|known| Arc::ptr_eq(known, flow)) {
            flows.remove(&flow.key());
        }
    }
}
