//! Every second, each session: flows that are over, ports to grant again, names and sessions whose time has come.

use super::session::{Session, UNANSWERED_MAX};
use super::sessions::Sessions;
use balancer_common::abi::Reason;
use std::time::Duration;

/// How often deadlines in the kernel are renewed and its ports are counted, in sweeps.
const LOOK_EVERY: u64 = 5;

impl Sessions {
    /// Once a second, and by one task: at most one port a sweep is what a session is granted again.
    pub fn sweep(&self, number: u64) {
        self.sweep_at(number, self.now());
    }

    pub(super) fn sweep_at(&self, number: u64, now: Duration) {
        let ids = self.table().ids();
        for id in ids {
            // One lock for each: the slow path waits for it.
            let mut table = self.table();
            let Some(session) = table.get_mut(id) else { continue };
            self.forget_flows(session, now);
            session.renew(now);
            if session.expires_at <= now {
                if let Some(session) = table.remove(id) {
                    self.finish(id, session, "silent");
                }
                continue;
            }
            if number % LOOK_EVERY == u64::from(id) % LOOK_EVERY {
                self.look_for_ports(id, session);
                self.write_names(id, session);
            }
            if let Some(slot) = session.empty_slot() {
                self.fill(id, session, slot);
            }
            for ufrag in session.forget_old_names(now) {
                self.withdraw(&ufrag);
                table.forget_name(&ufrag, id);
            }
        }
    }

    /// Flows that are over, and those that the origin does not answer: it checks what we cannot.
    fn forget_flows(&self, session: &mut Session, now: Duration) {
        let live = &self.parts.live;
        let mut unanswered = Vec::new();
        session.flows.retain(|flow| {
            let Some(pulse) = live.pulse(flow.id) else { return false };
            let is_forged = !pulse.is_answered && now.saturating_sub(pulse.made_at) >= UNANSWERED_MAX;
            if is_forged {
                unanswered.push((flow.id, flow.key));
                self.parts.counters.count(Reason::LimitRtcUnanswered);
            }
            !is_forged
        });
        live.end_all(unanswered.into_iter(), "unanswered");
        if session.flows.is_empty() {
            self.count_as_flow(session, true);
        }
    }
}
