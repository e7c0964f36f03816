//! Every second, each session: flows that are over, ports to grant again, names and sessions whose time has come.

use super::session::{FLOWS_MAX, Member, Session, UNANSWERED_MAX};
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

    /// Flows that are over, and those that the origin does not answer: it checks what we cannot. When there are too many, the
    /// one that it has answered least makes room; errors are answers, too.
    fn forget_flows(&self, session: &mut Session, now: Duration) {
        let mut old = Vec::new();
        session.flows.retain(|flow| {
            let Some(pulse) = self.parts.live.pulse(flow.id) else { return false };
            if now.saturating_sub(pulse.made_at) >= UNANSWERED_MAX {
                old.push((pulse.answers, *flow));
            }
            true
        });
        let least = old.iter().map(|(answers, _)| *answers).min().filter(|_| session.flows.len() >= FLOWS_MAX);
        let room = old.iter().find(|(answers, _)| Some(*answers) == least).map(|(_, flow)| flow.id);
        let goes = |answers: u64, flow: &Member| answers == 0 || Some(flow.id) == room;
        for (_, flow) in old.into_iter().filter(|(answers, flow)| goes(*answers, flow)) {
            self.parts.counters.count(Reason::LimitRtcUnanswered);
            session.flows.retain(|other| other.id != flow.id);
            self.parts.live.end_all([(flow.id, flow.key)].into_iter(), "unanswered");
        }
        if session.flows.is_empty() {
            self.count_as_flow(session, true);
        }
    }
}
