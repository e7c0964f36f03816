//! How many connections may be at the same thing at once, in all and from one address: in their preamble, or at the
//! reverse proxy.

use balancer_common::abi::Reason;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

pub struct Admission {
    total_max: usize,
    per_client_max: usize,
    /// Under what the two limits are counted.
    reasons: (Reason, Reason),
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
    /// `None`: it has not been said for whom.
    client: Option<IpAddr>,
}

impl Admission {
    /// Clients that have not said yet what they want.
    pub fn of_handshakes(total_max: usize, per_client_max: usize) -> Arc<Self> {
        let reasons = (Reason::LimitHandshakes, Reason::LimitHandshakesPerClient);
        Arc::new(Self { total_max, per_client_max, reasons, state: Mutex::default() })
    }

    /// Connections whose requests are proxied.
    pub fn of_http(total_max: usize, per_client_max: usize) -> Arc<Self> {
        let reasons = (Reason::LimitHttpConnections, Reason::LimitHttpConnectionsPerClient);
        Arc::new(Self { total_max, per_client_max, reasons, state: Mutex::default() })
    }

    /// Flows of UDP that user space carries.
    pub fn of_relayed(total_max: usize, per_client_max: usize) -> Arc<Self> {
        let reasons = (Reason::LimitRelayed, Reason::LimitRelayedPerClient);
        Arc::new(Self { total_max, per_client_max, reasons, state: Mutex::default() })
    }

    /// `None` for who speaks for others, until it has said for whom.
    pub fn admit(self: &Arc<Self>, client: Option<IpAddr>) -> Result<Admitted, Reason> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.total >= self.total_max {
            return Err(self.reasons.0);
        }
        if let Some(client) = client {
            state.count(client, self.per_client_max).ok_or(self.reasons.1)?;
        }
        state.total += 1;
        Ok(Admitted { admission: self.clone(), client })
    }

    pub fn in_progress(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

impl State {
    /// `None`: it has as many as it may.
    fn count(&mut self, client: IpAddr, max: usize) -> Option<()> {
        let mine = self.per_client.entry(client).or_default();
        if *mine >= max {
            return None;
        }
        *mine += 1;
        Some(())
    }
}

impl Admitted {
    /// It is this client's from now on, if that has not too many.
    pub fn name(&mut self, client: IpAddr) -> Result<(), Reason> {
        let mut state = self.admission.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.client.is_none() {
            state.count(client, self.admission.per_client_max).ok_or(self.admission.reasons.1)?;
            self.client = Some(client);
        }
        Ok(())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.admission.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.total -= 1;
        if let Some(client) = self.client
            && let Some(mine) = state.per_client.get_mut(&client)
        {
            *mine -= 1;
            if *mine == 0 {
                state.per_client.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_and_places_come_back() {
        let admission = Admission::of_handshakes(2, 1);
        let a: IpAddr = "10.0.0.1".parse().unwrap();
        let first = admission.admit(Some(a)).unwrap();
        assert_eq!(admission.admit(Some(a)).err(), Some(Reason::LimitHandshakesPerClient));
        let _second = admission.admit("10.0.0.2".parse().ok()).unwrap();
        assert_eq!(admission.admit("10.0.0.3".parse().ok()).err(), Some(Reason::LimitHandshakes));
        drop(first);
        assert_eq!(admission.in_progress(), 1);
        admission.admit(Some(a)).unwrap();
    }

    #[test]
    fn who_speaks_for_many_is_counted_for_each_of_them() {
        let admission = Admission::of_handshakes(3, 1);
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let mut all: Vec<Admitted> = (0..3).map(|_| admission.admit(None).unwrap()).collect();
        assert_eq!(all[0].name(a), Ok(()));
        assert_eq!(all[1].name(a), Err(Reason::LimitHandshakesPerClient));
        assert_eq!(all[1].name(b), Ok(()));
        assert_eq!(all[1].name(b), Ok(()), "it has a name");
        assert_eq!(admission.admit(None).err(), Some(Reason::LimitHandshakes));
        drop(all.remove(0));
        assert_eq!(all[1].name(a), Ok(()));
        all.clear();
        assert_eq!(admission.in_progress(), 0);
    }
}
