//! How many connections may be in the preamble at once: in all, and from one address.

use balancer_common::abi::Reason;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

pub struct Admission {
    total_max: usize,
    per_client_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    total: usize,
    per_client: HashMap<IpAddr, usize>,
}

/// A place among the handshakes in progress, given back when dropped.
pub struct Admitted {
    admission: Arc<Admission>,
    client: IpAddr,
}

impl Admission {
    pub fn new(total_max: usize, per_client_max: usize) -> Arc<Self> {
        Arc::new(Self { total_max, per_client_max, state: Mutex::default() })
    }

    pub fn admit(self: &Arc<Self>, client: IpAddr) -> Result<Admitted, Reason> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.total >= self.total_max {
            return Err(Reason::LimitHandshakes);
        }
        let mine = state.per_client.entry(client).or_default();
        if *mine >= self.per_client_max {
            return Err(Reason::LimitHandshakesPerClient);
        }
        *mine += 1;
        state.total += 1;
        Ok(Admitted { admission: self.clone(), client })
    }

    pub fn in_progress(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.admission.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.total -= 1;
        if let Some(mine) = state.per_client.get_mut(&self.client) {
            *mine -= 1;
            if *mine == 0 {
                state.per_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_and_places_come_back() {
        let admission = Admission::new(2, 1);
        let a: IpAddr = "10.0.0.1".parse().unwrap();
        let first = admission.admit(a).unwrap();
        assert_eq!(admission.admit(a).err(), Some(Reason::LimitHandshakesPerClient));
        let _second = admission.admit("10.0.0.2".parse().unwrap()).unwrap();
        assert_eq!(admission.admit("10.0.0.3".parse().unwrap()).err(), Some(Reason::LimitHandshakes));
        drop(first);
        assert_eq!(admission.in_progress(), 1);
        admission.admit(a).unwrap();
    }
}
